"""Does alignment rise with what there is to see of each event, and where would it end?

Features are averaged over m observations of it: captions, crops, recordings. Sources:
arXiv:2511.02767 (frames and captions of films), arXiv:2509.20751 (captions and images).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from platorep.align.analyses.averages import KEPT, Averages, Look, Records
from platorep.align.analyses.ceiling import scale_of
from platorep.align.analyses.context import Context, Found
from platorep.config.analyses import ObservationsConfig
from platorep.errors import AbsentError
from platorep.statistics import (
    Agreement,
    Levelling,
    fit_attenuation,
    fit_power,
    interval_of_rests,
)

COLUMNS = (
    *("x", "y", "metric", "side", "m", "subset", "partner_m", "joined"),
    *("layers", "layer_x", "layer_y", "score"),
)
ENDS = (
    *("x", "y", "metric", "side", "partner_m", "num_m", "score_one", "score_all", "floor"),
    *("law", "asymptote", "low", "high", "r2", "drop", "rate", "half", "ceiling", "reason"),
)


def analyse_observations(context: Context, settings: ObservationsConfig) -> Found:
    """`observations`: the score of every average; `asymptotes`: where these seem to end.

    observations: a row per pair, metric, averaged side and subset. `side`: x or y, whose features
        are averaged over `m` observations, the views in `subset`; `joined`: they were read in one.
        `partner_m`: over how many the other model's are averaged, one or all that it has. `layers`:
        those of best.csv (kept), or the averaged model's best with the partner's as it was (again),
        which is tried with all observations and with joined ones.
    asymptotes: a row per pair, metric, side, `partner_m` and `law`, fitted to the means over
        subsets at kept layers: power (`drop`, `rate`) to the scores, attenuation (`half`) on the
        scale on which noise multiplies, which is 0 at `floor`, the score of nothing in common.
        `low` and `high`: 95 %, for other rows. Where no asymptote is claimed it is missing, and
        `reason` says why.

    Raises:
        AbsentError: no scored model has other observations.
    """
    averages = Averages(context, settings, _looks(context))
    if not averages.looks:
        raise AbsentError(
            "align.observations: no model with a score reads a view that align.repeats names "
            f"({', '.join(context.config.repeats)})."
        )
    rows: list[dict[str, Any]] = []
    ends: list[dict[str, Any]] = []
    with context.run.report.task("observations", len(averages.looks), "models") as advance:
        for label, looks in averages.looks.items():
            with context.failures.catch(f"observations of {label}"):
                for look, found in zip(looks, averages.of_model(label), strict=True):
                    rows += (_row(look, record) for record in found["records"])
                    ends += _ends(look, found)
            advance(1)
    return Found(
        tables={
            "observations": pd.DataFrame(rows, columns=list(COLUMNS)),
            "asymptotes": _with_ceilings(pd.DataFrame(ends, columns=list(ENDS)), context.best),
        }
    )


def _with_ceilings(ends: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """`ceiling`: what noise leaves of agreement with one observation each, where it is known."""
    if "ceiling" not in best:
        return ends
    pair = ["x", "y", "metric"]
    known = best.loc[best["control"] == "", [*pair, "ceiling"]]
    return ends.drop(columns="ceiling").merge(known, on=pair, how="left")[list(ENDS)]


def _looks(context: Context) -> dict[str, list[Look]]:
    """By the model that is averaged."""
    best = context.best
    scored = best[(best["control"] == "") & (best["layer_x"] >= 0) & best["score"].notna()]
    found: dict[str, list[Look]] = {}
    for _, row in scored.iterrows():
        metric = context.metric(str(row["metric"]))
        x, y, layers = str(row["x"]), str(row["y"]), (int(row["layer_x"]), int(row["layer_y"]))
        for side, label in (("x", x), ("y", y)):
            if context.repeats(label):
                found.setdefault(label, []).append(Look(x, y, metric, side, *layers))
    return found


def _row(look: Look, record: Records) -> dict[str, Any]:
    layers = {"layer_x": look.layer_x, "layer_y": look.layer_y}
    layers[f"layer_{look.side}"] = record["layer"]
    kept = {name: value for name, value in record.items() if name in COLUMNS}
    return _names(look) | kept | layers | {"score": record["scores"][0]}


def _names(look: Look) -> dict[str, str]:
    return {"x": look.x, "y": look.y, "metric": look.metric.label, "side": look.side}


def _ends(look: Look, found: Records) -> Iterator[dict[str, Any]]:
    """Of one look the asymptotes by both laws, with one of the partner's observations or all."""
    records = [r for r in found["records"] if r["layers"] == KEPT and not r["joined"]]
    floors, metric = found["floors"], look.metric.metric
    sign = 1.0 if metric.claims.larger_is_closer else -1.0
    scale = scale_of(look.metric)
    for partner_m in dict.fromkeys(r["partner_m"] for r in records):
        scores = pd.DataFrame(
            [[r["m"], *r["scores"]] for r in records if r["partner_m"] == partner_m]
        )
        means = scores.groupby(0).mean()  # m x sets of rows
        m = means.index.to_numpy(dtype=float)
        if len(m) == 1:  # never averaged
            continue
        said = _names(look) | {"partner_m": partner_m, "num_m": len(m), "floor": floors[0]}
        said |= {"score_one": means.iloc[0, 0], "score_all": means.iloc[-1, 0]}
        curves = list(zip(means.to_numpy().T, floors, strict=True))
        power = [fit_power(m, sign * y) for y, _ in curves]
        ends = [math.nan if f.curve is None else sign * f.curve.asymptote for f in power]
        yield said | {"law": "power"} | _end(power, ends)
        attenuation = [
            fit_attenuation(m, np.array([scale.latent(Agreement(float(v), floor)) for v in y]))
            for y, floor in curves
        ]
        ends = [
            math.nan if f.curve is None else scale.score(f.curve.asymptote, floor)
            for f, floor in zip(attenuation, floors, strict=True)
        ]
        yield said | {"law": "attenuation"} | _end(attenuation, ends)


def _end(fits: Sequence[Levelling], asymptotes: Sequence[float]) -> dict[str, Any]:
    """From the fit on all rows, and those without each part."""
    whole = fits[0]
    if whole.reason is not None:
        return {"r2": whole.r2, "reason": whole.reason}
    if np.isnan(asymptotes).any():
        return {"r2": whole.r2, "reason": "without some of the rows the scores do not rise"}
    interval = interval_of_rests(asymptotes[0], np.array(asymptotes[1:]))
    ends = {"asymptote": asymptotes[0], "low": interval.low, "high": interval.high}
    return vars(whole.curve) | ends | {"r2": whole.r2}
