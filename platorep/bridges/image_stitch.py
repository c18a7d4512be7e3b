"""Stitches between image networks: what the front gives over positions becomes what the back takes.

Axes: n images, b images of a batch, p positions (tokens before the patches first), d features,
h and w positions of a map, k labels.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from platorep.bridges.stitching import Rows, Stitch
from platorep.errors import ConfigError
from platorep.models.inside import OpenNetwork
from platorep.models.taps import CHANNELS_LAST, OUTPUT, layout_of


@dataclass(frozen=True)
class TappedImages:
    """What a network gives for all images: inside, and at its end."""

    network: OpenNetwork
    outputs: dict[str, Tensor]
    """By module, as it gives them: n first."""
    final: Float[Tensor, "n d"]


def tap_images(
    network: OpenNetwork,
    names: Sequence[str],
    samples: Iterable[Any],
    batch_size: int,
    advance: Callable[[int], None],
) -> TappedImages:
    """Run a network once over all images and keep what the modules give, in float32.

    Raises:
        ConfigError: what the network gives at its end is no vector for each image.
    """
    kept: dict[str, list[Tensor]] = {name: [] for name in (*names, OUTPUT)}
    batch: list[Tensor] = []

    def flush() -> None:
        found = network.outputs(torch.stack(batch), list(kept))
        for name, output in zip(kept, found, strict=True):
            kept[name].append(output.float().cpu())
        advance(len(batch))
        batch.clear()

    for sample in samples:
        batch.append(network.prepare(sample))
        if len(batch) == batch_size:
            flush()
    if batch:
        flush()
    whole = {name: torch.cat(kept.pop(name)) for name in list(kept)}
    final = whole.pop(OUTPUT)
    if final.ndim != 2:
        raise ConfigError(
            f"model {network.label!r} gives {' x '.join(map(str, final.shape[1:]))} numbers for an "
            "image at its end, expected one vector: nothing can be told from it."
        )
    return TappedImages(network, whole, final)


@dataclass(frozen=True)
class Head:
    """A linear classifier of each label on what a network gives at its end."""

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, " k"]

    def __call__(self, final: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        return F.linear(final, self.weight, self.bias)


def fit_head(
    final: Float[Tensor, "n d"], having: Bool[np.ndarray, "n k"], rows: Rows, c: float
) -> Head:
    """l2-penalised logistic regressions on the standardised features of `rows`, one for each label.

    Args:
        c: scikit-learn's C, the inverse strength of the penalty.
    """
    from sklearn.linear_model import LogisticRegression  # takes long to import

    x = final.double().numpy()
    mean, spread = x[rows].mean(axis=0), x[rows].std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    z = (x[rows] - mean) / spread
    fitted = [LogisticRegression(C=c, max_iter=1000).fit(z, has[rows]) for has in having.T]
    weight = np.concatenate([one.coef_ for one in fitted]) / spread
    bias = np.concatenate([one.intercept_ for one in fitted]) - weight @ mean
    return Head(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())


class ImageJoint:
    """The front of one network at a module, the back of another from a module on, and its head."""

    def __init__(
        self,
        front: tuple[TappedImages, str],
        back: tuple[TappedImages, str],
        head: Head,
        having: Bool[np.ndarray, "n k"],
        seen: Rows | None = None,
    ) -> None:
        """
        Args:
            seen: The image that the front sees in the place of each one; None: that one.
        """
        self._front, self._front_name = front
        self._back, self._back_name = back
        self._head, self._seen = head, seen
        self._having = torch.from_numpy(having).float()

    def observed(self, rows: Rows) -> tuple[Float[Tensor, "m d_x"], Float[Tensor, "m d_y"]]:
        own = positions(self._back.network, self._back_name, self._own(rows))
        return self._source(rows, own).flatten(0, 1), own.joined().flatten(0, 1)

    def loss(self, stitch: Stitch, rows: Rows) -> Float[Tensor, ""]:
        """Cross-entropy of each label, yes or no; their mean."""
        logits = self.tell(stitch, rows)
        return F.binary_cross_entropy_with_logits(logits, self._having[rows].to(logits.device))

    def tell(self, stitch: Stitch, rows: Rows) -> Float[Tensor, "b k"]:
        """What the head says of each image."""
        network, name = self._back.network, self._back_name
        output = self._own(rows)
        stitched = stitch(self._source(rows, positions(network, name, output)))
        taken = as_output(network, name, stitched, output)
        return self._head(network.resumed(name, taken.to(network.device, network.dtype)).float())

    def _own(self, rows: Rows) -> Tensor:
        return self._back.outputs[self._back_name][rows]

    def _source(self, rows: Rows, own: "Positions") -> Float[Tensor, "b p d_x"]:
        seen = rows if self._seen is None else self._seen[rows]
        given = self._front.outputs[self._front_name][seen]
        return positions(self._front.network, self._front_name, given).like(own)


@dataclass(frozen=True)
class Positions:
    """What a module gives, by where it is in the image."""

    prefix: Float[Tensor, "b k d"]
    """Tokens before the patches."""
    grid: Float[Tensor, "b d h w"]

    def joined(self) -> Float[Tensor, "b p d"]:
        return torch.cat([self.prefix, self.grid.flatten(2).mT], dim=1)

    def like(self, other: "Positions") -> Float[Tensor, "b p d"]:
        """At the positions of another network: maps are averaged where it has fewer, and
        interpolated (bilinear) where it has more.

        The other's tokens before the patches are the own ones if there are as many, else the mean
        over all patches.
        """
        (h, w), (to_h, to_w) = self.grid.shape[2:], other.grid.shape[2:]
        grid = F.adaptive_avg_pool2d(self.grid, (min(h, to_h), min(w, to_w)))
        grid = F.interpolate(grid, (to_h, to_w), mode="bilinear", align_corners=False)
        prefix, number = self.prefix, other.prefix.shape[1]
        if prefix.shape[1] != number:
            prefix = self.grid.mean(dim=(2, 3))[:, None].expand(-1, number, -1)
        return Positions(prefix, grid).joined()


def positions(network: OpenNetwork, name: str, output: Tensor) -> Positions:
    """The output of a module by position.

    Raises:
        ConfigError: as `OpenNetwork.as_map`.
    """
    grid = network.as_map(name, output)
    before = output.shape[1] - grid.shape[2] * grid.shape[3] if output.ndim == 3 else 0
    prefix = output[:, :before] if before else grid.new_zeros(len(grid), 0, grid.shape[1])
    return Positions(prefix, grid)


def as_output(
    network: OpenNetwork, name: str, joined: Float[Tensor, "b p d"], like: Tensor
) -> Tensor:
    """Positions in the form in which a module gives them."""
    if like.ndim != 4:
        return joined.reshape(len(joined), *like.shape[1:])
    last = layout_of(network.network, name) in CHANNELS_LAST
    return joined.reshape(like.shape) if last else joined.mT.reshape(like.shape)
