"""What follows from the scores. To add an analysis: its section in `platorep.config.analyses`, a
key of `align` that is called as the analysis is, a module here, and an entry below."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from platorep.align.analyses.ceiling import analyse_ceiling
from platorep.align.analyses.context import Context, Found
from platorep.align.analyses.differences import analyse_differences
from platorep.align.analyses.groups import analyse_groups
from platorep.align.analyses.observations import analyse_observations
from platorep.registry import index_by_name
from platorep.results import MadeFrom

__all__ = ["ANALYSES", "Analysis", "Context", "Found", "analyse"]


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


def analyse(context: Context, made_from: MadeFrom) -> pd.DataFrame:
    """Write the tables of all analyses that are asked for; returns `best` with what they add.

    One of which nothing could be had leaves its earlier tables as they are; that it failed says
    that they are old.
    """
    for name in context.config.asked_analyses():
        with context.failures.catch(name):
            before = {*context.failures.errors}
            found = ANALYSES[name].analyse(context, getattr(context.config, name))
            if all(table.empty for table in found.tables.values()):
                for cell, error in context.failures.errors.items():
                    if cell not in before:
                        raise error
            for table, frame in found.tables.items():
                context.run.results.write_table(
                    context.run.results.further(table), frame, made_from
                )
            if found.best is not None:
                context = replace(context, best=context.best.join(found.best))
    return context.best
