"""A metric, a figure, a backend and a kind of view: what a package may add to platorep."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure as Drawing
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import ConfigError, DataError
from platorep.kinds import Kind
from platorep.models.base import Description, Loaded, Model, refuse_other_settings
from platorep.models.streamed import Streamed
from platorep.parameters.figures import FigureParameters
from platorep.plots import Figure, Points, Tables

# -- metric: two arrays of features, row by row of the same samples -> a number -------------------


def distance_agreement(x: Tensor, y: Tensor, power: float = 1.0) -> float:
    """Pearson correlation of the distances between samples; 1 is perfect agreement."""
    above = torch.triu_indices(len(x), len(x), 1).unbind()
    distances = torch.stack([torch.cdist(of, of)[above] ** power for of in (x, y)])
    return float(torch.corrcoef(distances)[0, 1])


# -- figure: its parameters, its points (which become its CSV), its drawing -----------------------


class MarginsFigure(FigureParameters):
    """How far each pair of models is above chance."""

    kind: str = "margins"
    colour: str = "black"
    """Of the bars."""


def margins(tables: Tables, parameters: MarginsFigure) -> Points:
    pairs = tables.best[tables.best["control"].fillna("") == ""]
    names = pairs["x"] + " x " + pairs["y"]
    return Points(pd.DataFrame({"pair": names, "margin": pairs["score"] - pairs["null_mean"]}))


def draw_margins(points: pd.DataFrame, parameters: MarginsFigure) -> Drawing:
    figure = Drawing(figsize=(3.3, 2.0), layout="constrained")
    axes = figure.subplots()
    axes.barh(points["pair"], points["margin"], color=parameters.colour)
    axes.set_xlabel("score above the null's mean")
    return figure


MARGINS = Figure(name="margins", parameters=MarginsFigure, points=margins, draw=draw_margins)

# -- kind of view: what its files hold ------------------------------------------------------------


def decode_grid(encoded: bytes) -> np.ndarray:
    """Lines of whole numbers."""
    try:
        return np.array([line.split() for line in encoded.decode().splitlines()], dtype=np.float32)
    except ValueError as error:
        raise DataError(f"the grid is no table of numbers: {error}") from error


GRID = Kind(
    name="grid",
    endings=("grid",),
    in_files=True,
    decode=decode_grid,
    same=np.array_equal,
    package="numpy",
)

# -- backend: a model from its settings -----------------------------------------------------------


class ProfileModel(Model):
    """The means of the lines, or of the columns, of an image or a grid: `name: rows`, `columns`."""

    def __init__(self, spec: ModelSpec, *, offline: bool) -> None:
        refuse_other_settings(spec)  # so that no setting is silently without effect
        if spec.name not in AXES:
            raise ConfigError(f"model {spec.label!r}: expected one of {', '.join(AXES)}.")
        self.spec = spec

    def identity(self) -> dict[str, Any]:
        return {"profile": self.spec.name}

    def describe(self) -> Description:
        return Description(layers=(self.spec.name,), tap="means of grey values", download_bytes=0)

    def download(self) -> None:
        """There is nothing to fetch."""

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        return Profile(self.spec.name)


AXES = {"rows": 1, "columns": 0}


class Profile(Streamed):
    def __init__(self, name: str) -> None:
        super().__init__(_as_tensor, torch.device("cpu"))
        self.layers, self._axis = (name,), AXES[name]

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def pooled(self, batch: Sequence[Tensor]) -> list[Tensor]:
        return [torch.stack([sample.mean(dim=self._axis) for sample in batch])]


def _as_tensor(sample: Any) -> Tensor:
    grey = sample if isinstance(sample, np.ndarray) else sample.convert("L")
    return torch.from_numpy(np.asarray(grey, dtype=np.float32))
