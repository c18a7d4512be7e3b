"""What may follow from the scores: each section of `align` here is one analysis."""

from collections.abc import Mapping

from platorep.parameters.section import Section

ANALYSIS_TABLES: Mapping[str, tuple[str, ...]] = {
    "ceiling": ("ceiling",),
    "observations": ("observations",),
    "differences": ("differences", "ranks"),
    "groups": ("groups",),
}
"""Each analysis, a key of `align` that moves no score, and the names of its tables."""


class CeilingConfig(Section):
    """How much two models can agree at most, given how noisy one observation is."""


class ObservationsConfig(Section):
    """Alignment of features that are averaged over several observations of the same events."""


class DifferencesConfig(Section):
    """Which of two models is closer to a third, and how sure that is."""


class GroupsConfig(Section):
    """On which groups of rows two models agree, and whether within groups or only across."""
