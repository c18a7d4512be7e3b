"""Models: a name and a revision become the layers' pooled features."""

from functools import partial
from pathlib import Path

from platorep.config import ModelSpec
from platorep.config.models import BACKENDS
from platorep.errors import ConfigError, PlatorepError
from platorep.models.base import Description, Ids, Loaded, Model, Reading, globs
from platorep.models.device import compute_dtype, compute_dtypes, environment, resolve_device
from platorep.models.remembered import RememberedModel, local_files
from platorep.models.wrapped import PackagedModel, packages_of
from platorep.plugins import require_plugin

__all__ = [
    "Description",
    "Ids",
    "Loaded",
    "Model",
    "Reading",
    "compute_dtype",
    "compute_dtypes",
    "environment",
    "globs",
    "open_model",
    "open_remembered",
    "resolve_device",
]


def open_remembered(spec: ModelSpec, root: Path, *, offline: bool) -> Model:
    """As `open_model`; what is known of a local model is kept in the cache at `root`."""
    made_from = local_files(spec)
    opening = partial(open_model, spec, offline=offline)
    return opening() if made_from is None else RememberedModel(spec, root, opening, made_from)


def open_model(spec: ModelSpec, *, offline: bool) -> Model:
    """The model that `spec` describes; nothing is loaded or downloaded yet.

    Raises:
        ConfigError: a setting does not fit the backend, or an installed package's is broken.
    """
    packages = packages_of(spec)
    if spec.backend in BACKENDS:
        model = _open_built_in(spec, offline=offline)
    else:
        model = _open_packaged(spec, offline=offline)
    return PackagedModel(model, spec, packages) if packages else model


def _open_packaged(spec: ModelSpec, *, offline: bool) -> Model:
    """What an installed package makes of `spec`."""
    plugin = require_plugin("backends", spec.backend, BACKENDS)
    opening = plugin.load()
    try:
        model = opening(spec, offline=offline)
    except PlatorepError:
        raise
    except Exception as error:  # whatever the package's lines do
        raise ConfigError(
            f"model {spec.label!r}: {plugin.whose} cannot open it: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(model, Model):
        raise ConfigError(
            f"model {spec.label!r}: {plugin.whose} must return a platorep.models.Model; found one "
            f"of type {type(model).__name__}. Update the package."
        )
    return model


def _open_built_in(spec: ModelSpec, *, offline: bool) -> Model:
    # Imported here, so that a user's own arrays need neither transformers nor timm.
    if spec.backend == "transformers" and spec.kind != "text":
        from platorep.models.senses import SensedModel

        return SensedModel(spec, offline=offline)
    if spec.backend == "transformers":
        from platorep.models.language import LanguageModel

        return LanguageModel(spec, offline=offline)
    if spec.backend == "timm":
        from platorep.models.vision import VisionModel

        return VisionModel(spec, offline=offline)
    if spec.backend == "module":
        from platorep.models.module import ModuleModel

        return ModuleModel(spec)
    if spec.backend == "baseline":
        from platorep.models.baselines import BaselineModel

        return BaselineModel(spec)
    if spec.backend == "toyworld" and spec.modality == "truth":
        from platorep.models.truth import TruthModel

        return TruthModel(spec)
    if spec.backend == "toyworld":
        from platorep.models.toyworld import ToyModel

        return ToyModel(spec, offline=offline)
    if spec.backend == "bundle":
        from platorep.models.bundled import BundledModel

        return BundledModel(spec)
    from platorep.models.arrays import ArrayModel

    return ArrayModel(spec)
