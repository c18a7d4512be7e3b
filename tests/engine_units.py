"""Units of work for tests of engines.

Apart from the tests, since every worker imports what its units are made of: no torch here.
"""

import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray

from platorep.engines import Talk, Work


@contextmanager
def opens_powers(talk: Talk, base: int, *refused: int) -> Iterator[Work]:
    """A unit whose parts are exponents."""
    if base == 0:
        raise ValueError("no powers of 0")
    talk.report.warn(f"opened {base}")

    def work(exponent: int) -> int:
        if exponent in refused:
            raise ValueError(f"not {exponent}")
        talk.advance(1)
        return int(base**exponent)

    yield work
    talk.report.warn(f"closed {base}")


@contextmanager
def opens_keeping(talk: Talk, start: list[int]) -> Iterator[Work]:
    yield lambda part: (len(start), [*start, part])


@contextmanager
def opens_dying(
    talk: Talk, folder: Path, at_opening: int, deaths: dict[int, int]
) -> Iterator[Work]:
    """A unit whose worker is killed at its opening and at some parts, so many times each.

    Its parts return their process.
    """

    def die(what: str, most: int) -> None:
        times = len(list(folder.glob(f"{what}-*")))
        if times < most:
            (folder / f"{what}-{times}").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    die("opening", at_opening)

    def work(part: int) -> int:
        talk.advance(1)
        die(f"part-{part}", deaths.get(part, 0))
        time.sleep(0.05)
        return os.getpid()

    yield work


@contextmanager
def opens_facts(talk: Talk) -> Iterator[Work]:
    """A unit that tells about the worker it is in."""

    def threads() -> int:
        import torch

        return torch.get_num_threads()

    yield lambda part: {
        "threads": threads() if part == "threads" else None,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "node": ray.get_runtime_context().get_node_id(),
        "resources": ray.get_runtime_context().get_assigned_resources(),
    }


@contextmanager
def opens_meeting(talk: Talk, folder: Path, others: int) -> Iterator[Work]:
    """A unit that waits until as many are at work: no worker does two of them."""

    def work(part: Any) -> None:
        (folder / f"{os.getpid()}").touch()
        while len(list(folder.iterdir())) < others:
            time.sleep(0.01)

    yield work


@contextmanager
def opens_large(talk: Talk, number: int, *given: Any) -> Iterator[Work]:
    """A unit that keeps a large array (what it is given, and `number`) where it was made."""

    def work(part: Any) -> tuple[str, np.ndarray]:
        time.sleep(0.3)  # so that no worker that is there does two of them
        whole = np.full(2**17, number, dtype=np.float64) + sum(one[0] for one in given)
        return ray.get_runtime_context().get_node_id(), whole

    yield work


@contextmanager
def opens_sum(talk: Talk, *given: Any) -> Iterator[Work]:
    yield lambda part: [float(one.sum()) / len(one) for one in given]


@contextmanager
def opens_talk(talk: Talk) -> Iterator[Work]:
    def work(part: int) -> float:
        with talk.report.task("inner", 2, "steps") as advance:
            advance(2)
        sys.stderr.write(f"printed {part}\n")
        warnings.warn("python's", stacklevel=1)
        talk.report.warn(f"said {part}")
        time.sleep(1)
        return time.time()

    yield work


class Fatal:
    """Whoever sends it is killed, the first time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        if not any(self.folder.iterdir()):
            (self.folder / "sent").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return str, ("whole",)


class Unsendable:
    def __reduce__(self) -> tuple[Any, ...]:
        raise ValueError("it cannot be sent")


@contextmanager
def opens_sending(talk: Talk, folder: Path) -> Iterator[Work]:
    yield lambda part: ("done", Fatal(folder) if part == 0 else Unsendable())


@contextmanager
def opens_given(talk: Talk, given: object) -> Iterator[Work]:
    yield lambda part: given
