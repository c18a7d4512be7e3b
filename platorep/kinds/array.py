"""Arrays: numbers in a cell, or a .npy file -> float32, or why not."""

import math
from collections.abc import Sequence
from io import BytesIO
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Float32

from platorep.errors import DataError, short, shown
from platorep.kinds.kind import Kind, Reference
from platorep.kinds.pictures import heat
from platorep.parameters.views import ObservedView

MAX_NUMBERS = 2**26
"""In one sample: 256 MiB."""
MAX_AXES = 8


def encode_array(cells: Sequence[Any], view: ObservedView) -> bytes:
    """What a row holds: numbers, or a .npy file, in its own place or in the cell.

    Raises:
        DataError: as `encode_numbers`, or the file is not there.
    """
    (cell,) = cells
    if isinstance(cell, Reference):
        return cell.read()
    return cell if isinstance(cell, bytes) else encode_numbers(cell)


def encode_numbers(cell: Any) -> bytes:
    """A number, or lists of numbers, as the bytes of a .npy file of float32.

    The header is written here, because numpy's differs from version to version: the bytes are the
    sample's identity.

    Raises:
        DataError: it is none, or lists of unequal length.
    """
    try:
        _refuse_others(cell, MAX_AXES)
        with np.errstate(over="ignore"):  # infinite then, which the decoder tells
            numbers = np.atleast_1d(np.asarray(cell, dtype=np.float64)).astype("<f4")
    except (ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{shown(cell)} is no array of numbers: {short(str(error))}") from error
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {numbers.shape}, }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    return start + numbers.tobytes()


def decode_array(encoded: bytes) -> Float32[np.ndarray, "..."]:
    """The array of a .npy file, in float32. Nothing is unpickled.

    Raises:
        DataError: it is no whole .npy file; or it does not hold real numbers, holds none, holds
            more than `MAX_NUMBERS`, or one that is not finite as float32.
    """
    shape, fortran, dtype, content = _opened(encoded)
    if dtype.kind not in "biuf":
        raise DataError(
            f"the array is of type {dtype}, expected real numbers. Nothing is unpickled, and "
            "complex numbers are two arrays"
        )
    number = math.prod(shape)
    if min(shape, default=1) < 1 or number > MAX_NUMBERS or len(shape) > MAX_AXES:
        raise DataError(
            f"the array has the shape {short(str(shape))}, expected 1 to {MAX_NUMBERS} numbers "
            f"along at most {MAX_AXES} axes"
        )
    if len(content) != number * dtype.itemsize:
        raise DataError(
            f"the array is cut or has a wrong header: {number} numbers of type {dtype} are "
            f"{number * dtype.itemsize} bytes, {len(content)} are there"
        )
    values = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    with np.errstate(over="ignore"):
        numbers = np.atleast_1d(values.astype(np.float32, order="C"))
    if not np.isfinite(numbers).all():
        raise DataError(
            "the array holds numbers that are not finite as float32 (NaN, infinite or above 3.4e38)"
        )
    return numbers


def same(a: Float32[np.ndarray, "..."], b: Float32[np.ndarray, "..."]) -> bool:
    """Whether two arrays have the same shape and numbers."""
    return np.array_equal(a, b)


def _opened(encoded: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], bytes]:
    """Shape, order, type and bytes. `np.load` would make room for all that a header promises."""
    stream = BytesIO(encoded)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream)
        else:
            header = np.lib.format.read_array_header_2_0(stream)
    except Exception as error:  # the header is parsed as Python, whose errors are many
        raise DataError(
            f"the array ({len(encoded)} bytes) is no .npy file: {short(str(error))}"
        ) from error
    return *header, stream.read()


def _refuse_others(cell: Any, axes: int) -> None:
    """Refuse what numpy would take for a number, such as a string of digits."""
    if isinstance(cell, list | tuple) and axes:
        for part in cell:
            _refuse_others(part, axes - 1)
    elif not isinstance(cell, Real):
        raise ValueError(f"{shown(cell)} stands for a number")


ARRAY = Kind(
    name="array",
    endings=("npy",),
    in_files=False,
    decode=decode_array,
    same=same,
    encode=encode_array,
    shows=heat,
    package="numpy",
)
