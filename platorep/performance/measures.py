"""The kinds of measures. To add one: its section in `platorep.config.performance`, a function that
makes its rows of `performance.csv`, and an entry below."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from platorep.config import (
    BitsPerByteConfig,
    HarnessConfig,
    ModelSpec,
    PerformanceConfig,
    ProbeConfig,
    TableConfig,
    TasksSolvedConfig,
    WordsConfig,
)
from platorep.errors import PlatorepError
from platorep.parameters.section import Section
from platorep.performance.causal_bits import bits_rows, fetch_corpus, plan_bits
from platorep.performance.harness import harness_rows, plan_harness
from platorep.performance.job import Job, Planned, Row
from platorep.performance.probing import fetch_images, plan_probe, probe_rows
from platorep.performance.solved import plan_solved, solved_rows
from platorep.performance.table import plan_table, table_rows
from platorep.performance.words import plan_words, words_rows
from platorep.registry import index_by_name


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One kind of measure."""

    name: str
    settings: type[Section]
    rows: Callable[[Job, Any], Iterable[Row]]
    """What fails for one model only is noted in `Job.failures` and left out."""
    plan: Callable[[Any, Planned], dict[str, Any]]
    """Columns of the plan. Reads tables and result files, and no data set."""
    fetch: Callable[[Any, bool], str] = lambda config, offline: ""
    """Bring its data into the local caches; says in words what is here now, if anything."""
    of_others: bool = False
    """Whether it is made of the other measures' rows, so that it comes after them."""


MEASURES = index_by_name(
    (
        Measure(
            name="bits per byte",
            settings=BitsPerByteConfig,
            rows=bits_rows,
            plan=plan_bits,
            fetch=fetch_corpus,
        ),
        Measure(name="a table", settings=TableConfig, rows=table_rows, plan=plan_table),
        Measure(
            name="harness results", settings=HarnessConfig, rows=harness_rows, plan=plan_harness
        ),
        Measure(
            name="a probe",
            settings=ProbeConfig,
            rows=probe_rows,
            plan=plan_probe,
            fetch=fetch_images,
        ),
        Measure(
            name="tasks solved",
            settings=TasksSolvedConfig,
            rows=solved_rows,
            plan=plan_solved,
            of_others=True,
        ),
        Measure(name="words of captions", settings=WordsConfig, rows=words_rows, plan=plan_words),
    )
)
_BY_SETTINGS = {measure.settings: measure for measure in MEASURES.values()}


def measure_of(config: PerformanceConfig) -> Measure:
    """The kind of a measure of an experiment."""
    return _BY_SETTINGS[type(config)]


def plan_measure(
    config: PerformanceConfig,
    specs: Sequence[ModelSpec],
    widths: Mapping[str, Sequence[int]],
    itemsize: int,
) -> dict[str, Any]:
    """`note`, and `disk_mb` of a probe's features: what can be said before a measure is made.

    Args:
        widths: Label -> widths of the layers, where they are known.
        itemsize: Bytes of a stored number.
    """
    try:
        return measure_of(config).plan(config, Planned(specs, widths, itemsize))
    except PlatorepError as error:
        return {"note": str(error)}
