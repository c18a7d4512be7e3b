"""What `platorep bridge` may be told of: maps from one representation to another."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from platorep.config.paths import NameOrPath
from platorep.config.words import Words
from platorep.parameters.section import Section

MapName = Literal["procrustes", "ridge", "cca"]
Share = Annotated[float, Field(gt=0, lt=1)]


class MapConfig(Section):
    """Retrieval through a fitted map: layers are chosen on one part of the rows, the map is fitted
    on a second, and what it finds is counted on a third."""

    maps: Annotated[tuple[MapName, ...], Field(min_length=1)] = ("procrustes", "ridge", "cca")
    """The maps that are fitted."""
    choose: Share = 0.25
    """Share of the rows on which the layers are chosen, by the first metric of `align`."""
    fit: Share = 0.5
    """Share on which the maps are fitted; the rest is searched."""
    permutations: PositiveInt = 200
    """Of the null of the search: the pairs of the third part in a random order."""
    refits: PositiveInt = 1
    """Of the null of the fit: maps fitted to pairs of the second part in a random order."""
    seed: NonNegativeInt = 0
    """Of the parts of the rows and of the permutations."""

    @model_validator(mode="after")
    def _leaves_rows_to_search(self) -> "MapConfig":
        if self.choose + self.fit >= 1:
            raise ValueError(
                f"choose and fit: {self.choose:g} and {self.fit:g} of the rows leave none to search"
            )
        return self


class MatchConfig(Section):
    """Which item of one model is which of another, from the two kernels alone."""

    items: Annotated[tuple[Annotated[int, Field(ge=4, le=200)], ...], Field(min_length=1)] = (
        *(10, 20, 50),
    )
    """Numbers of items to match."""
    groups: NameOrPath | None = None
    """Items are means of groups of rows: a CSV file with the columns `id` and `group`, or `place`,
    the places of the toy world. Absent: items are single rows, or the groups of `words`."""
    words: Words = ()
    """Items are the means of the rows whose text has each word; a row with several is of the rarest
    of them."""
    view: str = "text"
    """The view of texts that `words` are looked for in."""
    rows: PositiveInt = 8
    """Rows that the mean of a group is of, on each side; smaller groups are left out."""
    apart: bool = True
    """The means of the two sides are of different rows, so that nothing is seen by both."""
    layers: Literal["best", "last"] = "best"
    """best: those that the first metric of `align` chooses on other rows than are matched."""
    choose: Share = 0.25
    """Share of the rows on which `best` layers are chosen."""
    kernel: Literal["gaussian", "linear", "debiased"] = "gaussian"
    """Of the items, centred. gaussian: as wide as the median distance, without those of items with
    themselves; linear: inner products; debiased: these without those of items with themselves."""
    whiten: bool = False
    """Whether the features of each side are first given the same variance in all directions, with a
    tenth of the mean variance added: no direction then decides alone."""
    subsets: PositiveInt = 50
    """Random subsets of each number of items."""
    restarts: PositiveInt = 8
    """Starts of the search, besides the one from the concave side."""
    seconds: Annotated[float, Field(gt=0)] = 120.0
    """Most time for one model pair and number of items; what is left out is said."""
    seed: NonNegativeInt = 0
    """Of the subsets and of the starts."""

    @model_validator(mode="after")
    def _one_kind_of_item(self) -> "MatchConfig":
        if self.groups is not None and self.words:
            raise ValueError("items are the groups of `groups` or of `words`, not of both")
        return self


class StitchConfig(Section):
    """The front of one network, a trained linear stitch, the back of another."""

    pairs: Annotated[tuple[tuple[str, str], ...], Field(min_length=1)] | None = None
    """Labels of front and back; a model with itself, or with its random copy, may be among them.
    Absent: those of `align.pairs` that read one view, no controls, each both ways round."""
    words: Words = ()
    """Vision: what the back is to tell, yes or no, is whether the text of a row has the word."""
    view: str = "text"
    """The view of texts that `words` are looked for in."""
    label: str | None = None
    """Vision: the view of texts each of which is a class, in place of `words`."""
    layers: Literal["all"] | PositiveInt | Annotated[tuple[int, ...], Field(min_length=1)] = 3
    """Tap points of both networks: so many, evenly spaced to the last, or those of these numbers
    (negative: from the end). Every one of the front is stitched to every one of the back."""
    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    """By which rows are divided and batches drawn."""
    steps: PositiveInt = 24
    """Of AdamW, from the stitch of least squares on."""
    batch_size: PositiveInt = 32
    """Images or texts per step."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.3
    """Peak, for standardised features, divided by their number."""
    c: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.001, 0.01, 0.1, 1)
    """Vision: strengths of the back's own classifier to choose from (scikit-learn's C)."""
    validation_share: Share = 0.15
    """Share of the rows by which `c` is chosen and training is stopped."""
    test_share: Share = 0.25
    """Share of the rows that the penalty is of."""

    @model_validator(mode="after")
    def _one_kind_of_labels(self) -> "StitchConfig":
        if self.words and self.label is not None:
            raise ValueError("`words` and `label` are two kinds of labels; name one of them")
        if self.validation_share + self.test_share >= 1:
            raise ValueError("validation_share and test_share leave no rows to train on")
        return self


class BridgeConfig(Section):
    """Settings of `platorep bridge map`, `match` and `stitch`."""

    map: MapConfig = MapConfig()
    """Of `platorep bridge map`."""
    match: MatchConfig = MatchConfig()
    """Of `platorep bridge match`."""
    stitch: StitchConfig = StitchConfig()
    """Of `platorep bridge stitch`."""
