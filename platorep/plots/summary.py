"""The tables of an experiment in a few lines, for a notebook."""

from html import escape

import pandas as pd

from platorep.plots.tables import Tables, changed_of, is_baseline

MOST_PAIRS = 10


def summary_html(name: str, tables: Tables, num_rows: int) -> str:
    """What it is, and the best pairs of trained models under the first metric."""
    models, best = tables.models, best_trained(tables)
    count = f"{len(models)} models, {num_rows} rows"
    head = f"<p><b>{escape(name)}</b>: {count}"
    if best.empty:
        return f"{head}; no two trained models have a score.</p>"
    metric, dataset = (escape(str(best[of].iloc[0])) for of in ("metric", "dataset"))
    columns = ["x", "y", "layer_x", "layer_y", "score", "chance", "null_mean", "p_adjusted"]
    shown = best[[column for column in columns if column in best]].head(MOST_PAIRS)
    more = f" of {len(best)}" if len(best) > MOST_PAIRS else ""
    table = shown.to_html(index=False, escape=True, float_format="{:.3f}".format, na_rep="")
    return f"{head} of {dataset}. The best {len(shown)}{more} trained pairs by {metric}:</p>{table}"


def best_trained(tables: Tables) -> pd.DataFrame:
    """The pairs of trained models under the first metric, the largest score first."""
    best, models = tables.best, tables.models
    control = models["random"].astype(bool) | is_baseline(models) | (changed_of(models) != "")
    controls = set(models.loc[control | (models["modality"] == "truth"), "label"])
    rows = best[(best["control"] == "") & best["score"].notna()]
    rows = rows[~(rows["x"].isin(controls) | rows["y"].isin(controls))]
    rows = rows[rows["metric"] == rows["metric"].iloc[0]] if len(rows) else rows
    return rows.sort_values("score", ascending=False, kind="stable")
