"""Where a transformers model's files come from: a local folder, or a hub repository."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError
from platorep.files import sha256_file
from platorep.hub import FETCH_FIRST
from platorep.models.hub import Repository, open_repository
from platorep.stamps import Stamp, settled_stamp

TOKENIZER = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
    "*.tiktoken",
    "tekken.json",
)
SAFE = re.compile(r"model(?:-\d+-of-(\d+))?\.safetensors")
PICKLED = re.compile(r"pytorch_model(?:-\d+-of-(\d+))?\.bin")


class Source(ABC):
    """The files of one model: settings, tokenizer and weights."""

    where: str
    """Where the files were looked for, and what to do if one is not there."""

    def __init__(self, spec: ModelSpec, names: Iterable[str]) -> None:
        self._names = sorted(name for name in names if "/" not in name)
        code = ("*.py",) if spec.trust_remote_code else ()
        self.settings = [
            name
            for name in self._names
            if name == "config.json" or any(fnmatch(name, p) for p in (*TOKENIZER, *code))
        ]
        self._spec = spec

    @property
    def safetensors(self) -> bool:
        """Whether the weights are safetensors files; else `.bin`, read by `weights_only`."""
        return any(SAFE.fullmatch(name) for name in self._names)

    @property
    def weights(self) -> list[str]:
        """The weight files, safetensors before `.bin`, with the index of several parts.

        Raises:
            AbsentError: there are none, or not all parts.
        """
        pattern = SAFE if self.safetensors else PICKLED
        found = [match for name in self._names if (match := pattern.fullmatch(name))]
        whole = [match[0] for match in found if match[1] is None]
        if whole:
            return whole[:1]
        index = f"{'model.safetensors' if self.safetensors else 'pytorch_model.bin'}.index.json"
        if not found or index not in self._names or len(found) != int(found[0][1]):
            raise AbsentError(
                f"{self._spec.name!r} has no weights, or not all (a random control, "
                "`random_init: true`, needs none): expected model.safetensors or "
                "pytorch_model.bin, or all their parts with their index; found "
                f"{', '.join(self._names) or 'nothing'} {self.where}"
            )
        return [index, *(match[0] for match in found)]

    @abstractmethod
    def identity(self, *, weights: bool) -> dict[str, Any]:
        """What names the files' content."""

    @abstractmethod
    def folder(self, *, weights: bool) -> Path:
        """The local folder with the settings, and with the weights if asked."""

    @abstractmethod
    def weight_bytes(self) -> int | None:
        """Size of the weights; None if the hub does not say."""

    @abstractmethod
    def missing_bytes(self, *, weights: bool) -> int | None:
        """Bytes that `folder` would download; None if the hub does not say."""


class LocalSource(Source):
    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        super().__init__(spec, (path.name for path in folder.iterdir() if path.is_file()))
        self._folder = folder
        self.where = "in that folder."

    def identity(self, *, weights: bool) -> dict[str, Any]:
        names = self.settings + (self.weights if weights else [])
        return {"files": {name: file_hash(self._folder / name) for name in names}}

    def folder(self, *, weights: bool) -> Path:
        assert not weights or self.weights
        return self._folder

    def weight_bytes(self) -> int | None:
        return sum((self._folder / name).stat().st_size for name in self.weights)

    def missing_bytes(self, *, weights: bool) -> int | None:
        return 0


class HubSource(Source):
    def __init__(self, spec: ModelSpec, repository: Repository) -> None:
        super().__init__(spec, repository.sizes)
        self._repository = repository
        self.where = f"in the local cache. {FETCH_FIRST}" if repository.offline else "on the hub."

    def identity(self, *, weights: bool) -> dict[str, Any]:
        return {"name": self._repository.name, "revision": self._repository.commit}

    def folder(self, *, weights: bool) -> Path:
        return self._repository.download(self.settings + (self.weights if weights else []))

    def weight_bytes(self) -> int | None:
        sizes = [self._repository.sizes[name] for name in self.weights]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def missing_bytes(self, *, weights: bool) -> int | None:
        return self._repository.missing_bytes(self.settings + (self.weights if weights else []))


def open_source(spec: ModelSpec, *, offline: bool) -> Source:
    """The local folder called `spec.name`, else the hub repository.

    Raises:
        AbsentError: there is neither; says what to do.
    """
    folder = Path(spec.name)
    if folder.is_dir() and spec.revision is not None:
        raise ConfigError(
            f"model {spec.label!r}: `revision` means nothing to the local folder {folder}. "
            "Leave it out."
        )
    if not folder.is_dir():
        return HubSource(spec, open_repository(spec.name, spec.revision, offline=offline))
    if not (folder / "config.json").is_file():
        raise AbsentError(
            f"{folder} has no config.json. Expected a folder written by `save_pretrained`, with "
            "configuration, tokenizer and weights."
        )
    return LocalSource(spec, folder)


def file_hash(path: Path) -> str:
    """SHA-256 of a file; remembered for as long as its stamp stays the same."""
    return _hash(path, settled_stamp(path))


@cache
def _hash(path: Path, seen: Stamp | None) -> str:
    return sha256_file(path)
