"""The tables that figures are drawn from, and the rows of one metric."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from platorep.errors import AbsentError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Tables:
    """All that a figure may draw from.

    best: one row per dataset, model pair and metric. `dataset`; `x`, `y` (labels); `x_family`,
        `y_family`, `x_modality`, `y_modality`; `x_random`, `y_random` (a random-weight control);
        `x_baseline`, `y_baseline` (there is no network behind it; missing: there is); `control`
        ("" or "shuffled": the rows of y in a random order); `metric` (text such as
        `mutual_knn{k: 10}`); `layer_x`, `layer_y` (the best layers, -1 if there is none),
        `num_layers_x`, `num_layers_y`; `score` (NaN if there is none, then `reason` says why),
        `chance`, `n`, `k`. If known also `null_mean`, `null_sd`, `threshold`, `p`, `p_adjusted`,
        `calibrated`, `low`, `high` (an interval of the score).
    scores: one row per layer pair. `x`, `y`, `control`, `metric`, `layer_x`, `layer_y`, `score`,
        `degenerate` (one of the two layers is, so that the score takes no part in the maximum).
    performance: one row per model and measure. `model` (label), `measure`, `value`, `source`.
    models: one row per model. `label`, `family`, `modality`, `random`, `random_of` (label of the
        trained twin, "" or missing if it is trained), `num_parameters`, `order` (place in the
        experiment file), `num_layers`; `view` (that it reads; "" or missing: a user's own arrays)
        and `changed_of` (label of the model whose copy on a changed view it is, "" or missing if it
        is none); of those that read texts `num_words` (mean of one).
    gallery: one row per model pair, control, gallery and k. As `best`, and `queries`, `n` (rows of
        the gallery), `k_rule` (text: a number, or a share such as `1%`), `k`, `score`, `se` (over
        queries), `chance`.
    layers: one row per model and layer: layers.csv.
    further: the tables of the analyses, by name, as docs/format.md has them.
    """

    best: pd.DataFrame
    performance: pd.DataFrame
    models: pd.DataFrame
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    gallery: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    further: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def of_analysis(self, name: str, key: str) -> pd.DataFrame:
        """The table called `name`, which `align.<key>` asks for.

        Raises:
            AbsentError: it was not asked for.
        """
        if name not in self.further:
            raise AbsentError(
                f"nothing to draw: there is no {name}.csv of this run. Set `align.{key}` and run "
                "the experiment again; where it is set, failures.jsonl says why it failed."
            )
        return self.further[name]

    def without_changed_views(self) -> "Tables":
        """The same, as if no model had a copy on a changed view."""
        return self._without(changed_of(self.models) != "")

    def without_baselines(self) -> "Tables":
        """The same, as if there were no baselines."""
        return self._without(is_baseline(self.models))

    def _without(self, left_out: pd.Series) -> "Tables":
        """The same without those models."""
        if not left_out.any():
            return self
        labels = set(self.models.loc[left_out, "label"])

        def others(pairs: pd.DataFrame) -> pd.DataFrame:
            return pairs[~(pairs["x"].isin(labels) | pairs["y"].isin(labels))]

        return replace(
            self,
            models=self.models[~left_out],
            best=others(self.best),
            scores=others(self.scores) if len(self.scores) else self.scores,
            gallery=others(self.gallery) if len(self.gallery) else self.gallery,
        )


def changed_of(models: pd.DataFrame) -> pd.Series:
    """Of each row of `Tables.models` the label of the model whose copy on a changed view it is."""
    if "changed_of" not in models:
        return pd.Series("", index=models.index)
    return models["changed_of"].fillna("")


def is_baseline(models: pd.DataFrame) -> pd.Series:
    """Of each row of `Tables.models` whether there is no network behind it."""
    if "baseline" not in models:
        return pd.Series(False, index=models.index)
    return models["baseline"].fillna(False).astype(bool)


@dataclass(frozen=True)
class Points:
    """What a figure shows: its rows are its CSV. The notes say what was left out, and why."""

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()


def of_metric(table: pd.DataFrame, metric: str | None) -> pd.DataFrame:
    """The rows of `table` with one metric, the one called so or the first; of the first dataset.

    Raises:
        AbsentError: the table is empty.
        UnknownNameError: no metric has this label, and not exactly one has this bare name.
    """
    if table.empty:
        raise AbsentError(
            "there are no scores to draw: the table is empty. Run `platorep align` first."
        )
    labels = [str(label) for label in table["metric"].unique()]
    if metric is None:
        chosen = labels[:1]
    else:
        chosen = [label for label in labels if label == metric] or [
            label for label in labels if label.split("{")[0] == metric
        ]
    if metric is not None and len(chosen) != 1:
        raise UnknownNameError("metric of this experiment", metric, labels)
    rows = table[table["metric"] == chosen[0]]
    return rows[rows["dataset"] == rows["dataset"].iloc[0]] if "dataset" in rows else rows


AS_ASKED = "The pair is the one asked for."


def highest_of(number: int, kind: str) -> str:
    """Why a figure shows this pair and no other.

    Args:
        kind: Of pairs, such as `pair of trained models`.
    """
    if number == 1:
        return f"The only {kind} with scores."
    return f"Of {number:,} {kind.replace('pair', 'pairs', 1)} the one with the highest score."


def not_above_null(pairs: pd.DataFrame) -> pd.Series:
    """Of each row whether its score does not pass the threshold of its permutation null.

    False where there is no null. Where the null's mean is above the threshold, a smaller score is
    the closer one.
    """
    threshold = pairs.get("threshold", pd.Series(np.nan, index=pairs.index)).astype(float)
    mean = pairs.get("null_mean", threshold).astype(float)
    sign = np.where(mean > threshold, -1.0, 1.0)
    return pd.Series(sign * (pairs["score"] - threshold) <= 0, index=pairs.index)


def missing_scores(table: pd.DataFrame) -> tuple[str, ...]:
    """A note for the rows without a score."""
    rows = table[table["score"].isna()]
    if rows.empty:
        return ()
    first = rows.iloc[0]
    reason = str(first.get("reason") or "no reason recorded")
    others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    return (f"no score, so not shown: {first['x']} x {first['y']}{others} ({reason})",)
