"""Small networks that look at patches through a bank of filters, each for another objective.

Every network is the same but for its last layer: `u` linear filters on a patch of grey, ReLU, a
hidden layer, ReLU, outputs. All see the same patches for as many steps with the same optimizer; the
head is thrown away. Sparse coding and independent components, which have no head, are the classical
answer to what filters a world of images asks for.

Axes: b patches of a batch, s pixels per side of a filter, S = s + 2 `MARGIN` of a patch, u filters.
"""

import math
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW

from platorep.switches import default_switches
from platorep.toyworld.networks import seeded
from platorep.toyworld.objectives import contrastive_loss
from platorep.toyworld.training import one_thread
from platorep.units.patches import FLOOR, MARGIN, Patches

VERSION = 1  # raise when the same patches and settings give other filters
HIDDEN = 128
BATCH = 128
PROJECTED = 64
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
WARMUP_STEPS = 50
NOISE = 0.7
"""Standard deviation of what denoising removes, of patches whose own is 1."""
SPARSITY = 2.0
"""Weight of the L1 penalty of sparse coding."""
FITTED = 10_000
"""Patches that the classical methods fit, at most."""

Progress = Callable[[int], object]


def normalized(grey: Float[Tensor, "*b s s"]) -> Float[Tensor, "*b s s"]:
    """Patches without their mean and their contrast; flat ones stay nearly flat (`FLOOR`)."""
    centred = grey - grey.mean((-1, -2), keepdim=True)
    variance = centred.square().mean((-1, -2), keepdim=True)
    return centred / (variance + FLOOR).sqrt()


def learned_filters(
    objective: str,
    patches: Patches,
    shape: tuple[int, int],
    steps: int,
    seed: int,
    progress: Progress = lambda step: None,
) -> Float[np.ndarray, "u s s"]:
    """The first-layer filters of a network trained for `objective`, on whitened patches.

    Of sparse coding they are the dictionary's atoms, of independent components the rows of the
    unmixing matrix: what responds, in both cases, up to scale.

    Args:
        objective: One of `OBJECTIVES`, `sparse_coding`, `ica`, or `random`: as it is initialised.
        shape: Filters, and pixels per side of each.
        progress: Called with 1 after each step.
    """
    units, side = shape
    if objective in CLASSICAL:
        grey = _centre(patches.pixels[:, 0])
        chosen = np.random.default_rng(seed).permutation(len(grey))[:FITTED]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="FastICA did not converge")  # 200 rounds
            found = CLASSICAL[objective](grey[chosen].reshape(len(chosen), -1), units, seed)
        progress(steps)
        return found.reshape(units, side, side)
    with seeded(seed):
        first = nn.Linear(side * side, units)
    if objective != "random":
        with default_switches(), one_thread():
            _train(first, OBJECTIVES[objective], patches, side, steps, seed, progress)
    return first.weight.detach().double().numpy().reshape(units, side, side)


class _Task:
    """What is asked of the network: its number of outputs, and its loss on a batch."""

    def __init__(self, side: int, patches: Patches) -> None:
        self.side = side

    outputs: int

    def loss(self, network: nn.Module, batch: "_Batch") -> Float[Tensor, ""]:
        raise NotImplementedError


class _Batch:
    """Patches of one step, cut anew to the size of a filter at each look."""

    def __init__(
        self, pixels: Float[Tensor, "b 3 S S"], image: Int[Tensor, " b"], generator: torch.Generator
    ) -> None:
        self._pixels, self.image, self.generator = pixels, image, generator

    def look(self, side: int) -> tuple[Float[Tensor, "b s s"], Float[Tensor, "b 2 s s"]]:
        """Grey, normalized, and color of a crop at a random place, one for the whole batch."""
        spare = self._pixels.shape[-1] - side
        top, left = torch.randint(spare + 1, (2,), generator=self.generator).tolist()
        crop = self._pixels[:, :, top : top + side, left : left + side]
        return normalized(crop[:, 0]), crop[:, 1:]

    def noise(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.generator)


class Classification(_Task):
    """Which image was the patch cut from? Source: exemplar networks, arXiv:1406.6909, whose classes
    are patches; here they are images."""

    def __init__(self, side: int, patches: Patches) -> None:
        super().__init__(side, patches)
        self.outputs = int(patches.image.max()) + 1

    def loss(self, network: nn.Module, batch: _Batch) -> Float[Tensor, ""]:
        grey, _ = batch.look(self.side)
        return F.cross_entropy(network(grey.flatten(1)), batch.image)


