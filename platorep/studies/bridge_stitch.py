"""`platorep bridge stitch`: the front of one network, a linear stitch, the back of another.

For every pair of models, layer of the front, layer of the back and seed one finished piece, with
the weights of the stitch beside it; and what the same layers score in alignment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from platorep.bridges.layers import counterpart, evenly
from platorep.config import ModelSpec
from platorep.config.experiment import random_copies
from platorep.errors import ConfigError, nearest
from platorep.files import digest
from platorep.metrics import bind
from platorep.plots.about import framed
from platorep.plots.bridge_stitch import draw_stitches, say_stitches, stitch_points
from platorep.statistics import spearman
from platorep.studies.context import Context, Found
from platorep.studies.stitch_bench import BITS, NOISE, RANDOM, SAME, At, Bench
from platorep.switches import default_switches

VERSION = 1  # raise when the meaning of a number changes
OWN_METRICS = (
    ("linear_cka", "cka", {"kernel": "linear"}),
    ("linear_predictivity", "linear_predictivity", {"direction": "x_to_y"}),
)
"""Columns beside that of the first metric of `align`, which is `score`."""
SCORES = (*(column for column, _, _ in OWN_METRICS), "score")
ABOUT = ("x", "y", "view", "control", "layer_x", "layer_x_name", "layer_y", "layer_y_name", "seed")
JUDGED = ("own", "stitched", "penalty", "stderr", "matched", "matched_penalty", "matched_stderr")
COLUMNS = (
    *(*ABOUT, "measure", *JUDGED, "explained", "step", "num_train", "num_held_out", "num_test"),
    *("metric", *SCORES, "weights"),
)


@dataclass(frozen=True)
class Wanted:
    """One stitch to make."""

    control: str
    front: At
    back: At
    seed: int


def stitch(context: Context) -> Found:
    """Every stitch of every pair that is asked for.

    Raises:
        ConfigError: there is no pair, or nothing to tell.
    """
    benches: dict[tuple[str, str], Bench] = {}
    rows: list[dict[str, Any]] = []
    for x, y in _pairs(context):
        with context.failures.catch(f"{x} -> {y}"):
            front, back = context.specs[x], context.specs[y]
            kind = _kind(front, back)
            if (kind, front.view) not in benches:
                benches[kind, front.view] = _bench(context, kind, front.view)
            rows += _pair(context, benches[kind, front.view], front, back)
    table = pd.DataFrame(rows, columns=list(COLUMNS)).drop_duplicates(list(ABOUT))
    figures = {}
    for measure, of_measure in table.groupby("measure", sort=False):
        points = stitch_points(of_measure)
        ending = "_bits" if measure == BITS else ""
        about = context.about(say_stitches(of_measure))
        figures[f"bridge_stitch{ending}"] = (framed(draw_stitches, points, about), points)
    return Found(tables={"bridge_stitch": table}, figures=figures, shown=_shown(table))


def _pairs(context: Context) -> list[tuple[str, str]]:
    """Front and back, by label."""
    asked = context.run.config.bridge.stitch.pairs
    specs = context.specs
    if asked is not None:
        known = [spec.label for spec in context.run.config.models()]
        for label in (label for pair in asked for label in pair if label not in known):
            raise ConfigError(
                f"bridge.stitch.pairs: no model is called {label!r}.{nearest(label, known)} There "
                f"are: {', '.join(known)}."
            )
        found = [(x, y) for x, y in asked if x in specs and y in specs]
        if not found:
            raise ConfigError("bridge.stitch.pairs: no pair is of two of the models asked for.")
        return found
    found = [
        (x, y)
        for x, y in context.pairs
        if specs[x].view == specs[y].view and not (specs[x].is_control or specs[y].is_control)
    ]
    if not found:
        raise ConfigError(
            "bridge stitch: no pair of `align.pairs` is of two models that read one view. Add one "
            "(`pairs: [[vision, vision]]`), or name fronts and backs (`bridge.stitch.pairs`)."
        )
    return [pair for x, y in found for pair in ((x, y), (y, x))]


def _kind(front: ModelSpec, back: ModelSpec) -> str:
    """What both read.

    Raises:
        ConfigError: they read different things, or what no network is cut at.
    """
    if front.view != back.view:
        raise ConfigError(
            f"{front.label} reads {front.view!r} and {back.label} {back.view!r}: a stitch needs "
            "two models that read one view."
        )
    if front.kind is None:
        raise ConfigError(
            f"{front.label} and {back.label} are arrays of features: a stitch needs networks, "
            "whose layers it can run (backend timm, transformers, toyworld)."
        )
    kind = str(front.kind)
    if kind not in ("image", "text"):
        raise ConfigError(
            f"{front.label} and {back.label} read {front.view!r} of kind {kind}; stitches are of "
            "image networks and of causal language models."
        )
    return kind


def _bench(context: Context, kind: str, view: str) -> Bench:
    from platorep.studies.stitch_images import ImageBench
    from platorep.studies.stitch_texts import TextBench

    of_kind = ImageBench if kind == "image" else TextBench
    return of_kind(context.run, context.dataset, context.run.config.bridge.stitch, view)


@default_switches()
def _pair(
    context: Context, bench: Bench, front: ModelSpec, back: ModelSpec
) -> Iterator[dict[str, Any]]:
    """The rows of one front and one back."""
    wanted = _wanted(context, bench, front, back)
    scores = _scores(context, front, back, [w for w in wanted if not w.control])
    config = context.run.config.bridge.stitch
    settings = config.model_dump(mode="json", include=SETTINGS)
    bench.forget(but={w.spec.label for one in wanted for w in (one.front, one.back)})
    name = f"stitch {front.label} -> {back.label}"
    with context.run.report.task(name, len(wanted), "stitches") as advance:
        for one in wanted:
            sides = [[at.key, at.name] for at in (one.front, one.back)]
            decides = [VERSION, sides, one.control, one.seed, settings, bench.decides]
            weights = context.run.results.parts / f"stitch-{digest(decides)}.safetensors"

            def make(one: Wanted = one, weights: Any = weights) -> dict[str, Any]:
                return bench.stitched(one.front, one.back, one.seed, one.control, weights)

            found = context.run.kept("stitch", decides, make, files=[weights.name])
            advance(1)
            layers = (one.front.layer, one.back.layer)
            yield {
                "x": one.front.spec.label if one.control == SAME else front.label,
                "y": back.label,
                "view": front.view,
                "control": one.control,
                "layer_x": layers[0],
                "layer_x_name": one.front.name,
                "layer_y": layers[1],
                "layer_y_name": one.back.name,
                "seed": one.seed,
                "measure": bench.measure,
                "metric": context.metric.label,
                "weights": weights.name,
                **found,
                **({} if one.control else scores[layers]),
            }


SETTINGS = {"steps", "batch_size", "learning_rate", "validation_share", "test_share"}
"""Of `StitchConfig`: those that move every stitch."""


def _wanted(context: Context, bench: Bench, front: ModelSpec, back: ModelSpec) -> list[Wanted]:
    """All layers of the front to all of the back; each control once for each layer of the back,
    at the layer of the front that is as deep."""
    config = context.run.config.bridge.stitch
    xs, ys = (_ats(context, bench, spec) for spec in (front, back))
    randoms = [] if front.random_init else _random(context, front, xs)
    found = []
    for seed in config.seeds:
        found += [Wanted("", x, y, seed) for y in ys for x in xs]
        for place, y in enumerate(ys):
            as_deep = counterpart(place, len(ys), len(xs))
            found += [Wanted(RANDOM, one, y, seed) for one in randoms[as_deep : as_deep + 1]]
            found += [Wanted(NOISE, xs[as_deep], y, seed), Wanted(SAME, y, y, seed)]
    return found


def _ats(context: Context, bench: Bench, spec: ModelSpec) -> list[At]:
    aligned = context.aligned(spec.label)
    names = tuple(aligned.cell.layers)
    possible = bench.layers(names)
    asked = context.run.config.bridge.stitch.layers
    if not possible:
        raise ConfigError(
            f"model {spec.label!r}: none of its layers ({', '.join(names)}) is one that a network "
            "can be cut at. Take the usual ones (no `layers` of the model)."
        )
    if asked == "all":
        chosen = possible
    elif isinstance(asked, int):
        chosen = [possible[i] for i in evenly(asked, len(possible))]
    else:
        if outside := [i for i in asked if not -len(names) <= i < len(names)]:
            raise ConfigError(
                f"bridge.stitch.layers: {outside} of {spec.label!r}, which has {len(names)} layers."
            )
        chosen = sorted({i % len(names) for i in asked})
        if refused := [names[i] for i in chosen if i not in possible]:
            raise ConfigError(
                f"bridge.stitch.layers: {spec.label!r} cannot be cut at {', '.join(refused)}: "
                "nothing but its head comes after. Name others."
            )
    taken = tuple(names[i] for i in chosen)
    return [At(spec, aligned.key, taken, i, names[i]) for i in chosen]


def _random(context: Context, front: ModelSpec, xs: list[At]) -> list[At]:
    """The layers of the front's random copy; none where it can have no copy."""
    config = context.run.config
    copies = [spec for spec in config.models() if spec.random_of == front.label]
    copies = copies or list(random_copies([front], config.controls.seed))
    if not copies:
        return []
    key = digest([context.model(copies[0]).identity(), context.rows["id"].tolist()])
    return [At(copies[0], key, x.names, x.layer, x.name) for x in xs]


