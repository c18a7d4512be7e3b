"""Alignment against the number of words in the caption: figure 9 of arXiv:2405.07987."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from platorep.errors import AbsentError, UnknownNameError
from platorep.parameters.figures import DensityFigure
from platorep.plots.labels import text_width, wrap
from platorep.plots.panels import LEADER, Grid, label_above, label_right, strip_height
from platorep.plots.style import DOUBLE, GREY, HUES, NORMAL, SINGLE, readable
from platorep.plots.tables import Points, Tables, missing_scores, of_metric
from platorep.plots.words import RANDOM_WEIGHTS, SHUFFLED_PAIRS, alignment_text

MEAN, FAMILY, PAIR, CHANCE = "mean", "family", "pair", "chance"
RANDOM_LANGUAGE, RANDOM_OTHER, SHUFFLED = "random language", "random other", "shuffled"

_FEW = (
    "nothing to draw: fewer than two kinds of captions have scores. Name at least two views of "
    "texts under `dataset.views`, let a family of language models read them "
    "(`reads: [short, long]`), and run the experiment again."
)
_CONTROL_LINES = {  # dashes
    RANDOM_LANGUAGE: (3.0, 1.2),
    RANDOM_OTHER: (1.2, 1.2),
    SHUFFLED: (0.6, 1.5),
}


def density_points(tables: Tables, parameters: DensityFigure) -> Points:
    """Rows of `role`, `line`, `family`, `view`, `num_words`, `score`, `low`, `high`, ...

    pair: the score of one trained pair, `family` that of its language model.
    mean, family: the mean over trained pairs, of all families and of one (where there are
        several), `low` and `high` one standard error over pairs below and above it, or one standard
        deviation over language models. Pairs share models, so that the error is no test.
    random language, random other, shuffled: means over the pairs in which the one or the other
        model has random weights, and over trained pairs whose rows do not belong together.
    chance: of one pair.

    A view at which no trained pair has a score is left out, and a mean is over the same pairs at
    every view: those that have a score at all that are left.

    Raises:
        AbsentError: no model read the captions in two views.
        UnknownNameError: the experiment has no such metric, or no such view of texts.
    """
    scores, notes = _pairs(tables, parameters)
    both = ~scores["language_random"] & ~scores["other_random"]
    real = scores["control"] == ""
    trained = scores[real & both]
    if trained["view"].nunique() < 2:
        raise AbsentError(_FEW)
    groups = {(MEAN, ""): trained}
    if trained["family"].nunique() > 1:
        by_family = trained.groupby("family", sort=False)
        groups |= {(FAMILY, str(name)): of_family for name, of_family in by_family}
    if parameters.controls:  # where there is something to hold against them
        there = scores["view"].isin(trained["view"])
        language, other = scores["language_random"], scores["other_random"]
        groups |= {
            (RANDOM_LANGUAGE, ""): scores[real & there & language & ~other],
            (RANDOM_OTHER, ""): scores[real & there & ~language & other],
            (SHUFFLED, ""): scores[~real & there & both],
        }
    rows: list[pd.DataFrame] = [_as_points(trained, PAIR)]
    for (role, family), group in groups.items():
        means, note = _means(group, role, family, parameters)
        rows.append(means)
        notes += note
    chance = trained.drop_duplicates("view").dropna(subset="chance")
    rows.append(_as_points(chance.assign(score=chance["chance"], line="", family=""), CHANCE))
    points = pd.concat([part for part in rows if len(part)], ignore_index=True)
    return Points(points.assign(metric=str(trained["metric"].iloc[0])), notes)


def _pairs(tables: Tables, parameters: DensityFigure) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Every pair with a score of a model that reads captions and one that lines are for.

    Ordered by the place of both in the experiment file, then by words. In `line` stands which pair
    it is, whatever the captions.
    """
    best = of_metric(tables.best, parameters.metric)
    models = tables.models.set_index("label")
    if {"view", "num_words"} <= set(models):  # the latter of texts only
        view = models["view"].where(models["num_words"].notna(), "").fillna("")
    else:
        view = pd.Series("", index=models.index)
    known = list(dict.fromkeys(name for name in view if name))
    for name in parameters.views or ():
        if name not in known:
            raise UnknownNameError("view of texts in this experiment", name, known)
    shown = parameters.views or known
    if len(shown) < 2:
        raise AbsentError(_FEW)
    bare = {str(label): _bare(str(label), name) for label, name in view.items()}
    sides = []
    for language, other in (("x", "y"), ("y", "x")):
        side = best.assign(
            view=best[language].map(view),
            num_words=best[language].map(models["num_words"]).astype(float),
            family=best[f"{language}_family"],
            language_random=best[f"{language}_random"].astype(bool),
            other_random=best[f"{other}_random"].astype(bool),
            model=best[language].map(bare),
            other=best[other],
            order=best[language].map(models["order"]),
            other_order=best[other].map(models["order"]),
        )
        sides.append(
            side[side["view"].isin(shown) & (best[f"{other}_modality"] == parameters.lines)]
        )
    found = pd.concat(sides)
    if found.empty:
        raise AbsentError(
            f"nothing to draw: no model that reads one of {', '.join(shown)} was scored against a "
            f"model of modality {parameters.lines}. Name such pairs in align.pairs."
        )
    notes = missing_scores(found)
    found = found[found["score"].notna()]
    if empty := [name for name in shown if name not in set(found["view"])]:
        notes += (f"no model pair has a score with the captions {', '.join(empty)}",)
    found = found.assign(line=found["model"] + " x " + found["other"])
    return found.sort_values(["num_words", "order", "other_order"], kind="stable"), notes


