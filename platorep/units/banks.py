"""Banks of filters: what the first layer of a network looks for, on one scale for all networks.

Axes: u filters, h and w pixels, m patches of images that no network was trained on.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class FilterBank:
    """The filters of one network, by one objective from one seed."""

    network: str
    """Its label in tables and figures: `simclr, seed 0`, or a model of the experiment."""
    objective: str
    """What it was trained for; empty for the experiment's own networks."""
    images: str
    """What it was trained on: `natural` (the view), `white noise`, or `-` (random weights)."""
    seed: int
    filters: Float[np.ndarray, "u h w"]
    """One number a pixel (luminance, or the filter's first color axis), in any unit."""
    responses: Float[np.ndarray, "u m"] | None = None
    """Of each filter to patches that are the same ones for all banks of an experiment."""
    layer_name: str = "filters"
    """Where they were found: `filters`, or the layer whose effective receptive fields they are."""
    color_share: Float[np.ndarray, " u"] | None = None
    """Of filters in color: how much of the square of each lies on the axis that is kept."""
    reliability: Float[np.ndarray, " u"] | None = None
    """Of receptive fields: correlation of the average over half of the images with the other's."""
