"""Where a transformers model's files come from: a local folder, or a hub repository."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, IntegrityError
from platorep.files import sha256_file
from platorep.hub import FETCH_FIRST
from platorep.models.hub import Repository, open_repository
from platorep.stamps import Stamp, settled_stamp

PROCESSOR = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
"""What says how an image, a sound or a film is prepared."""
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
ADAPTER_CONFIG = "adapter_config.json"
PICKLED = re.compile(r"pytorch_model(?:-\d+-of-(\d+))?\.bin")


class Source(ABC):
    """The files of one model: settings, tokenizer or processor, and weights."""

    where: str
    """Where the files were looked for, and what to do if one is not there."""

    def __init__(self, spec: ModelSpec, names: Iterable[str]) -> None:
        self._names = sorted(name for name in names if "/" not in name)
        self._spec = spec

    @cached_property
    def settings(self) -> list[str]:
        """Configuration, tokenizer or processor and, if it may run, code."""
        if self._spec.kind == "text":
            return sorted({*self._named(*TOKENIZER), *self._of_the_tokenizer()})
        return self._named(*PROCESSOR)

    def _named(self, *patterns: str) -> list[str]:
        """The configuration, files of these names and, if it may run, code."""
        code = ("*.py",) if self._spec.trust_remote_code else ()
        patterns = ("config.json", *patterns, *code)
        return [name for name in self._names if any(fnmatch(name, p) for p in patterns)]

    def _of_the_tokenizer(self) -> set[str]:
        """The files that the tokenizer's class reads, whatever it is: `bpe.codes`, `source.spm`."""
        from transformers.models.auto.tokenization_auto import (
            TOKENIZER_MAPPING_NAMES,
            tokenizer_class_from_name,
        )

        about = {}
        for name in ("config.json", "tokenizer_config.json"):
            if name in self._names:
                about[name] = _read_object(self._fetch([name]) / name)
        asked = {found.get("tokenizer_class") for found in about.values()}
        asked.add(TOKENIZER_MAPPING_NAMES.get(about.get("config.json", {}).get("model_type")))
        bare = {name.removesuffix("Fast") for name in asked if isinstance(name, str)}
        classes = [
            tokenizer_class_from_name(name)
            for name in sorted(bare | {f"{name}Fast" for name in bare})
        ]
        if self._spec.trust_remote_code:
            classes += self._own_tokenizers(about.get("tokenizer_config.json", {}))
        names = [getattr(one, "vocab_files_names", None) or {} for one in classes]
        return {file for read in names for file in read.values()} & set(self._names)

    def _own_tokenizers(self, about: dict[str, Any]) -> list[Any]:
        """The tokenizer classes of the repository's own code."""
        from transformers.dynamic_module_utils import get_class_from_dynamic_module

        own = (about.get("auto_map") or {}).get("AutoTokenizer") or ()
        code = self._fetch([name for name in self._names if name.endswith(".py")])
        return [get_class_from_dynamic_module(name, code) for name in own if name is not None]

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

    def refuse_what_is_no_model(self) -> None:
        """Refuse a place without a configuration, or with an adapter beside the weights.

        Raises:
            AbsentError, ConfigError: as said.
        """
        adapter = ADAPTER_CONFIG in self._names
        if "config.json" not in self._names:
            cure = (
                "It is an adapter: name the model that it was made for, and this as its `adapter`."
                if adapter
                else "Expected what `save_pretrained` writes: configuration, weights, tokenizer or "
                "processor."
            )
            raise AbsentError(f"{self._spec.name} has no config.json {self.where} {cure}")
        if adapter and not self._spec.random_init:
            raise ConfigError(
                f"model {self._spec.label!r}: an adapter ({ADAPTER_CONFIG}) lies beside the "
                f"weights of {self._spec.name}; whether it is applied would depend on the packages "
                "installed. Put its files into a folder of their own, and name that as `adapter` "
                "if it is meant (from the hub: `hf download NAME --local-dir FOLDER --exclude "
                "'adapter_*'` for the model, `--include 'adapter_*'` for the adapter)."
            )

    @abstractmethod
    def _fetch(self, names: list[str]) -> Path:
        """The local folder with these files."""

    def folder(self, *, weights: bool) -> Path:
        """The local folder with the settings, and with the weights if asked."""
        return self._fetch(self.settings + (self.weights if weights else []))

    @abstractmethod
    def json_file(self, name: str) -> Any:
        """What a JSON file says that may lie in a folder of the folder; None: there is none."""

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
        self.where = f"in {folder}."

    def identity(self, *, weights: bool) -> dict[str, Any]:
        names = self.settings + (self.weights if weights else [])
        return {"files": {name: file_hash(self._folder / name) for name in names}}

    def _fetch(self, names: list[str]) -> Path:
        return self._folder

    def json_file(self, name: str) -> Any:
        file = self._folder / name
        return _read_json(file) if file.is_file() else None

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

    def _fetch(self, names: list[str]) -> Path:
        return self._repository.download(names)

    def json_file(self, name: str) -> Any:
        there = name in self._repository.sizes
        return _read_json(self._fetch([name]) / name) if there else None

    def weight_bytes(self) -> int | None:
        sizes = [self._repository.sizes[name] for name in self.weights]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def missing_bytes(self, *, weights: bool) -> int | None:
        return self._repository.missing_bytes(self.settings + (self.weights if weights else []))


def gguf_argument(spec: ModelSpec) -> dict[str, str]:
    """What `from_pretrained` is told, besides the folder, of a model that is a GGUF file."""
    return {"gguf_file": Path(spec.name).name} if spec.name.endswith(".gguf") else {}


def open_source(spec: ModelSpec, *, offline: bool) -> Source:
    """The local folder called `spec.name`, else the hub repository.

    Raises:
        AbsentError: there is neither; says what to do.
        ConfigError: `revision` with a folder, or an adapter beside the weights.
    """
    folder = Path(spec.name)
    if (folder.is_dir() or folder.suffix == ".gguf") and spec.revision is not None:
        raise ConfigError(
            f"model {spec.label!r}: `revision` means nothing to the local {folder}. Leave it out."
        )
    source: Source
    if gguf_argument(spec):
        from platorep.models.gguf import GgufSource

        source = GgufSource(spec)
    elif not folder.is_dir():
        source = HubSource(spec, open_repository(spec.name, spec.revision, offline=offline))
    else:
        source = LocalSource(spec, folder)
    source.refuse_what_is_no_model()
    return source


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntegrityError(f"{path} is no JSON: {error}. Download it again.") from error


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; nothing where it is none, which whoever needs it will say."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def file_hash(path: Path) -> str:
    """SHA-256 of a file; remembered for as long as its stamp stays the same."""
    return _hash(path, settled_stamp(path))


@cache
def _hash(path: Path, seen: Stamp | None) -> str:
    return sha256_file(path)
