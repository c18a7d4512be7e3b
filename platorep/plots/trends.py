"""What a scaling figure says of its points as a whole: trends within families, correlations."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from platorep.plots.labels import decimals, interval_text, training_step
from platorep.statistics import Correlation, fit_line, partial_spearman, pearson, spearman

TREND = "trend"
CORRELATION = "correlation"
PEARSON, SPEARMAN = "pearson", "spearman"
FIXED_FAMILY, FIXED_STEP = "spearman at fixed family", "spearman at fixed step"


def trends(trained: pd.DataFrame, *, log: bool) -> pd.DataFrame:
    """Two rows per line model and family of points: the ends of the line of least squares.

    `slope` and `intercept` are over x or (`log`) log10 x. A family whose points share one x has no
    trend.
    """
    rows: list[dict[str, object]] = []
    keys = ["line_family", "line", "line_order", "point_family"]
    for key, points in trained.groupby(keys, sort=False):
        x = _places(points, log)
        line = fit_line(x, points["score"].to_numpy(dtype=float))
        if line is None:
            continue
        for end in (x.argmin(), x.argmax()):
            row = dict(zip(keys, key, strict=True)) | {"role": TREND}
            row |= {"x": float(points["x"].iloc[end]), "score": float(line(x[[end]])[0])}
            rows.append(row | {"slope": line.slope, "intercept": line.intercept}
                        | {"num_points": len(points)})  # fmt: skip
    return pd.DataFrame(rows)


def correlations(trained: pd.DataFrame, *, log: bool) -> pd.DataFrame:
    """Rows of `statistic`, `value`, `low`, `high` (its 95 % interval), `num_points`.

    For each line model and (`line` is "") for each panel: there, the score of a point is its mean
    over all lines of the panel, and points that lack one of them take no part. Pearson is over x
    or (`log`) log10 x. `at fixed family` where several families have points and one has two;
    `at fixed step` where points are checkpoints of several steps.
    """
    rows: list[dict[str, object]] = []
    for family, panel in trained.groupby("line_family", sort=False):
        lines = list(panel.groupby("line", sort=False))
        scores = panel.groupby("point", sort=False)["score"]
        mean = scores.mean()[scores.size() == len(lines)]
        whole = panel.drop_duplicates("point").set_index("point", drop=False)
        whole = whole.loc[mean.index].assign(score=mean)
        for line, points in [("", whole), *lines]:
            for statistic, found in _correlations(points, log):
                if np.isfinite(found.value):
                    row: dict[str, object] = {"role": CORRELATION, "line": line}
                    row |= {"line_family": family, "line_order": panel["line_order"].min()}
                    row |= {"statistic": statistic}
                    rows.append(row | {"value": found.value, "low": found.low, "high": found.high}
                                | {"num_points": found.num_points})  # fmt: skip
    return pd.DataFrame(rows)


def _correlations(points: pd.DataFrame, log: bool) -> list[tuple[str, Correlation]]:
    x, score = _places(points, log), points["score"].to_numpy(dtype=float)
    families = [str(family) for family in points["point_family"]]
    found = [(PEARSON, pearson(x, score)), (SPEARMAN, spearman(x, score))]
    if 1 < len(set(families)) < len(families):
        found.append((FIXED_FAMILY, partial_spearman(x, score, families)))
    steps = np.array([training_step(str(label)) for label in points["point"]], dtype=float)
    if len(set(steps[np.isfinite(steps)])) > 1:
        found.append((FIXED_STEP, partial_spearman(x, score, steps)))
    return found


def correlation_notes(found: pd.DataFrame, measure: str) -> tuple[str, ...]:
    """A sentence per panel; `measure` is what the axis calls it."""
    notes = []
    panels = found[found["line"] == ""] if len(found) else found
    for family, rows in panels.groupby("line_family", sort=False) if len(panels) else ():
        said = [
            f"{row['statistic']} {interval_text(row['value'], row['low'], row['high'])}"
            for _, row in rows.iterrows()
        ]
        notes.append(
            f"{family}: alignment with {measure} over {int(rows['num_points'].max())} "
            f"models, mean over the panel's lines: {', '.join(said)}"
        )
    return tuple(notes)


def panel_lines(found: pd.DataFrame) -> list[str]:
    """What a panel prints, from its own correlation rows: Spearman, and what is left of it."""
    rows = found[found["line"] == ""]
    columns = (rows[name].astype(float) for name in ("value", "low", "high"))
    said = (
        dict(zip(rows["statistic"], zip(*columns, strict=True), strict=True)) if len(rows) else {}
    )
    if SPEARMAN not in said or not np.isfinite(said[SPEARMAN][1]):
        return []
    lines = [f"\N{GREEK SMALL LETTER RHO} = {interval_text(*said[SPEARMAN])}"]
    for statistic, what in ((FIXED_STEP, "fixed step"), (FIXED_FAMILY, "fixed family")):
        if statistic in said:
            return [*lines, f"{what}: {decimals(said[statistic][0])}"]
    return lines


def _places(points: pd.DataFrame, log: bool) -> Float[np.ndarray, " n"]:
    x = points["x"].to_numpy(dtype=float)
    return np.log10(x) if log else x
