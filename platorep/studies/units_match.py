"""`platorep units match`: units of several networks that do the same (arXiv:2306.09346)."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from platorep.config import ModelSpec
from platorep.config.units import UnitsMatchConfig
from platorep.errors import ConfigError, DamagedError
from platorep.files import digest, remove
from platorep.plots.about import data_text, framed
from platorep.plots.units_cliques import SAID as SAID_OF_CLIQUES
from platorep.plots.units_cliques import cliques_points, draw_image_cliques, draw_text_cliques
from platorep.plots.units_match import SAID as SAID_OF_SHARES
from platorep.plots.units_match import draw_shares, shares_points
from platorep.studies.context import Context, Found
from platorep.studies.units_shown import (
    PIXELS,
    Clique,
    chosen_cliques,
    pictures,
    shown_units,
)
from platorep.studies.units_tables import PairMatches, clique_table
from platorep.units.buddies import Buddies, match_units
from platorep.units.maps import Maps, described, read_maps
from platorep.units.reading import chosen_layers, write_image_maps, write_text_maps

VERSION = 1  # raise when a number of the same settings becomes another
RANDOM, BOTH_RANDOM = "random weights", "both random weights"
KINDS = ("image", "text")
BACKENDS = ("timm", "transformers", "toyworld")
"""Of networks that can be opened."""


def units_match(context: Context) -> Found:
    """Match the units of every two networks that read views of one kind."""
    matcher = _Matcher(context)
    try:
        found = _matched(context, matcher)
    except Exception:
        matcher.close()
        raise
    matcher.close()  # not where somebody ends the run: it goes on with the maps that it has
    return found


def _matched(context: Context, matcher: "_Matcher") -> Found:
    groups = _groups(context)
    found, pairs = [], [pair for group in groups for pair in _pairs(group)]
    alpha = context.run.config.units.match.alpha
    for x, y, control in pairs:
        with context.failures.catch(f"{x.label} x {y.label}"):
            found.append(
                PairMatches(
                    *(x.label, y.label, control),
                    (x.random_of or x.label, y.random_of or y.label),
                    *(alpha, matcher.pair(x, y)),
                )
            )
    context.failures.raise_if_all(len(pairs))
    matches = pd.concat([one.table() for one in found], ignore_index=True)
    shares = pd.concat([one.shares() for one in found], ignore_index=True)
    in_cliques = clique_table(found)
    points = shares_points(shares)
    about = _about(context, SAID_OF_SHARES)
    figures = {"units_shares": (framed(draw_shares, points, about), points)}
    for group in groups:
        view = group[0].view
        with context.failures.catch(f"figure of cliques, {view}"):
            depths = {key: value for one in found for key, value in one.depths.items()}
            cliques = chosen_cliques(
                *(in_cliques, matches),
                {key: depths[key] for key in depths if context.specs[key[0]].view == view},
                context.run.config.units.match.top,
            )
            if cliques:
                figures[f"units_cliques_{view}"] = _draw_cliques(context, matcher, cliques)
    overall = shares[shares["layer"].isna()]
    columns = ["x", "y", "control", "model", "num_units", "share", "share_null", "threshold"]
    return Found(
        tables={
            "units_match": matches,
            "units_shares": shares,
            "units_cliques": in_cliques,
        },
        figures=figures,
        shown=overall[[*columns, "confirmed", "strength", "elsewhere"]].round(4),
    )


def _about(context: Context, said: str) -> str:
    """What stands below a figure: units are held against each other by Pearson's correlation."""
    dataset = context.dataset
    return f"{data_text(dataset.name, [float(len(dataset.ids))], ())} {said}"


def _draw_cliques(
    context: Context, matcher: "_Matcher", cliques: list[tuple[Clique, float]]
) -> tuple[Figure, pd.DataFrame]:
    """Cliques over the samples on which they are strong; what is shown is kept, as pairs are."""
    labels = sorted({label for clique, _ in cliques for label, _, _ in clique})
    specs = {label: context.specs[label] for label in labels}
    settings = context.run.config.units.match
    decides = [VERSION, cliques, {label: matcher.key(spec) for label, spec in specs.items()}]

    def make() -> dict[str, Any]:
        maps = {label: matcher.maps(spec) for label, spec in specs.items()}
        shown = shown_units(context, maps, cliques)
        seen: dict[str, set[int]] = {label: set() for label in labels}
        for clique in shown:
            for label, _, _ in clique["units"]:
                seen[label] |= set(clique["samples"])
        of_images = {label: spec for label, spec in specs.items() if spec.kind == "image"}
        drawn = {m: pictures(context, spec, sorted(seen[m])) for m, spec in of_images.items()}
        return {"shown": shown, "pictures": {m: list(of.items()) for m, of in drawn.items()}}

    made = context.run.kept("units-shown", [*decides, settings.samples, settings.seed], make)
    points = cliques_points(made["shown"], context.dataset.ids)
    about = _about(context, SAID_OF_CLIQUES)
    if not made["pictures"]:
        (view,) = {spec.view for spec in specs.values()}
        texts = tuple(context.dataset.views[view])
        return framed(lambda p: draw_text_cliques(p, texts), points, about), points
    images = {
        (model, int(row)): np.frombuffer(bytes.fromhex(digits), np.uint8).reshape(PIXELS, PIXELS, 3)
        for model, of in made["pictures"].items()
        for row, digits in of
    }
    return framed(lambda p: draw_image_cliques(p, images), points, about), points


