"""A model around another one, which does the work."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from platorep.config import ModelSpec
from platorep.config.models import BACKENDS
from platorep.identities import RowIdentities
from platorep.models.base import Description, Loaded, Model
from platorep.models.inside import OpenNetwork
from platorep.models.inside_texts import OpenTexts
from platorep.parameters.views import KIND_NAMES
from platorep.plugins import require_plugin
from platorep.reporting import Reporter


class WrappedModel(Model):
    """Hands everything on."""

    @property
    @abstractmethod
    def _model(self) -> Model: ...

    def prepare(self, report: Reporter) -> None:
        self._model.prepare(report)

    def made(self) -> Path | None:
        return self._model.made()

    def identity(self) -> dict[str, Any]:
        return self._model.identity()

    def describe(self) -> Description:
        return self._model.describe()

    def flops(self) -> int | None:
        return self._model.flops()

    def download(self) -> None:
        self._model.download()

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        return self._model.load(device, dtype)

    def open(self, device: torch.device | str, dtype: torch.dtype) -> OpenNetwork:
        return self._model.open(device, dtype)

    def open_texts(self, device: torch.device | str, dtype: torch.dtype) -> OpenTexts:
        return self._model.open_texts(device, dtype)

    def save_copy(self, folder: Path) -> ModelSpec:
        return self._model.save_copy(folder)


def packages_of(spec: ModelSpec) -> dict[str, list[str]]:
    """What installed packages have a part in a model, and what tells their code from another
    version's; none where all of it is built in.

    Raises:
        UnknownNameError, ConfigError: a package is not there, or not its code.
    """
    found = {}
    if spec.backend not in BACKENDS:
        found["backend"] = require_plugin("backends", spec.backend, BACKENDS).identity()
    if spec.kind is not None and spec.kind not in KIND_NAMES:
        found["kind"] = require_plugin("kinds", spec.kind, KIND_NAMES).identity()
    return found


class PackagedModel(WrappedModel):
    """One that code of installed packages has a part in: their versions are part of its identity.

    Args:
        packages: What has a part -> what tells its code from that of another version.
    """

    def __init__(
        self, model: Model, spec: ModelSpec, packages: Mapping[str, Sequence[str]]
    ) -> None:
        self.spec, self._opened, self._packages = spec, model, packages

    @property
    def _model(self) -> Model:
        return self._opened

    @property
    def precision(self) -> str | None:
        return self._model.precision

    def refuse_other_rows(self, rows: RowIdentities) -> None:
        self._model.refuse_other_rows(rows)

    def identity(self) -> dict[str, Any]:
        packages = {what: list(code) for what, code in self._packages.items()}
        return self._opened.identity() | {"backend": self.spec.backend, "packages": packages}
