"""What each layer is like before any metric sees it: `layers.csv`, and a warning where one
dimension drowns all others.

Axes: n samples, d features.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from platorep.align import geometry
from platorep.align.models import Aligned
from platorep.config import AlignConfig, PreprocessConfig
from platorep.errors import DamagedError
from platorep.files import digest, read_sealed, write_sealed
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.switches import default_switches

LAYERS_VERSION = 2  # raise when the meaning of a column changes
COLUMNS = {
    "layer": "int64",
    "layer_name": "str",
    "width": "int64",
    "largest_share_before": "float64",
    "largest_share": "float64",
    "largest_dimension": "int64",
    "mean_cosine": "float64",
    **dict.fromkeys(geometry.COLUMNS, "float64"),
}
Row = dict[str, Any]
REASON = re.compile(r"layer (\d+) of ([xy]): (.*?)(?=; layer \d+ of y: |$)", re.DOTALL)
"""As scoring puts the reasons of both layers of a pair together."""
DROWNED = 0.5
"""Of a layer's squared length in one dimension; above it scores are those of that dimension."""


def concentration(layer: Float[Tensor, "n d"]) -> tuple[int, float]:
    """The dimension that holds most of the squared length, and its share of it: 1/d ... 1.

    The share is NaN where all values are zero.
    """
    scale = float(layer.abs().max())
    squares = _sum((layer / scale).square()) if scale else layer[0]  # whatever float32 holds
    largest, total = int(squares.argmax()), float(squares.sum())
    return largest, float(squares[largest]) / total if total else np.nan


def mean_cosine(layer: Float[Tensor, "n d"]) -> float:
    """The mean cosine of two different rows: -1/(n - 1) ... 1; of rows in all directions about 0.

    That with a row of zeros is 0.
    """
    n = len(layer)
    total = _sum(F.normalize(layer, dim=1)).double()
    lengths = int((torch.linalg.vector_norm(layer, dim=1) > 0).sum())
    return float((total @ total - lengths) / (n * (n - 1)))


def _sum(layer: Float[Tensor, "n d"]) -> Float[Tensor, " d"]:
    """Of all rows: as a product, which is ten times faster."""
    return layer.new_ones(len(layer)) @ layer


def describe(
    number: int,
    name: str,
    raw: Float[Tensor, "n d"],
    prepared: Float[Tensor, "n d"],
) -> Row:
    """One layer: `largest_share` and the rest are of the features as they are scored.

    Args:
        prepared: On the device that does the work.
    """
    with default_switches():
        largest, share = concentration(prepared)
        return {
            "layer": number,
            "layer_name": name,
            "width": raw.shape[1],
            "largest_share_before": concentration(raw)[1],
            "largest_share": share,
            "largest_dimension": largest,
            "mean_cosine": mean_cosine(prepared),
        } | geometry.geometry(prepared)


class Descriptions:
    """What the layers of each model are like: kept beside the finished pieces."""

    def __init__(self, align: AlignConfig, results: Results, *, overwrite: bool) -> None:
        self._align, self._results, self._overwrite = align, results, overwrite
        self._rows: dict[str, list[Row]] = {}

    def keep(self, model: Aligned, rows: Iterable[Row]) -> None:
        """Write down a row for each layer."""
        name = self._name(model)
        self._rows[model.label] = sorted(rows, key=lambda row: int(row["layer"]))
        content = {"layers": self._rows[model.label]}
        write_sealed(self._results.parts / f"layers-{name}.json", content, of=name)

    def lack(self, model: Aligned) -> bool:
        """Whether it is not known yet, or lost."""
        if model.label not in self._rows and not self._overwrite:
            name = self._name(model)
            path = self._results.parts / f"layers-{name}.json"
            with suppress(FileNotFoundError, DamagedError):  # it is made again
                self._rows[model.label] = read_sealed(path, of=name, cure="")["layers"]
        return model.label not in self._rows

    def table(self, models: Iterable[Aligned]) -> pd.DataFrame:
        """One row per model and layer, of the models that are described."""
        rows = [
            {"model": model.label, "family": model.spec.family} | row
            for model in models
            for row in self._rows.get(model.label, ())
        ]
        return pd.DataFrame(rows, columns=["model", "family", *COLUMNS]).astype(COLUMNS)

    def _name(self, model: Aligned) -> str:
        align = self._align
        queries = None if align.gallery is None else align.gallery.queries
        decides = [model.key, align.preprocess.model_dump(mode="json"), queries]
        return digest(["layers", LAYERS_VERSION, *decides])


def warn_of_drowned(
    label: str, table: pd.DataFrame, config: PreprocessConfig, report: Reporter
) -> None:
    """One line if single dimensions hold most of some layers of a model, with the cure.

    Of one or two dimensions one always does.
    """
    drowned = table[(table["largest_share"] > DROWNED) & (table["width"] > 2)]
    if drowned.empty:
        return
    cure = "align.preprocess.standardize: true gives every unit the same variance"
    if config.center == "none":
        cure = "align.preprocess.center: after takes out what all rows have in common"
    if config.clip_scope == "model":
        cure = "align.preprocess.clip_scope: layer clips each layer by its own values"
    if config.clip_quantile == 1:
        cure = (
            "nothing is clipped: align.preprocess with clip_quantile: 0.95, clip_scope: layer does"
        )
    names = ", ".join(drowned["layer_name"].astype(str))
    report.warn(
        f"{label}: one dimension holds up to {drowned['largest_share'].max():.0%} of the squared "
        f"length of {len(drowned)} of {len(table)} layers, so that scores of these say little of "
        f"the others: {names}. {cure}; layers.csv has all layers."
    )


def warn_of_degenerate(scores: pd.DataFrame, report: Reporter) -> None:
    """One line per model and metric under which layers of it are left out, with the reason."""
    reasons = scores.loc[scores["degenerate"], ["x", "y", "metric", "reason"]].drop_duplicates()
    layers: dict[tuple[str, str], dict[int, str]] = {}
    for pair in reasons.itertuples():
        for number, side, reason in REASON.findall(str(pair.reason)):
            of_model = layers.setdefault((str(getattr(pair, side)), str(pair.metric)), {})
            of_model.setdefault(int(number), reason)
    for (label, metric), why in layers.items():
        numbers = ", ".join(map(str, sorted(why)))
        report.warn(
            f"{label}: left out of the maximum under {metric}: layer {numbers}: "
            f"{why[min(why)]}; scores.parquet has the reason of each"
        )