def _groups(context: Context) -> list[list[ModelSpec]]:
    """The networks that read one kind of view, with their random copies."""
    able = [
        spec
        for spec in context.specs.values()
        if spec.backend in BACKENDS and spec.kind in KINDS and not spec.changed_of
    ]
    views = dict.fromkeys(spec.view for spec in able)
    groups = [[spec for spec in able if spec.view == view] for view in views]
    groups = [group for group in groups if sum(not spec.random_init for spec in group) > 1]
    if not groups:
        raise ConfigError(
            "units match needs two networks that read one view of images or texts and that can be "
            f"opened (backend {', '.join(BACKENDS)}); among the models asked for there are "
            f"{', '.join(spec.label for spec in able) or 'none'}."
        )
    return groups


def _pairs(group: Sequence[ModelSpec]) -> list[tuple[ModelSpec, ModelSpec, str]]:
    """Every two trained networks, and the same pair with random copies of one and of both."""
    copies = {spec.random_of: spec for spec in group if spec.random_of}
    found = []
    trained = [spec for spec in group if not spec.random_init]
    for x, y in itertools.combinations(trained, 2):
        found.append((x, y, ""))
        if x.label in copies:
            found.append((copies[x.label], y, RANDOM))
        if y.label in copies:
            found.append((x, copies[y.label], RANDOM))
        if x.label in copies and y.label in copies:
            found.append((copies[x.label], copies[y.label], BOTH_RANDOM))
    return found


class _Matcher:
    """Maps of networks, written when a pair first needs them, and removed when all is done."""

    def __init__(self, context: Context) -> None:
        self._context, self._run = context, context.run
        self._settings: UnitsMatchConfig = context.run.config.units.match
        self._keys: dict[str, str] = {}
        self._maps: dict[str, Maps] = {}

    def pair(self, x: ModelSpec, y: ModelSpec) -> dict[str, Any]:
        """What `match_units` found, as JSON, with the widths of the layers of both."""
        settings = self._settings
        decides = [VERSION, self.key(x), self.key(y), settings.permutations, settings.seed]
        made: dict[str, Any] = self._run.kept("units-match", decides, partial(self._match, x, y))
        return made

    def key(self, spec: ModelSpec) -> str:
        """Names a network's maps: all that moves them."""
        if spec.label not in self._keys:
            settings = self._settings.model_dump(mode="json", include={"layers", "grid", "mean"})
            if spec.kind == "text":
                settings.pop("grid")
            identity = self._context.model(spec).identity()
            rows = self._context.dataset.fingerprint
            self._keys[spec.label] = digest([VERSION, identity, rows, spec.view, settings])
        return self._keys[spec.label]

    def maps(self, spec: ModelSpec) -> Maps:
        """The maps of a network; a forward pass over all samples if they are not whole on disk."""
        if spec.label not in self._maps:
            key, path = self.key(spec), self._path(spec)
            try:
                self._maps[spec.label] = read_maps(path, key)
            except (FileNotFoundError, DamagedError):
                self._write(spec)
                self._maps[spec.label] = read_maps(path, key)
        return self._maps[spec.label]

    def close(self) -> None:
        """Remove the maps: what was found of them is kept."""
        self._maps.clear()
        for label in self._keys:
            path = self._path(self._context.specs[label])
            for file in (described(path), path):
                remove(file)

    def _path(self, spec: ModelSpec) -> Any:
        return self._run.results.parts / f"maps-{self.key(spec)}.npy"

    def _write(self, spec: ModelSpec) -> None:
        view = self._context.dataset.views[spec.view]
        model = self._context.model(spec)
        own: dict[str, Any] = {"by_position": self._settings.mean == "position"}
        own["of"] = self.key(spec)
        with self._run.report.task(f"units of {spec.label}", len(view), f"{spec.kind}s") as advance:
            own["progress"] = advance
            network: Any
            if spec.kind == "image":
                network = model.open(self._run.device, torch.float32)
                layers = chosen_layers(network.names, self._settings.layers, spec.label)
                grid = self._settings.grid
                write_image_maps(self._path(spec), network, layers, view, grid=grid, **own)
            else:
                network = model.open_texts(self._run.device, torch.float32)
                layers = chosen_layers(network.names, self._settings.layers, spec.label)
                ids = self._context.dataset.ids
                write_text_maps(self._path(spec), network, layers, list(view), ids, **own)

    def _match(self, x: ModelSpec, y: ModelSpec) -> dict[str, Any]:
        maps = self.maps(x), self.maps(y)
        settings = self._settings
        task = f"match {x.label} x {y.label}"
        with self._run.report.task(task, settings.permutations + 2, "products") as advance:
            found = match_units(
                *maps,
                permutations=settings.permutations,
                seed=settings.seed,
                device=self._run.device,
                progress=lambda: advance(1),
            )
        return {
            "layers": [[one.layers.numbers, one.widths, one.layers.out_of] for one in maps],
            "whole": _as_lists(found.whole),
            "halves": [_as_lists(half) for half in found.halves],
            "null": [strengths.tolist() for strengths in found.null],
        }


def _as_lists(buddies: Buddies) -> dict[str, list[Any]]:
    return {name: value.tolist() for name, value in vars(buddies).items()}
