"""What `platorep units match` found, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from platorep.units.buddies import cliques, false_shares

Made = dict[str, Any]


@dataclass(frozen=True)
class PairMatches:
    """Two networks whose units were held against each other."""

    x: str
    y: str
    control: str
    """Empty: both are trained."""
    trained: tuple[str, str]
    """The networks in whose place they stand: themselves, or those whose random copies they are."""
    alpha: float
    made: Made
    """What `units_match` keeps of them."""

    def table(self) -> pd.DataFrame:
        """A row per pair of best buddies: where they are, how strong, and how sure that is."""
        whole = self.made["whole"]
        columns: dict[str, Any] = {"x": self.x, "y": self.y, "control": self.control}
        for i, side in enumerate("xy"):
            layer, unit = self._place(i, np.array(whole[side], dtype=int))
            columns |= {f"layer_{side}": layer, f"unit_{side}": unit}
        columns |= {"strength": whole["strength"], "q": self._q, "matched": self.matched}
        columns |= {"in_halves": whole["elsewhere"], "confirmed": whole["again"]}
        return pd.DataFrame(columns)

    def shares(self) -> pd.DataFrame:
        """Of each of the two: how many of its units are matched, over all and by layer."""
        rows = [self._share(i, layer) for i in (0, 1) for layer in (None, *self._numbers(i))]
        return pd.DataFrame(rows)

    @property
    def buddies(self) -> dict[tuple[int, int], float]:
        """The units that match, counted over all layers, with their correlation."""
        whole = self.made["whole"]
        pairs = zip(whole["x"], whole["y"], strict=True)
        strengths = dict(zip(pairs, whole["strength"], strict=True))
        return {
            pair: r for (pair, r), sure in zip(strengths.items(), self.matched, strict=True) if sure
        }

    @property
    def depths(self) -> dict[tuple[str, int], float]:
        """Of each layer of each of the two trained networks, from 0 to 1; of random copies none."""
        return {
            (label, int(number)): number / max(1, out_of - 1)
            for label, (numbers, _, out_of) in zip(
                (self.x, self.y), self.made["layers"], strict=True
            )
            for number in numbers
            if label in self.trained
        }

    @property
    def matched(self) -> np.ndarray:
        """Which of the buddies are called matches."""
        sure: np.ndarray = self._q <= self.alpha
        return sure

    @cached_property
    def threshold(self) -> float:
        """The least strength of a match; infinite if there is none."""
        strengths = np.array(self.made["whole"]["strength"])[self.matched]
        return float(strengths.min()) if len(strengths) else np.inf

    def place(self, side: int, unit: int) -> tuple[int, int]:
        """Layer, and number within it, of a unit counted over all layers."""
        layer, within = self._place(side, np.array([unit]))
        return int(layer[0]), int(within[0])

    @cached_property
    def _q(self) -> np.ndarray:
        null = [np.array(strengths) for strengths in self.made["null"]]
        return false_shares(np.array(self.made["whole"]["strength"]), null)

    def _numbers(self, side: int) -> list[int]:
        return [int(number) for number in self.made["layers"][side][0]]

    def _place(self, side: int, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers, widths, _ = self.made["layers"][side]
        layer = np.repeat(numbers, widths)
        within = np.concatenate([np.arange(width) for width in widths])
        return layer[units], within[units]

    def _share(self, side: int, layer: int | None) -> dict[str, Any]:
        numbers, widths, out_of = self.made["layers"][side]
        num_units = sum(w for w, n in zip(widths, numbers, strict=True) if layer in (None, n))
        whole, halves = self.made["whole"], self.made["halves"]

        def within(found: Made) -> np.ndarray:
            units = np.array(found["xy"[side]], dtype=int)
            at = self._place(side, units)[0] if layer is not None else np.zeros(len(units))
            inside: np.ndarray = at == (layer or 0)
            return inside

        chosen = [within(half) & (np.array(half["strength"]) >= self.threshold) for half in halves]
        of_halves = [int(kept.sum()) / num_units for kept in chosen]

        def mean(of: str) -> float:
            """Over the matches of both halves."""
            kept = [np.array(half[of])[on] for half, on in zip(halves, chosen, strict=True)]
            values = np.concatenate(kept)
            return float(values.mean()) if len(values) else np.nan

        false = [np.sum(np.array(null) >= self.threshold) for null in self.made["null"]]
        matched = int((within(whole) & self.matched).sum())
        return {
            **{"x": self.x, "y": self.y, "control": self.control, "model": (self.x, self.y)[side]},
            "model_trained": self.trained[side],
            "partner_trained": self.trained[1 - side],
            "layer": np.nan if layer is None else layer,
            "depth": np.nan if layer is None else layer / max(1, out_of - 1),
            **{"num_units": num_units, "num_buddies": int(within(whole).sum())},
            **{"num_matched": matched, "share": matched / num_units},
            **{"low": min(of_halves), "high": max(of_halves)},
            "share_null": float(np.mean(false)) / num_units if layer is None else np.nan,
            "threshold": self.threshold if np.isfinite(self.threshold) else np.nan,
            **{"confirmed": mean("again"), "strength": mean("strength")},
            "elsewhere": mean("elsewhere"),
        }


CLIQUE_COLUMNS = ("clique", "control", "num_networks", "strength", "model", "layer", "unit")


def clique_table(found: Sequence[PairMatches]) -> pd.DataFrame:
    """A row per unit of a clique, strongest cliques first; those of random copies after them."""
    rows: list[dict[str, Any]] = []
    number = 0
    for control in dict.fromkeys(pair.control for pair in found):
        of_control = [pair for pair in found if pair.control == control]
        places = {
            label: (pair, side)
            for pair in of_control
            for side, label in enumerate((pair.x, pair.y))
        }
        for clique in cliques({(pair.x, pair.y): pair.buddies for pair in of_control}):
            about = {"clique": number, "control": control, "num_networks": len(clique.units)}
            for label, unit in clique.units:
                pair, side = places[label]
                layer, within = pair.place(side, unit)
                own = {"strength": clique.strength, "model": label, "layer": layer, "unit": within}
                rows.append(about | own)
            number += 1
    return pd.DataFrame(rows, columns=list(CLIQUE_COLUMNS))
