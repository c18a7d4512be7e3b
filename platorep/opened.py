"""A finished experiment, to look at: its tables, the features behind them, who is near whom.

Axes: n rows that were scored, k neighbors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64, Integer
from matplotlib import figure as mpl
from torch import Tensor

from platorep.align.models import find_cell
from platorep.align.prepared import ModelLayers
from platorep.bundles.lists import BundledLists, ordered
from platorep.config import AlignConfig, ModelSpec
from platorep.config.paths import names_bundle
from platorep.config.recorded import recorded_config
from platorep.errors import AbsentError, ConfigError, IntegrityError, UnknownNameError
from platorep.experiment_rows import open_rows
from platorep.features import Cell
from platorep.files import cache_root
from platorep.metrics import BoundMetric, Summary, bind
from platorep.metrics.layer import Layer
from platorep.metrics.nearest import search
from platorep.metrics.neighbors import check_k
from platorep.parameters.figures import figure_parameters
from platorep.parameters.metrics import MutualKnn, NeighborParameters
from platorep.plots import Tables, draw_figure
from platorep.plots.stage import read_tables
from platorep.plots.summary import summary_html
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.run import Options, Run
from platorep.switches import default_switches

AS_SCORED = ("preprocess", "concatenated", "gallery", "null", "interval")
"""Settings that say what layers are scored, on which rows, and against what."""


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

    def figure(self, kind: str, **parameters: Any) -> mpl.Figure:
        """One of the figures of `platorep list figures`, as `plot` would draw it.

        Args:
            **parameters: What an experiment's file may say of it, such as `x="num_parameters"`.

        Raises:
            ConfigError: there is no such kind, or a parameter is wrong.
            AbsentError: there is nothing to draw; says what is missing.
            UnknownNameError: the tables have no such metric or model.
        """
        figure, _ = draw_figure(self.tables, figure_parameters({"kind": kind} | parameters))
        return figure

    def _repr_html_(self) -> str:
        """What it is, and its best trained pairs, for a notebook."""
        return summary_html(self.run.config.name, self.tables, len(self.ids))

    @cached_property
    def align(self) -> AlignConfig:
        """Preprocessing, candidates, null and intervals, as the scores were last made with them.

        Raises:
            IntegrityError: somebody changed what is said of them.
        """
        return scored_settings(self.results)

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
        cell = self._cell(model)
        return Features(cell.read(), cell.layers, tuple(cell.rows().ids))

    def layers(self, model: str) -> ModelLayers:
        """The layers of a model as they were scored, each read and prepared when it is asked for.

        Raises: as `features`.
        """
        return ModelLayers(model, self._cell(model), self.align)

    def _cell(self, model: str) -> Cell:
        spec, bundle = self.spec(model), self.run.bundle
        if bundle is not None and not bundle.has_features:
            raise AbsentError(
                f"{bundle.source} holds neighbor lists, no features of {model}. Ask whoever made "
                "it for one with features (`platorep bundle --features all`)."
            )
        return find_cell(self.run, spec).cell

    def summary(self, model: str, layer: int, metric: BoundMetric) -> Summary:
        """What a metric knows of a layer as it was scored; from neighbor lists, if a bundle has no
        more.

        Raises: as `features`; AbsentError: the metric needs more than a bundle has.
        """
        lists = self._lists(model)
        if lists is None:
            return metric.summarize(self.layers(model)[layer])
        return lists.summary(layer, metric)

    def _lists(self, model: str) -> BundledLists | None:
        """The neighbor lists that stand in for features."""
        self.spec(model)
        bundle = self.run.bundle
        return None if bundle is None or bundle.has_features else bundle.lists(model)

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
        lists = self._lists(model)
        if lists is not None:
            found = lists.nearest(layer, parameters)
            return found if rows is None else found[rows]
        made = Layer(self.layers(model)[layer])
        check_k(made.n, parameters.k, parameters.label())
        if rows is not None:
            finder = search(made, parameters.similarity, center=parameters.center)
            blocks = finder.blocks(torch.from_numpy(rows).long())
            return torch.cat([finder.scores(b).topk(parameters.k).indices for b in blocks]).numpy()
        return ordered(
            made, parameters.k, parameters.similarity, center=parameters.center
        ).neighbors

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
            self.summary(model, layer, metric) for model, layer in ((x, layer_x), (y, layer_y))
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
            self.spec(model)
        best = self.best[self.best["control"] == ""]
        rows = best[(best["x"] == x) & (best["y"] == y)]
        if rows.empty:
            raise AbsentError(f"{x} x {y} is no pair of {self.results.folder}: see best.csv.")
        return rows.iloc[0]

    def spec(self, model: str) -> ModelSpec:
        """A model as the experiment has it.

        Raises:
            UnknownNameError: there is none of this label.
        """
        specs = {spec.label: spec for spec in self.run.specs}
        if model not in specs:
            raise UnknownNameError(f"model of {self.results.folder}", model, specs)
        return specs[model]


def scored_settings(results: Results) -> AlignConfig:
    """Preprocessing, candidates, null and intervals, as the scores were last made with them; of an
    experiment that was not aligned, as it asks for.

    Raises:
        IntegrityError: somebody changed what is said of them.
    """
    run = results.read_json(results.run, "extract")
    try:
        align = run["align"]["settings"] if "align" in run else run["config"]["align"]
        said = {key: align[key] for key in AS_SCORED if key in align}
        return AlignConfig.model_validate(said)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"{results.run} does not say how layers were scored: {error!r}. Run `platorep align` "
            "with this experiment again, or get the bundle anew."
        ) from error


def neighbor_parameters(opened: Opened, metric: str) -> MutualKnn:
    """How neighbors are told for a metric of the experiment: as its own parameters say if it is one
    on neighbors, else the 10 nearest by cosine."""
    for entry in opened.run.config.align.metrics:
        parameters = entry.parameters
        if parameters.label() == metric and isinstance(parameters, NeighborParameters):
            common = NeighborParameters.model_fields
            return MutualKnn.model_validate(parameters.model_dump(include=set(common)))
    return MutualKnn()


def open_results(results: str | Path) -> Opened:
    """A finished experiment, from the folder that `platorep run` wrote.

        found = platorep.open_results("results/mine")
        found.best, found.scores, found.performance, found.models   # data frames
        found.neighbors("llama8", "conv4").agreement                # of each row
        found.figure("scaling", x="num_parameters")                 # a matplotlib figure

    Raises:
        AbsentError: there is no experiment.
        ConfigError: its settings are none that this version can read; or this is a bundle.
    """
    if names_bundle(str(results)):
        raise ConfigError(
            f"{results} is a bundle. Open it by `platorep.open_bundle({str(results)!r})`."
        )
    folder = Results(Path(results))
    try:
        config = recorded_config(folder.read_json(folder.run, "extract")["config"])
    except (ConfigError, KeyError) as error:
        raise ConfigError(
            f"{folder.run} cannot be read as an experiment: {error}. Run `platorep run` with its "
            "file again: what is finished stays."
        ) from error
    run = Run(
        config=config,
        specs=config.models(),
        results=folder,
        root=cache_root(),
        options=Options(overwrite="never"),
        report=Reporter(-1),
    )
    return Opened(run)
