"""Three views of colour: pixels that occur together, words in language models, CIELAB.

Each view is a `Space`: colours with the distances between them, and points in three dimensions.
Source: arXiv:2405.07987, figure 8 and appendix; docs/color.md says what is ours and why.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from platorep.config import ColorConfig, ImageSetConfig, ModelSpec
from platorep.data import load_view
from platorep.errors import DataError
from platorep.models import Reading, compute_dtype, open_model
from platorep.parameters.color import LanguageParameters
from platorep.reporting import Reporter
from platorep.theory.colorimetry import (
    cell_colors,
    hex_names,
    lab_distances,
    nearest_colors,
    perceived_differences,
    to_lab,
    word_colors,
)
from platorep.theory.cooccurrence import (
    count_pairs,
    drawn_pixels,
    pair_pmi,
    pmi_distances,
    pool,
)
from platorep.theory.geometry import MINIMUM, agreement, embed, turn_onto

Kind = Literal["perception", "vision", "language"]
Items = Literal["words", "cells"]
CIELAB, CIEDE2000 = "CIELAB", "CIEDE2000"


@dataclass(frozen=True, kw_only=True)
class Colors:
    """The colours that are looked at, c of them: the words, or the cells of the grid."""

    items: Items
    names: tuple[str, ...]
    rgb: Float[np.ndarray, "c 3"]
    lab: Float[np.ndarray, "c 3"]


@dataclass(frozen=True, kw_only=True)
class Space:
    """One view of some of the colours, n of them."""

    name: str
    kind: Kind
    items: Items
    layer: str
    """Of a language model; empty otherwise."""
    random: bool
    """A random-weight copy."""
    kept: tuple[int, ...]
    """Numbers of the colours in `Colors`, rising."""
    distances: Float[np.ndarray, "n n"]
    points: Float[np.ndarray, "n 3"]
    """For CIELAB its own coordinates, else by metric MDS."""
    stress: float
    """Kruskal's stress-1 of the points; NaN where they are no MDS."""


def word_list(config: ColorConfig) -> Colors:
    """The colour words of the file with their colours.

    Raises:
        UnknownNameError: the survey has no such word.
    """
    rgb = word_colors(config.words)
    names = tuple(w if isinstance(w, str) else w.word for w in config.words)
    return Colors(items="words", names=names, rgb=rgb, lab=to_lab(rgb))


def grid(config: ColorConfig) -> Colors:
    """The cells of the RGB grid, each with the colour of its centre."""
    rgb = cell_colors(config.cooccurrence.levels)
    return Colors(items="cells", names=tuple(hex_names(rgb)), rgb=rgb, lab=to_lab(rgb))


def perception_spaces(config: ColorConfig, words: Colors) -> list[Space]:
    """CIELAB itself, and the CIEDE2000 differences, which are no distances of any points."""
    everything = range(len(words.names))
    differences = perceived_differences(words.lab)
    points, stress = embed(differences, config.geometry)
    distances = lab_distances(words.lab)
    return [
        _space(CIELAB, "perception", "words", everything, distances, words.lab),
        _space(CIEDE2000, "perception", "words", everything, differences, points, stress),
    ]


