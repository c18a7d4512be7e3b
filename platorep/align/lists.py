"""The neighbor lists of one layer in all galleries, as one file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from platorep.errors import DamagedError
from platorep.metrics.nearest import Nearest, Ties
from platorep.reporting import Reporter
from platorep.tensors import read_tensors, write_tensors

CURE = "It is searched again."
TIES = ("rows", "columns", "weights")


def write_lists(path: Path, lists: Mapping[tuple[int, int], Nearest]) -> None:
    """Write the lists of every (n, k), whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    for (n, k), nearest in lists.items():
        arrays[f"{n}/{k}/neighbors"] = nearest.neighbors
        if nearest.ties is not None:
            arrays |= {f"{n}/{k}/{part}": getattr(nearest.ties, part) for part in TIES}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(a)) for name, a in arrays.items()}
    write_tensors(path, tensors, {"of": path.stem})


def lists_stand(path: Path, report: Reporter) -> bool:
    """Whether the lists need not be searched: they are there and whole."""
    try:
        read_tensors(path, {"of": path.stem}, CURE)
    except FileNotFoundError:
        return False
    except DamagedError as error:
        report.warn(str(error))
        return False
    return True


def read_lists(path: Path, n: int, k: int) -> Nearest:
    """The lists of one (n, k).

    Raises:
        DamagedError: the file is damaged.
    """

    def of_these(names: list[str]) -> list[str]:
        return [name for name in names if name.startswith(f"{n}/{k}/")]

    tensors = read_tensors(path, {"of": path.stem}, CURE, choose=of_these)
    arrays = {name.rpartition("/")[2]: tensor.numpy() for name, tensor in tensors.items()}
    ties = Ties(*(arrays[part] for part in TIES)) if "weights" in arrays else None
    return Nearest(arrays["neighbors"], ties)
