"""How alike metrics order the same model pairs: figure 12 of arXiv:2405.07987."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from platorep.errors import AbsentError
from platorep.parameters.figures import MetricCorrelationFigure
from platorep.plots.heatmap import plain_matrix
from platorep.plots.labels import metric_text, wrap
from platorep.plots.tables import Points, Tables


def metric_correlation_points(tables: Tables, parameters: MetricCorrelationFigure) -> Points:
    """One row per pair of metrics: `value` (Spearman) over `num_pairs` model pairs.

    Over the pairs that both metrics have a score of; shuffled controls take no part.

    Raises:
        AbsentError: there are fewer than two metrics or three model pairs in common.
    """
    best = tables.best
    if len(best):
        best = best[(best["control"].fillna("") == "") & best["score"].notna()]
    if len(best) and not parameters.controls:
        best = best[~(best["x_random"].astype(bool) | best["y_random"].astype(bool))]
    metrics = list(dict.fromkeys(best["metric"])) if len(best) else []
    if len(metrics) < 2:
        raise AbsentError(
            f"nothing to draw: metric_correlation needs two metrics or more, found {len(metrics)}."
        )
    table = best.pivot_table(index=["dataset", "x", "y"], columns="metric", values="score")
    rows = []
    for i, x in enumerate(metrics):
        for j, y in enumerate(metrics):
            both = table[[x]].assign(other=table[y]).dropna()
            value = both[x].corr(both["other"], method="spearman") if len(both) > 2 else np.nan
            rows.append({"row": i, "column": j, "x": x, "y": y, "value": value}
                        | {"num_pairs": len(both)})  # fmt: skip
    points = pd.DataFrame(rows)
    if points["value"].isna().all():
        raise AbsentError(
            "nothing to draw: the metrics have fewer than three model pairs in common."
        )
    return Points(points)


def say_metric_correlation(points: pd.DataFrame, parameters: MetricCorrelationFigure) -> str:
    """What is drawn where, in words."""
    pairs = "all pairs" if parameters.controls else "pairs of trained models"
    return f"Over {pairs}, each at its best layers by either metric."


def draw_metric_correlation(points: pd.DataFrame, parameters: MetricCorrelationFigure) -> Figure:
    """Draw what `metric_correlation_points` selected."""
    names = {metric: wrap(metric_text(str(metric)), 1.2) for metric in points["x"]}
    label = f"Spearman correlation over {int(points['num_pairs'].max())} model pairs"
    return plain_matrix(points, names, label, parameters.width)
