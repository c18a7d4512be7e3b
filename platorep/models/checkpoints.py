"""Weight files for timm: read as tensors only, and nothing lost in silence."""

import contextlib
import logging
import pickle
from collections.abc import Iterator
from pathlib import Path

import timm
from torch import Tensor

from platorep.errors import AbsentError, IntegrityError

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
    """The tensors of a `.pth` or `.bin` file.

    Raises:
        IntegrityError: it is broken, or holds something else, which is not unpickled.
    """
    try:
        found: dict[str, Tensor] = timm.models.load_state_dict(str(file), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError) as error:
        raise IntegrityError(
            f"the weights {file} are broken or hold more than tensors, and are not unpickled: "
            f"{error}"
        ) from error
    return found


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
