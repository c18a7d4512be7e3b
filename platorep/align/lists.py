"""The neighbor lists of one layer in all galleries, as one file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from platorep.errors import IntegrityError
from platorep.files import atomic_path
from platorep.metrics.nearest import Nearest, Ties


def write_lists(path: Path, lists: Mapping[tuple[int, int], Nearest]) -> None:
    """Write the lists of every (n, k), whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    for (n, k), nearest in lists.items():
        arrays[f"{n}/{k}/neighbors"] = nearest.neighbors
        if nearest.ties is not None:
            for part in ("rows", "columns", "weights"):
                arrays[f"{n}/{k}/{part}"] = np.ascontiguousarray(getattr(nearest.ties, part))
    with atomic_path(path) as partial:
        safetensors.numpy.save_file(arrays, partial)


def read_lists(path: Path, n: int, k: int) -> Nearest:
    """The lists of one (n, k).

    Raises:
        IntegrityError: the file is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            ties = None
            if f"{n}/{k}/weights" in file.keys():  # noqa: SIM118
                ties = Ties(
                    *(file.get_tensor(f"{n}/{k}/{p}") for p in ("rows", "columns", "weights"))
                )
            return Nearest(file.get_tensor(f"{n}/{k}/neighbors"), ties)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise IntegrityError(f"{path} is damaged: {error}. Delete it and align again.") from error