class Contrastive(_Task):
    """Two crops of a patch, shifted, of other contrast and with other noise, are alike; those of
    different patches are not. Source: SimCLR, arXiv:2002.05709, without colors and resizing."""

    outputs = PROJECTED

    def loss(self, network: nn.Module, batch: _Batch) -> Float[Tensor, ""]:
        looks = []
        for _ in range(2):
            grey, _ = batch.look(self.side)
            contrast = 1 + 0.3 * torch.randn(len(grey), 1, 1, generator=batch.generator)
            looks.append(contrast * grey + 0.5 * NOISE * batch.noise(grey))
        return contrastive_loss(network(torch.cat(looks).flatten(1)), temperature=0.2)


class Colorization(_Task):
    """The two color channels of a grey patch, at half its resolution. Source: arXiv:1603.08511,
    which classifies quantised colors; here their squared error is minimised."""

    def __init__(self, side: int, patches: Patches) -> None:
        super().__init__(side, patches)
        self.outputs = 2 * (side // 2) ** 2

    def loss(self, network: nn.Module, batch: _Batch) -> Float[Tensor, ""]:
        grey, color = batch.look(self.side)
        return F.mse_loss(network(grey.flatten(1)), F.avg_pool2d(color, 2).flatten(1))


class Denoising(_Task):
    """The patch without the noise that was added. Source: denoising autoencoders, Vincent and
    others 2010 (JMLR 11:3371), with Gaussian noise."""

    def __init__(self, side: int, patches: Patches) -> None:
        super().__init__(side, patches)
        self.outputs = side * side

    def loss(self, network: nn.Module, batch: _Batch) -> Float[Tensor, ""]:
        grey, _ = batch.look(self.side)
        noisy = grey + NOISE * batch.noise(grey)
        return F.mse_loss(network(noisy.flatten(1)), grey.flatten(1))


OBJECTIVES: Mapping[str, Callable[[int, Patches], _Task]] = {
    "classification": Classification,
    "simclr": Contrastive,
    "colorization": Colorization,
    "denoising": Denoising,
}


def _train(
    first: nn.Linear,
    task_of: Callable[[int, Patches], _Task],
    patches: Patches,
    side: int,
    steps: int,
    seed: int,
    progress: Progress,
) -> None:
    """Train the filters in place; half a cosine down to 0 after a short warm-up."""
    task = task_of(side, patches)
    with seeded(seed + 1):  # the head must not repeat the filters' weights
        head = (nn.ReLU(), nn.Linear(first.out_features, HIDDEN), nn.ReLU())
        network = nn.Sequential(first, *head, nn.Linear(HIDDEN, task.outputs))
    optimizer = AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    pixels, image = torch.from_numpy(patches.pixels), torch.from_numpy(patches.image)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        warm = min(1.0, (step + 1) / WARMUP_STEPS)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * warm * (1 + math.cos(math.pi * step / steps)) / 2
        rows = torch.randint(len(pixels), (BATCH,), generator=generator)
        loss = task.loss(network, _Batch(pixels[rows], image[rows], generator))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        progress(1)


def _centre(grey: Float[np.ndarray, "n S S"]) -> Float[np.ndarray, "n s s"]:
    """What a filter sees of patches with a margin, normalized."""
    inner = torch.from_numpy(grey[:, MARGIN:-MARGIN, MARGIN:-MARGIN])
    return normalized(inner).double().numpy()


def responses(
    filters: Float[np.ndarray, "u s s"], grey: Float[np.ndarray, "n S S"]
) -> Float[np.ndarray, "u n"]:
    """Of each filter to each patch, before ReLU."""
    inner = _centre(grey)
    found: np.ndarray = filters.reshape(len(filters), -1) @ inner.reshape(len(inner), -1).T
    return found


def _sparse_atoms(grey: Float[np.ndarray, "n p"], units: int, seed: int) -> np.ndarray:
    """Source: Olshausen, Field 1996 (Nature 381:607), with an L1 penalty and scikit-learn's online
    solver (Mairal and others 2009)."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    learner = MiniBatchDictionaryLearning(
        units, alpha=SPARSITY, batch_size=128, max_iter=1, random_state=seed, fit_algorithm="lars"
    )
    atoms: np.ndarray = learner.fit(grey).components_
    return atoms


def _independent_filters(grey: Float[np.ndarray, "n p"], units: int, seed: int) -> np.ndarray:
    """Source: Bell, Sejnowski 1997 (Vision Research 37:3327), with FastICA in the place of theirs;
    dimensions beyond `units` are left out by their variance."""
    from sklearn.decomposition import FastICA

    learner = FastICA(units, random_state=seed, max_iter=200, tol=1e-3, whiten="unit-variance")
    filters: np.ndarray = learner.fit(grey).components_
    return filters


CLASSICAL: Mapping[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "sparse_coding": _sparse_atoms,
    "ica": _independent_filters,
}
