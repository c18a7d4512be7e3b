"""Samples of a dataset, decoded and transformed in worker processes, in the order asked for."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch.multiprocessing
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from platorep.errors import ConfigError, PlatorepError
from platorep.machine import num_decoders
from platorep.models.base import Auto, Samples

Transformed = Tensor | Mapping[str, Tensor]
START_METHOD = "forkserver"
"""Workers are forked from a clean process: forking one with CUDA or threads can hang."""


class SampleStream:
    """Transformed samples of rows, of any kind; keeps its workers from call to call.

    One sample at a time crosses between processes, so that small shared memory (64 MiB in many
    containers) is enough for any batch.

    Args:
        dataset: What the workers know; None: each sample is sent to them.
    """

    def __init__(
        self, dataset: Samples | None, transform: Callable[[Any], Any], workers: int | Auto
    ) -> None:
        self._dataset, self._workers = dataset, workers
        self._rows: list[int | Samples] = []
        number = num_decoders() if workers == "auto" else workers
        context = None
        if number:
            context = torch.multiprocessing.get_context(START_METHOD)
            context.set_forkserver_preload([__name__, "timm.data"])
        with warnings.catch_warnings():  # more workers than cores: the user's choice
            warnings.filterwarnings("ignore", message="This DataLoader will create")
            self._loader: DataLoader[Any] = DataLoader(
                _Transformed(dataset, transform),
                batch_size=None,
                sampler=self._rows,
                num_workers=number,
                multiprocessing_context=context,
                persistent_workers=number > 0,
                prefetch_factor=2 if number else None,
                generator=torch.Generator(),  # the loader draws a number, and not from the user's
            )

    def serves(self, dataset: Samples | None, workers: int | Auto) -> bool:
        """Whether this stream can be used for `dataset`."""
        return self._dataset is dataset and self._workers == workers

    def prepared(self, rows: Sequence[int | Samples]) -> Iterator[Any]:
        """The transformed samples of `rows`, one by one.

        Args:
            rows: Numbers in the dataset, or what holds one sample each.

        Raises:
            DataError: a sample cannot be decoded, or not be read by the model.
            ConfigError: a worker process has died.
        """
        self._rows[:] = rows
        loaded = iter(self._loader)
        for _ in rows:
            try:
                sample = next(loaded)
            except (RuntimeError, ConnectionError, EOFError) as error:
                if isinstance(error, RuntimeError) and "exited unexpectedly" not in str(error):
                    raise
                raise ConfigError(
                    f"a process that decodes samples has died: {error}. Either memory ran out, or "
                    "a script of yours that calls platorep does not keep its calls under "
                    "`if __name__ == '__main__':`, which worker processes need. Do so, or set "
                    "`extract.workers: 0`."
                ) from error
            if isinstance(sample, PlatorepError):
                raise sample
            yield sample

    def close(self) -> None:
        """End the workers."""
        iterator, self._loader._iterator = self._loader._iterator, None
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()


class _Transformed(Dataset[Any]):
    def __init__(self, dataset: Samples | None, transform: Callable[[Any], Any]) -> None:
        self._dataset, self._transform = dataset, transform

    def __getitem__(self, row: int | Samples) -> Any:
        try:
            sample = row[0] if not isinstance(row, int) else self._dataset[row]  # type: ignore[index]
            return self._transform(sample)
        except PlatorepError as error:
            return error  # as a value: raised here, it would come out as a worker's traceback
