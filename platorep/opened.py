"""A finished experiment, to look at: its tables, the features behind them, who is near whom.

Axes: n rows that were scored, k neighbors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Integer
from torch import Tensor

from platorep.align.models import find_cell
from platorep.align.prepared import ModelLayers
from platorep.config import AlignConfig, ModelSpec
from platorep.errors import AbsentError, UnknownNameError
from platorep.experiment_rows import open_rows
from platorep.metrics import bind
from platorep.metrics.layer import Layer
from platorep.metrics.nearest import search
from platorep.metrics.neighbors import check_k, neighbor_lists
from platorep.parameters.metrics import MutualKnn, NeighborParameters
from platorep.plots import Tables
from platorep.plots.stage import read_tables
from platorep.run import Run
from platorep.switches import default_switches


@dataclass(frozen=True)
class Features:
    """The cached features of one model."""

    layers: list[Float[Tensor, "n _"]]
    names: list[str]
    """Of the layers."""
    ids: tuple[str, ...]
    """Of the rows."""


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """Who is near whom for one layer of each of two models."""

    ids: Sequence[str]
    """Of the rows."""
    layer_x: int
    layer_y: int
    x: Integer[np.ndarray, "n k"]
    """Rows near each row, the nearest first."""
    y: Integer[np.ndarray, "n k"]
    agreement: Float64[np.ndarray, " n"]
    """Of each row the share of its neighbors that both have; places that are tied count by the
    chance to be drawn. Its mean is `mutual_knn`."""


class Opened:
    """A finished experiment. Nothing is computed anew, or written.

    Args:
        run: The experiment, with the folder of its results and the cache (or a bundle's folder)
            that holds its features.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.results = run, run.results

    @cached_property
    def tables(self) -> Tables:
        """All that figures are drawn from.

        Raises:
            AbsentError: there are no scores yet.
            IntegrityError: a table is damaged, or two do not go together.
        """
        return read_tables(self.run)

    @property
    def best(self) -> pd.DataFrame:
        """best.csv: a row per model pair, control and metric."""
        return self.tables.best

    @property
    def scores(self) -> pd.DataFrame:
        """scores.parquet: a row per layer pair."""
        return self.tables.scores

    @property
    def performance(self) -> pd.DataFrame:
        """performance.csv: a row per model and measure."""
        return self.tables.performance

    @property
    def models(self) -> pd.DataFrame:
        """models.csv: a row per model."""
        return self.tables.models

    @cached_property
    def align(self) -> AlignConfig:
        """Preprocessing and candidates, as the scores were last made with them."""
        run = self.results.read_json(self.results.run, "extract")
        align = run["align"]["settings"] if "align" in run else run["config"]["align"]
        needed = ("preprocess", "concatenated", "gallery")
        return AlignConfig.model_validate({key: align[key] for key in needed if key in align})

    @cached_property
    def ids(self) -> Sequence[str]:
        """Of the rows that were scored."""
        rows = open_rows(self.results)
        return rows.ids()[: self.align.scored_rows(rows.num_rows)]

    def features(self, model: str) -> Features:
        """All layers of a model, as they were extracted.

        Raises:
            UnknownNameError: there is no such model.
            AbsentError, IntegrityError: its features are not there, or damaged.
        """
        cell = find_cell(self.run, self._spec(model)).cell
        return Features(cell.read(), cell.layers, tuple(cell.rows().ids))

    def layers(self, model: str) -> ModelLayers:
        """The layers of a model as they were scored, each read and prepared when it is asked for.

        Raises: as `features`.
        """
        return ModelLayers(model, find_cell(self.run, self._spec(model)).cell, self.align)

    @default_switches()
    def nearest(
        self,
        model: str,
        layer: int,
        parameters: NeighborParameters,
        rows: Integer[np.ndarray, " m"] | None = None,
    ) -> Integer[np.ndarray, "m k"]:
        """The k nearest others of every row, the nearest first.

        Args:
            rows: Of these alone: far less work where they are few. Which of equally near ones are
                taken is then left to the product, in float32.

        Raises: as `features`; ConfigError: k is not smaller than the number of rows.
        """
        made = Layer(self.layers(model)[layer])
        finder = search(made, parameters.similarity, center=parameters.center)
        if rows is not None:
            check_k(made.n, parameters.k, parameters.label())
            blocks = finder.blocks(torch.from_numpy(rows).long())
            return torch.cat([finder.scores(b).topk(parameters.k).indices for b in blocks]).numpy()
        found = torch.from_numpy(neighbor_lists(made, parameters).nearest.neighbors).long()
        ordered = []
        for block in finder.blocks(torch.arange(made.n)):
            scores = finder.scores(block).gather(1, found[block])
            order = scores.argsort(dim=1, descending=True, stable=True)
            ordered.append(found[block].gather(1, order))
        return torch.cat(ordered).numpy()

    @default_switches()
    def neighbors(self, x: str, y: str, **parameters: Any) -> Neighbors:
        """Who is near whom at the best layers of a pair.

        Args:
            **parameters: Of `mutual_knn`, such as `k=10`; else as the pair's first metric on
                neighbors was asked with; and `layer_x`, `layer_y`: other layers than the best.

        Raises:
            UnknownNameError: there is no such model.
            AbsentError: the two are no pair of the experiment, or have no best layers.
            IntegrityError: features are damaged.
        """
        best = self._best(x, y)
        layer_x = int(parameters.pop("layer_x", best["layer_x"]))
        layer_y = int(parameters.pop("layer_y", best["layer_y"]))
        if min(layer_x, layer_y) < 0:
            raise AbsentError(f"{x} x {y} has no best layers: {best['reason']}.")
        asked = neighbor_parameters(self, best["metric"])
        metric = bind("mutual_knn", asked.model_dump() | parameters)
        assert isinstance(metric.parameters, MutualKnn)
        summaries = [
            metric.summarize(self.layers(model)[layer])
            for model, layer in ((x, layer_x), (y, layer_y))
        ]
        return Neighbors(
            ids=self.ids,
            layer_x=layer_x,
            layer_y=layer_y,
            x=self.nearest(x, layer_x, metric.parameters),
            y=self.nearest(y, layer_y, metric.parameters),
            agreement=metric.by_row(*summaries),
        )

    def _best(self, x: str, y: str) -> pd.Series:
        for model in (x, y):
            self._spec(model)
        best = self.best[self.best["control"] == ""]
        rows = best[(best["x"] == x) & (best["y"] == y)]
        if rows.empty:
            raise AbsentError(f"{x} x {y} is no pair of {self.results.folder}: see best.csv.")
        return rows.iloc[0]

    def _spec(self, model: str) -> ModelSpec:
        specs = {spec.label: spec for spec in self.run.specs}
        if model not in specs:
            raise UnknownNameError(f"model of {self.results.folder}", model, specs)
        return specs[model]


def neighbor_parameters(opened: Opened, metric: str) -> MutualKnn:
    """How neighbors are told for a metric of the experiment: as its own parameters say if it is one
    on neighbors, else the 10 nearest by cosine."""
    for entry in opened.run.config.align.metrics:
        parameters = entry.parameters
        if parameters.label() == metric and isinstance(parameters, NeighborParameters):
            common = NeighborParameters.model_fields
            return MutualKnn.model_validate(parameters.model_dump(include=set(common)))
    return MutualKnn()
