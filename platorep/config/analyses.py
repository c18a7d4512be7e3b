"""What may follow from the scores: each section of `align` here is one analysis."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from platorep.config.paths import NameOrPath
from platorep.config.words import Words
from platorep.parameters.section import Section

ANALYSIS_TABLES: Mapping[str, tuple[str, ...]] = {
    "ceiling": ("ceiling",),
    "observations": ("observations", "asymptotes"),
    "differences": ("differences", "ranks"),
    "groups": ("groups", "row_scores.parquet"),
}
"""Each analysis, a key of `align` that moves no score, and the names of its tables, CSV
files where no ending says otherwise."""


class CeilingConfig(Section):
    """How much two models can agree at most, given how noisy one observation is.

    Intervals are from random halves of the rows, at the layers that were chosen on all of them.
    """

    draws: Annotated[int, Field(ge=2)] = 16
    """Halves."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the interval."""
    seed: NonNegativeInt = 0
    """Of the halves and resamples."""


class ObservationsConfig(Section):
    """Alignment of features that are averaged over several observations of the same events."""

    joined: Mapping[str, Mapping[Annotated[int, Field(ge=2)], str]] = Field(default_factory=dict)
    """View -> number of observations -> a view that holds so many of them in one, to be held
    against averages: `{text: {2: first_two_captions, 5: all_captions}}`."""
    subsets: PositiveInt = 20
    """Most subsets of each number of observations; all of them where there are no more."""
    seed: NonNegativeInt = 0
    """Of the subsets where there are more, and of the parts of the rows behind the intervals."""


class DifferencesConfig(Section):
    """Which of two models is closer to a third, and how sure that is."""

    splits: Annotated[int, Field(ge=5)] = 25
    """Random halvings of the rows; on both halves of each every pair is scored again."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    """Of the intervals of differences and of ranks."""
    seed: NonNegativeInt = 0
    """Of the halves."""


class GroupsConfig(Section):
    """On which groups of rows two models agree, and whether they share the groups or what is in
    them (docs/metrics.md, "Rows and groups")."""

    file: NameOrPath | None = None
    """A CSV file with the columns `id` and `group`."""
    words: Words = ()
    """A group for each: the rows whose text has it. A row may be in several, or in none."""
    view: str = "text"
    """The view of texts that `words` are looked for in."""
    clusters: NonNegativeInt = 10
    """Groups by k-means, once of model x and once of model y, at the layers that were chosen; 0:
    none."""
    permutations: PositiveInt = 1000
    """Of the rows over the groups."""
    subsets: PositiveInt = 10
    """Random sets of as many rows as a group has, that its own neighbors are held against."""
    seed: NonNegativeInt = 0
    """Of the permutations."""

    @model_validator(mode="after")
    def _there_are_groups(self) -> "GroupsConfig":
        if self.file is None and not self.words and self.clusters < 2:
            raise ValueError("no groups: name a `file`, `words`, or at least 2 `clusters`")
        if self.clusters == 1:
            raise ValueError("clusters: 1 is no division; 0 means none")
        if "view" in self.model_fields_set and not self.words:
            raise ValueError("`view` has no effect without `words`; delete it")
        return self
