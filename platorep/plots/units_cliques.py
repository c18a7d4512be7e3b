"""Units that several networks share, each over the same samples (arXiv:2306.09346, figure 1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from matplotlib.figure import Figure

from platorep.plots.fonts import glyphs
from platorep.plots.labels import decimals, shorten, text_width
from platorep.plots.style import DOUBLE, GREY, HUES, LINE, NORMAL, SMALL

LEFT, GAP, HEAD = 0.85, 0.1, 0.2  # inches
DIM = 0.85  # how dark a picture is where a unit is silent
CHARACTER = 0.602 * SMALL / 72  # width in DejaVu Sans Mono, inches
WINDOW = 72  # characters of a text that are shown

SAID = (
    "A clique is a unit of each network, every two of which are best buddies; r: the least of "
    "their Pearson correlations over samples and positions, with a word: that with its presence. "
    "Dark pictures, pale text: the unit is silent there."
)

Pictures = Mapping[tuple[str, int], UInt8[np.ndarray, "h w 3"]]
"""By model and sample."""


def cliques_points(shown: list[dict[str, Any]], ids: Sequence[str]) -> pd.DataFrame:
    """A row per clique, unit, sample and position: `value` is the unit's map there, 1 where it is
    largest over the samples shown; below its mean 0."""
    rows = []
    for number, clique in enumerate(shown):
        name = clique["name"] or {"word": "", "correlation": np.nan, "p": np.nan}
        about = {"clique": number, "strength": clique["strength"], "word": name["word"]}
        about |= {"word_correlation": name["correlation"], "word_p": name["p"]}
        for (model, layer, unit), maps in zip(clique["units"], clique["maps"], strict=True):
            values = np.maximum(np.array(maps), 0)
            values = values / max(values.max(), 1e-12)
            own = about | {"model": model, "layer": layer, "unit": unit}
            for rank, (sample, of_sample) in enumerate(zip(clique["samples"], values, strict=True)):
                at = own | {"rank": rank, "row": sample, "id": ids[sample]}
                rows += [at | {"position": p, "value": v} for p, v in enumerate(of_sample.tolist())]
    return pd.DataFrame(rows)


def draw_image_cliques(points: pd.DataFrame, pictures: Pictures) -> Figure:
    """A line per clique, a block per network: what it sees, dark where its unit is silent."""
    models = list(dict.fromkeys(points["model"]))
    numbers = sorted(set(points["clique"]))
    samples = int(points["rank"].max()) + 1
    size = (DOUBLE - LEFT - GAP * len(models)) / (len(models) * samples)
    line = size + LINE + 0.06
    width, height = DOUBLE, HEAD + line * len(numbers)
    figure = Figure(figsize=(width, height))
    for column, model in enumerate(models):
        left = LEFT + column * (samples * size + GAP)
        title = shorten(str(model), samples * size, NORMAL)
        figure.text(left / width, 1 - 0.04 / height, title, va="top", fontsize=NORMAL, gid="label")
    for place, number in enumerate(numbers):
        clique = points[points["clique"] == number]
        top = HEAD + place * line + LINE
        _write_about(figure, clique, (0.03, top + 0.02))
        for model, unit in clique.groupby("model", sort=False):
            left = LEFT + models.index(model) * (samples * size + GAP)
            where = f"layer {unit['layer'].iloc[0]}, unit {unit['unit'].iloc[0]}"
            y = 1 - (top - 0.02) / height
            figure.text(left / width, y, where, fontsize=SMALL - 1, color=GREY, gid="label")
            for rank, one in unit.groupby("rank"):
                box = (left + int(rank) * size, height - top - size, 0.97 * size, 0.97 * size)
                ax = figure.add_axes(
                    (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
                )
                ax.imshow(pictures[str(model), int(one["row"].iloc[0])], extent=(0, 1, 0, 1))
                side = round(len(one) ** 0.5)
                shade = np.zeros((side, side, 4))
                values = one.sort_values("position")["value"].to_numpy()
                shade[..., 3] = DIM * (1 - values.reshape(side, side))
                ax.imshow(shade, extent=(0, 1, 0, 1), interpolation="bilinear")
                ax.set_axis_off()
    return figure


def draw_text_cliques(points: pd.DataFrame, texts: tuple[str, ...]) -> Figure:
    """Of each clique a few texts, a line per network: blue where its unit is strong."""
    lines = points.drop_duplicates(["clique", "rank", "model"])
    blocks = lines.groupby(["clique", "rank"]).ngroups
    height = 0.1 + len(lines) * LINE + 0.07 * blocks + 0.1 * lines["clique"].nunique()
    names = {m: shorten(str(m), 1.2) for m in dict.fromkeys(points["model"])}
    left = 0.5 + max(text_width(f"{name} 99:9999") for name in names.values()) + 0.12
    width = left + WINDOW * CHARACTER + 0.05
    figure = Figure(figsize=(width, height))
    y = 0.05
    for _, clique in points.groupby("clique"):
        _write_about(figure, clique, (0.03, y + 0.02))
        for _, of_text in clique.groupby("rank"):
            start = _window(of_text, texts)
            for (model, layer, unit), one in of_text.groupby(
                ["model", "layer", "unit"], sort=False
            ):
                label = f"{names[model]} {layer}:{unit}"
                figure.text(
                    (left - 0.06) / width, 1 - (y + LINE / 2) / height, label,
                    ha="right", va="center", fontsize=SMALL, color=GREY, gid="label",
                )  # fmt: skip
                text = texts[int(one["row"].iloc[0])][start : start + WINDOW]
                box = (left / width, 1 - (y + LINE) / height)
                ax = figure.add_axes((*box, len(text) * CHARACTER / width, LINE / height))
                values = one.sort_values("position")["value"].to_numpy()[start : start + WINDOW]
                shade = np.zeros((1, len(text), 4))
                shade[..., :3] = [int(HUES[4][i : i + 2], 16) / 255 for i in (1, 3, 5)]
                shade[0, :, 3] = values[: len(text)]
                ax.imshow(shade, extent=(0, len(text), 0, 1), aspect="auto")
                ax.set_axis_off()
                written = "".join(c if c in glyphs() else "?" for c in text)
                ax.text(
                    0, 0.5, written, va="center", fontsize=SMALL, family="DejaVu Sans Mono",
                    gid="text",
                )  # fmt: skip
                y += LINE
            y += 0.07
        y += 0.1
    return figure


def _window(of_text: pd.DataFrame, texts: tuple[str, ...]) -> int:
    """Where the part of a text begins that is shown: around the strongest character."""
    total = of_text.groupby("position")["value"].sum()
    length = len(texts[int(of_text["row"].iloc[0])])
    strongest = int(total.sort_index().to_numpy().argmax())
    return max(0, min(strongest - WINDOW // 2, length - WINDOW))


def _write_about(figure: Figure, clique: pd.DataFrame, place: tuple[float, float]) -> None:
    """How strong a clique is, and the word that goes with it if there is one."""
    first = clique.iloc[0]
    lines = [f"r \N{GREATER-THAN OR EQUAL TO} {decimals(float(first['strength']))}"]
    if first["word"]:
        p = decimals(float(first["word_p"]), 3)
        lines += [shorten(f"“{first['word']}”", LEFT - 0.1)]
        lines += [f"r {decimals(float(first['word_correlation']))}, p {p}"]
    width, height = figure.get_size_inches()
    figure.text(
        place[0] / width, 1 - place[1] / height, "\n".join(lines), va="top", fontsize=SMALL,
        gid="about",
    )  # fmt: skip
