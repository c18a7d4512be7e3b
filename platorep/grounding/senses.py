"""The dial in the toy world: captions that share a fraction of their attributes with pictures,
read and seen by two networks of the experiment.

Axes: n samples, d features.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from platorep.align.summaries import prepared_layers
from platorep.config import ModelSpec
from platorep.grounding.dial import REPETITIONS, SHARES
from platorep.models import Reading, compute_dtype, open_model
from platorep.parameters.toyworld import WorldParameters
from platorep.reporting import Advance
from platorep.run import Run
from platorep.toyworld.captions import caption
from platorep.toyworld.pictures import picture
from platorep.toyworld.scenes import Scene, sample_pairs, told_scene


@dataclass(frozen=True)
class Observed:
    """One sense of some scenes, made when it is asked for."""

    scenes: Sequence[Scene]
    observe: Callable[[Scene], Any]

    @property
    def ids(self) -> Sequence[str]:
        return [str(scene.index) for scene in self.scenes]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, i: int, /) -> Any:
        return self.observe(self.scenes[i])


@dataclass
class SensesWorld:
    """The last layers of a network that sees and of one that reads, of scenes that nobody was
    trained on."""

    run: Run
    sees: ModelSpec
    reads: ModelSpec
    most: int
    """Rows of the largest sample that is asked for."""
    name: str = "toy"
    _x: Tensor = field(init=False)
    _y: dict[float, Tensor] = field(init=False)

    def observe(self, advance: Advance) -> None:
        """Read everything.

        Args:
            advance: Called with the number of rows just read, 1 + len(SHARES) times all of them.
        """
        scenes = sample_pairs(self.sees.world, REPETITIONS * self.most)
        shown = Observed(scenes, lambda scene: Image.fromarray(picture(self.sees.world, scene)))
        self._x = self._features(self.sees, [shown], advance)[0]
        texts = [Observed(scenes, _teller(self.reads.world, share)) for share in SHARES]
        self._y = dict(zip(SHARES, self._features(self.reads, texts, advance), strict=True))

    def _features(
        self, spec: ModelSpec, senses: Sequence[Observed], advance: Advance
    ) -> list[Float[Tensor, "n d"]]:
        config, device = self.run.config, self.run.device
        dtype = compute_dtype(spec, config.extract.dtype, device)
        model = open_model(spec, offline=self.run.options.offline)
        made = []
        with closing(model.load(device, getattr(torch, dtype))) as loaded:
            for samples in senses:
                loaded.forget()
                rows = range(len(samples))
                read = loaded.features(Reading(rows, samples, workers=0, progress=advance))
                made.append(prepared_layers(config.align, spec.label, read)[len(read) - 1])
        return made

    def x(self, n: int, repetition: int) -> Float[Tensor, "n d"]:
        return self._x[n * repetition : n * (repetition + 1)]

    def y(self, share: float, n: int, repetition: int) -> Float[Tensor, "n d"]:
        return self._y[share][n * repetition : n * (repetition + 1)]


def _teller(world: WorldParameters, share: float) -> Callable[[Scene], str]:
    turned = world.model_copy(update={"shared": share, "pairs": "same_scene"})
    return lambda scene: caption(turned, told_scene(turned, scene))
