"""What a module of one's own reads: a sample becomes one or several tensors, samples a batch.

Axes: b samples of a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from platorep.errors import ConfigError, DataError, PlatorepError
from platorep.models.base import Samples, Sent
from platorep.own_code import import_own
from platorep.switches import seeded

Inputs = Mapping[str | int, Tensor]
"""The arguments of one forward pass: by name, or by their place."""


@dataclass(frozen=True)
class OwnInputs:
    """A user's function from a decoded sample to what the network reads, by its name.

    Random numbers that it draws are the same for every sample: no feature depends on the others.
    """

    path: str
    label: str

    def __call__(self, sample: Any) -> dict[str | int, Tensor]:
        """The tensors of one sample.

        Raises:
            ConfigError: there is no such function, or it returns no tensors.
            DataError: it fails at this sample.
        """
        whose = f"model {self.label!r}: `inputs: {self.path}`"
        function = import_own(self.path, whose)
        if not callable(function):
            raise ConfigError(f"{whose} is no function but of type {type(function).__name__}.")
        try:
            with seeded(0):
                found = function(sample)
        except PlatorepError:
            raise
        except Exception as error:  # whatever the user's own lines do
            raise DataError(
                f"{whose} fails at a sample of type {type(sample).__name__}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return self._checked(found, whose)

    def _checked(self, found: Any, whose: str) -> dict[str | int, Tensor]:
        if isinstance(found, Mapping):
            parts = dict(found)
        else:
            parts = dict(enumerate(found if isinstance(found, (tuple, list)) else [found]))
        tensors = {
            name: torch.from_numpy(part) if isinstance(part, np.ndarray) else part
            for name, part in parts.items()
        }
        wrong = [type(part).__name__ for part in tensors.values() if not isinstance(part, Tensor)]
        if wrong or not tensors:
            raise ConfigError(
                f"{whose} must return a tensor, several (a tuple), or names with tensors; found "
                f"{', '.join(wrong) or 'nothing'}."
            )
        return tensors


@dataclass(frozen=True)
class Numbered:
    """The samples of a dataset, each with its row's id."""

    samples: Samples

    @property
    def ids(self) -> Sequence[str]:
        return self.samples.ids

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, row: int) -> tuple[str, Any]:
        return self.samples.ids[row], self.samples[row]

    def alone(self, row: int) -> "Numbered":
        """One row, for a process that knows none."""
        assert isinstance(self.samples, Sent)
        return Numbered(self.samples.taken(range(row, row + 1)))


def shapes(inputs: Inputs) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """What must be equal for two samples to share a batch."""
    return tuple((str(name), tuple(part.shape)) for name, part in inputs.items())


def stacked(
    samples: Sequence[Inputs], device: torch.device, dtype: torch.dtype
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Samples of equal shapes as the arguments of a forward pass, by place and by name.

    What is not whole numbers is read in `dtype`.
    """
    batch = {name: torch.stack([one[name] for one in samples]) for name in samples[0]}
    moved = {
        name: part.to(device, dtype) if part.is_floating_point() else part.to(device)
        for name, part in batch.items()
    }
    places = [part for name, part in moved.items() if isinstance(name, int)]
    return places, {name: part for name, part in moved.items() if isinstance(name, str)}


def another(inputs: Inputs) -> dict[str | int, Tensor]:
    """Another sample of the same shapes: the other way round, negated where it has fractions."""
    turned = {name: part.flip(-1) if part.ndim else part for name, part in inputs.items()}
    return {n: -part if part.is_floating_point() else part for n, part in turned.items()}