def _scores(
    context: Context, front: ModelSpec, back: ModelSpec, wanted: list[Wanted]
) -> dict[tuple[int, int], dict[str, float]]:
    """By layer of front and back, over all rows: what their pooled features score."""
    xs = list(dict.fromkeys(one.front.layer for one in wanted))
    ys = list(dict.fromkeys(one.back.layer for one in wanted))
    metrics = {column: bind(name, parameters) for column, name, parameters in OWN_METRICS}
    metrics["score"] = context.metric.metric
    keys = [context.aligned(spec.label).key for spec in (front, back)]
    prepared = context.run.config.align.preprocess.model_dump(mode="json")
    decides = [VERSION, keys, xs, ys, [m.label for m in metrics.values()], context.metric.code]

    def make() -> dict[str, Any]:
        x_layers = [context.prepared(front.label)[i] for i in xs]
        y_layers = [context.prepared(back.label)[i] for i in ys]
        return {
            column: metric.compare(
                [metric.summarize(layer) for layer in x_layers],
                [metric.summarize(layer) for layer in y_layers],
            ).tolist()
            for column, metric in metrics.items()
        }

    grids = context.run.kept("stitch-scores", [*decides, prepared], make)
    return {
        (x, y): {column: grid[i][j] for column, grid in grids.items()}
        for i, x in enumerate(xs)
        for j, y in enumerate(ys)
    }


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each front, back and control: the least and the middle penalty, and how it goes
    with the scores."""
    rows = []
    for (x, y, control), group in table.groupby(["x", "y", "control"], sort=False):
        best = group.sort_values("penalty", kind="stable").iloc[0]
        row = {"x": x, "y": y, "control": control, "own": best["own"]}
        row |= {"stitched": best["stitched"], "penalty": best["penalty"], "stderr": best["stderr"]}
        row |= {"layer_x": best["layer_x"], "layer_y": best["layer_y"]}
        row |= {"median_penalty": group["penalty"].median()}
        for column in SCORES:
            scores = group[column].to_numpy(dtype=float)
            row[f"rho_{column}"] = spearman(group["penalty"].to_numpy(dtype=float), scores).value
        rows.append(row)
    return pd.DataFrame(rows).round(4)
