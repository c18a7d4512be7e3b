"""Files that say themselves whether they are whole, refusals in words, locks or none."""

import errno
import fcntl
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from platorep import tensors as tensors_module
from platorep.errors import DamagedError, PlatorepError, StorageError, UnreadableError
from platorep.files import (
    ByteLocks,
    read_json,
    read_sealed,
    reading,
    refusal,
    storage_errors,
    write_json,
    write_sealed,
)
from platorep.tensors import read_tensors, write_tensors

CONTENT = {"value": 1.154, "counts": {1: (2, 3)}, "nothing": None, "odd": float("inf")}
CURE = "Do it again."


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / "measurement.json"
    (tmp_path / "grid").write_bytes(b"0123")
    write_sealed(path, CONTENT, of="key", files=["grid"])
    return path


def test_what_is_sealed_is_read(sealed: Path) -> None:
    expected = json.loads(json.dumps(CONTENT))

    assert read_sealed(sealed, of="key", cure=CURE) == expected
    assert read_sealed(sealed, of=None, cure=CURE) == expected


def test_no_flipped_bit_changes_a_sealed_number(sealed: Path) -> None:
    content, expected = sealed.read_bytes(), json.loads(json.dumps(CONTENT))
    seen = 0
    for place in range(len(content)):
        sealed.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = read_sealed(sealed, of="key", cure=CURE)
        except DamagedError:
            seen += 1
        else:  # the flip hit white space, or the word `seal` itself
            assert {name: found[name] for name in expected} == expected
    assert seen > len(content) / 2


def test_a_file_of_another_is_no_substitute(sealed: Path) -> None:
    with pytest.raises(DamagedError, match="belongs to 'key', expected 'other'"):
        read_sealed(sealed, of="other", cure=CURE)


@pytest.mark.parametrize("content", [b"0124", b"012", b"", None])
def test_a_file_beside_it_is_guarded(sealed: Path, content: bytes | None) -> None:
    grid = sealed.with_name("grid")
    grid.unlink()
    if content is not None:
        grid.write_bytes(content)

    with pytest.raises(DamagedError, match=f"{grid}.*{CURE}"):
        read_sealed(sealed, of="key", cure=CURE)


def test_what_0_1_0_wrote_has_no_seal(tmp_path: Path) -> None:
    write_json(tmp_path / "old.json", {"value": 1})

    assert read_sealed(tmp_path / "old.json", of="key", cure=CURE) == {"value": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"7", b"\xff\xfe", b"[" * 5000])
def test_no_json_is_damage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)

    with pytest.raises(DamagedError, match=CURE):
        read_json(path, CURE)


def test_a_folder_in_the_place_of_a_file_is_damage(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    with pytest.raises(DamagedError, match="a folder is in the place of"):
        read_json(tmp_path / "a", CURE)
    with pytest.raises(DamagedError, match="a folder is in the place of"):
        read_tensors(tmp_path / "a", {}, CURE)


def test_tensors_of_any_shape_come_back(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor(3.0), "b": torch.zeros(0, 4), "c": torch.arange(6).reshape(2, 3).T}
    path = tmp_path / "state.safetensors"
    write_tensors(path, tensors, {"of": "x"})

    found = read_tensors(path, {"of": "x"}, CURE)
    some = read_tensors(path, {"of": "x"}, CURE, choose=lambda names: names[2:])

    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert list(some) == ["c"]
    with pytest.raises(DamagedError, match="of is 'x' in the file, expected 'y'"):
        read_tensors(path, {"of": "y"}, CURE)
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path / "none", {}, CURE)


def test_tensors_are_written_as_the_library_would(tmp_path: Path) -> None:
    """Every type, an odd number of each, read by the library itself; each where it is aligned."""
    dtypes = [*tensors_module._DTYPES]
    tensors = {f"\u00e4{i}": torch.arange(3).to(dtype) for i, dtype in enumerate(dtypes)}
    path = tmp_path / "a.safetensors"
    write_tensors(path, tensors, {"of": "\u00e4"})

    content = path.read_bytes()
    found = safetensors.torch.load(content)
    by_library = safetensors.torch.load(safetensors.torch.save(tensors))
    assert found.keys() == by_library.keys()
    for name, tensor in by_library.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert header.pop("__metadata__")["of"] == "\u00e4"
    assert length % 8 == 0
    assert all(one["data_offsets"][0] % tensors[n].itemsize == 0 for n, one in header.items())


# --- the operating system


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "permission is denied"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.EIO, "the disk does not answer"),
    ],
)
def test_refusals_are_sentences(number: int, words: str) -> None:
    def refuse() -> None:
        raise OSError(number, "as the kernel has it", "/some/file")

    with pytest.raises(UnreadableError, match=words), reading(Path("/some/file")):
        refuse()
    with pytest.raises(StorageError, match=words), storage_errors(Path("/some/file")):
        refuse()
    told = refusal(OSError(number, "as the kernel has it", "/some/file"))
    assert isinstance(told, PlatorepError)
    assert words in str(told)
    assert told.exit_code == 6


def test_what_is_not_there_is_for_the_caller_to_tell() -> None:
    with pytest.raises(FileNotFoundError), reading(Path("/none")):
        Path("/none").read_bytes()
    assert refusal(FileNotFoundError(errno.ENOENT, "", "/none")) is None
    assert refusal(ValueError("a bug")) is None


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])
def test_without_locks_work_goes_on(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lockf(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with ByteLocks(tmp_path / ".lock") as locks:
        assert locks.acquire(0, wait=True)
        assert locks.acquire_all()
        locks.release(0)


def test_a_lock_that_fails_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with (
        ByteLocks(tmp_path / ".lock") as locks,
        pytest.raises(StorageError, match="cannot lock"),
    ):
        locks.acquire(0, wait=True)
