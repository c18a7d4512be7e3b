"""Where a transformers model's files come from: a local folder, or a hub repository."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from platorep.config import ModelSpec
from platorep.errors import AbsentError
from platorep.files import sha256_file
from platorep.models.hub import Repository, open_repository

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
SAFE = re.compile(r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json")
PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin|pytorch_model\.bin\.index\.json")


class Source(ABC):
    """The files of one model: settings, tokenizer and weights."""

    def __init__(self, spec: ModelSpec, names: Iterable[str]) -> None:
        names = sorted(name for name in names if "/" not in name)
        code = ("*.py",) if spec.trust_remote_code else ()
        self.settings = [
            name
            for name in names
            if name == "config.json" or any(fnmatch(name, p) for p in (*TOKENIZER, *code))
        ]
        safe = [name for name in names if SAFE.fullmatch(name)]
        self.safetensors = bool(safe)
        """Whether the weights are safetensors files; else `.bin`, read by `weights_only`."""
        self._weights = safe or [name for name in names if PICKLED.fullmatch(name)]
        self._spec = spec
        self._found = names

    @property
    def weights(self) -> list[str]:
        if not self._weights:
            raise AbsentError(
                f"{self._spec.name!r} has no weights: expected model*.safetensors or "
                f"pytorch_model*.bin, found {', '.join(self._found) or 'nothing'}. Use another "
                "checkpoint, or `random_init: true` for a random control."
            )
        return self._weights

    @abstractmethod
    def identity(self, *, weights: bool) -> dict[str, Any]:
        """What names the files' content."""

    @abstractmethod
    def folder(self, *, weights: bool) -> Path:
        """The local folder with the settings, and with the weights if asked."""

    @abstractmethod
    def weight_bytes(self) -> int | None: ...

    @abstractmethod
    def missing_bytes(self, *, weights: bool) -> int | None:
        """Bytes that `folder` would download; None if the hub does not say."""


class LocalSource(Source):
    def __init__(self, spec: ModelSpec, folder: Path) -> None:
        super().__init__(spec, (path.name for path in folder.iterdir() if path.is_file()))
        self._folder = folder

    def identity(self, *, weights: bool) -> dict[str, Any]:
        names = self.settings + (self.weights if weights else [])
        return {"files": {name: file_hash(self._folder / name) for name in names}}

    def folder(self, *, weights: bool) -> Path:
        assert not weights or self.weights
        return self._folder

    def weight_bytes(self) -> int | None:
        return sum((self._folder / name).stat().st_size for name in self._weights) or None

    def missing_bytes(self, *, weights: bool) -> int | None:
        return 0


class HubSource(Source):
    def __init__(self, spec: ModelSpec, repository: Repository) -> None:
        super().__init__(spec, repository.sizes)
        self._repository = repository

    def identity(self, *, weights: bool) -> dict[str, Any]:
        return {"name": self._repository.name, "revision": self._repository.commit}

    def folder(self, *, weights: bool) -> Path:
        return self._repository.download(self.settings + (self.weights if weights else []))

    def weight_bytes(self) -> int | None:
        sizes = [self._repository.sizes[name] for name in self._weights]
        known = [size for size in sizes if size is not None]
        return sum(known) if known and len(known) == len(sizes) else None

    def missing_bytes(self, *, weights: bool) -> int | None:
        return self._repository.missing_bytes(self.settings + (self._weights if weights else []))


def open_source(spec: ModelSpec, *, offline: bool) -> Source:
    """The local folder called `spec.name`, else the hub repository.

    Raises:
        AbsentError: there is neither; says what to do.
    """
    folder = Path(spec.name)
    if not folder.is_dir():
        return HubSource(spec, open_repository(spec.name, spec.revision, offline=offline))
    if not (folder / "config.json").is_file():
        raise AbsentError(
            f"{folder} has no config.json. Expected a folder written by `save_pretrained`, with "
            "configuration, tokenizer and weights."
        )
    return LocalSource(spec, folder)


def file_hash(path: Path) -> str:
    """SHA-256 of a file; remembered for as long as size and time of change stay the same."""
    status = path.stat()
    return _hash(path, status.st_size, status.st_mtime_ns)


@cache
def _hash(path: Path, size: int, changed_ns: int) -> str:
    return sha256_file(path)
