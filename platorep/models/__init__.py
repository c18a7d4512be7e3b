"""Models: a name and a revision become the layers' pooled features."""

from platorep.config import ModelSpec
from platorep.models.base import Description, Loaded, Model
from platorep.models.device import compute_dtype, compute_dtypes, environment, resolve_device

__all__ = [
    "Description",
    "Loaded",
    "Model",
    "compute_dtype",
    "compute_dtypes",
    "environment",
    "open_model",
    "resolve_device",
]


def open_model(spec: ModelSpec, *, offline: bool) -> Model:
    """The model that `spec` describes; nothing is loaded or downloaded yet.

    Raises:
        ConfigError: a setting does not fit the backend.
    """
    # Imported here, so that a user's own arrays need neither transformers nor timm.
    if spec.backend == "transformers":
        from platorep.models.language import LanguageModel

        return LanguageModel(spec, offline=offline)
    if spec.backend == "timm":
        from platorep.models.vision import VisionModel

        return VisionModel(spec, offline=offline)
    if spec.backend == "toyworld" and spec.modality == "truth":
        from platorep.models.truth import TruthModel

        return TruthModel(spec)
    if spec.backend == "toyworld":
        from platorep.models.toyworld import ToyModel

        return ToyModel(spec, offline=offline)
    from platorep.models.arrays import ArrayModel

    return ArrayModel(spec)