def vision_spaces(
    config: ColorConfig,
    images: ImageSetConfig,
    words: Colors,
    cells: Colors,
    report: Reporter,
    *,
    offline: bool,
) -> tuple[list[Space], pd.DataFrame]:
    """The geometry of co-occurrence in one set of images, between words and between cells.

    Pixels are counted by cells of the grid. A word's pixels are those of all cells whose centre
    is nearer, in CIELAB, to the word's colour than to any other word's.

    Returns:
        The space of the words and, where enough cells are left, that of the cells; and one row
        per word and per cell that was seen: `pixels` drawn of it, and whether it is `kept`.

    Raises:
        DataError: too few words have enough pixels.
    """
    asked = config.cooccurrence
    view = load_view(images.dataset, "image", offline=offline)
    with report.task(f"count pairs in {images.name}", len(view), "images") as advance:
        by_cell = count_pairs(view, asked, images.resolution, advance)
    nearest = nearest_colors(cells.lab, words.lab)
    by_word = pool(by_cell, nearest, len(words.names))

    spaces: list[Space] = []
    tables: list[pd.DataFrame] = []
    parts = ((words, by_word, asked.minimum_count), (cells, by_cell, asked.minimum_cell_count))
    for colors, counts, minimum in parts:
        pixels = drawn_pixels(counts)
        kept = np.flatnonzero(pixels >= minimum)
        table = pd.DataFrame(
            {
                "images": images.name,
                "items": colors.items,
                "item": colors.names,
                "color": hex_names(colors.rgb),
                "word": colors.names if colors is words else np.array(words.names)[nearest],
                "pixels": pixels,
                "kept": pixels >= minimum,
            }
        )
        tables.append(table if colors is words else table[table["pixels"] > 0])
        if colors is words:
            _say_what_is_left_out(images.name, words, pixels, minimum, report)
        if len(kept) >= MINIMUM:
            pmi = pair_pmi(counts, asked.smoothing)[np.ix_(kept, kept)]
            distances = pmi_distances(pmi, asked.maximum)
            points, stress = embed(distances, config.geometry)
            spaces.append(
                _space(images.name, "vision", colors.items, kept, distances, points, stress)
            )
        elif colors is cells:
            report.warn(
                f"{images.name}: {len(kept)} cells of the grid have {minimum} drawn pixels; "
                "without more, the cells are not looked at"
            )
    return spaces, pd.concat(tables, ignore_index=True)


def language_spaces(
    config: ColorConfig,
    spec: ModelSpec,
    words: Colors,
    device: torch.device,
    report: Reporter,
    *,
    offline: bool,
) -> list[Space]:
    """The Euclidean geometry of the words' features, at the last layer or at every one.

    Raises:
        DataError: a layer gives all words one vector, or values that are not finite.
    """
    model = open_model(spec, offline=offline)
    model.prepare(report)
    dtype = compute_dtype(spec, config.language.dtype, device)
    loaded = model.load(device, getattr(torch, dtype))
    with closing(loaded):
        texts = Texts(words.names, config.language)
        layers = loaded.features(Reading(range(len(texts)), texts))
        names = loaded.layers
        for note in loaded.notes:
            report.warn(f"{spec.label}: {note}")
    asked = list(zip(names, layers, strict=True))
    spaces = []
    for name, features in asked if config.language.layers == "all" else asked[-1:]:
        by_word = features.double().view(len(config.language.templates), len(words.names), -1)
        vectors = by_word.mean(0)
        # not torch.cdist, whose fast way is inexact
        distances = (vectors[:, None] - vectors[None]).norm(dim=-1).numpy()
        if not np.isfinite(distances).all():
            raise DataError(
                f"{spec.label}: layer {name} holds a value that is not finite (computed in "
                f"{dtype}). Set `language.dtype: float32`, or check the model's weights."
            )
        if not distances.any():
            if config.language.layers == "all":  # the embedding of a first token is a constant
                report.warn(f"{spec.label}: layer {name} gives all words one vector; left out")
                continue
            raise DataError(f"{spec.label}: layer {name} gives all words one vector.")
        points, stress = embed(distances, config.geometry)
        space = _space(
            spec.label, "language", "words", range(len(words.names)), distances, points, stress
        )
        spaces.append(replace(space, layer=name, random=spec.random_init))
    return spaces


class Texts:
    """Every template filled with every word: what a language model reads."""

    def __init__(self, words: Sequence[str], asked: LanguageParameters) -> None:
        pairs = [(template, word) for template in asked.templates for word in words]
        self.texts = tuple(template.replace("{color}", word) for template, word in pairs)
        self.ids = self.texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int, /) -> str:
        return self.texts[i]


