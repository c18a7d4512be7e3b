"""Galleries of real photographs: at fixed k the score falls, at k a share of n it is flatter.

One experiment with one caption per photograph, and one in which every second row is another caption
of a photograph that is there already, so that rows have sources.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from processes import Ended

QUERIES = 128
PHOTOGRAPHS = 128
"""Of the experiment with sources: each with two captions."""


def experiment(real: Path, minilm: Path, **said: Any) -> dict[str, Any]:
    return {
        "name": "gallery",
        "families": [
            {
                "name": "sentence encoder",
                "modality": "language",
                "models": [{"name": str(minilm), "label": "MiniLM"}],
            },
            {
                "name": "MobileNet",
                "modality": "vision",
                "models": [
                    {
                        "name": "mobilenetv2_100",
                        "checkpoint": str(real / "vision" / "mobilenetv2_100.safetensors"),
                        "arguments": {"num_classes": 0},
                    }
                ],
            },
        ],
        "extract": {"workers": 0},
        "controls": {"random_weights": True, "shuffled_pairs": True},
        "figures": [{"kind": "gallery"}],
    } | said


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("galleries")


@pytest.fixture(scope="session")
def run(base: Path, command: Callable[..., Ended]) -> Callable[[str, dict[str, Any]], Path]:
    def results(name: str, raw: dict[str, Any]) -> Path:
        (base / f"{name}.yaml").write_text(json.dumps(raw), encoding="utf-8")
        command(base, "run", f"{name}.yaml", "--output", name)
        return base / name

    return results


@pytest.fixture(scope="session")
def pairs(real: Path, minilm: Path, run: Callable[..., Path]) -> Path:
    """Results of one row per photograph."""
    gallery = {"queries": QUERIES, "sizes": [128, 256, "all"], "k": [1, 10, "1%", "4%"]}
    raw = experiment(
        real,
        minilm,
        dataset={
            "source": str(real / "flickr8k"),
            "text": "caption_0",
            "limit": 512,
            "deduplicate": "near",
        },
        align={"null": {"permutations": 100}, "gallery": gallery},
    )
    return run("pairs", raw)


@pytest.fixture(scope="session")
def sources(real: Path, minilm: Path, base: Path, run: Callable[..., Path]) -> Path:
    """Results of two rows, two captions, per photograph."""
    folder = base / "flickr8k"
    folder.mkdir()
    for i in (0, 1):  # a photograph under two names: lines with one name are one row
        (folder / f"{i}").symlink_to(real / "flickr8k")
    table = pd.read_csv(real / "flickr8k" / "captions.csv")[:PHOTOGRAPHS]
    rows = pd.concat(
        [
            pd.DataFrame(
                {
                    "file_name": f"{i}/" + table["file_name"],
                    "caption": table[f"caption_{i}"],
                    "photograph": table["file_name"],
                }
            )
            for i in (0, 1)
        ]
    )
    rows.to_csv(folder / "captions.csv", index=False)
    groups = pd.DataFrame({"id": rows["file_name"], "group": rows["photograph"]})
    groups.to_csv(base / "groups.csv", index=False)
    gallery = {"queries": 64, "sizes": [64, 128, 256], "k": [1, 10, "1%"]}
    raw = experiment(
        real,
        minilm,
        dataset={"source": str(folder), "text": "caption"},
        controls={"random_weights": False},
        align={
            "null": {"permutations": 100},
            "gallery": gallery | {"groups": str(base / "groups.csv")},
        },
    )
    return run("sources", raw)


def scores(folder: Path, x: str = "MiniLM", y: str = "mobilenetv2_100") -> pd.DataFrame:
    """Score by n and rule."""
    table = pd.read_csv(folder / "gallery.csv", keep_default_na=False)
    table = table[(table["x"] == x) & (table["y"] == y) & (table["control"] == "")]
    return table.pivot_table(index="n", columns="k_rule", values="score")


def test_at_fixed_k_the_score_falls_and_at_a_share_it_is_flatter(pairs: Path) -> None:
    by_n = scores(pairs)

    assert by_n["10"].is_monotonic_decreasing
    first, last = by_n.iloc[0], by_n.iloc[-1]
    assert last["10"] < 0.75 * first["10"]
    assert last["4%"] > 0.85 * first["4%"]


def test_trained_networks_stay_above_random_ones_at_every_size(pairs: Path) -> None:
    trained, random = scores(pairs), scores(pairs, y="mobilenetv2_100 (random)")

    assert (trained["10"] > 1.5 * random["10"]).all()


def test_shuffled_rows_are_at_chance_at_every_size(pairs: Path) -> None:
    table = pd.read_csv(pairs / "gallery.csv", keep_default_na=False)
    shuffled = table[table["control"] == "shuffled"]

    errors = (shuffled["score"] - shuffled["chance"]).abs() / shuffled["se"].clip(lower=0.002)
    assert errors.max() < 5
    assert errors.mean() < 1.5


def test_other_captions_of_a_photograph_are_one_source(sources: Path) -> None:
    by_n = scores(sources)
    table = pd.read_csv(sources / "gallery.csv", keep_default_na=False)

    counts = table.drop_duplicates("n").set_index("n")["num_sources"].astype(int)
    assert counts[256] == PHOTOGRAPHS
    assert (counts <= PHOTOGRAPHS).all()
    own = table[(table["y"] == "mobilenetv2_100") & (table["x"] == "MiniLM")]
    assert (own["score"] > 2 * own["chance"]).all()
    assert by_n["10"].is_monotonic_decreasing
