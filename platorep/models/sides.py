"""What a network of transformers reads, and which parts of it read one kind of view alone.

A network is asked: a side is a network inside a network, and its arguments say what it reads.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from platorep.config import ModelSpec
from platorep.errors import ConfigError
from platorep.parameters.views import KindName

ARGUMENTS: Mapping[str, KindName] = {
    "input_ids": "text",
    "pixel_values": "image",
    "pixel_values_videos": "video",
    "input_values": "audio",
    "input_features": "audio",
}
"""What a forward pass takes, and the kind of view that is."""
SIDES: Mapping[KindName, str] = {"text": "text", "image": "vision", "video": "vision"}
"""What a side is called that reads a kind; others are called as the kind is."""
WRITERS = ("language", "decoder")
"""Parts with these in their names read texts in order to write: their side is `language`."""
FEATURES = "Compute its features yourself (`backend: features`)"


@dataclass(frozen=True)
class Side:
    """A part of a network that reads views of some kinds alone."""

    name: str
    path: str
    """Of the module in the network; "": the network itself."""
    reads: tuple[KindName, ...]

    def of(self, network: Any) -> Any:
        """The part itself, as the class that transformers has for its configuration alone."""
        return _whole(network, network.get_submodule(self.path)) if self.path else network

    def __str__(self) -> str:
        return f"{self.name} ({self.path}, reads {' and '.join(self.reads)})"


def arguments(network: Any) -> Mapping[str, inspect.Parameter]:
    """The named arguments of a forward pass."""
    return inspect.signature(network.forward).parameters


def reads(network: Any) -> tuple[KindName, ...]:
    """The kinds of view that a network's arguments stand for."""
    taken = arguments(network)
    modalities = getattr(network, "input_modalities", None) or ()
    if "grid_thw" in taken:  # patches of images and films alike, packed one behind the other
        return ("image", "video")
    kinds = tuple(dict.fromkeys(kind for name, kind in ARGUMENTS.items() if name in taken))
    unnamed = all(one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in taken.values())
    if unnamed and (main := getattr(network, "main_input_name", "")) in ARGUMENTS:
        return (ARGUMENTS[main],)  # code of a repository may name no arguments
    films = "video" in modalities or hasattr(network.config, "num_frames")
    if kinds == ("image",) and films:  # what films are given as, before they had a name
        return ("video",)
    return kinds


def sides(network: Any) -> tuple[Side, ...]:
    """The parts of a network that are networks of their own; none where it has one sense."""
    return tuple(
        Side(_name(path, kinds), path, kinds)
        for path, part in network.named_children()
        if _is_side(network, path, part) and (kinds := reads(_whole(network, part)))
    )


def _whole(network: Any, part: Any) -> Any:
    """The network whose body a part is: early releases of transformers 5 have CLIP's sides so."""
    auto_class: Any = MODEL_MAPPING.get(type(part.config), type(part))
    if isinstance(part, auto_class) or isinstance(network, auto_class):
        return part
    with torch.device("meta"):
        whole = auto_class._from_config(part.config)
    for name, child in whole.named_children():
        if type(child) is type(part):
            setattr(whole, name, part)
            return whole
    return part


def _is_side(network: Any, path: str, part: Any) -> bool:
    """The blocks of one network may be a network too, but with its settings: a side has its own.

    An encoder is a side, and a decoder is one where both read a text: Whisper's reads sounds first.
    """
    if not isinstance(getattr(part, "config", None), PreTrainedConfig):
        return False
    if network.config.is_encoder_decoder and path in ("encoder", "decoder"):
        return path == "encoder" or "text" in reads(network.get_submodule("encoder"))
    return type(part.config) is not type(network.config)


def _name(path: str, kinds: tuple[KindName, ...]) -> str:
    if kinds == ("text",) and any(word in path for word in WRITERS):
        return "language"
    return SIDES.get(kinds[0], kinds[0])


def choose_side(network: Any, spec: ModelSpec) -> Side:
    """The side that reads the view of `spec`: the one asked for, or the only one of that kind.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found, kind = sides(network), spec.kind
    assert kind is not None
    if spec.side is not None:
        fits = [side for side in found if side.name == spec.side]
        if not fits:
            raise ConfigError(
                f"model {spec.label!r}: {type(network).__name__} has no side `{spec.side}`. "
                + (f"It has {_listed(found)}." if found else "It is whole: leave `side` out.")
            )
        if all(kind not in side.reads for side in fits):
            raise ConfigError(
                f"model {spec.label!r}: {fits[0]} of {type(network).__name__} does not read the "
                f"view {spec.view!r}, whose kind is {kind}. {_other(found, kind, spec)}"
            )
    else:
        if not found and kind in (whole := reads(network)):
            return Side(SIDES.get(kind, kind), "", whole)
        fits = list(found)
    fits = [side for side in fits if kind in side.reads]
    encoders = [side for side in fits if side.path == "encoder"]
    if len(fits) > 1 and len(encoders) == 1:
        return encoders[0]  # a decoder reads what its encoder makes
    if len(fits) > 1:
        raise ConfigError(
            f"model {spec.label!r}: several sides of {type(network).__name__} read a view of kind "
            f"{kind}: {_listed(fits)}. Name one (`side: {fits[0].name}`)."
        )
    if not fits:
        raise ConfigError(
            f"model {spec.label!r}: {type(network).__name__} reads "
            f"{_listed(found) if found else ' and '.join(reads(network)) or 'other inputs'}, and "
            f"no view of kind {kind} ({spec.view!r}) alone. {_other(found, kind, spec)}"
        )
    return fits[0]


def _other(found: tuple[Side, ...], kind: KindName, spec: ModelSpec) -> str:
    fits = [side for side in found if kind in side.reads]
    side = f"Use `side: {fits[0].name}`, or choose" if fits else "Choose"
    return f"{side} another view for it (`reads`). {FEATURES} for what it cannot read."


def _listed(found: Any) -> str:
    return ", ".join(map(str, found))
