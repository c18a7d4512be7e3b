"""Finished model pairs on disk: a table of layer pairs and the statistics beside it."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from platorep.align.models import Aligned
from platorep.align.scoring import PairScores
from platorep.config import ExperimentConfig
from platorep.files import digest, sha256_file, write_text
from platorep.results import Results, write_parquet

PIECE_VERSION = 3  # raise when the meaning of a score or statistic changes


class Pieces:
    """Names each pair's files by all that decides its scores; the table is written last."""

    def __init__(
        self, results: Results, config: ExperimentConfig, groups: Sequence[str] | None
    ) -> None:
        settings = config.align.model_dump(mode="json", exclude={"pairs", "memory", "gallery"})
        for what_the_tables_do in ("alpha", "correction"):
            del settings["null"][what_the_tables_do]
        seed = config.controls.seed if config.controls.shuffled_pairs else None
        code = [_code_of(entry.name) for entry in config.align.metrics if ":" in entry.name]
        self._settings: dict[str, Any] = {"align": settings, "shuffled": seed, "code": code}
        if config.align.gallery is not None:
            self._settings["rows"] = config.align.gallery.queries
        if groups is not None:  # the groups themselves: the file may change in its place
            del settings["null"]["within"]
            self._settings["groups"] = groups
        self._results = results

    def has(self, x: Aligned, y: Aligned) -> bool:
        return all(self._path(x, y, ending).exists() for ending in ("json", "parquet"))

    def write(self, x: Aligned, y: Aligned, scores: PairScores) -> None:
        write_text(self._path(x, y, "json"), json.dumps(scores.statistics))
        write_parquet(self._path(x, y, "parquet"), scores.grid)

    def read(self, x: Aligned, y: Aligned) -> PairScores:
        """What `write` wrote.

        Raises:
            IntegrityError: a file is damaged.
        """
        statistics = self._results.read_json(self._path(x, y, "json"), "align")
        grid = self._results.read_table(self._path(x, y, "parquet"), "align")
        return PairScores(grid, statistics)

    def _path(self, x: Aligned, y: Aligned, ending: str) -> Path:
        name = digest([PIECE_VERSION, x.key, y.key, self._settings])
        return self._results.parts / f"{name}.{ending}"


def _code_of(metric: str) -> str | None:
    """Hash of the file of a user's own metric; the modules that it imports are not looked at."""
    file = importlib.import_module(metric.partition(":")[0]).__file__
    return None if file is None else sha256_file(Path(file))
