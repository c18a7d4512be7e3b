"""A world in closed form: Gaussian causes, some of them shared, seen through two random networks.

Axes: n samples, d features, m causes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

CAUSES = 16
HIDDEN = 64
WIDTHS = ((32, 64), (64, 256), (128, 32), (256, 128), (64, 32), (32, 128))
"""Of both networks, by repetition: chance depends on them, and what a score means should not."""
NOISE = 0.1
"""Of each network's own, in standard deviations of its features."""


@dataclass(frozen=True)
class LatentWorld:
    """An event is m independent causes for each sense, a fraction s of them the same for both.

    A network is one layer of tanh units of falling strength (as the square root of their rank), a
    random readout and a little noise of its own. With `linear`, the causes themselves are the
    features: then linear CKA, RV, the mean canonical correlation, Procrustes and the explained
    variance are all s, in the limit of many samples.
    """

    seed: int = 0
    linear: bool = False
    name: str = "latent"

    def x(self, n: int, repetition: int) -> Float[Tensor, "n d"]:
        return self._seen(self._causes(n, repetition)[0], repetition, 0)

    def y(self, share: float, n: int, repetition: int) -> Float[Tensor, "n d"]:
        ours, theirs = self._causes(n, repetition)
        order = self._rng(2, 0, repetition).permutation(CAUSES)
        shared = order[: round(share * CAUSES)]
        theirs[:, shared] = ours[:, shared]
        return self._seen(theirs, repetition, 1)

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *place])

    def _causes(
        self, n: int, repetition: int
    ) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n m"]]:
        ours, theirs = self._rng(0, n, repetition).standard_normal((2, n, CAUSES))
        return ours, theirs

    def _seen(
        self, causes: Float[np.ndarray, "n m"], repetition: int, side: int
    ) -> Float[Tensor, "n d"]:
        """What the network of this side makes of them."""
        if self.linear:
            return torch.from_numpy(causes).float()
        rng = self._rng(1, side, repetition)
        width = WIDTHS[repetition % len(WIDTHS)][side]
        into = rng.standard_normal((CAUSES, HIDDEN)) * 1.5 / np.sqrt(CAUSES)
        out = rng.standard_normal((HIDDEN, width)) / np.sqrt(1 + np.arange(HIDDEN))[:, None]
        features = np.tanh(causes @ into) @ out
        own = self._rng(3, side, len(causes), repetition).standard_normal(features.shape)
        return torch.from_numpy(features + NOISE * features.std() * own).float()
