"""What a figure puts on an axis for how good a model is."""

import numpy as np
import pandas as pd

from platorep.plots.tables import Tables

SIZE = "num_parameters"
_TURNED = "bits_per_byte"  # shown as 1 - bits per byte, so that better is to the right


def values_of(measure: str, tables: Tables) -> pd.Series:
    """Label -> place on the axis."""
    if measure == SIZE:
        return tables.models.set_index("label")[SIZE].astype(float)
    value = _rows(measure, tables)["value"].astype(float)
    return 1 - value if measure == _TURNED else value


def errors_of(measure: str, tables: Tables) -> pd.Series:
    """Label -> standard error, of those that have one."""
    rows = _rows(measure, tables)
    return rows["stderr"].astype(float) if "stderr" in rows else pd.Series(np.nan, rows.index)


def measure_text(measure: str) -> str:
    """What an axis calls it."""
    if measure == _TURNED:
        return "1 \N{MINUS SIGN} bits per byte"
    return measure.replace("_", " ")


def _rows(measure: str, tables: Tables) -> pd.DataFrame:
    rows = tables.performance[tables.performance["measure"] == measure]
    return rows.drop_duplicates("model").set_index("model")
