"""What is known of a local model, kept in the cache, so that a finished run need not ask again.

To name a model's features one asks its configuration and hashes its weights, which takes importing
transformers or timm and reading gigabytes. The answer holds for as long as nothing that it was made
from has changed: the model's settings, every file's stamp, the versions of the libraries, and the
code of this package. Models of the hub are asked each time: their files may have moved.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import cache, cached_property
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

from platorep.config import ModelSpec
from platorep.errors import DamagedError, StorageError, UnreadableError
from platorep.files import digest, read_sealed, write_sealed
from platorep.models.base import Description, Model
from platorep.models.wrapped import WrappedModel, packages_of
from platorep.own_code import code_files
from platorep.reporting import Reporter
from platorep.stamps import Stamp, code_stamps, stamp

LIBRARIES = ("torch", "transformers", "timm", "tokenizers")


class RememberedModel(WrappedModel):
    """Another model, which is opened only for what the cache does not know of it."""

    def __init__(
        self, spec: ModelSpec, root: Path, open_it: Callable[[], Model], made_from: Any
    ) -> None:
        self.spec = spec
        self._open = open_it
        self._key = digest([spec.model_dump(mode="json"), made_from, code_stamps(), _versions()])
        self._path = root / "models" / f"{self._key}.json"

    @cached_property
    def _model(self) -> Model:
        return self._open()

    @cached_property
    def _facts(self) -> dict[str, Any]:
        try:
            return read_sealed(self._path, of=self._key, cure="It is written anew.")
        except (FileNotFoundError, DamagedError, UnreadableError):
            facts: dict[str, Any] = {
                "identity": self._model.identity(),
                "description": asdict(self._model.describe()),
                "flops": self._model.flops(),
            }
            with suppress(StorageError):  # whoever must write says so
                write_sealed(self._path, facts, of=self._key)
            return facts

    def prepare(self, report: Reporter) -> None:
        """Nothing: local files are there, or they have no stamp."""

    def made(self) -> Path | None:
        """Nothing is made here."""
        return None

    def identity(self) -> dict[str, Any]:
        return dict(self._facts["identity"])

    def describe(self) -> Description:
        said: dict[str, Any] = self._facts["description"]
        lists = {name: tuple(value) for name, value in said.items() if isinstance(value, list)}
        return Description(**said | lists)

    def flops(self) -> int | None:
        flops: int | None = self._facts["flops"]
        return flops


def local_files(spec: ModelSpec) -> list[tuple[str, Stamp]] | None:
    """Path and stamp of every file that a model is made from; None: not all of it lies here."""
    if (
        spec.backend in ("toyworld", "baseline", "bundle")
        or spec.trust_remote_code
        or packages_of(spec)
    ):
        return None
    if spec.backend == "module":
        return _stamped(_own_files(spec))
    name = Path(spec.name.removeprefix("local-dir:"))
    local = [Path(path) for path in (spec.checkpoint, spec.adapter) if path is not None]
    if spec.adapter is not None and not Path(spec.adapter).exists():
        return None
    if name.exists():
        local += [name]
    elif spec.backend != "timm" or not (local or spec.random_init):
        return None
    files: list[Path] = []
    for path in local:
        if path.is_dir():  # with the steps of a sentence-transformers folder
            files += sorted([*path.iterdir(), *path.glob("*/config.json")])
        else:
            files += sorted(path.parent.glob(f"{escape(path.name)}*"))
    return _stamped(files)


def _own_files(spec: ModelSpec) -> list[Path]:
    """The code, weights and files among the arguments of a network of one's own."""
    whose = f"model {spec.label!r}"
    files = [Path(value) for value in spec.arguments.values() if isinstance(value, str)]
    files += [Path(spec.checkpoint)] if spec.checkpoint is not None else []
    for path in (spec.name, spec.inputs):
        if path is not None:
            files += code_files(path, whose).values()
    return files


def _stamped(files: Iterable[Path]) -> list[tuple[str, Stamp]]:
    return [(str(file), seen) for file in files if (seen := stamp(file)) is not None]


@cache
def _versions() -> tuple[str, ...]:
    return tuple(version(library) for library in LIBRARIES)
