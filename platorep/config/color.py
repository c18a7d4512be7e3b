"""What a file for `platorep theory color` may say, as a whole."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from platorep.config.data import DatasetConfig
from platorep.config.experiment import (
    model_specs,
    random_copies,
    refuse_bad_families,
    refuse_repeats,
)
from platorep.config.models import FamilyConfig, ModelSpec
from platorep.parameters.color import (
    WORDS,
    ColorControls,
    CooccurrenceParameters,
    GeometryParameters,
    LanguageParameters,
    WordConfig,
)
from platorep.parameters.section import Section
from platorep.parameters.theory import Name

ColorWord = Annotated[
    str | WordConfig, BeforeValidator(lambda v: WordConfig(**v) if isinstance(v, dict) else v)
]


class ImageSetConfig(Section):
    """Images whose pixels are counted."""

    name: str
    """What the tables and the figure call it."""
    dataset: DatasetConfig
    """As in an experiment; captions are not read. A folder of images without a captions file will
    do."""
    resolution: PositiveInt | None = None
    """Pixels per side to which every image is squashed first; absent: as it is."""


class ColorConfig(Section):
    """Do colours that occur together in images, colour words in language models, and colours as
    people see them lie alike?"""

    name: Name
    images: tuple[ImageSetConfig, ...] = ()
    families: tuple[FamilyConfig, ...] = ()
    """Language models, as in an experiment."""
    words: Annotated[tuple[ColorWord, ...], Field(min_length=5)] = WORDS
    """Colour words of the XKCD colour survey, or `{word: ..., color: "#rrggbb"}`."""
    cooccurrence: CooccurrenceParameters = CooccurrenceParameters()
    language: LanguageParameters = LanguageParameters()
    geometry: GeometryParameters = GeometryParameters()
    controls: ColorControls = ColorControls()

    def models(self) -> tuple[ModelSpec, ...]:
        """Every model with its family's settings filled in, controls included, in file order."""
        worlds = [s.dataset for s in self.images if s.dataset.source == "toyworld"]
        specs = model_specs(self.families, worlds[0] if worlds else DatasetConfig(source="none"))
        copies = self.controls.random_weights
        return specs + (random_copies(specs, self.controls.seed) if copies else ())

    @model_validator(mode="after")
    def _there_is_something_to_compare(self) -> "ColorConfig":
        if not self.images and not self.families:
            raise ValueError("neither images nor models: list `images`, `families` or both")
        refuse_bad_families(self.families)
        specs = self.models()
        others = [f"{s.label} ({s.modality})" for s in specs if s.modality != "language"]
        if others:
            raise ValueError(
                f"colour words are read by language models only; found {', '.join(others)}"
            )
        words = [w if isinstance(w, str) else w.word for w in self.words]
        refuse_repeats("word", words)
        refuse_repeats(
            "name of images or models (set `label`)",
            [images.name for images in self.images] + [spec.label for spec in specs],
        )
        return self