def agreement_table(config: ColorConfig, spaces: Sequence[Space]) -> pd.DataFrame:
    """One row per two views of the same items that are of different kinds.

    A pair is compared on the colours that both have. Language layers are compared with perception
    and vision, never with each other.
    """
    rows: list[dict[str, Any]] = []
    kinds = ("perception", "vision", "language")
    for x in spaces:
        for y in spaces:
            if x.items != y.items or kinds.index(x.kind) >= kinds.index(y.kind):
                continue
            both = sorted(set(x.kept) & set(y.kept))
            x_at, y_at = ([s.kept.index(i) for i in both] for s in (x, y))
            if len(both) < MINIMUM:
                continue
            found = agreement(
                x.points[x_at],
                y.points[y_at],
                x.distances[np.ix_(x_at, x_at)],
                y.distances[np.ix_(y_at, y_at)],
                config.geometry,
            )
            rows.append(
                {
                    "items": x.items,
                    "x": x.name,
                    "y": y.name,
                    "x_kind": x.kind,
                    "y_kind": y.kind,
                    "layer": y.layer,
                    "random": y.random,
                    "num_colors": len(both),
                    **asdict(found),
                }
            )
    return pd.DataFrame(rows)


def geometry_table(spaces: Sequence[Space], words: Colors, cells: Colors) -> pd.DataFrame:
    """One row per space and colour: its point, turned to lie on CIELAB, and its own colour."""
    tables = []
    for space in spaces:
        colors = words if space.items == "words" else cells
        kept = list(space.kept)
        points = space.points
        if space.name != CIELAB:
            points = turn_onto(points, colors.lab[kept])
        tables.append(
            pd.DataFrame(
                {
                    **_named(space),
                    "item": [colors.names[i] for i in kept],
                    "color": hex_names(colors.rgb[kept]),
                    **{axis: points[:, i] for i, axis in enumerate(("L", "a", "b"))},
                    "stress": space.stress,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def distances_table(spaces: Sequence[Space], words: Colors, cells: Colors) -> pd.DataFrame:
    """One row per space and pair of colours."""
    tables = []
    for space in spaces:
        colors = words if space.items == "words" else cells
        names = np.array([colors.names[i] for i in space.kept])
        rows, columns = np.triu_indices(len(names), k=1)
        tables.append(
            pd.DataFrame(
                {
                    **_named(space),
                    "item": names[rows],
                    "other": names[columns],
                    "distance": space.distances[rows, columns],
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def words_table(words: Colors) -> pd.DataFrame:
    axes = {axis: words.lab[:, i] for i, axis in enumerate(("L", "a", "b"))}
    return pd.DataFrame({"word": words.names, "color": hex_names(words.rgb), **axes})


def with_cells_of_perception(spaces: Sequence[Space], cells: Colors) -> list[Space]:
    """`spaces`, and CIELAB at the cells that some set of images keeps, if any does."""
    kept = sorted({i for space in spaces if space.items == "cells" for i in space.kept})
    if not kept:
        return list(spaces)
    lab = cells.lab[kept]
    return [*spaces, _space(CIELAB, "perception", "cells", kept, lab_distances(lab), lab)]


def _space(
    name: str,
    kind: Kind,
    items: Items,
    kept: Sequence[int] | np.ndarray,
    distances: np.ndarray,
    points: np.ndarray,
    stress: float = float("nan"),
) -> Space:
    return Space(
        name=name,
        kind=kind,
        items=items,
        layer="",
        random=False,
        kept=tuple(int(i) for i in kept),
        distances=distances,
        points=points,
        stress=stress,
    )


def _named(space: Space) -> dict[str, Any]:
    return {
        "space": space.name,
        "kind": space.kind,
        "items": space.items,
        "layer": space.layer,
        "random": space.random,
    }


def _say_what_is_left_out(
    name: str, words: Colors, pixels: np.ndarray, minimum: int, report: Reporter
) -> None:
    rare = [f"{words.names[i]} ({pixels[i]})" for i in np.flatnonzero(pixels < minimum)]
    num_kept = len(words.names) - len(rare)
    if num_kept < MINIMUM:
        raise DataError(
            f"{name}: {num_kept} of {len(words.names)} words have at least {minimum} drawn "
            f"pixels; {MINIMUM} are needed. Too rare: {', '.join(rare)}. Use images with more "
            "colours, more cooccurrence.pairs, or a smaller cooccurrence.minimum_count."
        )
    if rare:
        report.warn(f"{name}: left out for fewer than {minimum} drawn pixels: {', '.join(rare)}")