def _bare(label: str, view: str) -> str:
    """A model's label without its view: the same for all of them."""
    before, _, after = label.rpartition(f" ({view})")
    return before + after


def _means(
    pairs: pd.DataFrame, role: str, family: str, parameters: DensityFigure
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """A point per view, over the pairs that have a score at all of them."""
    num = pairs.groupby("line")["view"].nunique()
    whole = pairs[pairs["line"].map(num) == pairs["view"].nunique()]
    left_out = pairs["line"].nunique() - whole["line"].nunique()
    notes: tuple[str, ...] = ()
    if left_out:
        of = f" of {family}" if family else ""
        notes = (
            f"{left_out} pairs lack a score at some view, so are not in the mean"
            f"{of} ({role}); {whole['line'].nunique()} are",
        )
    rows = []
    for view, group in whole.groupby("view", sort=False):
        scores = group["score"]
        if parameters.spread == "pairs":
            spread = scores.std() / np.sqrt(len(group))
        else:
            spread = group.groupby("model")["score"].mean().std()
        mean = scores.mean()
        with_bars = role in (MEAN, FAMILY)
        rows.append(
            {
                "role": role,
                "line": "",
                "family": family,
                "view": view,
                "num_words": group["num_words"].iloc[0],
                "score": mean,
                "low": mean - spread if with_bars else np.nan,
                "high": mean + spread if with_bars else np.nan,
                "num_pairs": len(group),
            }
        )
    return pd.DataFrame(rows), notes


def _as_points(rows: pd.DataFrame, role: str) -> pd.DataFrame:
    """One point per row, line by line in the order in which the rows name them."""
    number = {line: i for i, line in enumerate(dict.fromkeys(rows["line"]))}
    kept = rows.iloc[rows["line"].map(number).argsort(kind="stable")]
    kept = kept[["line", "family", "view", "num_words", "score"]].copy()
    kept.insert(0, "role", role)
    return kept.assign(low=np.nan, high=np.nan, num_pairs=1)


def say_density(points: pd.DataFrame, parameters: DensityFigure) -> str:
    """What is drawn where, in words."""
    bars = (
        "standard error over pairs"
        if parameters.spread == "pairs"
        else ("standard deviation over language models")
    )
    return (
        f"Thin: a pair of a language and a trained {parameters.lines} model at its best layers; "
        f"thick: their mean, bars: {bars}. Names above: what the language models read."
    )


def draw_density(points: pd.DataFrame, parameters: DensityFigure) -> Figure:
    """Draw what `density_points` selected: the mean, and under it every pair in a thin line."""
    families = list(dict.fromkeys(points.loc[points["role"] == PAIR, "family"]))
    hues = {family: HUES[i % len(HUES)] for i, family in enumerate(families)}
    lines = _lines(points, parameters, hues)
    views = points.drop_duplicates("view").sort_values("num_words")
    names = [str(name) for name in views["view"]]
    left = 0.5
    gutter = LEADER + 0.06 + max(text_width(text) for _, text, _ in lines)
    width = (DOUBLE if parameters.width == "double" else SINGLE) - left - gutter
    panel = (width, max(1.5, min(2.4, 0.85 * width)))
    grid = Grid(
        rows=1,
        columns=1,
        panel=panel,
        left=left,
        gutter=gutter,
        strip=strip_height(names, panel[0] + gutter),
    )
    figure = Figure(figsize=(grid.width, grid.height))
    ax = figure.add_axes(grid.box(0, 0))
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    _draw(ax, points, hues)
    label_above(ax, views["num_words"].tolist(), names, panel[0] + gutter)
    label_right(
        ax,
        [(float(r["num_words"].iloc[-1]), float(r["score"].iloc[-1])) for r, _, _ in lines],
        [text for _, text, _ in lines],
        [colour for _, _, colour in lines],
    )
    ylabel = wrap(alignment_text(str(points["metric"].iloc[0])), panel[1] + grid.strip, NORMAL)
    grid.label_axes(figure, "words in the caption (mean)", ylabel)
    return figure


def _lines(
    points: pd.DataFrame, parameters: DensityFigure, hues: dict[str, str]
) -> list[tuple[pd.DataFrame, str, str]]:
    """The lines that have a name at their end: rows, name, colour of the name."""
    texts = {
        MEAN: "mean",
        RANDOM_LANGUAGE: f"language models,\n{RANDOM_WEIGHTS}",
        RANDOM_OTHER: f"{parameters.lines} models,\n{RANDOM_WEIGHTS}",
        SHUFFLED: SHUFFLED_PAIRS,
        CHANCE: "chance",
    }
    found = []
    for (role, family), rows in points.groupby(["role", "family"], sort=False):
        if role == FAMILY:
            found.append((rows, wrap(str(family), 0.9), readable(hues[str(family)])))
        elif role == MEAN:
            num = int(rows["num_pairs"].iloc[0])
            bars = "std. error" if parameters.spread == "pairs" else "std. dev. over\nmodels"
            text = f"mean of\n{num} pairs" if num > 1 else "the pair"
            bars = f" \N{PLUS-MINUS SIGN}\n{bars}" if rows["low"].notna().any() else ""
            found.append((rows, text + bars, "black"))
        elif role != PAIR:
            found.append((rows, texts[str(role)], GREY))
    return found


def _draw(ax: Axes, points: pd.DataFrame, hues: dict[str, str]) -> None:
    pairs = points[points["role"] == PAIR]
    alpha = 0.6 if pairs["line"].nunique() <= 20 else 0.25
    for (family, line), rows in pairs.groupby(["family", "line"], sort=False):
        ax.plot(
            rows["num_words"],
            rows["score"],
            marker="." if len(rows) == 1 else "",
            ms=1.8,
            color=hues[str(family)],
            lw=0.4,
            alpha=alpha,
            zorder=2,
            gid=f"pair|{line}",
        )
    means = points[points["role"] != PAIR]
    for (role, family), rows in means.groupby(["role", "family"], sort=False):
        if role == CHANCE:
            ax.plot(rows["num_words"], rows["score"], color=GREY, lw=0.6, zorder=1, gid="chance")
        elif role in _CONTROL_LINES:
            ax.plot(
                rows["num_words"],
                rows["score"],
                "--",
                dashes=_CONTROL_LINES[str(role)],
                color=GREY,
                lw=0.9,
                zorder=2.5,
                gid=str(role),
            )
        else:
            colour = "black" if role == MEAN else hues[str(family)]
            ax.errorbar(
                rows["num_words"],
                rows["score"],
                yerr=[rows["score"] - rows["low"], rows["high"] - rows["score"]],
                fmt="o-",
                color=colour,
                lw=1.3 if role == MEAN else 0.9,
                elinewidth=0.7,
                capsize=1.5,
                capthick=0.7,
                zorder=5 if role == MEAN else 4,
            )
    ax.margins(x=0.05, y=0.07)
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())  # final: labels are placed by them
