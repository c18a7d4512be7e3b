"""The models and measures of an experiment, as the page has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from platorep.parameters.figures import SIZE
from platorep.plots.measures import less_is_better
from platorep.plots.tables import Tables, changed_of, is_baseline
from platorep.report.content import Measure, Model, Number

TRAINED, RANDOM, CHANGED, BASELINE = "trained", "random", "changed", "baseline"
DIGITS = 6
"""Significant digits of every number on the page: the tables have all of them."""


def number(value: Any, digits: int = DIGITS) -> Number:
    """As the page has it: rounded, and None where there is none."""
    if value is None or isinstance(value, str) or not np.isfinite(value):
        return None
    if float(value).is_integer():
        return int(value)
    return float(f"{value:.{digits}g}")


def model_kinds(models: pd.DataFrame) -> dict[str, str]:
    """By label: `trained`, or which kind of control a model is."""
    kinds = np.select(
        [is_baseline(models), models["random"].astype(bool), changed_of(models) != ""],
        [BASELINE, RANDOM, CHANGED],
        TRAINED,
    )
    return dict(zip(models["label"], map(str, kinds), strict=True))


def measures_of(tables: Tables) -> list[Measure]:
    """Every measure that a model has a number of; the number of parameters is the last."""
    found = [
        Measure(
            name=str(name),
            title=_title(str(name), rows, less_is_better(str(name), tables)),
            lower_is_better=less_is_better(str(name), tables),
        )
        for name, rows in tables.performance.groupby("measure", sort=False)
        if rows["value"].notna().any()
    ]
    sizes = tables.models[SIZE]
    if (sizes > 0).any():
        found.append(Measure(name=SIZE, title="number of parameters", lower_is_better=False))
    return found


def _title(name: str, rows: pd.DataFrame, lower: bool) -> str:
    sources = [str(source) for source in rows["source"].unique() if source]
    title = " of ".join([name.replace("_", " "), *sources[:1]])
    return f"{title} (less is better)" if lower else title


def models_of(tables: Tables) -> list[Model]:
    """In the order of the experiment."""
    kinds, models = model_kinds(tables.models), tables.models
    values = tables.performance.drop_duplicates(["model", "measure"])
    by_model: dict[str, dict[str, Number]] = {}
    for label, measure, value in zip(
        values["model"], values["measure"], values["value"], strict=True
    ):
        by_model.setdefault(str(label), {})[str(measure)] = number(value)
    names = layer_names(tables)
    found = []
    for row in models.sort_values("order", kind="stable").to_dict("records"):
        label = str(row["label"])
        size = number(row[SIZE])
        found.append(
            Model(
                label=label,
                family=str(row["family"]),
                modality=str(row["modality"]),
                kind=kinds[label],
                of=_text(row.get("random_of")) or _text(row.get("changed_of")),
                view=_text(row.get("view")),
                parameters=size,
                layers=names[label],
                measures=by_model.get(label, {}) | ({SIZE: size} if size else {}),
            )
        )
    return found


def layer_names(tables: Tables) -> dict[str, Sequence[str]]:
    """By model the names of all layers that may be scored; numbers where no table has names."""
    counts: dict[str, int] = {}
    for side in "xy":
        most = tables.scores.groupby(side)[f"layer_{side}"].max()
        counts |= {str(m): max(counts.get(str(m), 0), int(last) + 1) for m, last in most.items()}
    named: dict[str, list[str]] = {}
    if len(tables.layers):
        ordered = tables.layers.sort_values(["model", "layer"], kind="stable")
        named = {
            str(model): [str(name) for name in rows["layer_name"]]
            for model, rows in ordered.groupby("model", sort=False)
        }
    found: dict[str, Sequence[str]] = {}
    for label in map(str, tables.models["label"]):
        count, names = counts.get(label, 0), named.get(label, [])
        if names and count == len(names) + 1:
            names = [*names, "all layers side by side"]
        found[label] = names or [f"layer {index}" for index in range(count)]
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
