"""Alignment by workers elsewhere: all that they are given and give back is pickled, a unit is open
in several places at once, and its parts come back in any order."""

import json
import pickle
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from test_align import FEATURES, PICKY, Bench, K, N

from platorep.align.searching import Shards
from platorep.engines import Done, Kept, LocalEngine, Talk, Unit
from platorep.errors import ConfigError, DamagedError, DataError
from platorep.reporting import Reporter


@dataclass(frozen=True, eq=False)
class Stored(Kept):
    content: bytes


class Elsewhere:
    """Workers, two of whom open each unit.

    Args:
        unseen: A part of paths that is another there.
    """

    num_workers = 16
    has_gpus = False

    def __init__(self, unseen: str = "") -> None:
        self._unseen = unseen
        self.parts: list[Any] = []

    def carry_out(self, units: Iterable[Unit], report: Reporter) -> Generator[Done, None, None]:
        for unit in units:
            yield from reversed(list(self._parts(unit, Talk(report, lambda count: None))))

    def _parts(self, unit: Unit, talk: Talk) -> Iterator[Done]:
        given = [g.content if isinstance(g, Stored) else pickle.dumps(g) for g in unit.given]
        with ExitStack() as stack:
            there = [
                stack.enter_context(unit.opens(talk, *map(self._arrive, given))) for _ in range(2)
            ]
            for number, part in enumerate(unit.parts):
                self.parts.append(part)
                try:
                    value = there[number % 2](self._arrive(pickle.dumps(part)))
                except Exception as error:
                    yield Done(unit=unit, part=part, error=error)
                    continue
                kept = None
                if unit.keeps:
                    value, kept = value[0], Stored(pickle.dumps(value[1]))
                yield Done(unit=unit, part=part, value=pickle.loads(pickle.dumps(value)), kept=kept)

    def _arrive(self, content: bytes) -> Any:
        here = self._unseen.encode()
        return pickle.loads(content.replace(here, here[::-1]) if here else content)

    def put(self, value: Any) -> Kept:
        return Stored(pickle.dumps(value))

    def rest(self) -> None:
        """Nobody is idle."""

    def close(self) -> None:
        """There is nothing to end."""


RICH: dict[str, Any] = {
    "pairs": [[{"model": "words-a"}, {"family": "eyes"}]],
    "metrics": [
        {"name": "mutual_knn", "k": K},
        {"name": "cka", "estimator": "debiased"},
        {"name": "rv", "layers": "last"},
        {"name": "procrustes", "layers": "best of cka"},
    ],
    "null": {"permutations": 26},
    "held_out": True,
    "controls": {"shuffled_pairs": True},
}


def tables(folder: Path, engine: str, **said: Any) -> tuple[dict[str, bytes], Elsewhere | None]:
    """The bytes of all tables, and the engine, of workers that see the cache, or see it not."""
    bench = Bench(folder / engine)
    elsewhere = Elsewhere("unseen" if engine == "unseen" else "")
    bench.engine = LocalEngine() if engine == "local" else elsewhere
    errors, *_ = bench.align(**RICH | said)
    assert not errors
    names = ["scores", "best", "layers"] + ["gallery"] * ("gallery" in said)
    return {name: getattr(bench.results, name).read_bytes() for name in names}, elsewhere


def test_the_tables_are_the_same_to_the_bit(tmp_path: Path) -> None:
    settings = {"concatenated": True, "preprocess": {"clip_scope": "model"}}
    here, _ = tables(tmp_path, "local", **settings)
    seen, engine = tables(tmp_path, "seen", **settings)
    unseen, carrier = tables(tmp_path, "unseen", **settings)

    assert seen == here
    assert unseen == here
    numbers = [part for part in engine.parts if isinstance(part, int)]
    assert set(numbers) == {0, 1, 2, 3, 4}  # of eyes-b, and all of them side by side
    carried = [part for part in carrier.parts if isinstance(part, int)]
    assert len(carried) < len(numbers)  # no more are tried, once one is not seen


