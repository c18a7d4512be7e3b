"""What stitches of every modality have in common: where layers are, what one stitch gives."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from platorep.bridges.stitching import Joint, Rows, Stitch, Training, match, train
from platorep.config import ModelSpec
from platorep.config.bridges import StitchConfig
from platorep.data import EventDataset
from platorep.performance.words import Labels
from platorep.run import Run
from platorep.tensors import write_tensors


@dataclass(frozen=True)
class At:
    """A layer of a model."""

    spec: ModelSpec
    key: str
    """Names the model's weights, and the rows."""
    names: tuple[str, ...]
    """Of the layers of the model that take part."""
    layer: int
    """Its place among the layers that are kept as features."""
    name: str


@dataclass(frozen=True)
class Judged:
    """How the back does on the test rows, by itself and on a stitch."""

    own: float
    stitched: float
    penalty: float
    """How much worse the stitched one is: 0 is none."""
    stderr: float
    """Of the penalty, over test rows."""


class Bench(ABC):
    """Models of one modality that read one view."""

    measure: str

    def __init__(self, run: Run, dataset: EventDataset, config: StitchConfig, view: str) -> None:
        self._run, self._dataset, self._config, self._view = run, dataset, config, view

    @property
    @abstractmethod
    def decides(self) -> list[Any]:
        """What moves a number here besides the models and `StitchConfig`'s settings of training."""

    @abstractmethod
    def layers(self, names: tuple[str, ...]) -> list[int]:
        """Places of the layers that may be cut at."""

    @abstractmethod
    def divided(self, seed: int) -> Labels:
        """The rows to train, to hold out and to test on."""

    @abstractmethod
    def joint(self, front: At, back: At, seed: int, seen: Rows | None) -> Joint:
        """Front and back.

        Args:
            seen: The row that the front sees in the place of each one.
        """

    @abstractmethod
    def judge(self, joint: Joint, stitches: list[Stitch], back: At, seed: int) -> list[Judged]:
        """How the back does on each of the stitches."""

    @abstractmethod
    def check(self, back: At) -> None:
        """Refuse a layer that nothing can be put in the place of."""

    @abstractmethod
    def forget(self, but: set[str]) -> None:
        """Let go of what is in memory of other models than these."""

    def stitched(
        self, front: At, back: At, seed: int, control: str, weights: Path
    ) -> dict[str, Any]:
        """One stitch: matched, trained, judged; its weights are written to `weights`."""
        self.check(back)
        config, of = self._config, self.divided(seed)
        rows = (of.train, of.validation, of.test)
        seen = others(rows, seed) if control == NOISE else None
        joint = self.joint(front, back, seed, seen)
        start = match(joint, of.train, config.batch_size)
        training = Training(
            steps=config.steps,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seed=seed,
        )
        kept = [start.stitch]
        step = 0
        if control != SAME:
            trained = train(joint, start, of.train, of.validation, training)
            kept, step = [start.stitch, trained.stitch], trained.step
        matched, *rest = self.judge(joint, kept, back, seed)
        last = rest[0] if rest else matched
        tensors = {"weight": kept[-1].weight, "bias": kept[-1].bias}
        write_tensors(weights, tensors, {"of": weights.stem})
        return asdict(last) | {
            "matched": matched.stitched,
            "matched_penalty": matched.penalty,
            "matched_stderr": matched.stderr,
            "explained": start.share,
            "step": step,
            **{f"num_{name}": len(part) for name, part in zip(PARTS, rows, strict=True)},
        }


AREA, BITS = "area under the ROC curve", "bits per byte"
"""What is measured of image networks and of language models."""
PARTS = ("train", "held_out", "test")
RANDOM, NOISE, SAME = "random weights", "noise", "same layer"
"""Controls: the front's random copy; the front sees other rows; the back is its own front."""


def others(parts: tuple[Rows, ...], seed: int) -> Rows:
    """For each row another one of the same part, at random: no row stays, none is seen twice."""
    seen = np.empty(sum(map(len, parts)), dtype=np.int64)
    rng = np.random.default_rng([seed, len(seen), 1])
    for part in parts:
        order = rng.permutation(part)
        seen[order] = np.roll(order, 1)
    return seen
