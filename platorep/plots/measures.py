"""What a figure puts on an axis for how good a model is."""

import numpy as np
import pandas as pd

from platorep.config.performance import usually_better
from platorep.parameters.figures import SIZE
from platorep.plots.labels import legible, shorten
from platorep.plots.tables import Tables


def values_of(measure: str, tables: Tables) -> pd.Series:
    """Label -> place on the axis; turned if less is better, so that better is to the right."""
    if measure == SIZE:
        size = tables.models.set_index("label")[SIZE].astype(float)
        return size.where(size > 0)  # what has no parameters has no place on a log axis
    value = _rows(measure, tables)["value"].astype(float)
    return 1 - value if less_is_better(measure, tables) else value


def errors_of(measure: str, tables: Tables) -> pd.Series:
    """Label -> standard error, of those that have one."""
    rows = _rows(measure, tables)
    return rows["stderr"].astype(float) if "stderr" in rows else pd.Series(np.nan, rows.index)


def less_is_better(measure: str, tables: Tables) -> bool:
    """What the measure says of itself; in a table from before 0.2.0 what its name says."""
    rows = _rows(measure, tables)
    known = rows["better"] if "better" in rows else pd.Series(dtype=object)
    return (set(known) - {""} or {usually_better(measure)}) == {"lower"}


def measure_text(measure: str, tables: Tables) -> str:
    """What an axis calls it."""
    name = shorten(legible(measure.replace("_", " ")), 2.0)
    return f"1 \N{MINUS SIGN} {name}" if less_is_better(measure, tables) else name


def _rows(measure: str, tables: Tables) -> pd.DataFrame:
    rows = tables.performance[tables.performance["measure"] == measure]
    return rows.drop_duplicates("model").set_index("model")
