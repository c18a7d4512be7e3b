"""What a bare name stands for, as a model: a folder, a hub repository, a name of timm.

Its configuration says which library it belongs to and what it reads; no weight is touched.
"""

import json
from pathlib import Path
from typing import Any, get_args

from platorep.config import FamilyConfig
from platorep.errors import AbsentError, ConfigError, IntegrityError
from platorep.parameters.views import Modality

TIMM_PLACES = ("hf-hub:", "local-dir:")


def recognise(name: str, modality: str | None = None, *, offline: bool) -> FamilyConfig:
    """The one model called `name` with the settings that follow from its configuration.

    Args:
        modality: What it reads, as in an experiment; else its configuration is asked.

    Raises:
        AbsentError: it is neither a folder, nor on the hub, nor a name of timm.
        ConfigError: there is no such modality; it is a file; its configuration is of no library.
    """
    if modality is None:
        name, modality = _asked(name, offline=offline)
    elif modality not in get_args(Modality):
        raise ConfigError(
            f"--modality {modality}: there is none. Use {' or '.join(get_args(Modality))}."
        )
    settings = {"name": name, "modality": modality, "models": [name]}
    return FamilyConfig.model_validate(settings)


def _asked(name: str, *, offline: bool) -> tuple[str, str]:
    """The name as its library has it, and the modality."""
    if name.startswith(TIMM_PLACES) or _is_of_timm(name):
        return name, "vision"
    folder = Path(name)
    if folder.suffix == ".gguf":
        return name, "language"
    if folder.is_file():
        raise ConfigError(
            f"{name} is a file, of which nobody knows the network. Weights go with their "
            "architecture: put both into an experiment (`name: ARCHITECTURE, checkpoint: FILE`) "
            "and name that by --data."
        )
    config = _read_config(name, folder, offline=offline)
    if "model_type" in config:
        return name, "language"
    if "architecture" in config:
        return f"{'local-dir' if folder.is_dir() else 'hf-hub'}:{name}", "vision"
    raise ConfigError(
        f"the config.json of {name!r} has neither `model_type` (transformers) nor `architecture` "
        "(timm): it is a model of neither. Say what it reads by --modality, or compute its "
        "features yourself (`backend: features`)."
    )


def _is_of_timm(name: str) -> bool:
    """Whether it is a name of timm's registry, with or without a tag of weights."""
    if "/" in name or Path(name).is_dir():
        return False
    import timm

    return bool(timm.is_model(name))


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