def test_galleries_are_the_same_to_the_bit(tmp_path: Path) -> None:
    """Shard by shard, in any order, and from features that are sent."""
    said = {
        "gallery": {"queries": 8, "sizes": [8, 16, "all"], "k": [1, 3]},
        "concatenated": True,
        "metrics": RICH["metrics"][:1],
        "null": {"permutations": 0},
    }
    here, _ = tables(tmp_path, "local", **said)
    seen, engine = tables(tmp_path, "seen", **said)
    unseen, carrier = tables(tmp_path, "unseen", **said)

    assert seen == here
    assert unseen == here
    shards = [part for part in engine.parts if isinstance(part, Shards)]
    assert max(len(part.numbers) for part in shards) < 3  # never all of them
    assert not any(part.features for part in shards)
    assert any(part.features for part in carrier.parts if isinstance(part, Shards))


@pytest.mark.parametrize("layers", ["all", "best of mutual_knn"])
@pytest.mark.parametrize("unseen", ["", "cache"])
def test_failures_are_as_large_as_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: str, unseen: str
) -> None:
    """A pair under one metric, a model under one metric, a model."""
    bench = Bench(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "picky_metric.py").write_text(PICKY)
    broken = [layer.clone() for layer in FEATURES["eyes-b"]]
    broken[2][5, 1] = torch.nan
    bench.put("eyes-b", broken)
    bench.put("words-a", [torch.randn(N, N, generator=torch.Generator().manual_seed(5))])
    bench.put("words-b", [FEATURES["words-b"][0]])
    bench.put("eyes-a", [FEATURES["eyes-a"][1]])
    own = "picky_metric:picky"
    metrics = [{"name": "mutual_knn", "k": K}] + [
        {"name": name, "layers": layers} for name in (own, "cca_mean")
    ]
    bench.engine = Elsewhere(unseen)

    errors, _, best = bench.align(metrics=metrics)

    expected = {
        "eyes-b": DataError,
        "words-a, cca_mean": ConfigError,
        f"words-b x eyes-a, {own}": ZeroDivisionError,
    }
    assert {name: type(error) for name, error in errors.items()} == expected
    lines = [json.loads(line) for line in bench.results.failures.read_text().splitlines()]
    assert sorted(line["cell"] for line in lines) == sorted(expected)
    assert "eyes-b: layer 2, row 5" in str(errors["eyes-b"])
    assert best.groupby("metric")["x"].agg(list).to_dict() == {
        "mutual_knn{k: 3}": ["words-a", "words-b"],
        own: ["words-a"],
        "cca_mean": ["words-b"],
    }
    with pytest.raises((DataError, ConfigError)):
        bench.align(metrics=metrics, fail_fast=True)


def test_damage_is_told_of_what_is_sent(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.cells["eyes-a"].shard_path(1).write_bytes(b"damaged")
    bench.engine = Elsewhere("cache")

    errors, _, best = bench.align(null={"permutations": 0})

    assert list(errors) == ["eyes-a"]
    assert isinstance(errors["eyes-a"], DamagedError)
    assert set(best["y"]) == {"eyes-b"}


def test_damage_is_told_of_queries_that_are_sent(tmp_path: Path) -> None:
    said = {
        "gallery": {"queries": 8, "sizes": [16], "k": [1]},
        "metrics": RICH["metrics"][:1],
        "null": {"permutations": 0},
    }
    bench = Bench(tmp_path)
    bench.align(**said)
    for lists in bench.results.parts.glob("*.safetensors"):
        lists.unlink()
    bench.cells["eyes-a"].shard_path(0).write_bytes(b"damaged")
    bench.engine = Elsewhere("cache")

    errors, *_ = bench.align(**said)

    assert {name.split(",")[0] for name in errors} == {"gallery eyes-a"}
    assert all(isinstance(error, DamagedError) for error in errors.values())


def test_no_model_is_held_whole(tmp_path: Path) -> None:
    """Twenty layers of 8 MiB: 100 MB at the most, where all of them, and prepared, took 600."""
    script = Path(__file__).parent / "align_memory.py"
    made = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "model"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(made.stdout) < 20 * 8 * 2**20
