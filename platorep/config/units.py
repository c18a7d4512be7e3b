"""What `platorep units` may be told of: what single units and first filters do."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from platorep.parameters.section import Section

Objective = Literal["classification", "simclr", "colorization", "denoising", "sparse_coding", "ica"]


def _each_once(values: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A network that stands there twice would be held against itself."""
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value!r} stands there twice")
    return values


class UnitsMatchConfig(Section):
    """Units of several networks that do the same over images and positions (arXiv:2306.09346)."""

    layers: Literal["all", "last"] | Annotated[tuple[int, ...], Field(min_length=1)] = "all"
    """Whose units take part, all together."""
    grid: Annotated[int, Field(ge=1)] = 7
    """Rows and columns of positions to which the maps of images are resampled. Texts have a
    position for each character."""
    mean: Literal["position", "all"] = "position"
    """What is taken off a unit before it is correlated: its mean at each position over all samples,
    so that what units share by position alone (a border, a first token) is no match; or its mean
    over all samples and positions, as in arXiv:2306.09346."""
    permutations: Annotated[int, Field(ge=1)] = 5
    """Of the null: the samples of one network in a random order, at the same positions."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of false matches that is allowed among those that are called matches."""
    top: PositiveInt = 5
    """Cliques that the figure shows."""
    samples: Annotated[int, Field(ge=1, le=8)] = 4
    """Images that the figure shows of each."""
    seed: NonNegativeInt = 0
    """Of the orders of the null, and of the halves."""


class FiltersConfig(Section):
    """First-layer filters of networks that are trained on patches for different objectives, and of
    the experiment's own networks: are they Gabor functions, and the same ones?"""

    view: str = "image"
    """The view whose images are cut into patches."""
    objectives: Annotated[tuple[Objective, ...], AfterValidator(_each_once)] = (
        *("classification", "simclr", "colorization", "denoising"),
        *("sparse_coding", "ica"),
    )
    """What the networks are trained to do."""
    seeds: Annotated[
        tuple[NonNegativeInt, ...], Field(min_length=1), AfterValidator(_each_once)
    ] = (0, 1)
    """Networks of each objective."""
    units: PositiveInt = 64
    """Filters of each network."""
    size: Annotated[int, Field(ge=5)] = 12
    """Pixels per side of a filter."""
    steps: PositiveInt = 2000
    """Training steps of each."""
    controls: bool = True
    """The same on white noise, and random weights."""
    layers: tuple[NonNegativeInt, ...] = (0, 1)
    """Of the experiment's own image networks: those whose effective receptive fields are fitted,
    beside the first filters; layers that a network lacks are left out."""
    images: PositiveInt = 64
    """Over which a receptive field is averaged."""
    restarts: PositiveInt = 2
    """Starts of each fit of a Gabor function."""
    permutations: PositiveInt = 99
    """Draws of each null of what two objectives share."""
    surrogates: PositiveInt = 199
    """Noises as smooth as a filter that are fitted for its null."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Level of the nulls."""


class UnitsConfig(Section):
    """Settings of `platorep units match` and `filters`."""

    match: UnitsMatchConfig = UnitsMatchConfig()
    """Of `platorep units match`."""
    filters: FiltersConfig = FiltersConfig()
    """Of `platorep units filters`."""
