"""What `platorep units` may be told of: what single units and first filters do."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from platorep.parameters.section import Section

Objective = Literal["classification", "simclr", "colorization", "denoising", "sparse_coding", "ica"]


class UnitsMatchConfig(Section):
    """Units of several networks that do the same over images and positions (arXiv:2306.09346)."""

    layers: Literal["all", "last"] | tuple[int, ...] = "last"
    """Whose units take part."""
    grid: PositiveInt = 7
    """Rows and columns of positions to which all maps are resampled."""
    permutations: PositiveInt = 20
    """Of the null: the images of one network in a random order."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    top: PositiveInt = 5
    """Cliques that the figure shows."""
    seed: NonNegativeInt = 0


class FiltersConfig(Section):
    """First-layer filters of networks that are trained on patches for different objectives, and of
    the experiment's own networks: are they Gabor functions, and the same ones?"""

    view: str = "image"
    """The view whose images are cut into patches."""
    objectives: tuple[Objective, ...] = (
        *("classification", "simclr", "colorization", "denoising"),
        *("sparse_coding", "ica"),
    )
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0, 1)
    units: PositiveInt = 64
    """Filters of each network."""
    size: Annotated[int, Field(ge=5)] = 12
    """Pixels per side of a filter."""
    steps: PositiveInt = 2000
    controls: bool = True
    """The same on white noise, and random weights."""
    layers: tuple[NonNegativeInt, ...] = (0, 1)
    """Of the experiment's own image networks: those whose effective receptive fields are fitted,
    beside the first filters; layers that a network lacks are left out."""
    images: PositiveInt = 64
    """Over which a receptive field is averaged."""
    restarts: PositiveInt = 2
    """Starts of each fit of a Gabor function."""
    surrogates: PositiveInt = 199
    """Noises as smooth as a filter that are fitted for its null."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05


class UnitsConfig(Section):
    """Settings of `platorep units match` and `filters`."""

    match: UnitsMatchConfig = UnitsMatchConfig()
    filters: FiltersConfig = FiltersConfig()
