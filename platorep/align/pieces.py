"""Finished model pairs on disk: a table of layer pairs and the statistics beside it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from platorep.align.asked import own_code_of
from platorep.align.models import Aligned
from platorep.align.scoring import PairScores
from platorep.config import ExperimentConfig
from platorep.config.analyses import ANALYSIS_TABLES
from platorep.errors import DamagedError
from platorep.files import atomic_path, digest, read_sealed, write_sealed
from platorep.reporting import Reporter
from platorep.results import Results

WITHOUT_EFFECT = ("pairs", "memory", "gallery", "repeats")
"""Of `align`; on the score of a pair."""
PIECE_VERSION = 3  # raise when the meaning of a score or statistic changes


Found = dict[tuple[str, str], PairScores]
"""By the labels of both models."""


class Pieces:
    """Names each pair's files by all that decides its scores.

    The statistics are written last: they guard the table beside them.
    """

    def __init__(
        self, results: Results, config: ExperimentConfig, groups: Sequence[str] | None
    ) -> None:
        settings = config.align.model_dump(mode="json", exclude={*WITHOUT_EFFECT, *ANALYSIS_TABLES})
        for what_the_tables_do in ("alpha", "correction"):
            del settings["null"][what_the_tables_do]
        seed = config.controls.seed if config.controls.shuffled_pairs else None
        code = [own for entry in config.align.metrics if (own := own_code_of(entry))]
        self._settings: dict[str, Any] = {"align": settings, "shuffled": seed, "code": code}
        if config.align.gallery is not None:
            self._settings["rows"] = config.align.gallery.queries
        if groups is not None:  # the groups themselves: the file may change in its place
            del settings["null"]["within"]
            self._settings["groups"] = groups
        self._results = results

    def write(self, x: Aligned, y: Aligned, scores: PairScores) -> None:
        path = self._path(x, y)
        table = path.with_suffix(".parquet")
        with atomic_path(table) as partial:
            scores.grid.to_parquet(partial, index=False)
        write_sealed(path, scores.statistics, of=path.stem, files=[table.name])

    def read(self, pairs: Iterable[tuple[Aligned, Aligned]], report: Reporter) -> Found:
        """The pieces of those pairs, by label, that are there; one that is damaged is not."""
        found: Found = {}
        for x, y in pairs:
            path = self._path(x, y)
            try:
                statistics = read_sealed(path, of=path.stem, cure="It is scored again.")
                grid = pd.read_parquet(path.with_suffix(".parquet"))
            except FileNotFoundError:
                continue
            except (DamagedError, OSError, ValueError) as error:
                report.warn(f"{x.label} x {y.label}: {error}")
            else:
                found[x.label, y.label] = PairScores(grid, statistics)
        return found

    def _path(self, x: Aligned, y: Aligned) -> Path:
        name = digest([PIECE_VERSION, x.key, y.key, self._settings])
        return self._results.parts / f"{name}.json"
