"""Toy networks on disk, as the folders that timm and transformers themselves load."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors.torch import save_file
from torch import nn
from transformers import LlamaForCausalLM
from transformers.utils import logging

from platorep.errors import DamagedError
from platorep.files import read_sealed, storage_errors, write_json, write_sealed
from platorep.parameters.toyworld import ToyNetwork, WorldParameters
from platorep.toyworld.networks import (
    build_language,
    build_timm,
    build_tokenizer,
    input_shape,
    timm_arguments,
)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to write to; it becomes `target` only if the block succeeds.

    A folder that is there already stays: whoever came first made the same.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    partial = target.with_name(f".{target.name}.{uuid4().hex}.partial")
    with storage_errors(target):
        partial.mkdir(parents=True)
        try:
            yield partial
            for path in partial.iterdir():
                with path.open("rb") as written:
                    os.fsync(written.fileno())
            if not target.exists():
                try:
                    partial.rename(target)
                except OSError:
                    if not target.exists():  # lost no race: a true failure
                        raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def seal_checkpoint(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Write `training.json` beside the finished files of a checkpoint; it guards them all.

    Args:
        name: Of network and step, as in `is_whole`.
    """
    files = sorted(path.name for path in folder.iterdir())
    write_sealed(folder / "training.json", facts, of=name, files=files)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint of a training run is there, every file as it was written.

    Raises:
        DamagedError: something is there that is no such checkpoint.
    """
    if not os.path.lexists(checkpoint):
        return False
    cure = "The same command trains the network again; so does it after `cache clean --broken`."
    name = f"{checkpoint.parent.name}/{checkpoint.name}"
    try:
        read_sealed(checkpoint / "training.json", of=name, cure=cure)
        for needed in ("config.json", "model.safetensors"):  # 0.1.0 sealed nothing
            if not (checkpoint / needed).is_file():
                raise DamagedError(f"{checkpoint / needed} is missing. {cure}")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedError(f"{checkpoint} is no checkpoint: {error}. {cure}") from error
    return True


def save_timm(path: Path, model: nn.Module, network: ToyNetwork, image_size: int) -> None:
    """Write `config.json` and `model.safetensors`: `timm.create_model("local-dir:PATH")` loads it.

    The data config says that pictures are taken as they are, with mean and deviation 0.5. It has
    no first convolution where there are other channels than three: older timm would adapt it.
    """
    architecture, arguments = timm_arguments(network, image_size)
    shape = input_shape(network, image_size)
    first_conv = "patch_embed.proj" if network.kind == "vit" else "conv1.0"
    config = {
        "architecture": architecture,
        "num_classes": 0,
        "num_features": model.num_features,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": list(shape),
            "fixed_input_size": network.kind == "vit",
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 0,
            "first_conv": first_conv if shape[0] == 3 else None,
            "classifier": "head" if network.kind == "vit" else "fc",
            "license": "mit",
        },
    }
    write_json(path / "config.json", config)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with storage_errors(path):
        save_file(state, path / "model.safetensors", metadata={"format": "pt"})


def save_language(path: Path, model: LlamaForCausalLM) -> None:
    """Write a `save_pretrained` folder with its tokenizer: the Auto classes load it."""
    with storage_errors(path), _no_progress_bar():
        model.save_pretrained(path)
        build_tokenizer().save_pretrained(path)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws a bar even for a file of 10 kB."""
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def write_untrained(
    path: Path, network: ToyNetwork, seed: int = 0, world: WorldParameters | None = None
) -> Path:
    """Write a network with random weights as an ordinary checkpoint folder, whole or not at all.

    Args:
        world: Where a network that sees gets its image size from; the default world without one.

    Returns:
        `path`. A folder that is there already is left as it is.
    """
    if path.exists():
        return path
    with atomic_folder(path) as partial:
        if network.modality == "language":
            save_language(partial, build_language(network, seed))
        else:
            size = (world or WorldParameters()).image_size
            save_timm(partial, build_timm(network, size, seed), network, size)
    return path
