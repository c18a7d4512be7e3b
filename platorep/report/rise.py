"""Does alignment rise with performance, or, where none was measured, with size? A sentence each."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from platorep.errors import AbsentError
from platorep.parameters.figures import SIZE, ScalingFigure
from platorep.plots.labels import training_step
from platorep.plots.measures import less_is_better
from platorep.plots.scaling import scaled_pairs
from platorep.plots.tables import Tables
from platorep.plots.trends import FIXED_FAMILY, FIXED_STEP, SPEARMAN, correlations
from platorep.report.models import TRAINED

CAVEAT = (
    "Models of one family, or of one training, are not independent: the interval is too narrow."
)
UNMEASURED = "Whether alignment rises with performance is open: none was measured of these models."


def rise(tables: Tables, metric: str, pair: pd.Series, *, larger_is_closer: bool) -> list[str]:
    """Whether alignment rises with the first measure that models of either side have; where there
    is none, whether it does with size."""
    for measure in map(str, tables.performance["measure"].unique()):
        found = _points(tables, metric, pair, measure, larger_is_closer)
        if found is not None:
            lower = ", less is better" if less_is_better(measure, tables) else ""
            what = f"alignment rises with performance ({measure.replace('_', ' ')}{lower})"
            return [_sentence(found, what)]
    found = _points(tables, metric, pair, SIZE, larger_is_closer)
    if found is None:
        return [UNMEASURED]
    sized = replace(found, frame=_last_of_training(found.frame))
    return [UNMEASURED, _sentence(sized, "alignment rises with the number of parameters")]


@dataclass(frozen=True)
class _Found:
    """The pairs that have a score and an x; a distance is turned."""

    frame: pd.DataFrame
    points: str
    """Modality of the models that have an x; alignment with each is the mean over lines."""
    lines: str


def _points(
    tables: Tables, metric: str, pair: pd.Series, measure: str, larger_is_closer: bool
) -> _Found | None:
    sides = [(str(pair["x_modality"]), str(pair["y_modality"]))]
    sides += [sides[0][::-1]] if len({*sides[0]}) > 1 else []
    for points, lines in sides:
        asked = {"x": measure, "points": points, "lines": lines, "metric": metric}
        figure = ScalingFigure.model_validate(asked | {"controls": False})
        try:
            frame = scaled_pairs(tables, figure).frame
        except AbsentError:
            continue
        trained = frame[frame["role"] == TRAINED].assign(line_family="")
        if not larger_is_closer:  # a distance falls where alignment rises
            trained = trained.assign(score=-trained["score"])
        return _Found(trained, points, lines)
    return None


def _last_of_training(frame: pd.DataFrame) -> pd.DataFrame:
    """Without earlier checkpoints of one training, which are all of one size."""
    labels = [str(label) for label in frame["point"]]
    steps = {label: training_step(label) for label in labels}
    last: dict[str, str] = {}
    for label in sorted({*labels}, key=lambda one: (math.isnan(steps[one]), steps[one])):
        training = label if math.isnan(steps[label]) else label.rpartition("@")[0]
        last[training] = label  # what has no step is the end of it
    return frame[frame["point"].isin(last.values())]


def _sentence(found: _Found, what: str) -> str:
    whole = {
        str(row["statistic"]): row
        for row in correlations(found.frame, log=False).to_dict("records")
        if row["line"] == ""
    }
    if SPEARMAN not in whole or not np.isfinite(whole[SPEARMAN]["low"]):
        count = found.frame["point"].nunique()
        models = f"{count} {found.points} model{'s' if count > 1 else ''}"
        return f"Whether {what} cannot be said from {models}."
    row = whole[SPEARMAN]
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    rho = f"Spearman's rho is {signed(value)} [{signed(low)}, {signed(high)}]"
    over = f"over {int(row['num_points'])} {found.points} models, of {_scores(found)}"
    if low <= 0 <= high:
        return f"Whether {what} cannot be said: {rho} {over}, an interval that holds 0."
    happens = what if low > 0 else what.replace(" rises ", " falls ", 1)
    said = f"{happens[0].upper()}{happens[1:]}: {rho} {over}."
    fixed = [
        f"{name} it is {signed(whole[statistic]['value'])}"
        for statistic, name in (
            (FIXED_STEP, "at the same step of training"),
            (FIXED_FAMILY, "within families"),
        )
        if statistic in whole
    ]
    if fixed:
        said += f" {' and '.join(fixed).capitalize()}."
    return f"{said} {CAVEAT}"


def _scores(found: _Found) -> str:
    lines = found.frame["line"].unique()
    if len(lines) == 1:
        return f"the score with {lines[0]}"
    return f"the mean score with the {len(lines)} {found.lines} models"


def signed(value: float) -> str:
    """A correlation."""
    return f"{float(value):.2f}".replace("-", "\N{MINUS SIGN}")
