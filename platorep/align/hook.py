"""A function of the user's own that is told of scores as they come: for trackers of experiments."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pandas as pd

from platorep.align.asked import asked_metrics
from platorep.align.blocks import Pair
from platorep.align.scoring import PairScores
from platorep.align.tables import best_table
from platorep.errors import ConfigError
from platorep.own_code import import_own
from platorep.run import Run

TOLD = ("x", "y", "metric", "layer_x", "layer_y", "score", "chance", "n", "null_mean", "p")
"""Of best.csv, for each pair; `null_mean` and `p` where there is a null."""


class ScoresHook:
    """Calls `--on-scores`, if there is one. What fails there is told, and loses no score.

    Raises:
        ConfigError: the function cannot be imported, or is none.
    """

    def __init__(self, run: Run) -> None:
        self._run, path = run, run.options.on_scores
        self._function = None if path is None else import_own(path, f"--on-scores {path}")
        if self._function is not None and not callable(self._function):
            raise ConfigError(
                f"--on-scores {path}: expected a function of one dictionary, found one of type "
                f"{type(self._function).__name__}."
            )

    @cached_property
    def _num_rows(self) -> int:
        num_rows = int(self._run.results.dataset()["num_rows"])
        return self._run.config.align.scored_rows(num_rows)

    def pair(self, pair: Pair, scores: PairScores | None) -> None:
        """A pair is finished: one call for each metric that could be scored."""
        if self._function is None or scores is None:
            return
        x, y = (model.label for model in pair)
        best = best_table(
            "",
            self._num_rows,
            self._run.config.align,
            asked_metrics(self._run.config),
            {model.label: model for model in pair},
            {(x, y): scores},
        )
        for row in best[best["control"] == ""].to_dict("records"):
            self._call({key: _plain(row[key]) for key in TOLD if key in row})

    def tables(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """All pairs are finished."""
        self._call(
            {
                "experiment": self._run.config.name,
                "results": str(self._run.results.folder),
                "tables": {name: table.copy() for name, table in tables.items()},
            }
        )

    def _call(self, told: dict[str, Any]) -> None:
        if self._function is None:
            return
        try:
            self._function(told)
        except (Exception, SystemExit) as error:  # whatever the user's own lines do
            self._run.report.warn(
                f"--on-scores {self._run.options.on_scores} failed, no score is lost: "
                f"{type(error).__name__}: {error}"
            )


def _plain(value: Any) -> Any:
    """A number of Python's own, None for one that is not there."""
    value = value.item() if hasattr(value, "item") else value
    return None if pd.isna(value) else value
