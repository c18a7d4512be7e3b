"""The feature cache: one folder per cell (a dataset's rows through one model), one key.

docs/format.md is the specification of what lies on disk; keep the two together.
Axes: n samples, d features; one tensor `n d` per layer, since widths may differ.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from platorep.errors import AbsentError, DamagedError, DataError, IntegrityError
from platorep.files import (
    ByteLocks,
    atomic_path,
    digest,
    read_sealed,
    remove,
    slug,
    storage_errors,
    write_sealed,
)
from platorep.identities import BLOCK_ROWS, Identity, RowIdentities, RowsFile, write_rows
from platorep.tensors import Verified, read_tensors, write_tensors

FORMAT_VERSION = 1  # raise when the layout or the meaning of a field changes
CURE = "`platorep cache clean --broken` removes what is damaged; then run `platorep extract` again."


@dataclass(frozen=True, kw_only=True)
class CellKey:
    """All that is meant to move a number. Batch size, device and versions are not in it."""

    model: Mapping[str, Any]  # what `Model.identity()` says
    rows: str  # RowIdentities.fingerprint
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
            DamagedError: its meta.json cannot be read or belongs to another cell.
            IntegrityError: it has a format of the future.
        """
        path = self.folder / "meta.json"
        try:
            meta = read_sealed(path, of=self.folder.name, cure=CURE)
            version = int(meta["format_version"])
            if version > FORMAT_VERSION:
                raise IntegrityError(
                    f"{path} has format {version}, this platorep reads up to {FORMAT_VERSION}. "
                    f"Update platorep, or delete {self.folder} and extract again."
                )
            key = digest(meta["key"])
            for name in ("num_rows", "rows_per_shard"):
                if int(meta[name]) < 1:
                    raise ValueError(f"{name} is {meta[name]}")
        except FileNotFoundError as error:
            raise AbsentError(
                f"no cached features in {self.folder}. Run `platorep extract` with this "
                "experiment first."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(path, f"no cell's description: {error!r}") from error
        if key != self.folder.name:
            raise self._damaged(path, f"it describes the cell {key}")
        return meta

    @property
    def num_rows(self) -> int:
        return int(self.meta["num_rows"])

    @property
    def layers(self) -> list[str]:
        return [layer["name"] for layer in self.meta["layers"]]

    def exists(self) -> bool:
        """Whether the cell is described; without its description, what lies there is nothing."""
        return (self.folder / "meta.json").exists()

    def create(
        self,
        key: CellKey,
        rows: RowIdentities,
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
        with ByteLocks(self.folder / ".create.lock") as locks:
            locks.acquire(0, wait=True)
            if self.exists():
                return
            for orphan in self._orphans():
                with storage_errors(orphan):
                    remove(orphan)
            self._write_rows(rows)
            content = {
                "format_version": FORMAT_VERSION,
                "key": key.fields(),
                "num_rows": len(rows),
                "rows_per_shard": rows_per_shard,
                "blocks": {
                    "rows": BLOCK_ROWS,
                    "id": list(rows.identity.ids),
                    "sha256": list(rows.identity.hashes),
                },
                "layers": [{"name": name, "width": width} for name, width in layers],
                "facts": dict(facts),
            }
            write_sealed(self.folder / "meta.json", content, of=key.digest())

    def remove(self) -> None:
        """Remove all that the cell holds: first its description, so that a kill leaves nothing
        that passes for features."""
        with storage_errors(self.folder):
            remove(self.folder / "meta.json")
            for path in self.files():
                remove(path)

    def files(self) -> list[Path]:
        """Everything in the folder but locks and what killed processes left."""
        return sorted(self.folder.glob("[!.]*"))

    @property
    def rows_path(self) -> Path:
        return self.folder / "rows.parquet"

    def mend_rows(self, rows: RowIdentities) -> bool:
        """Write the rows of the key anew where the file is missing or damaged; True if it was."""
        try:
            self.check_rows()
        except DamagedError:
            assert rows.fingerprint == self.meta["key"]["rows"], "rows of the key"
            self._write_rows(rows)
            return True
        return False

    def _write_rows(self, rows: RowIdentities) -> None:
        with atomic_path(self.rows_path) as partial:
            write_rows(partial, {"id": rows.ids, "sha256": rows.hashes}, rows.fingerprint)

    def check_rows(self) -> None:
        """See that the file of the rows is there and of the key; reads none of it that says so.

        Raises: as `rows`.
        """
        with self._reading_rows():
            named, num_rows = RowsFile(self.rows_path).about()
            if named is None:  # an older version wrote it
                self.rows()
            elif (named, num_rows) != (self.meta["key"]["rows"], self.num_rows):
                raise ValueError("its rows are not those of the key")

    def rows(self) -> RowIdentities:
        """The samples of this cell.

        Raises:
            DamagedError: the file is missing, damaged or belongs to another key.
        """
        with self._reading_rows():
            columns = RowsFile(self.rows_path).read_all()
            rows = RowIdentities(ids=columns["id"], hashes=columns["sha256"])
            if rows.fingerprint != self.meta["key"]["rows"]:
                raise ValueError("its rows or their order are not those of the key")
        return rows

    def identity(self) -> Identity:
        """What tells whether these are the rows of another cell, without reading them.

        Raises: as `rows`, of a cell that an older version made.
        """
        blocks = self.meta.get("blocks", {})
        if blocks.get("rows") != BLOCK_ROWS:
            return self.rows().identity
        return Identity(
            fingerprint=self.meta["key"]["rows"],
            ids=tuple(blocks["id"]),
            hashes=tuple(blocks["sha256"]),
        )

    def some_rows(self, rows: range) -> RowIdentities:
        """Some of the samples; of a cell that is not of an older version, nothing else is read.

        Raises: as `rows`.
        """
        identity = self.identity()
        blocks = {"id": identity.ids, "sha256": identity.hashes}
        with self._reading_rows():
            found = RowsFile(self.rows_path).read(blocks, rows)
        return RowIdentities(ids=found["id"], hashes=found["sha256"])

    @contextmanager
    def _reading_rows(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(self.rows_path, str(error)) from error

    def shard_range(self, index: int) -> range:
        per_shard = int(self.meta["rows_per_shard"])
        return range(index * per_shard, min((index + 1) * per_shard, self.num_rows))

    @property
    def num_shards(self) -> int:
        return num_shards(self.num_rows, int(self.meta["rows_per_shard"]))

    def shard_path(self, index: int) -> Path:
        return self.folder / f"shard-{index:05d}.safetensors"

    def missing_shards(self) -> list[int]:
        there = self.names()
        return [i for i in range(self.num_shards) if self.shard_path(i).name not in there]

    def names(self) -> set[str]:
        """Of what lies in the folder, which is looked through once."""
        try:
            return {entry.name for entry in os.scandir(self.folder)}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def is_complete(self) -> bool:
        return self.exists() and not self.missing_shards()

    def size_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.glob("*") if path.is_file())

    def write_shard(self, index: int, features: Sequence[Float[Tensor, "n _"]]) -> None:
        """Write the rows `shard_range(index)` of every layer, whole or not at all.

        Raises:
            DataError: a value is not finite, or would not be in the precision on disk.
        """
        rows = self.shard_range(index)
        assert {len(layer) for layer in features} == {len(rows)}, "rows of a shard"
        dtype = getattr(torch, self.meta["key"]["store_dtype"])
        stored = [layer.to(dtype) for layer in features]
        for number, layer in enumerate(stored):
            if bool(layer.sum(dtype=torch.float32).isfinite()):  # then all are; a sixth of the time
                continue
            bad = (~layer.isfinite().all(dim=1)).nonzero().flatten().tolist()
            if bad:
                raise self._not_finite(number, rows[bad[0]], len(bad), features[number][bad[0]])
        tensors = {f"layer-{i:03d}": layer for i, layer in enumerate(stored)}
        write_tensors(self.shard_path(index), tensors, self._shard_metadata(index))

    def read_shard(
        self,
        index: int,
        layers: Sequence[int] | None = None,
        *,
        places: Int64[Tensor, " m"] | None = None,
        verified: Verified | None = None,
    ) -> list[Float[Tensor, "_ _"]]:
        """The rows of one shard, one float32 tensor per layer.

        Args:
            layers: Only these, by number; nothing else is read from the disk.
            places: Only these rows of the shard.
            verified: The shards that have been read before: if they are still the same files,
                nothing but `places` is read from the disk.

        Raises:
            AbsentError: the shard is not there.
            DamagedError: it is cut short, has a flipped bit, or belongs to other rows.
        """

        def chosen(names: list[str]) -> list[str]:
            return names if layers is None else [names[i] for i in layers]

        path = self.shard_path(index)
        try:
            tensors = read_tensors(
                path, self._shard_metadata(index), CURE, choose=chosen, verified=verified
            )
        except FileNotFoundError as error:
            rows = self.shard_range(index)
            raise AbsentError(
                f"no rows {rows.start} to {rows.stop - 1} in {self.folder}: expected {path.name}. "
                "Run `platorep extract` with this experiment again: it makes only what is missing."
            ) from error
        return [
            (tensor if places is None else tensor[places]).float() for tensor in tensors.values()
        ]

    def _not_finite(
        self, layer: int, row: int, num_rows: int, values: Float[Tensor, " d"]
    ) -> DataError:
        """Which layer and row, the setting that is the cause, and the cure."""
        store, compute = (self.meta["key"][name] for name in ("store_dtype", "compute_dtype"))
        if values.isfinite().all():
            cause = (
                f"reaches {float(values.abs().max()):.3g}, and `extract.store: {store}` holds no "
                f"more than {torch.finfo(getattr(torch, store)).max:.3g}. Set `extract.store: "
                "float32`"
            )
        elif compute == "float16":
            cause = (
                "holds a value that is not finite, an overflow of `dtype: float16`. Set `dtype: "
                "float32` (or bfloat16)"
            )
        else:
            cause = (
                f"holds a value that is not finite, though it is computed in {compute}: the "
                "model's weights are broken, or it cannot read this row. Check the weights, drop "
                "the row, or leave the layer out (`layers: [...]`)"
            )
        model = self.meta["facts"].get("label", self.folder.parent.name)
        (row_id,) = self.some_rows(range(row, row + 1)).ids
        return DataError(
            f"{model}: layer {self.layers[layer]!r} of row {row_id!r} {cause}. "
            f"{num_rows} rows of this shard are so, and it was not written."
        )

    def _shard_metadata(self, index: int) -> dict[str, str]:
        rows = self.shard_range(index)
        return {"rows": f"{rows.start}:{rows.stop}", "key": digest(self.meta["key"])}

    def read(
        self, num_rows: int | None = None, layers: Sequence[int] | None = None
    ) -> list[Float[Tensor, "n _"]]:
        """All rows of all layers, or the first `num_rows`, verified.

        Args:
            layers: As of `read_shard`.
        """
        count = self.num_rows if num_rows is None else min(num_rows, self.num_rows)
        found: list[Tensor] = []
        start = 0
        for block in self.blocks(num_rows, layers):
            found = found or [part.new_empty(count, part.shape[1]) for part in block]
            for whole, part in zip(found, block, strict=True):
                whole[start : start + len(part)] = part
            start += len(block[0])
        return found

    def blocks(
        self, num_rows: int | None = None, layers: Sequence[int] | None = None
    ) -> Iterator[list[Float[Tensor, "m _"]]]:
        """What `read` reads, shard by shard."""
        count = self.num_rows if num_rows is None else min(num_rows, self.num_rows)
        for index in range(num_shards(count, int(self.meta["rows_per_shard"]))):
            end = count - self.shard_range(index).start
            yield [part[:end] for part in self.read_shard(index, layers)]

    def _orphans(self) -> list[Path]:
        return [path for path in self.files() if path.name.startswith("shard-")]

    def _damaged(self, path: Path, why: str) -> DamagedError:
        return DamagedError(f"{path} is damaged: {why}. {CURE}")


def num_shards(num_rows: int, rows_per_shard: int) -> int:
    return -(-num_rows // rows_per_shard)


def cell_of(root: Path, dataset: str, model: str, key: CellKey) -> Cell:
    """The place of a cell below the cache's root, whether it is there or not."""
    return Cell(root / "features" / slug(dataset) / slug(model) / key.digest())


def all_cells(root: Path) -> Iterator[Cell]:
    """Every folder of the cache that holds anything, in order of path: cells, and orphans."""
    for folder in sorted((root / "features").glob("*/*/*/")):
        cell = Cell(folder)
        if cell.files():
            yield cell
