"""Numbers in a cell or a .npy file become float32, or a named error."""

import time
import tracemalloc
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from platorep.errors import DataError
from platorep.kinds.array import decode_array, encode_numbers, same


def npy(array: Any, **options: Any) -> bytes:
    stream = BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def header(text: str, content: bytes = b"") -> bytes:
    """A .npy file whose header says anything."""
    padded = text + " " * (-(11 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + content


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (3, [3]),
        (0.1, [0.1]),
        ([1, 2.5, -3], [1, 2.5, -3]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([True, False], [1, 0]),
        ([np.float32(0.5), np.int64(2)], [0.5, 2]),
    ],
)
def test_cells_of_numbers(cell: Any, expected: list[Any]) -> None:
    encoded = encode_numbers(cell)
    found = decode_array(encoded)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.array(expected, np.float32))
    assert np.array_equal(np.load(BytesIO(encoded)), found)  # a whole .npy file, as numpy reads it


def test_the_identity_of_numbers_is_their_values() -> None:
    assert encode_numbers([1, 2]) == encode_numbers([1.0, 2.0])
    assert encode_numbers([1, 2]) != encode_numbers([[1, 2]])
    assert encode_numbers([1, 2]) != encode_numbers([2, 1])
    assert len(encode_numbers([0.0] * 5)) == 128 + 20  # frozen: cells of a cache are named by it


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<f2", "<i8", "|u1", "|b1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files(dtype: str, order: Any) -> None:
    array = np.asarray(np.arange(6).reshape(2, 3), dtype=dtype, order=order)
    found = decode_array(npy(array))
    assert found.dtype == np.float32
    assert np.array_equal(found, array.astype(np.float32))
    assert found.flags.c_contiguous


DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no .npy file"),
    "text": (b"1, 2, 3", "no .npy file"),
    "an archive": (b"PK\x03\x04" + bytes(50), "no .npy file"),
    "a pickle": (b"\x80\x04\x95\x0b", "no .npy file"),
    "objects": (npy(np.array([{}, []], dtype=object), allow_pickle=True), "Nothing is unpickled"),
    "strings": (npy(np.array(["a", "b"])), "expected real numbers"),
    "dates": (npy(np.array(["2020-01-01"], "datetime64[D]")), "expected real numbers"),
    "complex": (npy(np.array([1j])), "expected real numbers"),
    "records": (npy(np.array([(1, 2.0)], "i4,f4")), "expected real numbers"),
    "no numbers": (npy(np.zeros((0, 3))), r"\(0, 3\)"),
    "cut": (npy(np.zeros(9))[:-8], "72 bytes, 64 are there"),
    "too long": (npy(np.zeros(9)) + b"\0", "72 bytes, 73 are there"),
    "a cut header": (npy(np.zeros(9))[:40], "no .npy file"),
    "NaN": (npy(np.array([1.0, np.nan])), "not finite"),
    "infinite": (npy(np.array([-np.inf])), "not finite"),
    "too large for float32": (npy(np.array([1e300])), "not finite"),
    "a header of petabytes": (
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000, 100000), }"),
        "expected 1 to",
    ),
    "a size that overflows": (
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"),
        "expected 1 to",
    ),
    "a negative size": (
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -8), }", bytes(64)),
        "cut|expected|no .npy",
    ),
    "a header that calls": (header("__import__('os').system('true')"), "no .npy file"),
    "a header nested deep": (header("(" * 5000), "no .npy file"),
    "many axes": (npy(np.zeros((1,) * 9)), "at most 8 axes"),
    "another version": (b"\x93NUMPY\x09\x00" + bytes(100), "no .npy file"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name: str) -> None:
    content, message = DAMAGED[name]
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(DataError, match=message):
        decode_array(content)
    seconds, memory = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1
    assert memory < 2**24


@pytest.mark.parametrize(
    "cell",
    [
        None,
        "seven",
        ["1", "2"],
        [1, None],
        [[1, 2], [3]],
        [1, [2]],
        [b"1"],
        {"a": 1},
        [1j],
        [10**400],
        [[[[[[[[[[1]]]]]]]]]],
    ],
    ids=lambda cell: repr(cell)[:20],
)
def test_cells_that_are_no_numbers(cell: Any) -> None:
    with pytest.raises(DataError, match="is no array of numbers"):
        encode_numbers(cell)


@pytest.mark.parametrize("cell", [[float("nan")], [float("inf")], [1e39]])
def test_cells_that_are_not_finite(cell: Any) -> None:
    with pytest.raises(DataError, match="not finite"):
        decode_array(encode_numbers(cell))


def test_same() -> None:
    one = decode_array(encode_numbers([1, 2]))
    assert same(one, decode_array(encode_numbers([1, 2])))
    assert not same(one, decode_array(encode_numbers([[1, 2]])))
    assert not same(one, decode_array(encode_numbers([1, 3])))
