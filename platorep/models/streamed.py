"""What images, sounds and films have in common: decoded and prepared in worker processes.

Axes: n rows, d features.
"""

from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from platorep.errors import DataError
from platorep.models.base import Loaded, Reading
from platorep.models.inputs import Numbered
from platorep.models.memory import PooledRows
from platorep.models.sample_stream import SampleStream
from platorep.switches import default_switches

GPU_SAMPLES = 64
"""Samples per batch to begin with: more do not run faster."""
THREADS_PER_SAMPLE = 4
"""On a CPU one sample keeps a few cores busy; more at once only take more memory."""


@dataclass(frozen=True)
class Named:
    """Prepares the sample of a row, and names the row where that fails."""

    prepare: Callable[[Any], Any]

    def __call__(self, numbered: tuple[str, Any]) -> Any:
        row_id, sample = numbered
        try:
            return self.prepare(sample)
        except DataError as error:
            raise DataError(f"row {row_id!r}: {error}.") from error


class Streamed(Loaded):
    """A model in memory whose samples come from a stream of worker processes."""

    unit = "sample"

    def __init__(self, prepare: Callable[[Any], Any], device: torch.device) -> None:
        self._prepare, self._device = Named(prepare), device
        self._numbered: Numbered | None = None
        self._stream: SampleStream | None = None

    @abstractmethod
    def pooled(self, batch: Sequence[Any]) -> Sequence[Float[Tensor, "b _"]]:
        """Pooled features of every layer for prepared samples."""

    def alike(self, prepared: Any) -> Hashable:
        """What samples must have in common to stand in one batch."""
        return None

    @default_switches()
    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        rows = reading.rows
        on_cpu = self._device.type == "cpu"
        auto = max(1, torch.get_num_threads() // THREADS_PER_SAMPLE) if on_cpu else GPU_SAMPLES
        batches = self.remembered_batches(reading.batch, auto)
        stream = self._open_stream(reading)
        found = PooledRows(len(rows))
        waiting: dict[Hashable, dict[int, Any]] = {}

        def run(group: dict[int, Any]) -> None:
            def step(start: int, stop: int) -> None:
                places = list(group)[start:stop]
                found.fill(places, self.pooled([group[i] for i in places]))
                reading.progress(stop - start)

            batches.run([1] * len(group), step, self.unit)
            group.clear()

        numbered = Numbered(reading.samples)
        items = [numbered.alone(row) for row in rows] if reading.sent else rows
        for place, prepared in enumerate(stream.prepared(items)):
            group = waiting.setdefault(self.alike(prepared), {})
            group[place] = copied(prepared)
            if len(group) >= batches.budget:
                run(group)
        for group in waiting.values():
            if group:
                run(group)
        return found.layers

    def _open_stream(self, reading: Reading) -> SampleStream:
        if reading.sent:
            self._numbered = None
        elif self._numbered is None or self._numbered.samples is not reading.samples:
            self._numbered = Numbered(reading.samples)
        if self._stream is None or not self._stream.serves(self._numbered, reading.workers):
            self.close()
            self._stream = SampleStream(self._numbered, self._prepare, reading.workers)
        return self._stream

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def copied(prepared: Any) -> Any:
    """A copy, to leave the shared memory to the workers."""
    if isinstance(prepared, Tensor):
        return prepared.clone()
    return {name: value.clone() for name, value in prepared.items()}
