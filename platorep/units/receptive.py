"""What units of an image network look for: their filters, and their effective receptive fields.

A unit's effective receptive field is the gradient of its value at the middle of an image by the
pixels, averaged over images (Luo et al. 2016, arXiv:1701.04128, who average over random weights).
Of a linear unit it is the filter. Of others it is the spike-triggered average with the images' own
correlations divided out, if these are Gaussian (Stein's lemma: the covariance of x and f(x) is
that of x times the mean gradient), and nothing of what is even, such as an energy, is left in it.
Axes: b images, c colors, h and w pixels, u units.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from platorep.models.inside import OpenNetwork
from platorep.models.taps import first_tensor, module_of
from platorep.switches import default_switches

LARGEST = 32  # pixels per side that a Gabor function is fitted to
SMALLEST = 5  # fewer pixels than a Gabor function has parameters, or hardly more
LOOKED_AT = 2 * LARGEST  # pixels per side about the middle: what a layer sees beyond is too wide
DUST = 0.01  # of the largest mean gradient: less is not counted as part of a field
AT_ONCE = 16  # images


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Filters or receptive fields of a layer, of one color."""

    fields: Float[np.ndarray, "u h w"]
    color_share: Float[np.ndarray, " u"]
    """Of the square of a filter: what lies on its first axis of color, 1 for grey networks."""
    reliability: Float[np.ndarray, " u"]
    """Correlation of the average over one half of the images with that over the other; 1 of
    filters, which no image moves."""


def one_color(
    filters: Float[np.ndarray, "u c h w"],
) -> tuple[Float[np.ndarray, "u h w"], Float[np.ndarray, " u"]]:
    """Each filter on the one axis of color that holds most of its square, and how much it holds.

    The axis points to where its colors add up to more than 0: towards light.
    """
    u, c, h, w = filters.shape
    axes, lengths, pictures = np.linalg.svd(filters.reshape(u, c, -1), full_matrices=False)
    sign = np.where(axes[:, :, 0].sum(1) < 0, -1.0, 1.0)
    total = np.square(lengths).sum(1)
    share = np.square(lengths[:, 0]) / np.where(total > 0, total, 1)
    first = pictures[:, 0] * (sign * lengths[:, 0])[:, None]
    return first.reshape(u, h, w), share


@default_switches()
def first_filters(opened: OpenNetwork) -> Float[np.ndarray, "u c h w"] | None:
    """Weights of the first convolution that reads the pixels (or embeds patches); None if the
    first module with weights is none."""
    found: list[nn.Conv2d] = []
    with ExitStack() as hooks, torch.inference_mode():
        for module in opened.network.modules():
            if isinstance(module, nn.Conv2d):
                hooks.callback(
                    module.register_forward_pre_hook(lambda one, _: found.append(one)).remove
                )
        blank = torch.zeros(1, *opened.input_size, device=opened.device, dtype=opened.dtype)
        opened.network(blank)
    if not found or found[0].weight.shape[1] != opened.input_size[0]:
        return None
    weights: np.ndarray = found[0].weight.detach().double().cpu().numpy()
    return weights


@default_switches()
def effective_fields(
    opened: OpenNetwork, name: str, images: Sequence[Tensor], units: int
) -> Float[np.ndarray, "2 u c h w"] | None:
    """Mean gradients of the first `units` units of a layer, over the even and the odd images.

    Cut to the smallest box about the middle that holds all but dust. None if that is wider than
    `LARGEST` pixels or reaches the edge of the image, and of networks that embed patches, whose
    attention sees everything.
    """
    if hasattr(opened.network, "patch_embed"):
        return None
    totals: list[Tensor | float] = [0.0, 0.0]
    for half in (0, 1):
        own = images[half::2]
        for first in range(0, len(own), AT_ONCE):
            batch = torch.stack([_middle(image) for image in own[first : first + AT_ONCE]])
            batch = batch.to(opened.device, opened.dtype)
            totals[half] = totals[half] + _gradients(opened, name, batch, units)
        totals[half] = totals[half] / max(len(own), 1)
    mean = torch.stack([torch.as_tensor(total) for total in totals])
    size = mean.abs().amax((0, 1, 2))
    inside = (size > DUST * size.max()).nonzero()
    if not len(inside):
        return None
    low, high = inside.amin(0), inside.amax(0) + 1
    at_edge = bool((low == 0).any()) or bool(
        (high == torch.tensor(size.shape, device=high.device)).any()
    )
    if at_edge or int((high - low).max()) > LARGEST:
        return None
    cut: np.ndarray = mean[..., low[0] : high[0], low[1] : high[1]].double().cpu().numpy()
    return cut


def _middle(image: Float[Tensor, "c h w"]) -> Float[Tensor, "c _ _"]:
    h, w = (max(0, length - LOOKED_AT) // 2 for length in image.shape[1:])
    return image[:, h : h + LOOKED_AT, w : w + LOOKED_AT]


class _ReachedError(Exception):
    """The layer has given its output; what follows it is not needed."""


def _gradients(
    opened: OpenNetwork, name: str, images: Float[Tensor, "b c h w"], units: int
) -> Float[Tensor, "u c h w"]:
    """Sums over images of the gradients of the units at the middle of the map."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        tensor = first_tensor(output)
        assert tensor is not None
        kept.append(tensor)
        raise _ReachedError

    hook = module_of(opened.network, name).register_forward_hook(keep)
    images = images.requires_grad_()
    try:
        opened.network(images)
    except _ReachedError:
        pass
    finally:
        hook.remove()
    maps = opened.as_map(name, kept[0])
    middle = maps[:, :units, maps.shape[2] // 2, maps.shape[3] // 2].sum(0)  # u
    return torch.stack(
        [torch.autograd.grad(one, images, retain_graph=True)[0].sum(0) for one in middle]
    )


def layer_fields(
    opened: OpenNetwork, name: str, images: Sequence[Tensor], units: int
) -> Fields | None:
    """Effective receptive fields of a layer, of one color; None as in `effective_fields`."""
    halves = effective_fields(opened, name, images, units)
    if halves is None or min(halves.shape[-2:]) < SMALLEST:
        return None
    fields, share = one_color(halves.mean(0))
    one, other = (half - half.mean(1, keepdims=True) for half in halves.reshape(2, len(fields), -1))
    scale = np.sqrt(np.square(one).sum(1) * np.square(other).sum(1))
    alike = (one * other).sum(1) / np.where(scale > 0, scale, 1)
    return Fields(fields=fields, color_share=share, reliability=alike)


def filter_fields(opened: OpenNetwork, units: int) -> Fields | None:
    """The first filters, of one color; None if they are too small or too large to be fitted."""
    weights = first_filters(opened)
    if weights is None or not SMALLEST <= min(weights.shape[-2:]) <= LARGEST:
        return None
    fields, share = one_color(weights[:units])
    return Fields(fields=fields, color_share=share, reliability=np.ones(len(fields)))
