"""Which filters are Gabor functions: the fits of `units filters`, and its tables of them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from platorep.config.units import FiltersConfig
from platorep.files import digest
from platorep.plots.units_filters import Tile
from platorep.statistics.corrections import benjamini_hochberg, holm
from platorep.studies.context import Context
from platorep.units.banks import FilterBank
from platorep.units.directions import watson_u2
from platorep.units.gabor import (
    GaborFits,
    better_than_spots,
    fit_gabors,
    gabors_at,
    spot_share,
)
from platorep.units.noise import smooth_null, white_share

VERSION = 1  # raise when a fit of the same filters gives other numbers
WHITE = 500  # pictures of white noise
FEWEST = 5  # orientations that a test is made of
DRAWS = 999
GABOR, SPOT, NOISE = "gabor", "spot", "noise"
OF_BANK = ["network", "objective", "images", "seed", "layer_name"]


@dataclass(frozen=True, kw_only=True)
class FittedBank:
    """The filters of a network, and the Gabor functions nearest to them."""

    bank: FilterBank
    fits: GaborFits
    table: pd.DataFrame
    """One row per filter."""

    @property
    def gabors(self) -> pd.DataFrame:
        return self.table[self.table["kind"] == GABOR]


def fitted_banks(
    context: Context, banks: Sequence[FilterBank], settings: FiltersConfig
) -> list[FittedBank]:
    """Fit every bank; one that fails is noted, and the others go on."""
    found = []
    total = sum(len(bank.filters) for bank in banks)
    with context.run.report.task("Gabor functions", total, "filters") as advance:
        for bank in banks:
            with context.failures.catch(f"{bank.network} {bank.layer_name}".strip()):
                found.append(_fitted(context, bank, settings))
            advance(len(bank.filters))
    return found


def _fitted(context: Context, bank: FilterBank, settings: FiltersConfig) -> FittedBank:
    filters = np.ascontiguousarray(bank.filters, dtype=np.float64)
    size = (filters.shape[1], filters.shape[2])
    how = [VERSION, settings.restarts, settings.surrogates, settings.alpha]

    def make() -> dict[str, Any]:
        fits = fit_gabors(filters, settings.restarts)
        spots = spot_share(filters, settings.restarts)
        null = (settings.surrogates, settings.restarts, bank.seed, settings.alpha)
        p, threshold = smooth_null(filters, fits.r2, *null)
        columns = {"r2_spots": spots, "p": p, "r2_null": threshold}
        return {"parameters": fits.parameters.tolist()} | {
            k: _listed(v) for k, v in columns.items()
        }

    def white() -> float:
        share = white_share(size, WHITE, settings.restarts, seed=0)
        return float(np.quantile(share, 1 - settings.alpha, method="higher"))

    found = context.run.kept("gabor-fits", [*how, digest(filters.tolist())], make)
    fits = gabors_at(filters, np.array(found["parameters"]))
    p = np.array(found["p"], dtype=float)
    spots = np.array(found["r2_spots"], dtype=float)
    adjusted = benjamini_hochberg(p)
    waves = better_than_spots(fits.r2, spots, filters[0].size)
    kind = np.where(adjusted <= settings.alpha, np.where(waves, GABOR, SPOT), NOISE)
    about = {name: getattr(bank, name) for name in OF_BANK}
    measured = {
        "unit": np.arange(len(filters)),
        "r2": fits.r2,
        "r2_spots": spots,
        "r2_null": np.array(found["r2_null"], dtype=float),
        "r2_white": context.run.kept("gabor-white", [*how, *size], white),
        "p": p,
        "p_adjusted": adjusted,
        "kind": kind,
    }
    shape = {
        "x": fits.centres[:, 0],
        "y": fits.centres[:, 1],
        "orientation": fits.orientation,
        "frequency": fits.frequency,
        "phase": fits.phase,
        "along": fits.along,
        "across": fits.across,
        "aspect": fits.across / fits.along,
        "bandwidth": fits.bandwidth,
    }
    columns = about | measured | shape
    if bank.color_share is not None:
        columns["color_share"] = bank.color_share
    if bank.reliability is not None:
        columns["reliability"] = bank.reliability
    return FittedBank(bank=bank, fits=fits, table=pd.DataFrame(columns))


def _listed(values: Float[np.ndarray, " n"]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def bank_table(banks: Sequence[FittedBank]) -> pd.DataFrame:
    """One row per bank: how many of its filters are Gabor functions, and which."""
    from scipy.stats import binomtest

    rows = []
    for fitted in banks:
        table, gabors = fitted.table, fitted.gabors
        interval = binomtest(len(gabors), len(table)).proportion_ci(method="wilson")
        rows.append(
            {name: getattr(fitted.bank, name) for name in OF_BANK}
            | {
                "filters": len(table),
                "size": max(fitted.fits.size),
                "gabors": len(gabors) / len(table),
                "low": interval.low,
                "high": interval.high,
                "spots": float((table["kind"] == SPOT).mean()),
                "r2": table["r2"].median(),
                "r2_null": table["r2_null"].median(),
                "r2_white": table["r2_white"].iloc[0],
                "frequency": gabors["frequency"].median(),
                "bandwidth": gabors["bandwidth"].median(),
                "aspect": gabors["aspect"].median(),
                "odd": float((gabors["phase"] > 45).mean()) if len(gabors) else np.nan,
            }
        )
    return pd.DataFrame(rows)


def distribution_table(banks: Sequence[FittedBank], natural: str) -> pd.DataFrame:
    """Do the Gabor functions of two objectives spread alike over orientation and frequency?

    One row per two objectives on the view's images, all seeds of one together.
    """
    from scipy.stats import ks_2samp

    learned = [one for one in banks if one.bank.images == natural]
    objectives = dict.fromkeys(one.bank.objective for one in learned)
    gabors = {
        name: pd.concat([one.gabors for one in learned if one.bank.objective == name])
        for name in objectives
    }
    rows = []
    for x, y in itertools.combinations(objectives, 2):
        a, b = gabors[x], gabors[y]
        row: dict[str, Any] = {"x": x, "y": y, "num_x": len(a), "num_y": len(b)}
        nothing = dict.fromkeys(("watson_u2", "p_orientation", "ks", "p_frequency"), np.nan)
        if min(len(a), len(b)) < FEWEST:
            rows.append(row | nothing)
            continue
        angles = (a["orientation"].to_numpy(), b["orientation"].to_numpy())
        u2, p_orientation = watson_u2(*angles, draws=DRAWS, seed=0)
        ks = ks_2samp(a["frequency"], b["frequency"])
        found = (u2, p_orientation, float(ks.statistic), float(ks.pvalue))
        rows.append(row | dict(zip(nothing, found, strict=True)))
    table = pd.DataFrame(rows)
    for name in ("orientation", "frequency") if len(table) else ():
        table[f"p_{name}_adjusted"] = holm(table[f"p_{name}"].to_numpy())
    return table


def gallery_tiles(banks: Sequence[FittedBank]) -> list[tuple[str, list[Tile]]]:
    """Every bank's filters with what was fitted to them; of several seeds only the first."""
    found: dict[str, list[Tile]] = {}
    for one in banks:
        bank = one.bank
        on = " on white noise" if bank.images == "white noise" else ""
        name = f"{bank.objective}{on}" if bank.objective else f"{bank.network}: {bank.layer_name}"
        fits, kinds = one.fits.pictures(), one.table["kind"]
        tiles = zip(range(len(fits)), one.fits.r2, kinds, bank.filters, fits, strict=True)
        found.setdefault(name, list(tiles))
    return list(found.items())
