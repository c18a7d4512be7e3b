"""Which models a first experiment has: those that one names, or known ones that fit the machine."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from platorep.errors import ConfigError, listed
from platorep.files import expanded
from platorep.machine import memory_bytes, num_cores
from platorep.models.arrays import ENDINGS
from platorep.models.cost import BYTES_PER_TOKEN
from platorep.models.device import resolve_device
from platorep.models.recognised import MODALITIES, Part, Recognised, is_of_timm, recognise
from platorep.parameters.views import KindName, Modality
from platorep.starting.catalog import KNOWN, KnownFamily

MOST_SECONDS = 120.0
"""Of the forward passes of one model, so that the first run takes minutes; the smallest of a family
may take longer."""
PER_CORE, PER_GPU = 2e10, 2e13
"""Floating-point operations per second. Nothing is timed: the same machine is told the same."""
SHARE_OF_MEMORY = 0.5
"""For weights: the rest is for activations, and for whoever else is on the machine."""
ROWS = 1024
"""Of a first experiment, where there are more: as many as in the paper's figure 3."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A family of the experiment, as it will be written."""

    name: str
    modality: Modality
    models: Sequence[str | dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)
    larger: Sequence[str] = ()
    """Known members of the family that are left out."""
    predicts: bool = True
    """Of language: whether it was saved as a model that predicts the next token."""


def fitting(
    kinds: Sequence[KindName], num_rows: int | None, text_bytes: int, device_name: str
) -> list[Draft]:
    """Of each known family that reads one of the kinds the members that this machine can do.

    A member fits if its weights take half of the memory at most and its forward passes two
    minutes by a rule of thumb; the smallest one needs to fit the memory only.

    Args:
        text_bytes: Of a text, on average.
    """
    device = resolve_device(device_name)
    memory = _memory(device)
    speed = PER_GPU if device.type == "cuda" else PER_CORE * num_cores()
    rows = min(num_rows or ROWS, ROWS)

    def fits(family: KnownFamily, millions: int, smallest: bool) -> bool:
        is_half = device.type == "cuda" and family.modality == "language"
        if millions * 1e6 * (2 if is_half else 4) > SHARE_OF_MEMORY * memory:
            return False
        tokens = family.tokens or max(1, text_bytes // BYTES_PER_TOKEN)
        return smallest or 2e6 * millions * tokens * rows / speed <= MOST_SECONDS

    drafts = []
    for family in (family for family in KNOWN if family.reads in kinds):
        fit = [n for i, (n, size) in enumerate(family.sizes) if fits(family, size, i == 0)]
        if fit:
            larger = [name for name, _ in family.sizes if name not in fit]
            drafts.append(
                Draft(
                    name=family.name,
                    modality=family.modality,
                    models=fit,
                    settings=dict(family.settings),
                    larger=larger,
                )
            )
    return drafts


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return memory_bytes()


def named(
    names: Iterable[str], kinds: Sequence[KindName], beside: Path, *, offline: bool
) -> list[Draft]:
    """The models that one names, each a family of its own where nothing says what belongs together.

    Args:
        names: Folders (of a model, or of several), files of weights or of features, names of timm
            or of the hub.
        beside: The folder of the experiment's file, to which paths are relative.

    Raises:
        AbsentError, ConfigError: one is no model, or none of them reads what the data have.
    """
    drafts: list[Draft] = []
    for name in (one for given in names for one in _models_in(given)):
        drafts += _drafts_of(name, kinds, beside, offline=offline)
    if not drafts:
        raise ConfigError(
            f"none of the models reads what the data have ({listed(kinds)}). `platorep list models "
            "NAME` says what one reads."
        )
    return _with_own_names(drafts)


def _with_own_names(drafts: Sequence[Draft]) -> list[Draft]:
    """The same, where folders of one name lie in several places with a number behind it."""
    found: list[Draft] = []
    seen: Counter[str] = Counter()
    for draft in drafts:
        seen[draft.name] += 1
        if (number := seen[draft.name]) > 1:
            name, (model,) = f"{draft.name} ({number})", draft.models
            model = {"name": model} if isinstance(model, str) else model
            draft = replace(draft, name=name, models=[model | {"label": name}])
        found.append(draft)
    return found


def _models_in(name: str) -> list[str]:
    """A folder that is no model stands for the models in it."""
    folder = Path(name)
    if not folder.is_dir() or (folder / "config.json").is_file():
        return [name]
    inside = sorted(p for p in folder.iterdir() if (p / "config.json").is_file() or _weights(p))
    return [str(path) for path in inside] or [name]


def _weights(path: Path) -> bool:
    """Whether it is a file of weights called as a network of timm."""
    return path.suffix in (".safetensors", ".pth") and is_of_timm(path.stem)


def _drafts_of(name: str, kinds: Sequence[KindName], beside: Path, *, offline: bool) -> list[Draft]:
    path = Path(name)
    written = _relative(name, beside)
    if path.is_file() and _weights(path):
        model = {"name": path.stem, "checkpoint": written}
        return (
            [Draft(name=path.stem, modality="vision", models=[model])] if "image" in kinds else []
        )
    if path.is_file() and path.suffix in ENDINGS:
        settings = {"backend": "features"}
        return [Draft(name=path.stem, modality="other", models=[written], settings=settings)]
    found = recognise(name, offline=offline)
    parts = [part for part in found.parts if part.kind in kinds]
    return [_of_part(found, part, len(parts) > 1, beside) for part in parts]


def _of_part(found: Recognised, part: Part, several: bool, beside: Path) -> Draft:
    label = found.name.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    label += f" ({part.side or part.kind})" if several else ""
    settings: dict[str, Any] = {}
    usual = "timm" if part.kind == "image" else "transformers"
    if found.backend != usual:
        settings["backend"] = found.backend
    if part.side is not None:
        settings["side"] = part.side
    name = _relative(found.name, beside)
    return Draft(
        name=label,
        modality=MODALITIES[part.kind],
        models=[{"name": name, "label": label} if several else name],
        settings=settings,
        predicts=_predicts(Path(found.name)),
    )


def _relative(name: str, beside: Path) -> str:
    """A path as the experiment's file must say it; other names as they are."""
    prefix = "local-dir:" if name.startswith("local-dir:") else ""
    path = expanded(name.removeprefix(prefix))
    if path.is_absolute() or not path.exists():
        return name
    found = os.path.relpath(path, beside)
    return f"{prefix}{found if found.startswith('.') else f'./{found}'}"


def _predicts(folder: Path) -> bool:
    """Whether a local folder was saved with a head that predicts; of other names nobody asks."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    saved = config.get("architectures") or [""]
    return any(str(one).endswith(("ForCausalLM", "LMHeadModel")) for one in saved)
