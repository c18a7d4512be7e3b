"""Weight files for timm: read as tensors only, and nothing lost in silence."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import timm
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from platorep.errors import AbsentError, IntegrityError, listed

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
"""What weights are called, the preferred name first."""


def first_weights(folder: Path) -> Path:
    """The weight file in `folder`.

    Raises:
        AbsentError: there is none.
    """
    for pattern in (*WEIGHTS, "*.safetensors", "*.pth", "*.bin"):
        for file in sorted(folder.glob(pattern)):
            return file
    raise AbsentError(f"{folder} has no weight file: expected model.safetensors or another.")


def read_pickled(file: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` or `.bin` file, be they inside `state_dict` or `model`, or named as
    by a wrapper (`module.`).

    Raises:
        IntegrityError: it is broken, or holds something else, which is not unpickled.
    """
    try:
        found: dict[str, Tensor] = timm.models.load_state_dict(str(file), weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a broken file makes the reader stumble anywhere
        raise IntegrityError(
            f"the weights {file} are broken or hold more than names with tensors, and are not "
            f"unpickled: {error} Save `network.state_dict()` alone."
        ) from error
    others = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if others:
        raise IntegrityError(
            f"the weights {file} hold {listed(map(str, others))}, which are no tensors. Save "
            "`network.state_dict()` alone, or under the key `state_dict` or `model`."
        )
    return found


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a weight file: safetensors, or as `read_pickled`.

    Raises:
        IntegrityError: it is broken, or holds something else.
    """
    if file.suffix != ".safetensors":
        return read_pickled(file)
    try:
        return dict(timm.models.clean_state_dict(load_file(file)))
    except SafetensorError as error:
        raise IntegrityError(f"the weights {file} are damaged: {error}.") from error


@contextlib.contextmanager
def losses() -> Iterator[list[str]]:
    """What timm logs while it loads of weights that are missing or left over.

    With another number of classes than the checkpoint's, timm loads what fits and only says so.
    """
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith(("Missing keys", "Unexpected keys")):
                lines.append(record.getMessage())

    log = logging.getLogger("timm.models._builder")
    level, propagate, handler = log.level, log.propagate, Keep(logging.INFO)
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
