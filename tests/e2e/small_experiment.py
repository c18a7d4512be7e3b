"""A small experiment whose runs can be compared: what lies on disk after it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

NUM_ROWS, ROWS_PER_SHARD = 24, 6
MODELS = ("llama8", "llama16", "conv4", "conv8")
NUM_SHARDS = len(MODELS) * NUM_ROWS // ROWS_PER_SHARD
TABLES = ("best.csv", "performance.csv", "models.csv")


def experiment(material: Path, **changes: Any) -> dict[str, Any]:
    """Two language models and two vision models on pairs of the toy world."""
    raw: dict[str, Any] = {
        "name": "small",
        "dataset": {"source": str(material / "pairs"), "text": "caption"},
        "families": [
            {
                "name": "readers",
                "modality": "language",
                "models": [str(material / "llama8"), str(material / "llama16")],
            },
            {
                "name": "viewers",
                "modality": "vision",
                "models": [f"local-dir:{material / 'conv4'}", f"local-dir:{material / 'conv8'}"],
            },
        ],
        "extract": {"rows_per_shard": ROWS_PER_SHARD, "workers": 0},
        "performance": [{"name": "bits_per_byte", "source": "captions"}],
        "align": {"metrics": [{"name": "mutual_knn", "k": 3}], "null": {"permutations": 9}},
        "controls": {"shuffled_pairs": True},
        "report": {"after_run": False},
        "figures": [{"kind": "heatmap"}],
    }
    return raw | changes


@dataclass(frozen=True)
class Place:
    """Where a test's run lies: its experiment file, its cache and its results."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "small.yaml"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def results(self) -> Path:
        return self.folder / "results" / "small"

    def write(self, raw: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(raw, indent=1))

    def shards(self) -> list[Path]:
        return sorted((self.cache / "features").glob("*/*/*/shard-*.safetensors"))

    def shards_of(self, model: str) -> list[Path]:
        return [path for path in self.shards() if path.parent.parent.name == model]

    def partials(self) -> list[Path]:
        """Files that are being written, or that a killed process left half written."""
        return [*self.cache.rglob(".*.partial"), *self.results.rglob(".*.partial")]


def identities(shards: list[Path]) -> dict[Path, tuple[int, int]]:
    """Inode and time of writing: a file that was replaced has others."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in shards}


def tables(place: Place) -> dict[str, Any]:
    """Everything that a run is for, to the last digit."""
    found: dict[str, Any] = {
        name: (place.results / name).read_text()
        for name in TABLES
        if (place.results / name).exists()
    }
    for path in sorted((place.results / "figures").glob("*.csv")):
        found[f"figures/{path.name}"] = path.read_text()
    scores = pd.read_parquet(place.results / "scores.parquet")
    found["scores.parquet"] = scores.to_csv(index=False, float_format="%.17g")
    return found
