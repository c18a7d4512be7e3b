"""The stage: every metric through every trial, and one table of what came out."""

import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
import torch

from platorep.align import asked_metrics
from platorep.errors import ConfigError
from platorep.failures import Failures
from platorep.files import digest
from platorep.grounding.dial import REPETITIONS, SHARES, Turned, World, dial_rows, turn
from platorep.grounding.latent import LatentWorld
from platorep.grounding.networks import trained_specs, try_networks
from platorep.grounding.scoring import Metrics
from platorep.grounding.senses import SensesWorld
from platorep.metrics import METRICS, BoundMetric, bind
from platorep.run import Run

SIZES = (128, 512, 1024)
GRID = 12
"""Layers of each side whose comparison is timed."""
HIDDEN = ("layers_order", "kinds_auprc", "half", "at_zero")
"""Ends of the columns that a person is not shown; metrics.csv has them."""


def ground(run: Run, wanted: Sequence[BoundMetric]) -> tuple[Failures, pd.DataFrame]:
    """Try metrics on the dial and on the trained networks of the run, whose features are there.

    Writes `metrics.csv`, which is returned, and `dial.csv`. First comes who follows the dial best
    in both worlds, then who resolves most at the largest n.

    Raises:
        PlatorepError: all metrics failed; the first one's error.
    """
    failures = run.failures("ground")
    metrics = Metrics(wanted, failures)
    sizes = _sizes(run)
    worlds: list[World] = [LatentWorld()]
    if senses := _senses(run, sizes[-1]):
        worlds.append(senses)
    columns: dict[str, dict[str, Any]] = {m.label: {"metric": m.label} for m in metrics.metrics}
    rows: list[dict[str, Any]] = []
    for world in worlds:
        for n in sizes:
            total = REPETITIONS * len(SHARES)
            with run.report.task(f"dial, {world.name}, n = {n}", total, "steps") as advance:
                turned = turn(world, metrics, n, advance)
            rows += dial_rows(world.name, n, turned)
            for label, one in turned.items():
                columns[label] |= dial_columns(world.name, n, one, last=n == sizes[-1])
    for label, found in try_networks(run, metrics).items():
        columns[label] |= found
    for label, seconds in time_metrics(metrics, sizes[-1]).items():
        columns[label] |= seconds
    failures.raise_if_all(len(metrics.metrics))
    table = in_order([columns[m.label] for m in metrics.metrics], sizes)
    _write(run, table, pd.DataFrame(rows))
    return failures, table


def grounded_metrics(run: Run, pattern: str) -> list[BoundMetric]:
    """The metrics to try: those whose names match of the built-in ones, with their default
    parameters, and of those that the experiment asks for.

    Raises:
        ConfigError: no metric has such a name.
    """
    known = [bind(name) for name in METRICS] + [one.metric for one in asked_metrics(run.config)]
    named = {metric.label: metric for metric in known if fnmatchcase(metric.name, pattern)}
    if not named:
        names = ", ".join(dict.fromkeys(metric.name for metric in known))
        raise ConfigError(f"list metrics {pattern}: no metric matches. There are: {names}.")
    return list(named.values())


def _sizes(run: Run) -> list[int]:
    """Sizes of samples: no more rows than the experiment has."""
    num = run.config.align.scored_rows(int(run.results.dataset()["num_rows"]))
    return [n for n in SIZES if n <= num] or [num]


def _senses(run: Run, most: int) -> SensesWorld | None:
    """The dial in the toy world, if the experiment trains a network for each sense there.

    The last ones in the file, where the largest stand.
    """
    toys = [spec for spec in trained_specs(run) if spec.backend == "toyworld"]
    last = {spec.modality: spec for spec in toys}
    if not {"vision", "language"} <= set(last):
        run.report.say("no dial in the toy world: it takes a network of it that sees, and a reader")
        return None
    world = SensesWorld(run, last["vision"], last["language"], most)
    names = f"{world.sees.label} and {world.reads.label}"
    total = REPETITIONS * most * (1 + len(SHARES))
    with run.report.task(f"dial, scenes for {names}", total, "rows") as advance:
        world.observe(advance)
    return world


def dial_columns(world: str, n: int, turned: Turned, *, last: bool) -> Mapping[str, float]:
    """What the table says of one world: some of it at the largest n alone."""
    found = {f"{world}_resolution_{n}": turned.resolution}
    if not last:
        return found
    return {
        f"{world}_tracks": turned.tracks,
        f"{world}_seen_from": turned.seen_from,
        f"{world}_half": turned.half,
        f"{world}_at_zero": turned.at_zero,
        **found,
    }


def time_metrics(metrics: Metrics, n: int) -> Mapping[str, Mapping[str, float]]:
    """Seconds of one layer pair from its features, and of a grid of layers from their summaries.

    The second is what each permutation of a null costs. Processor time of this machine, which what
    else it does moves little; features of width 64.
    """
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, n, 64, generator=rng)
    found = {}
    for metric in metrics.metrics:
        for _, seconds in Metrics([metric], metrics.errors).each(lambda m: _seconds(m, x, y)):
            found[metric.label] = seconds
    return found


def _seconds(metric: BoundMetric, x: torch.Tensor, y: torch.Tensor) -> Mapping[str, float]:
    few = [metric.summarize(features[:64, :8]) for features in (x, y)]
    metric.compare(few[:1], few[1:])  # what is imported or compiled at first use
    started = time.process_time()
    one, other = metric.summarize(x), metric.summarize(y)
    metric.compare([one], [other])
    between = time.process_time()
    metric.compare([one] * GRID, [other] * GRID)
    ended = time.process_time()
    return {"seconds": between - started, "seconds_grid": ended - between}


def in_order(rows: list[dict[str, Any]], sizes: list[int]) -> pd.DataFrame:
    """The best metric first; what was not found is NaN."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pd.DataFrame(rows, columns=names)
    tracks = table[[n for n in names if n.endswith("_tracks")]].mean(axis=1)
    finest = table[[n for n in names if n.endswith(f"_resolution_{sizes[-1]}")]].mean(axis=1)
    order = np.lexsort((finest.fillna(np.inf), -tracks.fillna(-np.inf)))
    return table.iloc[order].reset_index(drop=True)


def in_short(table: pd.DataFrame) -> pd.DataFrame:
    """The table for a person: the columns that decide, with as many digits as mean something."""
    short = pd.DataFrame({"metric": table["metric"]})
    for name in map(str, table.columns.drop("metric")):
        if name.endswith(HIDDEN):
            continue
        digits = table[name].map(lambda value: f"{value:.2g}", na_action="ignore")
        world, resolution, _ = name.partition("_resolution_")
        if resolution:  # those of all n in one cell, smallest n first
            name, digits = f"{world}_resolution", digits.fillna("-")
            digits = short[name] + ", " + digits if name in short else digits
        short[name] = digits
    return short


def _write(run: Run, table: pd.DataFrame, dial: pd.DataFrame) -> None:
    config, results = run.config, run.results
    settings = digest([config.align.model_dump(mode="json"), list(table["metric"])])
    made_from = {"rows": results.dataset()["fingerprint"], "metrics": settings}
    results.write_table(results.metrics, table, made_from)
    results.write_table(results.dial, dial, made_from)
