"""The stage: every measure of the experiment for every model that has it -> `performance.csv`."""

import time

import pandas as pd

from platorep.failures import Failures
from platorep.models import environment
from platorep.performance.job import Job
from platorep.performance.measures import measure_of
from platorep.results import networks
from platorep.run import Run
from platorep.workplace import home_of

COLUMNS = (
    *("model", "measure", "better", "value", "stderr", "source"),
    *("num_bytes", "num_documents", "context", "dtype"),
)


def measure(run: Run) -> tuple[Failures, pd.DataFrame]:
    """Measure all models and write `performance.csv`.

    A measurement is kept in the cache (`measurements/`), shared by all experiments.

    Raises:
        PlatorepError: with `keep_going`, only if nothing at all could be measured.
    """
    started = time.monotonic()
    failures = run.failures("measure")
    with home_of(run) as home:
        job = Job(run, failures, home)
        for config in sorted(run.config.performance, key=lambda one: measure_of(one).of_others):
            with failures.catch(config.name):
                job.rows += list(measure_of(config).rows(job, config))
    if not job.rows:
        failures.raise_if_all(1)
    table = pd.DataFrame(job.rows, columns=list(COLUMNS))
    table = table.astype(dict.fromkeys(("num_bytes", "num_documents", "context"), "Int64"))
    table = table.astype({"stderr": float})
    run.results.write_table(run.results.performance, table, networks(run.specs) | job.made_from)
    run.results.record(
        "measure",
        {
            "environment": environment(run.device),
            "failed": sorted(failures.errors),
            "seconds": round(time.monotonic() - started, 3),
            "warnings": run.report.warnings,
        },
    )
    return failures, table
