"""What a file may say for `platorep theory color`, but for images and models. Light."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from platorep.parameters.section import Section

# The eleven basic colour terms of English (Berlin and Kay 1969), and the nine other single words
# that come first in the order of the XKCD colour survey, the names that most people typed.
BASIC = ("black", "white", "red", "green", "yellow", "blue", "brown", "orange", "pink", "purple")
WORDS = (
    *BASIC,
    *("gray", "teal", "magenta", "violet", "turquoise", "lavender", "tan", "cyan", "aqua", "mauve"),
)
TEMPLATES = ("The color {color}.", "This color is {color}.", "The color of this thing is {color}.")


class WordConfig(Section):
    """A colour word, and its colour where the survey's is not wanted or it has none."""

    word: str
    color: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
    """sRGB, as in `#c20078`."""


def _with_color(template: str) -> str:
    if not re.search(r"\{color\}", template):
        raise ValueError(f"must hold {{color}}; found {template!r}")
    return template


class CooccurrenceParameters(Section):
    """How pairs of nearby pixels are drawn, and what their mutual information is."""

    pairs: PositiveInt = 300_000
    """Pairs of pixels in all, the same number from every image but for chance."""
    radius: Annotated[float, Field(ge=1)] = 4.0
    """The second pixel of a pair lies at most so many pixels from the first, as the crow flies,
    and is another pixel; all such places inside the image are equally likely."""
    levels: Annotated[int, Field(ge=2, le=32)] = 8
    """Steps of red, of green and of blue: the grid has levels^3 cells of equal size in sRGB."""
    minimum_count: PositiveInt = 100
    """A word with fewer drawn pixels (of two per pair) is left out, and said to be."""
    minimum_cell_count: PositiveInt = 1000
    """The same for a cell of the grid: of two cells with fewer than the root of twice `pairs`, not
    even one pair is expected of independent pixels."""
    smoothing: NonNegativeFloat = 1.0
    """PMI is log (n_ab + s) / (e_ab + s): n_ab pairs were drawn, e_ab are expected of independent
    pixels. So colours that never meet have a finite PMI, and rare ones one near 0."""
    maximum: Literal["all", "different"] = "all"
    """Distance is the largest PMI less the PMI: largest of all, a colour with itself included, or
    of different colours only."""
    seed: NonNegativeInt = 0


class LanguageParameters(Section):
    """How a colour word becomes a vector."""

    templates: Annotated[
        tuple[Annotated[str, AfterValidator(_with_color)], ...], Field(min_length=1)
    ] = TEMPLATES
    """Texts with `{color}` in them; a word's vector is the mean over them of pooled features."""
    layers: Literal["last", "all"] = "last"
    """The last layer that a model keeps, or every one of them."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Compute precision; auto: bfloat16 on a GPU, else float32."""


class GeometryParameters(Section):
    """How distances become points in three dimensions, and how chance is told from likeness."""

    starts: PositiveInt = 100
    """Random starts of metric MDS, of which the one with the least stress is kept."""
    iterations: PositiveInt = 1000
    """Most steps of SMACOF from one start."""
    permutations: PositiveInt = 9999
    """Relabellings of the colours; the smallest p is 1 / (permutations + 1)."""
    seed: NonNegativeInt = 0


class ColorControls(Section):
    random_weights: bool = False
    """A random-weight copy of every language model."""
    seed: NonNegativeInt = 0
