"""Models of which only a bundle is there: their features, as somebody else extracted them."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.bundles import Bundle, find_bundle
from platorep.bundles.about import CURE, RESULTS, is_cell
from platorep.config import ModelSpec
from platorep.config.paths import ABOUT
from platorep.errors import (
    AbsentError,
    ConfigError,
    DamagedError,
    IntegrityError,
    PlatorepError,
    UnknownNameError,
)
from platorep.files import digest, read_sealed
from platorep.identities import RowIdentities, RowsFile
from platorep.models.base import Description, Loaded, Model, Reading, refuse_other_settings
from platorep.stamps import Stamp, stamp
from platorep.tensors import read_tensors


class BundledModel(Model):
    """A model of a bundle, under its label there.

    Its identity is what it was in the bundle: its features have the key that they would have if
    they had been made here.
    """

    def __init__(self, spec: ModelSpec) -> None:
        refuse_other_settings(spec, "bundle")
        if spec.bundle is None:
            raise ConfigError(
                f"model {spec.label!r}: `backend: bundle` needs `bundle`: a folder, an archive "
                "(*.zip), or hub:user/name."
            )
        self.spec, self._name = spec, spec.bundle

    @cached_property
    def _bundle(self) -> Bundle:
        path = Path(self._name)
        return _found(self._name, stamp(path / ABOUT if path.is_dir() else path))

    @cached_property
    def _entry(self) -> dict[str, Any]:
        """What the bundle says of the model."""
        cells = read_sealed(self._bundle.folder / RESULTS / "cells.json", of=None, cure=CURE)
        known: dict[str, dict[str, Any]] = cells.get("cells", {})
        if self.spec.name not in known:
            raise UnknownNameError(f"model of {self._name}", self.spec.name, known)
        return known[self.spec.name]

    @cached_property
    def _folder(self) -> Path:
        if not self._bundle.has_features:
            raise AbsentError(
                f"{self._name} holds neighbor lists, no features of {self.spec.name}. `platorep "
                "score FEATURES BUNDLE` takes lists; for `align` ask whoever made the bundle for "
                "one with features (`platorep bundle --features all`)."
            )
        if not is_cell(str(self._entry.get("folder"))):
            raise DamagedError(f"{self._name}: {self.spec.name} lies nowhere. {CURE}")
        return self._bundle.folder / str(self._entry["folder"])

    @cached_property
    def meta(self) -> dict[str, Any]:
        """Of its cell."""
        try:
            meta = read_sealed(self._folder / "meta.json", of=self._folder.name, cure=CURE)
            if digest(meta["key"]) != self._folder.name or int(meta["format_version"]) != 1:
                raise ValueError("it is another cell's")
            if not all(int(meta[name]) > 0 for name in ("num_rows", "rows_per_shard")):
                raise ValueError("it has no rows")
            self._described(meta)
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{self._folder / 'meta.json'} is damaged: {error!r}. {CURE}"
            ) from error
        return meta

    @property
    def precision(self) -> str:
        precision: str = self.meta["key"]["compute_dtype"]
        return precision

    def identity(self) -> dict[str, Any]:
        return dict(self.meta["key"]["model"])

    def describe(self) -> Description:
        try:
            layers, widths = self._described(self.meta)
            parameters = self._entry.get("num_parameters")
        except PlatorepError as error:
            return Description(unknown=(str(error),))
        return Description(layers=layers, widths=widths, parameters=parameters, download_bytes=0)

    @staticmethod
    def _described(meta: dict[str, Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
        layers = meta["layers"]
        return tuple(str(one["name"]) for one in layers), tuple(int(one["width"]) for one in layers)

    def refuse_other_rows(self, rows: RowIdentities) -> None:
        """Refuse a dataset whose rows are not those of the features.

        Raises:
            IntegrityError: says which is the first that differs.
        """
        if self.meta["key"]["rows"] == rows.fingerprint:
            return
        where = f"{self.meta['num_rows']} rows, the data set has {len(rows)}"
        try:
            held = RowsFile(self._folder / "rows.parquet").read_all()
            pairs = zip(held["id"], held["sha256"], rows.ids, rows.hashes, strict=False)
            for number, (one, hash_one, other, hash_other) in enumerate(pairs):
                if (one, hash_one) != (other, hash_other):
                    what = f"{one!r}" if one != other else f"{one!r} with other content"
                    where = f"row {number} is {what}, in the data set {other!r}"
                    break
        except (OSError, ValueError, KeyError) as error:
            raise DamagedError(f"{self._name}: {error}. {CURE}") from error
        raise IntegrityError(
            f"the features of {self.spec.label} in {self._name} belong to other rows: {where}. The "
            "data set must have the very rows of the bundle, in its order (results/rows.parquet in "
            "it lists them); what a model reads is compared by its hash, arrays by ids alone "
            "(modality: other)."
        )

    def download(self) -> None:
        assert self.meta  # the bundle is there, and whole

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        loaded = LoadedBundled(self._folder, self.meta, self._described(self.meta)[0])
        commit = f", commit {self._bundle.revision}" if self._bundle.revision else ""
        said = f"{self.spec.label}: from {self._name} ({ABOUT} {self._bundle.digest[:16]}{commit})"
        loaded.details = (said,)
        return loaded


@lru_cache(maxsize=8)
def _found(name: str, now: Stamp | None) -> Bundle:
    """A bundle that several models are of is checked once, for as long as it stays what it is."""
    return find_bundle(name)


class LoadedBundled(Loaded):
    notes: tuple[str, ...] = ()

    def __init__(self, folder: Path, meta: dict[str, Any], layers: tuple[str, ...]) -> None:
        self._folder, self._meta, self.layers = folder, meta, layers

    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        """Those of the bundle, whose rows are the dataset's."""
        rows = list(reading.rows)
        per_shard = int(self._meta["rows_per_shard"])
        shards = {index: self._shard(index, per_shard) for index in {r // per_shard for r in rows}}
        made = [
            torch.stack([shards[row // per_shard][layer][row % per_shard] for row in rows]).float()
            for layer in range(len(self.layers))
        ]
        reading.progress(len(rows))
        return made

    def _shard(self, index: int, per_shard: int) -> Sequence[Tensor]:
        stop = min((index + 1) * per_shard, int(self._meta["num_rows"]))
        said = {"rows": f"{index * per_shard}:{stop}", "key": digest(self._meta["key"])}
        path = self._folder / f"shard-{index:05d}.safetensors"
        return list(read_tensors(path, said, CURE).values())
