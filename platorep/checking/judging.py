"""A model put to the checks, with a verdict on each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import torch

from platorep.checking.checks import (
    BrokenError,
    Check,
    CheckAnew,
    CheckInMemory,
    Features,
    NotCheckedError,
    Subject,
)
from platorep.checking.trust import Changes, compare_layers
from platorep.config import PreprocessConfig
from platorep.errors import DataError, PlatorepError, StorageError
from platorep.models import Loaded
from platorep.models.memory import Batching
from platorep.models.probing import tolerance

Trust = Literal["yes", "guarded", "no"]
"""guarded: samples are batched so that what moves features does not happen."""
GUARDS = {Batching.EQUAL_LENGTH: "in batches of equal length", Batching.ONE_BY_ONE: "one by one"}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one check of one model."""

    model: str
    check: str
    trusted: Trust | None
    """None: it was not checked."""
    words: str
    changes: Changes | None = None

    def row(self) -> dict[str, Any]:
        """A row of the table; `layers` has one entry per layer."""
        changes = self.changes
        return {
            "model": self.model,
            "check": self.check,
            "trusted": self.trusted,
            "change": None if changes is None else changes.worst.change,
            "limit": None if changes is None else changes.limit,
            "mutual_knn": None if changes is None else changes.mutual_knn,
            "verdict": self.words,
            "layers": [] if changes is None else [asdict(layer) for layer in changes.layers],
        }


class Judge:
    """Holds what a model gives under each change against what it gives without one, alone."""

    def __init__(self, subject: Subject, preprocessing: PreprocessConfig) -> None:
        self._subject, self._preprocessing = subject, preprocessing
        self._layers: tuple[str, ...] = ()
        self._before: dict[torch.dtype, Features] = {}
        """Each sample alone, in this precision."""

    def verdicts(self, checks: Sequence[CheckInMemory | CheckAnew]) -> Iterator[Verdict]:
        """One after another: first those of the model in memory.

        Raises:
            DataError: its features are not finite in the first place, or a sample cannot be read.
            AbsentError, ConfigError, IntegrityError: it cannot be opened.
        """
        with self._subject.loaded() as loaded:
            self._layers = loaded.layers
            self._before[self._subject.dtype] = self._subject.read(loaded)
            self._refuse_not_finite()
            for check in checks:
                if isinstance(check, CheckInMemory):
                    yield self._guarded(check, loaded)
        for check in checks:
            if isinstance(check, CheckAnew):
                yield self._verdict(check, partial(check.read, self._subject))

    def _guarded(self, check: CheckInMemory, loaded: Loaded) -> Verdict:
        """Samples batched as they come; where that moves features, as platorep batches them."""
        own, read = loaded.batching, partial(check.read, self._subject, loaded)
        loaded.batching = Batching.ANY
        plain = self._verdict(check, read)
        loaded.batching = own
        if plain.trusted != "no" or own is Batching.ANY:
            return plain
        guarded = self._verdict(check, read)
        if guarded.trusted != "yes":
            return guarded
        assert plain.changes is not None
        return replace(
            plain,
            trusted="guarded",
            words=f"{plain.changes.words()}. Platorep reads its samples {GUARDS[own]}, and its own "
            "features do not move; those of code that does not are of another batch each.",
        )

    def _verdict(self, check: Check, read: Callable[[], Features]) -> Verdict:
        verdict = partial(Verdict, model=self._subject.spec.label, check=check.name)
        try:
            found = read()
        except NotCheckedError as reason:
            return verdict(trusted=None, words=f"not checked: {reason}")
        except BrokenError as error:
            return verdict(trusted="no", words=f"{error} {check.cure}")
        except StorageError:
            raise
        except (PlatorepError, RuntimeError) as error:  # torch lacks an operation, or memory
            return verdict(trusted=None, words=f"not checked: it fails: {error}")
        changes = compare_layers(
            found,
            self._alone(torch.float32 if check.dtype else self._subject.dtype),
            self._layers,
            limit=tolerance(check.dtype or self._subject.dtype),
            preprocessing=self._preprocessing,
        )
        words = changes.words()
        if changes.trusted:
            return verdict(trusted="yes", words=words, changes=changes)
        return verdict(trusted="no", words=f"{words}. {check.cure}", changes=changes)

    def _alone(self, dtype: torch.dtype) -> Features:
        if dtype not in self._before:
            with self._subject.loaded(dtype=dtype) as loaded:
                self._before[dtype] = self._subject.read(loaded)
        return self._before[dtype]

    def _refuse_not_finite(self) -> None:
        features = self._before[self._subject.dtype]
        broken = [
            name
            for name, layer in zip(self._layers, features, strict=True)
            if not bool(layer.isfinite().all())
        ]
        if broken:
            precision = str(self._subject.dtype).removeprefix("torch.")
            raise DataError(
                f"the features of {self._subject.spec.label!r} hold values that are not finite, "
                f"first at {broken[0]}: there is nothing to check. It computed in {precision}: "
                "use float32 if that was another, and look at its weights if it was not."
            )
