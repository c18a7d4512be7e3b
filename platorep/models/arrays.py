"""A user's own arrays as a model: features of any network, neural recordings.

Axes: n samples, l layers, d features.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from platorep.arrays import EXACT_IN_FLOAT32, as_features, as_float32, refuse_inflated
from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError, PlatorepError
from platorep.models.base import (
    Description,
    Loaded,
    Model,
    Reading,
    kept_layers,
    refuse_other_settings,
)
from platorep.models.released import first_sentence, read_released
from platorep.models.sources import file_hash

ENDINGS = (".safetensors", ".npy", ".npz", ".pt")


class ArrayModel(Model):
    """A file with one `n d` array per layer (in natural order of their names) or one `n l d`.

    The rows are named by an array `ids` in an .npz, by `ids` (a JSON list) in the metadata of a
    .safetensors, or by a file beside it, FILE.ids.txt (one id per line) or FILE.ids.csv (first
    column, after a header). Without names (a .pt of the paper's released code has none) the order
    of the rows is trusted.
    """

    def __init__(self, spec: ModelSpec) -> None:
        refuse_other_settings(spec, "layers")
        self.spec = spec
        self._path = Path(spec.name)
        if self._path.suffix not in ENDINGS:
            raise ConfigError(
                f"model {spec.label!r}: {spec.name} is no file of arrays. Expected a name that "
                f"ends in {', '.join(ENDINGS)}."
            )

    def identity(self) -> dict[str, Any]:
        self._must_exist()
        beside = self._ids_file
        return {
            "backend": "features",
            "file": file_hash(self._path),
            "ids_file": None if beside is None else file_hash(beside),
            "layers": "all" if self.spec.layers == "all" else list(self._kept),
        }

    def describe(self) -> Description:
        try:
            arrays, kept = self._layers, self._kept
        except PlatorepError as error:
            return Description(unknown=(str(error),))
        return Description(
            layers=tuple(arrays[i][0] for i in kept),
            widths=tuple(arrays[i][1].shape[1] for i in kept),
            weight_bytes=self._path.stat().st_size,
            download_bytes=0,
            unknown=("parameters: arrays have none",),
        )

    def download(self) -> None:
        self._must_exist()

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        return LoadedArrays(self._path, [self._layers[i] for i in self._kept], self._ids)

    def _must_exist(self) -> None:
        if not self._path.is_file():
            raise AbsentError(f"model {self.spec.label!r}: there is no file {self._path}.")

    @cached_property
    def _kept(self) -> tuple[int, ...]:
        return kept_layers(self.spec, len(self._layers))

    @cached_property
    def _content(self) -> tuple[dict[str, Tensor], list[str] | None]:
        """The arrays by name, and the row ids if the file has them."""
        self._must_exist()
        if self._path.suffix == ".pt":
            return {"feats": read_released(self._path)}, None
        try:
            arrays, ids = READERS[self._path.suffix](self._path)
        except PlatorepError:
            raise
        except Exception as error:  # whatever a library makes of a file that is not what it says
            raise IntegrityError(
                f"{self._path} cannot be read: {first_sentence(error)} Expected numeric arrays "
                "(and `ids` as strings or integers: numpy.asarray(ids, str)), written without "
                "pickled objects."
            ) from error
        return {
            name: as_features(array, f"array {name!r} of {self._path}", largest=EXACT_IN_FLOAT32)
            for name, array in arrays.items()
        }, ids

    @cached_property
    def _layers(self) -> list[tuple[str, Tensor]]:
        """Name and `n d` array of every layer."""
        arrays, _ = self._content
        names = sorted(arrays, key=_natural)
        if len(names) == 1 and arrays[names[0]].ndim == 3:
            stack = arrays[names[0]]
            found = [(f"{names[0]}.{i}", stack[:, i]) for i in range(stack.shape[1])]
        else:
            found = [(name, arrays[name]) for name in names]
        shapes = {name: tuple(array.shape) for name, array in found}
        wrong = [name for name, array in found if array.ndim != 2 or 0 in array.shape]
        if wrong or len({shape[0] for shape in shapes.values()}) != 1:
            raise DataError(
                f"{self._path} does not hold features: found {shapes}, expected real arrays "
                "`n d` with the same n, one per layer, or a single one `n l d`."
            )
        return found

    @property
    def _ids_file(self) -> Path | None:
        for ending in (".ids.txt", ".ids.csv"):
            beside = self._path.with_name(self._path.name + ending)
            if beside.is_file():
                return beside
        return None

    @cached_property
    def _ids(self) -> list[str] | None:
        inside, beside = self._content[1], self._ids_file
        if beside is not None:
            try:
                ids = _read_ids(beside)
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                raise DataError(f"{beside} cannot be read as ids in UTF-8: {error}.") from error
        elif inside is not None:
            ids = inside
        else:
            return None
        num_rows = len(self._layers[0][1])
        if len(ids) != num_rows:
            raise DataError(f"{beside or self._path} names {len(ids)} rows of {num_rows}.")
        if len(set(ids)) < num_rows:
            twice = [row_id for row_id, times in Counter(ids).items() if times > 1]
            raise DataError(f"{beside or self._path} names row {twice[0]!r} more than once.")
        return ids


class LoadedArrays(Loaded):
    def __init__(self, path: Path, arrays: list[tuple[str, Tensor]], ids: list[str] | None) -> None:
        self._path, self._arrays = path, arrays
        self._places = None if ids is None else {row_id: i for i, row_id in enumerate(ids)}
        self.layers = tuple(name for name, _ in arrays)

    @property
    def notes(self) -> tuple[str, ...]:
        if self._places is not None:
            return ()
        return (f"{self._path.name} names no rows: their order was trusted to be the dataset's",)

    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        layers = self.take(reading.rows, reading.samples.ids)
        reading.progress(len(reading.rows))
        return layers

    def take(self, rows: Sequence[int], ids: Sequence[str]) -> list[Float[Tensor, "n _"]]:
        """The file's features of these rows of a dataset whose rows have these ids.

        Raises:
            DataError: the file lacks a row, or a value is not finite.
        """
        places = torch.tensor(self._find(rows, ids))
        found = []
        for name, array in self._arrays:
            layer = as_float32(array[places], f"layer {name!r} of {self._path}")
            bad = (~layer.isfinite().all(dim=1)).nonzero().flatten().tolist()
            if bad:
                raise DataError(
                    f"{self._path}: layer {name!r} is not finite in row "
                    f"{ids[rows[bad[0]]]!r} ({len(bad)} such rows). Drop these rows from "
                    "the dataset, or fill the values in."
                )
            found.append(layer)
        return found

    def _find(self, rows: Sequence[int], ids: Sequence[str]) -> list[int]:
        """Where in the file each row of the dataset is."""
        num_rows = len(self._arrays[0][1])
        if self._places is None:
            if num_rows != len(ids):
                raise DataError(
                    f"{self._path} has {num_rows} rows, the dataset {len(ids)}. Give the rows "
                    f"names ({self._path.name}.ids.txt, one id per line), or the same number."
                )
            return list(rows)
        if isinstance(rows, range) and rows.step == 1:
            wanted = list(ids[rows.start : rows.stop])
        else:
            wanted = [ids[i] for i in rows]
        places = [place for name in wanted if (place := self._places.get(name)) is not None]
        if len(places) < len(wanted):
            missing = [row_id for row_id in ids if row_id not in self._places]
            raise DataError(
                f"{self._path} lacks {len(missing)} of the dataset's {len(ids)} rows, the first "
                f"{missing[0]!r}. It has {num_rows} rows, with ids such as "
                f"{next(iter(self._places))!r}. Ids must be the dataset's (rows.parquet in the "
                "folder of results lists them): add these rows, or leave them out of the dataset."
            )
        return places


def read_arrays(file: Path) -> LoadedArrays:
    """The layers of one file, not yet matched to any dataset.

    Raises:
        AbsentError: there is no such file.
        ConfigError: its name has none of the endings.
        IntegrityError: it cannot be read.
    """
    spec = ModelSpec(
        name=str(file), label=file.name, family="own", modality="other", backend="features"
    )
    model = ArrayModel(spec)
    loaded = model.load("cpu", torch.float32)
    assert isinstance(loaded, LoadedArrays)
    return loaded


def _read_safetensors(path: Path) -> tuple[dict[str, Any], list[str] | None]:
    with safe_open(path, framework="pt") as file:
        ids = (file.metadata() or {}).get("ids")
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return arrays, None if ids is None else _strings(json.loads(ids))


def _read_npy(path: Path) -> tuple[dict[str, Any], list[str] | None]:
    with path.open("rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError("it does not begin as an .npy file does.")
    # never unpickle: arrays of Python objects are refused
    return {path.stem: np.load(path, allow_pickle=False)}, None


def _read_npz(path: Path) -> tuple[dict[str, Any], list[str] | None]:
    refuse_inflated(path)
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    ids = arrays.pop("ids", None)
    if ids is None or ids.dtype.kind == "U":
        return arrays, None if ids is None else np.ravel(ids).tolist()
    return arrays, _strings(np.ravel(ids).tolist())


READERS = {".safetensors": _read_safetensors, ".npy": _read_npy, ".npz": _read_npz}
"""Arrays by name, and the ids of the rows if the file has them."""


def _strings(ids: object) -> list[str]:
    if not isinstance(ids, list) or not all(isinstance(i, (str, bytes, int)) for i in ids):
        raise ValueError("`ids` is no list of strings or integers.")
    return [i.decode() if isinstance(i, bytes) else str(i) for i in ids]


def _read_ids(beside: Path) -> list[str]:
    with beside.open(encoding="utf-8", newline="") as file:
        if beside.suffix == ".csv":
            return [row[0] for row in csv.reader(file) if row][1:]
        return [line.rstrip("\r\n") for line in file if line.strip()]


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A sorting key in which layer10 comes after layer2."""
    parts = re.split(r"(\d+)", name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
