"""What follows from the scores. To add an analysis: its section in `platorep.config.analyses`, a
key of `align` that is called as the analysis is, a module here, and an entry below."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from platorep.align.analyses.ceiling import analyse_ceiling
from platorep.align.analyses.context import Context, Found
from platorep.align.analyses.differences import analyse_differences
from platorep.align.analyses.groups import analyse_groups
from platorep.align.analyses.observations import analyse_observations
from platorep.config import AlignConfig
from platorep.registry import index_by_name
from platorep.results import MadeFrom

__all__ = ["ANALYSES", "Analysis", "Context", "Found", "analyse", "asked_analyses"]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One kind of analysis."""

    name: str
    analyse: Callable[[Context, Any], Found]
    """The context and the settings -> the tables that `ANALYSIS_TABLES` names. What fails for one
    model is noted in the failures."""


ANALYSES: Mapping[str, Analysis] = index_by_name(
    (
        Analysis(name="ceiling", analyse=analyse_ceiling),
        Analysis(name="observations", analyse=analyse_observations),
        Analysis(name="groups", analyse=analyse_groups),
        Analysis(name="differences", analyse=analyse_differences),
    )
)


def asked_analyses(align: AlignConfig) -> Iterator[tuple[Analysis, Any]]:
    """The analyses that an experiment asks for, with their settings."""
    for analysis in ANALYSES.values():
        settings = getattr(align, analysis.name)
        if settings is not None:
            yield analysis, settings


def analyse(context: Context, made_from: MadeFrom) -> pd.DataFrame:
    """Write the tables of all analyses that are asked for; returns `best` with what they add.

    One of which nothing could be had leaves its earlier tables as they are; that it failed says
    that they are old.
    """
    for analysis, settings in asked_analyses(context.config):
        with context.failures.catch(analysis.name):
            before = {*context.failures.errors}
            found = analysis.analyse(context, settings)
            if all(table.empty for table in found.tables.values()):
                for cell, error in context.failures.errors.items():
                    if cell not in before:
                        raise error
            for name, table in found.tables.items():
                context.run.results.write_table(context.run.results.further(name), table, made_from)
            if found.best is not None:
                context = replace(context, best=context.best.join(found.best))
    return context.best
