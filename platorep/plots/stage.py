"""The stage: the tables of an experiment -> `figures/`."""

from pathlib import Path

import pandas as pd

from platorep.config.analyses import ANALYSIS_TABLES
from platorep.drawn import note_drawn
from platorep.errors import IntegrityError
from platorep.failures import Failures
from platorep.parameters.figures import figure_names
from platorep.plots import Tables, save_figure
from platorep.plots.saving import files_of
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
    if written:
        run.report.say(f"figures: {run.results.figures}")
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
    if results.layers.exists():
        paths[results.layers] = "align"
    further = _further(run)
    paths |= dict.fromkeys(further.values(), "align")
    read = {path: results.read_table(path, stage, run.report) for path, stage in paths.items()}
    for path, table in sorted(read.items(), key=lambda item: item[0] != results.models):
        if path.name in _TEXTS:
            _refuse_unusable(path, table, paths[path], read[results.models])
    results.refuse_mixed(paths)
    no_performance = pd.DataFrame(columns=["model", "measure", "value", "source"])
    return Tables(
        best=read[results.best],
        scores=read[results.scores],
        performance=read.get(results.performance, no_performance),
        models=_scored_models(read[results.models]),
        gallery=read.get(results.gallery, pd.DataFrame()),
        layers=read.get(results.layers, pd.DataFrame()),
        further={name: read[path] for name, path in further.items()},
    )


def _further(run: Run) -> dict[str, Path]:
    """The tables of the analyses that `align` has made, by name; one that failed left old ones."""
    results = run.results
    about = results.read_json(results.run, "align") if results.run.exists() else {}
    failed = about.get("align", {}).get("failed", ())
    found: dict[str, Path] = {}
    for analysis in run.config.align.asked_analyses():
        tables = {name: results.further(name) for name in ANALYSIS_TABLES[analysis]}
        there = {name: path for name, path in tables.items() if path.exists()}
        if analysis in failed and there:
            run.report.warn(
                f"{', '.join(path.name for path in there.values())}: of an earlier run, since "
                f"align.{analysis} failed ({results.failures.name} says why); not drawn from"
            )
            continue
        found |= there
    return found


def _scored_models(models: pd.DataFrame) -> pd.DataFrame:
    """Without the copies on other observations, which are scored against nothing."""
    if "repeat_of" not in models:
        return models
    return models[models["repeat_of"].fillna("") == ""]


_OF_PAIRS = ("x", "y", "metric", "control")
_TEXTS = {  # columns that each table must have, by the name of its file
    "models.csv": ("label", "family", "modality", "random"),
    "best.csv": (*_OF_PAIRS, "dataset", "x_family", "y_family", "x_modality", "y_modality"),
    "scores.parquet": _OF_PAIRS,
    "performance.csv": ("model", "measure"),
    "gallery.csv": (*_OF_PAIRS, "k_rule"),
}
_NUMBERS = {  # and those that must hold numbers, or holes
    "models.csv": ("num_parameters", "order", "num_layers"),
    "best.csv": ("score", "chance", "layer_x", "layer_y", "num_layers_x", "num_layers_y"),
    "scores.parquet": ("score", "layer_x", "layer_y"),
    "performance.csv": ("value",),
    "gallery.csv": ("score", "n", "k", "chance"),
}


def _refuse_unusable(path: Path, table: pd.DataFrame, stage: str, models: pd.DataFrame) -> None:
    """Refuse a table that somebody has edited into what no figure can be drawn from."""
    texts, numbers = _TEXTS[path.name], _NUMBERS[path.name]
    wrong = [f"it lacks the column {name}" for name in (*texts, *numbers) if name not in table]
    if not wrong and len(table):
        kinds = table[[*numbers]].dtypes
        wrong += [
            f"the column {name} holds what is no number"
            for name in numbers
            if not pd.api.types.is_numeric_dtype(kinds[name])
        ]
    lowest = 0 if path.name == "scores.parquet" else -1  # of best.csv, where there is none
    for name in ("layer_x", "layer_y"):
        if not wrong and name in numbers and not _are_layers(table[name], lowest):
            wrong.append(f"the column {name} holds what is no number of a layer")
    if not wrong and path.name == "models.csv" and table["label"].duplicated().any():
        wrong.append(f"it names {table['label'][table['label'].duplicated()].iloc[0]!r} twice")
    if not wrong and "x" in texts:
        unknown = (set(table["x"]) | set(table["y"])) - set(models["label"])
        wrong += [f"it names {label!r}, which is not in models.csv" for label in sorted(unknown)]
    if wrong:
        raise IntegrityError(
            f"{path} cannot be drawn from: {wrong[0]}. Run `platorep {stage}` with this experiment "
            "again: it writes the file anew."
        )


def _are_layers(numbers: pd.Series, lowest: int) -> bool:
    return bool((numbers.ge(lowest) & numbers.lt(2**31) & numbers.mod(1).eq(0)).all())
