"""What a bare name stands for, as a model: a folder, a hub repository, a name of timm.

Its configuration says which library it belongs to and what it reads; no weight is touched.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from platorep.config import FamilyConfig, ModelSpec
from platorep.config.models import Backend
from platorep.errors import AbsentError, ConfigError, IntegrityError
from platorep.parameters.views import KindName, Modality

TIMM_PLACES = ("hf-hub:", "local-dir:")
MODALITIES: Mapping[KindName, Modality] = {
    "text": "language",
    "image": "vision",
    "audio": "audio",
    "video": "video",
}
"""The modality of a model that reads a kind of view."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A kind of view that a network reads, and with which part of it."""

    kind: KindName
    side: str | None
    """None: the network has no sides."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """A name, as its library has it."""

    name: str
    backend: Backend
    parts: tuple[Part, ...]

    def family(self, modality: str | None = None, side: str | None = None) -> FamilyConfig:
        """The one model called so, as a family of an experiment.

        Raises:
            ConfigError: there is no such modality, or it reads more than one kind of view.
        """
        if modality is None:
            modality = MODALITIES[self._only_kind()]
        elif modality not in get_args(Modality):
            raise ConfigError(
                f"--modality {modality}: there is none. Use {' or '.join(get_args(Modality))}."
            )
        settings = {"name": self.name, "modality": modality, "backend": self.backend, "side": side}
        return FamilyConfig.model_validate(settings | {"models": [self.name]})

    def _only_kind(self) -> KindName:
        kinds = dict.fromkeys(part.kind for part in self.parts)
        if len(kinds) != 1:
            known = " or ".join(MODALITIES[kind] for kind in kinds if kind in MODALITIES)
            raise ConfigError(
                f"{self.name!r} reads {' and '.join(kinds) or 'nothing that a view can be'}. "
                + (f"Say which is meant: --modality {known}." if known else "")
            )
        return next(iter(kinds))


def recognise(name: str, *, offline: bool) -> Recognised:
    """What `name` is.

    Raises:
        AbsentError: it is neither a folder, nor on the hub, nor a name of timm.
        ConfigError: it is a file; its configuration is of no library, or cannot be built.
    """
    if name.startswith(TIMM_PLACES) or is_of_timm(name):
        return _of_timm(name)
    folder = Path(name)
    if folder.suffix == ".gguf":
        return Recognised(name=name, backend="transformers", parts=(Part(kind="text", side=None),))
    if folder.is_file() or (":" in name and not folder.exists()):
        raise ConfigError(
            f"{name} is {'a file' if folder.is_file() else 'a function of your own'}, which does "
            "not say all that is needed. Put it into an experiment (a file of weights with its "
            "architecture, `name: ARCHITECTURE, checkpoint: FILE`; a function with its `inputs` "
            "and `layers`), and name that by --data."
        )
    config = _read_config(name, folder, offline=offline)
    if "model_type" in config:
        return Recognised(name=name, backend="transformers", parts=_parts_of(name, offline=offline))
    if "architecture" in config:
        return _of_timm(f"{'local-dir' if folder.is_dir() else 'hf-hub'}:{name}")
    raise ConfigError(
        f"the config.json of {name!r} has neither `model_type` (transformers) nor `architecture` "
        "(timm): it is a model of neither. Compute its features yourself (`backend: features`)."
    )


def is_of_timm(name: str) -> bool:
    """Whether it is a name of timm's registry, with or without a tag of weights."""
    if "/" in name or Path(name).is_dir():
        return False
    import timm

    return bool(timm.is_model(name))


def _of_timm(name: str) -> Recognised:
    return Recognised(name=name, backend="timm", parts=(Part(kind="image", side=None),))


def _parts_of(name: str, *, offline: bool) -> tuple[Part, ...]:
    """What a network of transformers reads, as it is asked without memory for its weights."""
    from platorep.models.pretrained import Pretrained
    from platorep.models.sides import reads, sides

    settings = {"label": name, "family": name, "modality": "language", "backend": "transformers"}
    # With this side the decoder of a T5 is there too.
    spec = ModelSpec.model_validate({"name": name, "side": "language"} | settings)
    network = Pretrained(spec, offline=offline).skeleton
    parts = [Part(kind=kind, side=side.name) for side in sides(network) for kind in side.reads]
    if not parts:
        parts = [Part(kind=kind, side=None) for kind in reads(network)]
    return tuple(dict.fromkeys(parts))


def _read_config(name: str, folder: Path, *, offline: bool) -> dict[str, Any]:
    if not folder.is_dir():
        from platorep.models.hub import open_repository

        if "/" not in name:
            raise AbsentError(
                f"{name!r} is no folder, no name of timm (`platorep list models '*{name}*'` looks "
                "for similar ones) and no hub identifier (owner/name)."
            )
        folder = open_repository(name, None, offline=offline).download(["config.json"])
    file = folder / "config.json"
    if not file.is_file():
        raise AbsentError(f"{folder} has no config.json: expected what `save_pretrained` writes.")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{file} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise IntegrityError(f"{file}: expected an object, found {type(found).__name__}.")
    return found
