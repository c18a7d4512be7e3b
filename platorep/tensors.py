"""Tensors on disk that cannot change unseen: safetensors files with their own checksum.

The metadata has `sha256`, the checksum of the list of `[name, dtype, shape, SHA-256 of the bytes]`
in order of name, and `tensors`, that very list: so some of the tensors can be read and verified
without the others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from platorep.errors import DamagedError, shown
from platorep.files import atomic_path, canonical_json, reading, sha256
from platorep.stamps import Stamp, stamp

T = TypeVar("T")
_DTYPES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8"},
    **{torch.uint8: "U8", torch.uint16: "U16", torch.bool: "BOOL"},
}
"""What the format calls them."""
Check = Sequence[Any]
"""Name, type, shape and checksum of one tensor."""
Verified = set[tuple[Path, tuple[str, ...], Stamp | None]]
"""File, names of tensors, and the stamp of the file."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, whole or not at all.

    Args:
        metadata: What they belong to; `read_tensors` compares it.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    checks = _checks(whole)
    own = {"sha256": _checksum(checks), "tensors": canonical_json(checks)}
    _write(path, whole, {**metadata, **own})


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """A safetensors file, straight from memory: the library's `save` copies all of it three times.

    The length of the header, the header, the bytes; the widest types first, so that none lies
    across the places of its kind.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        tensor, start = tensors[name], end
        end += tensor.nbytes
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    said = canonical_json(header).encode()
    said += b" " * (-len(said) % 8)
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write(len(said).to_bytes(8, "little") + said)
        for name in order:
            file.write(_content(tensors[name]))


def read_metadata(path: Path, cure: str) -> dict[str, str]:
    """The metadata alone, not verified.

    Raises:
        FileNotFoundError: it is not there.
        DamagedError: it is no safetensors file.
    """
    return _open(path, lambda file: dict(file.metadata() or {}), cure)


def read_tensors(
    path: Path,
    metadata: Mapping[str, str],
    cure: str,
    *,
    choose: Callable[[list[str]], list[str]] = list,
    verified: Verified | None = None,
) -> dict[str, Tensor]:
    """The tensors of a file by name, verified; mapped into memory, and read where they are used.

    Args:
        metadata: What it must say that they belong to.
        cure: What to do if it is damaged, as a sentence.
        choose: Which of the names in order are read; nothing else of the file is.
        verified: What has been verified before, and is not again if the file is still the same.

    Raises:
        FileNotFoundError: it is not there.
        DamagedError: it is cut, has a flipped bit, or belongs to something else.
    """

    def read(file: Any) -> tuple[dict[str, str], list[str], list[str], dict[str, Tensor]]:
        said, names = dict(file.metadata() or {}), sorted(file.keys())
        chosen = choose(names)
        # without the list (an older platorep) all have to be read
        needed = chosen if "tensors" in said else names
        return said, names, chosen, {name: file.get_tensor(name) for name in needed}

    now = None if verified is None else stamp(path)  # before the file is read
    said, names, chosen, tensors = _open(path, read, cure)
    key = path, tuple(chosen), now
    if verified is not None and key in verified:
        return {name: tensors[name] for name in chosen}
    checks = _checks(tensors)
    if len(tensors) < len(names):
        checks = _with_the_rest(path, said["tensors"], names, checks, cure)
    expected = {
        **metadata,
        "sha256": _checksum(checks),
        "tensors": said.get("tensors") and canonical_json(checks),
    }
    for name, value in expected.items():
        if said.get(name) != value:
            raise DamagedError(
                f"{path} is damaged: {name} is {shown(said.get(name))} in the file, expected "
                f"{shown(value)}. {cure}"
            )
    if verified is not None:
        verified.add(key)
    return {name: tensors[name] for name in chosen}


def _open(path: Path, read: Callable[[Any], T], cure: str) -> T:
    try:
        with reading(path):
            path.open("rb").close()  # safetensors calls all that it cannot open absent
            with safetensors.safe_open(path, framework="pt") as file:
                return read(file)
    except FileNotFoundError:
        raise
    except IsADirectoryError as error:
        raise DamagedError(f"a folder is in the place of {path}. {cure}") from error
    except (safetensors.SafetensorError, OSError, ValueError, IndexError) as error:
        raise DamagedError(
            f"{path} is damaged: not a whole safetensors file: {error}. {cure}"
        ) from error


def _checks(tensors: Mapping[str, Tensor]) -> list[Check]:
    """Name, type, shape and checksum of each tensor, in order of name."""
    return [
        [name, str(tensor.dtype), list(tensor.shape), sha256(_content(tensor))]
        for name, tensor in sorted(tensors.items())
    ]


def _content(tensor: Tensor) -> memoryview:
    """Its bytes, where they are."""
    if not tensor.numel():
        return memoryview(b"")
    content: memoryview = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data
    return content


def _checksum(checks: Sequence[Check]) -> str:
    """Over names, types, shapes and bytes, so that nothing in the file can change unseen."""
    return sha256(canonical_json(checks).encode())


def _with_the_rest(
    path: Path, said: str, names: Sequence[str], checks: Sequence[Check], cure: str
) -> list[Check]:
    """The checks of all tensors: those just made, and of what was not read what the list says."""
    try:
        listed = {check[0]: check for check in json.loads(said)}
        if list(listed) != list(names):
            raise ValueError("it has other names than the file")
    except (ValueError, TypeError, LookupError) as error:
        raise DamagedError(
            f"{path} is damaged: its list of tensors is none: {error}. {cure}"
        ) from error
    return list((listed | {check[0]: check for check in checks}).values())
