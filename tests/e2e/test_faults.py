"""A short form of `scripts/try_faults.py`: some of every kind of fault."""

import random

import pytest
from faults import BAD, DAMAGES, Faults, kinds_of_files
from processes import Forks


@pytest.fixture(scope="module")
def faults(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Faults:
    return Faults(forks, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files(faults: Faults, damage: str) -> None:
    kinds = sorted({kind for kind, possible in faults.damages() if possible == damage})
    chosen = random.Random(list(DAMAGES).index(damage)).sample(kinds, 2)

    outcomes = [faults.damage(kind, damage) for kind in chosen]

    assert [outcome for outcome in outcomes if outcome.verdict in BAD] == []


def test_every_kind_of_file_is_damaged(faults: Faults) -> None:
    written = {
        path for root in (faults.whole.cache, faults.whole.results) for path in root.rglob("*")
    }
    kinds = kinds_of_files(faults.whole)

    assert {path for paths in kinds.values() for path in paths} == {
        p for p in written if p.is_file()
    }
    assert {kind for kind, _ in faults.damages()} == set(kinds)
    assert len(kinds) < 50, "names of models, hashes and numbers make no kinds of their own"


def test_signals(faults: Faults) -> None:
    assert [outcome for outcome in faults.signals(3) if outcome.verdict in BAD] == []


def test_a_race(faults: Faults) -> None:
    assert [outcome for outcome in faults.races([2]) if outcome.verdict in BAD] == []


def test_what_is_wrong_or_stuck_is_seen(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here because no refusal is taken for one, and because other tables are expected."""
    with monkeypatch.context() as patch:
        patch.setattr("faults.REFUSALS", ())
        assert faults.damage("results/small/best.csv", "folder").verdict == "stuck"
    monkeypatch.setattr(faults, "_tables", dict.fromkeys(faults._tables, "other"))
    assert faults.damage("results/small/run.json", "delete").verdict == "wrong"
