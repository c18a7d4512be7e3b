"""The one door for arrays that a user gives: to `score`, to `Reference`, or in a file.

What can be taken exactly is taken; the rest is refused by name, never rounded or cut in silence.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from platorep.errors import DataError, IntegrityError

EXACT_IN_FLOAT32 = 1 << 24
EXACT_IN_FLOAT64 = 1 << 53
"""Whole numbers up to these are floating-point numbers too."""
MOST_INFLATED = 100
"""An archive may unpack to so many times its size: features do not compress as well as that."""
ALWAYS_UNPACKED = 64 << 20
"""Bytes that any archive may unpack to."""

KINDS = {
    "c": "complex numbers; give real and imaginary parts side by side, or magnitudes",
    "U": "strings",
    "S": "strings",
    "O": "Python objects; make them numbers first: .astype(float)",
    "M": "dates",
    "m": "durations",
    "V": "records, or a type that NumPy does not know; make them numbers first: .astype(float)",
}
"""What else an array can hold, by NumPy's letter."""


def as_features(given: object, name: str, *, largest: int = EXACT_IN_FLOAT64) -> Tensor:
    """The numbers of an array as a floating-point tensor: same shape, plain layout, no gradient.

    Takes tensors (they stay on their device), NumPy arrays of any byte order and strides, data
    frames, and whatever else NumPy can read. Floating-point numbers keep their precision (those
    of one byte, or longer than eight, become float32 and float64); whole numbers and booleans
    become float32, or float64 where float32 would round them.

    Args:
        name: What to call it in an error.
        largest: Whole numbers beyond it are refused.

    Raises:
        DataError: it holds something else than real numbers, or masked values, or whole numbers
            that are too large, or is sparse.
    """
    if not isinstance(given, Tensor):
        return torch.from_numpy(_plain(_as_numpy(given, name), name, largest))
    if isinstance(given, torch.masked.MaskedTensor):
        raise DataError(f"{name} is a masked tensor. Drop the masked rows, or fill the values in.")
    if given.is_nested or given.is_meta or given.is_quantized or given.layout != torch.strided:
        raise DataError(f"{name} is no plain tensor of numbers ({given.layout}): make it one.")
    tensor = given.detach()
    if tensor.is_floating_point():
        tensor = tensor.float() if tensor.itemsize == 1 else tensor
    else:
        numbers = tensor.resolve_conj().cpu().numpy()
        tensor = torch.from_numpy(_plain(numbers, name, largest)).to(given.device)
    return tensor.contiguous()


def as_float32(features: Tensor, name: str) -> Tensor:
    """In the precision of the feature cache.

    Raises:
        DataError: a finite value is too large for it.
    """
    narrow = features.float()
    if features.dtype == torch.float64 and bool((narrow.isinf() & features.isfinite()).any()):
        raise DataError(
            f"{name} holds values up to {float(features[features.isfinite()].abs().max()):.2g}, "
            "beyond what float32 can hold, in which features are kept: divide by a constant."
        )
    return narrow


def refuse_inflated(path: Path) -> None:
    """Raises IntegrityError where an archive says that it unpacks to implausibly much."""
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > MOST_INFLATED * size + ALWAYS_UNPACKED:
        raise IntegrityError(
            f"{path} has {size} bytes and would unpack to {unpacked}: no features compress like "
            "that. If they are meant, save them uncompressed (numpy.savez)."
        )


def _as_numpy(given: object, name: str) -> NDArray[Any]:
    kind = type(given).__name__
    if hasattr(given, "toarray"):
        raise DataError(f"{name} is sparse ({kind}): give `.toarray()` of it.")
    try:
        array = given if isinstance(given, np.ndarray) else np.asarray(given)
    except Exception as error:  # whatever the object's own conversion raises
        raise DataError(f"{name} ({kind}) cannot be read as an array: {error}") from error
    if isinstance(given, pd.DataFrame) and array.dtype.kind == "O":
        kinds = {column: getattr(kind, "kind", "O") for column, kind in given.dtypes.items()}
        other = [repr(column) for column, kind in kinds.items() if kind not in "fiub"]
        if other:
            raise DataError(f"{name} has columns that hold no numbers: {', '.join(other[:5])}.")
        array = given.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def _plain(array: NDArray[Any], name: str, largest: int) -> NDArray[np.floating]:
    """In native byte order, contiguous and its own, floating point."""
    if isinstance(array, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(array)
        if mask.any():
            raise DataError(
                f"{name} is a masked array with {int(mask.sum())} masked values, the first at "
                f"{_first(mask)}. Drop these rows, or fill the values in."
            )
        array = array.data
    kind = array.dtype.kind
    if kind not in "fiub":
        raise DataError(
            f"{name} holds {KINDS.get(kind, array.dtype)} ({array.dtype}); expected real numbers."
        )
    precision = min(array.dtype, np.dtype(np.float64), key=lambda d: d.itemsize)
    if kind == "b":
        precision = np.dtype(np.float32)
    elif kind in "iu":
        size = max(-int(array.min()), int(array.max())) if array.size else 0
        if size > largest:
            place = _first((array > largest) | (array < -largest))
            raise DataError(
                f"{name} holds the whole number {array[place]} at {place}: beyond {largest} "
                "floating-point numbers would round it. Subtract a constant, or make it a float."
            )
        precision = np.dtype(np.float32 if size <= EXACT_IN_FLOAT32 else np.float64)
    return np.require(array, precision.newbyteorder("="), ["C", "W", "A", "E"])


def _first(where: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(where.argmax()), where.shape))
