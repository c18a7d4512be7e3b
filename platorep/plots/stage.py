"""The stage: the tables of an experiment -> `figures/`."""

import pandas as pd

from platorep.drawn import note_drawn
from platorep.parameters.figures import figure_names
from platorep.plots import Tables, save_figure
from platorep.plots.saving import files_of
from platorep.results import Failures
from platorep.run import Run


def plot(run: Run) -> tuple[Failures, pd.DataFrame]:
    """Draw every figure of the experiment; what failed, and the files that were written.

    Raises:
        AbsentError: there are no scores yet.
        PlatorepError: no figure at all could be drawn (the first one's error).
    """
    failures = run.failures("plot")
    tables = read_tables(run)
    written = []
    names = figure_names(run.config.figures)
    for name, figure in zip(names, run.config.figures, strict=True):
        path = run.results.figures / name
        with failures.catch(name):
            saved = save_figure(path, tables, figure)
            for note in saved.notes:
                run.report.say(f"{name}: {note}")
            note_drawn(run, name, saved.paths)
            written += [{"figure": name, "file": str(file)} for file in saved.paths]
        if name in failures.errors and any(file.exists() for file in files_of(path)):
            run.report.warn(f"{name}: {path}.* is a figure of an earlier run, not of this one")
    failures.raise_if_all(len(names))
    return failures, pd.DataFrame(written, columns=["figure", "file"])


def read_tables(run: Run) -> Tables:
    """All that figures are drawn from; what an experiment need not have is empty where absent.

    Raises:
        AbsentError: there are no scores yet.
        IntegrityError: a table is damaged, or two are not of the same data, models and settings.
    """
    results = run.results
    paths = {results.best: "align", results.scores: "align", results.models: "extract"}
    if results.performance.exists():
        paths[results.performance] = "measure"
    if results.gallery.exists() and run.config.align.gallery is not None:
        paths[results.gallery] = "align"
    read = {path: results.read_table(path, stage, run.report) for path, stage in paths.items()}
    results.refuse_mixed(paths)
    no_performance = pd.DataFrame(columns=["model", "measure", "value", "source"])
    return Tables(
        best=read[results.best],
        scores=read[results.scores],
        performance=read.get(results.performance, no_performance),
        models=read[results.models],
        gallery=read.get(results.gallery, pd.DataFrame()),
    )
