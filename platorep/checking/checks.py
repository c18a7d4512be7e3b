"""The checks: each reads the same samples again with one thing changed.

To add one: write what it does with a `Subject`, list it below.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import ConfigError, PlatorepError
from platorep.models import Loaded, Model, Reading
from platorep.models.base import Samples
from platorep.registry import index_by_name

ALONE = 1
"""A batch of one token or one image holds one sample."""
BATCHES = {"text": 4096}
"""Tokens of a batch; of all else `SAMPLES_PER_BATCH`."""
SAMPLES_PER_BATCH = 32
GROUP = 8
"""Samples that stand beside the longest one."""
UNBOUNDED = 10**9

Features = Sequence[Tensor]


class NotCheckedError(Exception):
    """Why a check means nothing for this model, on this machine or of these samples."""


class BrokenError(Exception):
    """What cannot be read at all, and why."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model and the samples that it is asked with."""

    spec: ModelSpec
    open: Callable[[ModelSpec], Model]
    samples: Samples
    rows: Sequence[int]
    kind: str
    """Of the samples: text, image, ..."""
    lengths: Sequence[int | float] | None
    """Of the samples of `rows`, by any measure; None: all have one."""
    device: torch.device
    dtype: torch.dtype
    """In which the model is used."""

    @cached_property
    def model(self) -> Model:
        return self.open(self.spec)

    @contextlib.contextmanager
    def loaded(
        self,
        model: Model | None = None,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Iterator[Loaded]:
        """The model in memory, with what is changed."""
        with closing(
            (model or self.model).load(device or self.device, dtype or self.dtype)
        ) as loaded:
            yield loaded

    def read(
        self, loaded: Loaded, rows: Sequence[int] | None = None, batch: int = ALONE
    ) -> Features:
        """Features of some rows, all if absent; each alone unless a batch is said."""
        chosen = self.rows if rows is None else rows
        return loaded.features(Reading(chosen, self.samples, batch=batch, workers=0))


def _again(subject: Subject, loaded: Loaded) -> Features:
    return subject.read(loaded)


def _in_a_batch(subject: Subject, loaded: Loaded) -> Features:
    return subject.read(loaded, batch=BATCHES.get(subject.kind, SAMPLES_PER_BATCH))


def _beside_longer(subject: Subject, loaded: Loaded) -> Features:
    """Each sample in a batch with the longest one."""
    lengths = subject.lengths
    if lengths is None or len(set(lengths)) == 1:
        raise NotCheckedError(f"these samples of kind {subject.kind} have one length: no padding")
    places = range(len(lengths))
    longest = max(places, key=lengths.__getitem__)
    others = [place for place in places if place != longest]
    found: dict[int, list[Tensor]] = {}
    for start in range(0, len(others), GROUP - 1):
        group = [longest, *others[start : start + GROUP - 1]]
        features = subject.read(loaded, [subject.rows[i] for i in group], UNBOUNDED)
        for i, place in enumerate(group):
            found[place] = [layer[i] for layer in features]
    return [torch.stack(rows) for rows in zip(*(found[i] for i in places), strict=True)]


def _in_precision(dtype: torch.dtype) -> Callable[[Subject], Features]:
    def read(subject: Subject) -> Features:
        with subject.loaded(dtype=dtype) as loaded:
            return subject.read(loaded)

    return read


def _with_attention(name: str) -> Callable[[Subject], Features]:
    def read(subject: Subject) -> Features:
        try:
            model = subject.open(subject.spec.model_copy(update={"attention": name}))
        except ConfigError as error:
            backend = subject.spec.backend
            raise NotCheckedError(f"backend {backend} has no attention to choose") from error
        if name == subject.model.identity().get("attention"):
            raise NotCheckedError("it is what the model uses")
        with subject.loaded(model) as loaded:
            return subject.read(loaded)

    return read


def _on_another_device(subject: Subject) -> Features:
    other = another_device(subject.device, devices())
    if other is None:
        raise NotCheckedError(f"this machine has one kind of device, {subject.device}")
    if subject.spec.device_map is not None:
        raise NotCheckedError("`device_map` spreads the model over all devices")
    with subject.loaded(device=other) as loaded:
        return subject.read(loaded)


def devices() -> list[torch.device]:
    """One of each kind of device of this machine."""
    found = [torch.device("cuda")] if torch.cuda.is_available() else []
    found += [torch.device("mps")] if torch.backends.mps.is_available() else []
    return [*found, torch.device("cpu")]


def another_device(device: torch.device, known: Sequence[torch.device]) -> torch.device | None:
    """The first of another kind."""
    return next((one for one in known if one.type != device.type), None)


def _saved_and_reloaded(subject: Subject) -> Features:
    with tempfile.TemporaryDirectory(prefix="platorep-check-") as folder:
        try:
            spec = subject.model.save_copy(Path(folder))
        except ConfigError as error:
            raise NotCheckedError(str(error)) from error
        try:
            with subject.loaded(subject.open(spec)) as loaded:
                return subject.read(loaded)
        except (PlatorepError, RuntimeError) as error:
            raise BrokenError(f"the copy cannot be opened: {error}") from error


@dataclass(frozen=True, kw_only=True)
class Check:
    """One way to read the same samples, which is to give the same features."""

    name: str
    cure: str
    """What to do where features move."""
    dtype: torch.dtype | None = None
    """In which it computes, where it is held against float32; None: in the model's own, as what
    it is held against."""


@dataclass(frozen=True, kw_only=True)
class CheckInMemory(Check):
    """Of the model as it is in memory."""

    read: Callable[[Subject, Loaded], Features]


@dataclass(frozen=True, kw_only=True)
class CheckAnew(Check):
    """Of the model loaded in another way."""

    read: Callable[[Subject], Features]


FLOAT32 = "Compute in float32 (`dtype: float32`)."
NAME_IT = (
    "Say which one is meant (`attention:`), and the same for all models that are compared; a large "
    "difference is an error of the model's code."
)

CHECKS: Mapping[str, CheckInMemory | CheckAnew] = index_by_name(
    (
        CheckInMemory(
            name="again",
            read=_again,
            cure="It draws random numbers while it runs. Leave it out, or find what draws them.",
        ),
        CheckInMemory(
            name="batch",
            read=_in_a_batch,
            cure="Read one sample at a time (`extract: {batch: 1}`), and do not mix these with "
            "features that were made in batches.",
        ),
        CheckInMemory(
            name="padding",
            read=_beside_longer,
            cure="Read one sample at a time (`extract: {batch: 1}`), and do not mix these with "
            "features that were made in batches.",
        ),
        CheckAnew(
            name="bfloat16",
            dtype=torch.bfloat16,
            read=_in_precision(torch.bfloat16),
            cure=FLOAT32,
        ),
        CheckAnew(
            name="float16", dtype=torch.float16, read=_in_precision(torch.float16), cure=FLOAT32
        ),
        CheckAnew(name="eager", read=_with_attention("eager"), cure=NAME_IT),
        CheckAnew(name="sdpa", read=_with_attention("sdpa"), cure=NAME_IT),
        CheckAnew(
            name="device",
            read=_on_another_device,
            cure="Extract all models that are compared on one kind of device.",
        ),
        CheckAnew(
            name="reloaded",
            read=_saved_and_reloaded,
            cure="Take the original files and no saved copy of them (merged, fine-tuned, "
            "converted).",
        ),
    )
)
"""Every check by its name, in the order in which they are made."""
