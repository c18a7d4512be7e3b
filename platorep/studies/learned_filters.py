"""Networks trained here on patches of an experiment's images, and what their filters share.

The part of `units filters` that trains: `learned_banks` for whoever fits filters, `shared_filters`
for the table of which objectives learn the same ones. Every network is a finished piece on disk.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8

from platorep.config.units import FiltersConfig
from platorep.errors import ConfigError
from platorep.statistics.corrections import benjamini_hochberg
from platorep.studies.context import Context
from platorep.units.banks import FilterBank
from platorep.units.objectives import CLASSICAL, learned_filters, responses
from platorep.units.objectives import VERSION as OBJECTIVES_VERSION
from platorep.units.patches import BORDER, MARGIN, Patches, cut_patches, shuffled_pixels
from platorep.units.patches import VERSION as PATCHES_VERSION
from platorep.units.sharing import VERSION as SHARING_VERSION
from platorep.units.sharing import covariance, sharing, stronger_than

IMAGES = 256
"""Images that patches are cut from, at most; one in eight is kept for responses alone."""
PER_IMAGE = 80
HELD_OUT = 4000
RANDOM, NATURAL, NOISE = "random", "natural", "white noise"


@dataclass(frozen=True, kw_only=True)
class PatchSource:
    """The images of a view, cut into patches when a network must be trained."""

    context: Context
    settings: FiltersConfig

    @cached_property
    def rows(self) -> int:
        """How many of the view's images take part.

        Raises:
            ConfigError: there is no such view, it has no images, or too few.
        """
        name, views = self.settings.view, self.context.dataset.views
        if name not in views or views[name].kind.name != "image":
            images = [n for n, view in views.items() if view.kind.name == "image"]
            raise ConfigError(
                f"units.filters.view: {name!r} is no view of images. There are: "
                f"{', '.join(images) or 'none'}."
            )
        rows = min(len(views[name]), IMAGES)
        if rows < 16:
            raise ConfigError(
                f"units.filters: {rows} images are too few to learn filters from; at least 16."
            )
        return rows

    def check(self) -> None:
        """Look at all images, which responses need in any case, before anything is trained.

        Raises:
            ConfigError: there are none in the view, too few, or too small ones.
        """
        _ = self._images

    @property
    def decides(self) -> list[object]:
        """What names the patches: the images, and how they are cut."""
        hashes = self.context.dataset.views[self.settings.view].hashes[: self.rows]
        return [PATCHES_VERSION, list(hashes), PER_IMAGE, self.settings.size]

    @property
    def _trained_on(self) -> int:
        return self.rows - max(2, self.rows // 8)

    @cached_property
    def _images(self) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        view = self.context.dataset.views[self.settings.view]
        with self.context.run.report.task("images", self.rows, "images") as advance:
            images = []
            for row in range(self.rows):
                images.append(np.asarray(view[row]))
                advance(1)
        least = self.settings.size + 2 * (MARGIN + BORDER)
        for row, image in enumerate(images):
            if min(image.shape[:2]) < least:
                raise ConfigError(
                    f"units.filters.size: filters of {self.settings.size} pixels need images of "
                    f"{least} x {least}; row {row} (id {view.ids[row]!r}) has "
                    f"{image.shape[1]} x {image.shape[0]}."
                )
        return images

    def _cut(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], per_image: int) -> Patches:
        return cut_patches(images, per_image, self.settings.size + 2 * MARGIN, seed=0)

    @cached_property
    def natural(self) -> Patches:
        return self._cut(self._images[: self._trained_on], PER_IMAGE)

    @cached_property
    def white_noise(self) -> Patches:
        images = self._images[: self._trained_on]
        return self._cut([shuffled_pixels(image, i) for i, image in enumerate(images)], PER_IMAGE)

    @cached_property
    def held_out(self) -> Float[np.ndarray, "m w w"]:
        """Whitened patches of images that no network saw, with room for every shift."""
        images = self._images[self._trained_on :]
        return self._cut(images, -(-HELD_OUT // len(images))).pixels[:HELD_OUT, 0]


@dataclass(frozen=True)
class _Training:
    """One network to be."""

    objective: str
    images: str
    seed: int

    @property
    def label(self) -> str:
        on = f" on {NOISE}" if self.images == NOISE else ""
        return f"{self.objective}{on}, seed {self.seed}"


def _trainings(settings: FiltersConfig) -> list[_Training]:
    worlds = (NATURAL, NOISE) if settings.controls else (NATURAL,)
    found = [
        _Training(objective, world, seed)
        for world in worlds
        for objective in settings.objectives
        for seed in settings.seeds
    ]
    if settings.controls:
        found += [_Training(RANDOM, "-", seed) for seed in settings.seeds]
    return found


def learned_banks(context: Context, source: PatchSource) -> list[FilterBank]:
    """The filters of a network per objective and seed, the same on white noise, and random ones.

    A network that fails is noted, and the others go on.

    Raises:
        ConfigError: the view has no images, too few or too small ones; or more filters are asked
            of independent components than a patch has dimensions.
    """
    settings, pixels = source.settings, source.settings.size**2
    if "ica" in settings.objectives and settings.units >= pixels:
        raise ConfigError(
            f"units.filters.units: a patch of {pixels} pixels has at most {pixels - 1} independent "
            f"components, and {settings.units} are asked for. Ask for fewer, or leave out `ica`."
        )
    source.check()
    trainings = _trainings(settings)
    banks: list[FilterBank] = []
    total = len(trainings) * settings.steps
    with context.run.report.task("filters", total, "steps") as advance:
        for training in trainings:
            with context.failures.catch(training.label):
                banks.append(_bank(context, source, training, advance))
    return banks


def _bank(
    context: Context, source: PatchSource, training: _Training, advance: Callable[[int], None]
) -> FilterBank:
    settings, objective = source.settings, training.objective
    shape = settings.units, settings.size
    steps = 0 if objective in CLASSICAL or objective == RANDOM else settings.steps
    decides = [OBJECTIVES_VERSION, objective, training.images, training.seed, *shape, steps]

    def make() -> list[object]:
        patches = source.white_noise if training.images == NOISE else source.natural
        filters = learned_filters(objective, patches, shape, steps, training.seed, advance)
        rounded: list[object] = filters.astype(np.float32).astype(float).tolist()
        return rounded

    will_train = context.run.will_make("filters", [*decides, *source.decides])
    filters = np.array(context.run.kept("filters", [*decides, *source.decides], make))
    advance(settings.steps - (steps if will_train else 0))
    return FilterBank(
        network=training.label,
        objective=objective,
        images=training.images,
        seed=training.seed,
        filters=filters,
        responses=responses(filters, source.held_out),
    )


def shared_filters(
    context: Context, source: PatchSource, banks: Sequence[FilterBank]
) -> pd.DataFrame:
    """One row per two objectives (and per objective of two seeds): do they learn the same units?

    Columns: docs/units.md, "filters". Banks of the same seed make a pair; an objective with itself
    pairs its seeds, which is as much as two objectives can be expected to share.
    """
    settings = source.settings
    learned = [o for o in settings.objectives if _of(banks, o, NATURAL)]
    asked = list(itertools.combinations_with_replacement(learned, 2))
    rows: list[dict[str, Any]] = []
    with context.run.report.task("shared filters", len(asked), "pairs") as advance:
        for x, y in asked:
            pairs = _pairs(_of(banks, x, NATURAL), _of(banks, y, NATURAL), same=x == y)
            if pairs:
                with context.failures.catch(f"{x} and {y}"):
                    rows.append({"x": x, "y": y} | _row(context, source, banks, (x, y), pairs))
            advance(1)
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    alone = {row["x"]: row["strength"] for row in rows if row["x"] == row["y"]}
    ceilings = [(alone.get(r["x"], math.nan), alone.get(r["y"], math.nan)) for r in rows]
    table["ceiling"] = [(x + y) / 2 for x, y in ceilings]
    different = table["x"] != table["y"]
    table.loc[different, "p_adjusted"] = benjamini_hochberg(table.loc[different, "p"].to_numpy())
    # kept rows come back with their keys sorted; without controls some columns are not there
    return table[[name for name in COLUMNS if name in table]]


COLUMNS = (
    *("x", "y", "pairs", "strength", "ceiling", "scrambled", "p", "p_adjusted", "share"),
    *("turned", "p_turned", "random", "p_random", "noise", "p_noise"),
    *("responses", "p_responses", "responses_scrambled", "share_responses"),
)
"""Of units_sharing.csv, in this order."""

Pairs = list[tuple[FilterBank, FilterBank]]


def _of(banks: Sequence[FilterBank], objective: str, images: str) -> list[FilterBank]:
    return [b for b in banks if b.objective == objective and b.images == images]


def _pairs(x: list[FilterBank], y: list[FilterBank], *, same: bool) -> Pairs:
    if same:
        return list(itertools.combinations(x, 2))
    return [(a, b) for a in x for b in y if a.seed == b.seed]


def _row(
    context: Context,
    source: PatchSource,
    banks: Sequence[FilterBank],
    names: tuple[str, str],
    pairs: Pairs,
) -> dict[str, Any]:
    settings = source.settings
    objectives = [OBJECTIVES_VERSION, settings.units, settings.steps, list(settings.seeds)]
    decides = [SHARING_VERSION, *objectives, names, settings.controls, settings.permutations]
    decides.append([bank.network for bank in banks])  # one whose training failed is not there
    of_pixels = covariance(source.held_out)

    def make() -> dict[str, Any]:
        filters = [(x.filters, y.filters) for x, y in pairs]
        draws, alpha = settings.permutations, settings.alpha
        looks = sharing(filters, draws=draws, alpha=alpha)
        acts = sharing(filters, ("scrambled",), of_pixels, draws=draws, alpha=alpha)
        row: dict[str, Any] = {
            "pairs": len(pairs),
            "strength": looks.strength,
            "p": looks.p_value("scrambled"),
            "scrambled": float(looks.nulls["scrambled"].mean()),
            "share": looks.share,
            "p_turned": looks.p_value("turned"),
            "turned": float(looks.nulls["turned"].mean()),
            "responses": acts.strength,
            "p_responses": acts.p_value("scrambled"),
            "responses_scrambled": float(acts.nulls["scrambled"].mean()),
            "share_responses": acts.share,
        }
        return row | _against_controls(banks, pairs)

    key = [*decides, settings.alpha, *source.decides]
    found: dict[str, Any] = context.run.kept("shared-filters", key, make)
    return found


def _against_controls(banks: Sequence[FilterBank], pairs: Pairs) -> dict[str, float]:
    """Mean strength with controls in the place of the second bank, and p of the difference."""
    row: dict[str, float] = {}
    for name in (RANDOM, "noise"):
        threes = []
        for first, second in itertools.chain(pairs, ((y, x) for x, y in pairs)):
            of = (RANDOM, "-") if name == RANDOM else (second.objective, NOISE)
            controls = [b for b in _of(banks, *of) if b.seed == second.seed]
            threes += [(first.filters, second.filters, c.filters) for c in controls]
        if threes:
            row[name], row[f"p_{name}"] = stronger_than(threes)
    return row
