"""What a unit of work finds where it is opened: the cache, and a model.

That may be the driver's own process, another one that sees its cache, or a machine that sees
nothing of it: what was made in the cache (toy networks) is then carried along.
"""

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from platorep.config import ModelSpec
from platorep.engines import Kept, Needs
from platorep.errors import AbsentError, IntegrityError
from platorep.files import cache_root, digest, storage_errors
from platorep.models import Model, open_remembered
from platorep.models.cost import weight_bytes
from platorep.results import differences
from platorep.run import Run

DECODERS = 3
"""Processes beside one that computes on a GPU, where samples are decoded."""
PROCESS_BYTES = 2**29
"""Of a process with torch and its decoders, without weights."""
ACTIVATION_BYTES = 3 * 2**30
"""Of GPU memory beside the weights; where that is too little, batches are halved."""


@dataclass(frozen=True)
class Home:
    """The driver's cache."""

    root: Path
    """As the driver calls it."""
    token: str = ""
    """A file in it: who finds that, sees this very cache. Empty in the driver's own process."""

    def seen(self) -> Path | None:
        """The cache, as it is called here; None where it cannot be seen."""
        places = (root for root in (self.root, cache_root()) if _is_there(root / self.token))
        return self.root if self.is_here else next(places, None)

    @property
    def is_here(self) -> bool:
        return not self.token


@contextmanager
def home_of(run: Run) -> Iterator[Home]:
    """The cache of a run, for units that its engine carries out meanwhile."""
    if not run.works_elsewhere:
        yield Home(run.root)
        return
    token = run.root / f".driver-{uuid4().hex}.partial"  # which `cache clean --partial` knows
    with storage_errors(token):
        run.root.mkdir(parents=True, exist_ok=True)
        token.touch()
    try:
        yield Home(run.root, token.name)
    finally:
        token.unlink(missing_ok=True)


@dataclass(frozen=True, kw_only=True)
class ModelThere:
    """A model of the driver's, to be opened where the work is done."""

    spec: ModelSpec
    identity: Mapping[str, Any]
    """What its features are kept under: another model must not be taken for it."""
    offline: bool
    home: Home
    local: tuple[str, ...]
    """Files and folders that it is made from."""
    made: str
    """The folder in the cache that `Model.prepare` has filled, if there is one."""

    def open(self, files: Mapping[str, bytes]) -> Model:
        """The model, with its facts and weights in the cache that is seen from here.

        Args:
            files: Of the folder `made`.

        Raises:
            AbsentError: a local folder is not there.
            IntegrityError: it is another model here.
        """
        if absent := [path for path in self.local if not _is_there(Path(path))]:
            raise AbsentError(
                f"model {self.spec.label!r}: node {socket.gethostname()} has no {absent[0]}. Put "
                "it where every node sees it under this path."
            )
        if files:
            _lay_down(cache_root() / self.made, files)
        root = self.home.seen() or cache_root()
        model = open_remembered(self.spec, root, offline=self.offline)
        if not self.home.is_here:
            self._refuse_another(model.identity())
        return model

    def _refuse_another(self, found: Mapping[str, Any]) -> None:
        if digest(dict(found)) == digest(dict(self.identity)):
            return
        other = ", ".join(differences(self.identity, found)) or "its description"
        raise IntegrityError(
            f"model {self.spec.label!r} is another on node {socket.gethostname()}: {other} differs "
            "from the driver's. Give every node the same files (HF_HOME, local folders) and "
            "libraries, or name a `revision`."
        )


def model_there(run: Run, model: Model, home: Home) -> tuple[ModelThere, Kept | dict[str, bytes]]:
    """A model for units elsewhere, and the files that it needs there."""
    made, files = model.made(), {}
    if made is not None and not home.is_here:
        files = {path.name: path.read_bytes() for path in sorted(made.iterdir())}
    there = ModelThere(
        spec=model.spec,
        identity=model.identity(),
        offline=run.options.offline,
        home=home,
        local=() if home.is_here else tuple(_local_paths(model.spec)),
        made="" if made is None else str(made.relative_to(cache_root())),
    )
    return there, run.engine.put(files) if files else files


def needs_of(run: Run, model: Model, dtype: str) -> Needs:
    """What a worker needs to have a model in memory and to read rows."""
    if not run.works_elsewhere:
        return Needs()
    on_gpu = run.worker_device.type == "cuda"
    weights = weight_bytes(model.describe(), dtype) or 0
    return Needs(
        cpus=1 + (DECODERS if on_gpu and model.spec.kind != "text" else 0),
        memory_bytes=memory_for(weights),
        gpu_bytes=weights + ACTIVATION_BYTES if on_gpu else 0,
        every_gpu=on_gpu and model.spec.device_map is not None,
    )


def memory_for(size_bytes: int) -> int:
    """Of a process that holds so much: 1, 2 or 4 GiB, or what it is, so that most units can follow
    each other in a worker."""
    needed = size_bytes + PROCESS_BYTES
    return next((gib * 2**30 for gib in (1, 2, 4) if gib * 2**30 >= needed), needed)


def _is_there(path: Path) -> bool:
    """For whoever works here: a folder of the driver's may be forbidden to others."""
    try:
        return path.exists()
    except OSError:
        return False


def _local_paths(spec: ModelSpec) -> Iterator[str]:
    arguments = (value for value in spec.arguments.values() if isinstance(value, str))
    names = (spec.name.removeprefix("local-dir:"), spec.checkpoint, spec.adapter, *arguments)
    return (str(Path(name).absolute()) for name in names if name and Path(name).exists())


def _lay_down(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a finished folder, unless it is there."""
    from platorep.toyworld.checkpoints import atomic_folder

    if not folder.exists():
        with atomic_folder(folder) as partial:
            for name, content in files.items():
                (partial / name).write_bytes(content)
