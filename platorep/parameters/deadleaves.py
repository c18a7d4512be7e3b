"""What an experiment file may say about the world of dead leaves."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, model_validator

from platorep.parameters.section import Section
from platorep.parameters.toyworld import Seed


class LeavesParameters(Section):
    """Pictures of discs that lie on each other. The same parameters give the same pictures on every
    machine. Sources: Lee, Mumford, Huang 2001 (IJCV 41:35); Ruderman 1997 (Vision Research 37)."""

    seed: Seed = 0
    """Another seed is another world; each picture has its own draws, by its number."""
    image_size: Annotated[int, Field(ge=16, le=512)] = 96
    """Pixels per side."""
    r_min: Annotated[float, Field(ge=1)] = 1.0
    """Smallest radius in pixels. The number of discs of radius r falls as r^-3: all sizes cover the
    same share, so that a picture has no scale of its own between the two ends."""
    r_max: Annotated[float, Field(le=4096)] = 64.0
    """Largest radius."""
    octaves: Annotated[int, Field(ge=0, le=6)] = 3
    """Each picture's smallest radius is `r_min` times 1, 2, 4 ... or 2^octaves, equally likely, as
    scenes are seen from near and far. 0: all pictures are of one kind."""
    color: NonNegativeFloat = 1.0
    """How strongly bright discs are yellow and dark ones blue, as lit and shaded things are; each
    has a hue of its own beside. 0: greys."""

    @model_validator(mode="after")
    def _some_sizes(self) -> "LeavesParameters":
        largest = self.r_min * 2**self.octaves
        if self.r_max <= largest:
            raise ValueError(f"r_max: {self.r_max} must be above r_min * 2^octaves, {largest}")
        return self
