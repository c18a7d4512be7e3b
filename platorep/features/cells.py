"""The feature cache: one folder per cell (a dataset's rows through one model), one key.

docs/format.md is the specification of what lies on disk; keep the two together.
Axes: n samples, d features; one tensor `n d` per layer, since widths may differ.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from platorep.errors import AbsentError, IntegrityError
from platorep.files import (
    atomic_path,
    canonical_json,
    digest,
    sha256,
    slug,
    write_bytes,
    write_json,
)

FORMAT_VERSION = 1  # raise when the layout or the meaning of a field changes


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which samples a cell holds, in order: their ids and the hashes of what the model saw."""

    ids: tuple[str, ...]
    hashes: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        return sha256(canonical_json([self.ids, self.hashes]).encode())

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, kw_only=True)
class CellKey:
    """All that is meant to move a number. Batch size, device and versions are not in it."""

    model: Mapping[str, Any]  # what `Model.identity()` says
    rows: str  # Rows.fingerprint
    compute_dtype: str
    store_dtype: str

    def fields(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "model": dict(self.model),
            "rows": self.rows,
            "compute_dtype": self.compute_dtype,
            "store_dtype": self.store_dtype,
        }

    def digest(self) -> str:
        return digest(self.fields())


@dataclass(frozen=True)
class Cell:
    """A folder of the cache: the features of all layers of one model on some rows."""

    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        """What `create` wrote.

        Raises:
            AbsentError: there is no such cell.
            IntegrityError: its meta.json cannot be read or has a format of the future.
        """
        path = self.folder / "meta.json"
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            version = int(meta["format_version"])
        except FileNotFoundError as error:
            raise AbsentError(
                f"no cached features in {self.folder}. Run `platorep extract` with this "
                "experiment first."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(
                f"{path} is not a cell's description ({error}). Delete {self.folder} and "
                "extract again."
            ) from error
        if version > FORMAT_VERSION:
            raise IntegrityError(
                f"{path} has format {version}, this platorep reads up to {FORMAT_VERSION}. "
                "Update platorep."
            )
        assert isinstance(meta, dict)
        return meta

    @property
    def num_rows(self) -> int:
        return int(self.meta["num_rows"])

    @property
    def layers(self) -> list[str]:
        return [layer["name"] for layer in self.meta["layers"]]

    def exists(self) -> bool:
        return (self.folder / "meta.json").exists()

    def create(
        self,
        key: CellKey,
        rows: Rows,
        layers: Sequence[tuple[str, int]],
        rows_per_shard: int,
        facts: Mapping[str, Any],
    ) -> None:
        """Describe the cell, before its first shard; does nothing if that is done already.

        Args:
            layers: Name and width of each.
            facts: Recorded beside the key, without moving it (versions, device, notes).
        """
        if self.exists():
            return
        with atomic_path(self.folder / "rows.parquet") as partial:
            pd.DataFrame({"id": rows.ids, "sha256": rows.hashes}).to_parquet(partial, index=False)
        write_json(
            self.folder / "meta.json",
            {
                "format_version": FORMAT_VERSION,
                "key": key.fields(),
                "num_rows": len(rows),
                "rows_per_shard": rows_per_shard,
                "layers": [{"name": name, "width": width} for name, width in layers],
                "facts": dict(facts),
            },
        )

    def rows(self) -> Rows:
        """The samples of this cell.

        Raises:
            IntegrityError: the file is damaged or belongs to another key.
        """
        path = self.folder / "rows.parquet"
        try:
            frame = pd.read_parquet(path)
            rows = Rows(ids=tuple(frame["id"]), hashes=tuple(frame["sha256"]))
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(path, str(error)) from error
        if rows.fingerprint != self.meta["key"]["rows"]:
            raise self._damaged(path, "its rows or their order are not those of the key")
        return rows

    def shard_range(self, index: int) -> range:
        per_shard = int(self.meta["rows_per_shard"])
        return range(index * per_shard, min((index + 1) * per_shard, self.num_rows))

    @property
    def num_shards(self) -> int:
        return num_shards(self.num_rows, int(self.meta["rows_per_shard"]))

    def shard_path(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.safetensors"

    def missing_shards(self) -> list[int]:
        return [i for i in range(self.num_shards) if not self.shard_path(i).exists()]

    def is_complete(self) -> bool:
        return self.exists() and not self.missing_shards()

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*") if path.is_file())

    def write_shard(self, index: int, features: Sequence[Float[Tensor, "n _"]]) -> None:
        """Write the rows `shard_range(index)` of every layer, whole or not at all."""
        rows = self.shard_range(index)
        assert {len(layer) for layer in features} == {len(rows)}, "rows of a shard"
        dtype = getattr(torch, self.meta["key"]["store_dtype"])
        tensors = {
            f"layer-{i:03d}": layer.to(dtype).contiguous() for i, layer in enumerate(features)
        }
        metadata = {
            "sha256": _checksum(checked := _checked(tensors)),
            "rows": f"{rows.start}:{rows.stop}",
            "key": digest(self.meta["key"]),
            "tensors": canonical_json(checked),  # so that one layer can be read and verified
        }
        write_bytes(self.shard_path(index), safetensors.torch.save(tensors, metadata))

    def read_shard(
        self, index: int, layers: Sequence[int] | None = None
    ) -> list[Float[Tensor, "n _"]]:
        """The rows of one shard, one float32 tensor per layer.

        Args:
            layers: Only these, by number; nothing else is read from the disk.

        Raises:
            AbsentError: the shard is not there.
            IntegrityError: it is cut short, has a flipped bit, or belongs to other rows.
        """
        path = self.shard_path(index)
        rows = self.shard_range(index)
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                names = sorted(file.keys())
                wanted = names if layers is None else [names[i] for i in layers]
                whole = layers is None or "tensors" not in metadata  # of an older platorep
                tensors = {name: file.get_tensor(name) for name in (names if whole else wanted)}
        except FileNotFoundError as error:
            raise AbsentError(
                f"no rows {rows.start} to {rows.stop - 1} in {self.folder}: expected {path.name}. "
                "Run `platorep extract` with this experiment again: it makes only what is missing."
            ) from error
        except (safetensors.SafetensorError, OSError, ValueError, IndexError) as error:
            raise self._damaged(path, f"not a whole safetensors file: {error}") from error
        checked = _checked(tensors)
        if not whole:
            checked = self._with_the_rest(path, metadata["tensors"], checked)
        expected = {
            "sha256": _checksum(checked),
            "rows": f"{rows.start}:{rows.stop}",
            "key": digest(self.meta["key"]),
            "tensors": metadata.get("tensors") and canonical_json(checked),
        }
        for name, value in expected.items():
            if metadata.get(name) != value:
                found = metadata.get(name)
                raise self._damaged(path, f"{name} is {found!r} in the file, expected {value!r}")
        return [tensors[name].float() for name in wanted]

    def read(self, num_rows: int | None = None) -> list[Float[Tensor, "n _"]]:
        """All rows of all layers, or the first `num_rows`, verified."""
        count = self.num_rows if num_rows is None else min(num_rows, self.num_rows)
        needed = num_shards(count, int(self.meta["rows_per_shard"]))
        shards = [self.read_shard(i) for i in range(needed)]
        return [torch.cat(parts)[:count] for parts in zip(*shards, strict=True)]

    def _with_the_rest(
        self, path: Path, said: str, checked: Sequence[Sequence[Any]]
    ) -> list[Sequence[Any]]:
        """The checksums of all layers: those just made, and of what was not read what it says."""
        try:
            made = {entry[0]: entry for entry in checked}
            return [made.get(entry[0], entry) for entry in json.loads(said)]
        except (ValueError, TypeError, LookupError) as error:
            raise self._damaged(path, f"its list of tensors is none: {error}") from error

    def _damaged(self, path: Path, why: str) -> IntegrityError:
        return IntegrityError(
            f"{path} is damaged: {why}. `platorep cache clean --broken` removes what is damaged; "
            "then run `platorep extract` again."
        )


def num_shards(num_rows: int, rows_per_shard: int) -> int:
    return -(-num_rows // rows_per_shard)


def cell_of(root: Path, dataset: str, model: str, key: CellKey) -> Cell:
    """The place of a cell below the cache's root, whether it is there or not."""
    return Cell(root / "features" / slug(dataset) / slug(model) / key.digest())


def all_cells(root: Path) -> Iterator[Cell]:
    """Every cell of the cache, in order of path."""
    for path in sorted((root / "features").glob("*/*/*/meta.json")):
        yield Cell(path.parent)


def _checked(tensors: Mapping[str, Tensor]) -> list[Sequence[Any]]:
    """Name, type, shape and checksum of each tensor, in order of name."""
    parts: list[Sequence[Any]] = []
    for name, tensor in sorted(tensors.items()):
        content = tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        parts.append([name, str(tensor.dtype), list(tensor.shape), sha256(content)])
    return parts


def _checksum(checked: Sequence[Sequence[Any]]) -> str:
    """Over names, types, shapes and bytes, so that nothing in the file can change unseen."""
    return sha256(canonical_json(checked).encode())
