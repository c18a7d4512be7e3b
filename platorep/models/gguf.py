"""GGUF files: network, tokenizer and (often quantised) weights in one, through transformers."""

import importlib.util
from pathlib import Path
from typing import Any

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError
from platorep.models.sources import Source, file_hash


class GgufSource(Source):
    """One local file. Weights are unpacked to the precision that is computed in."""

    def __init__(self, spec: ModelSpec) -> None:
        file = Path(spec.name)
        if importlib.util.find_spec("gguf") is None:
            raise AbsentError(
                f"model {spec.label!r}: GGUF files are read with the package gguf, which is not "
                "installed. Run: pip install 'platorep[gguf]'"
            )
        if not file.is_file():
            raise AbsentError(
                f"model {spec.label!r}: there is no file {file}. From the hub: `hf download "
                f"OWNER/NAME {file.name} --local-dir FOLDER`, and name FOLDER/{file.name}."
            )
        with file.open("rb") as content:
            magic = content.read(4)
        if magic != b"GGUF":
            raise ConfigError(
                f"model {spec.label!r}: {file} is no GGUF file: it begins with {magic!r}, not with "
                "b'GGUF'. Download it again."
            )
        super().__init__(spec, [file.name])
        self._file = file
        self.where = f"in {file.parent}."

    def _of_the_tokenizer(self) -> set[str]:
        return {self._file.name}

    @property
    def safetensors(self) -> bool:
        return True  # as far as transformers asks: nothing is unpickled

    @property
    def weights(self) -> list[str]:
        return [self._file.name]

    def identity(self, *, weights: bool) -> dict[str, Any]:
        return {"files": {self._file.name: file_hash(self._file)}}

    def refuse_what_is_no_model(self) -> None:
        """A GGUF file is a model."""

    def _fetch(self, names: list[str]) -> Path:
        return self._file.parent

    def json_file(self, name: str) -> Any:
        return None

    def weight_bytes(self) -> int | None:
        return self._file.stat().st_size

    def missing_bytes(self, *, weights: bool) -> int | None:
        return 0
