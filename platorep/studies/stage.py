"""The stage: one study, its tables and its figures."""

import time

import pandas as pd

from platorep.failures import Failures
from platorep.files import digest
from platorep.plots.saving import write_figure
from platorep.plots.style import figure_style
from platorep.run import Run
from platorep.studies.context import Context, Study


def study(run: Run, which: Study) -> tuple[Failures, pd.DataFrame]:
    """Do the work, write its tables and figures; what failed, and what the command prints.

    Raises:
        PlatorepError: nothing could be done; the first failure's error.
    """
    started = time.monotonic()
    failures = run.failures(which.name)
    context = Context(run=run, failures=failures)
    with figure_style():
        found = which.work(context)
        if all(table.empty for table in found.tables.values()):
            failures.raise_if_all(1)
        group, _, name = which.name.partition(" ")
        settings = getattr(getattr(run.config, group), name).model_dump(mode="json")
        made_from = {f"{which.name} settings": digest(settings)}
        for table, frame in found.tables.items():
            run.results.write_table(run.results.further(table), frame, made_from)
        for figure, (drawn, points) in found.figures.items():
            write_figure(run.results.figures / figure, drawn, points)
    run.results.record(
        which.name,
        {
            "settings": settings,
            "seconds": round(time.monotonic() - started, 3),
            "failed": sorted(failures.errors),
            "warnings": run.report.warnings,
        },
    )
    return failures, found.shown
