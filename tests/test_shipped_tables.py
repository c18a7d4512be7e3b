"""The tables in configs/performance: every number says where it is from, of models that exist."""

import csv
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from platorep.config import ModelSpec, TableConfig, load_config, shipped_configs
from platorep.errors import DataError
from platorep.performance.table import TableEntry, decimal_year, entry_of, read_table

FOLDER = next(iter(shipped_configs().values())).parent / "performance"
TABLES = sorted(FOLDER.glob("*.csv"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def known_models() -> set[str]:
    configs = [load_config(path) for path in shipped_configs().values()]
    return {spec.name for config in configs for spec in config.models()}


def unsourced(row: dict[str, str]) -> list[str]:
    """Filled cells that the source does not speak of. A source is `column, column: where; ...`."""
    said = [entry.partition(":")[0] for entry in row["source"].split(";")]
    sourced = {word.split(" (")[0].strip() for part in said for word in part.split(",")}
    filled = [name for name, cell in row.items() if cell and name not in ("model", "source")]
    return [name for name in filled if name not in sourced]


def test_there_are_tables() -> None:
    assert [path.name for path in TABLES] == ["downstream.csv", "models.csv"]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_every_number_has_a_source(path: Path) -> None:
    for row in rows(path):
        assert unsourced(row) == [], row["model"]
    assert unsourced({"model": "m", "a": "1", "b": "2", "source": "a (0-shot): x"}) == ["b"]


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_every_model_is_in_a_shipped_experiment(path: Path) -> None:
    assert {row["model"] for row in rows(path)} <= known_models()


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_every_column_can_be_a_measure(path: Path) -> None:
    for column in set(rows(path)[0]) - {"model", "source"}:
        table = read_table(TableConfig(name=column, table=str(path), value=column))
        filled = [row["model"] for row in rows(path) if row[column]]
        assert list(table) == filled
        low, high = {"hellaswag": (0, 1), "gsm8k": (0, 1), "release_date": (2022, 2025)}.get(
            column, (1e8, 1e14)
        )
        assert all(low < entry.value < high for entry in table.values())


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        ("2023-01-01", 2023.0),
        ("2023-12-31", 2023 + 364 / 365),
        ("2024-07-01", 2024 + 182 / 366),  # 31 + 29 + 31 + 30 + 31 + 30 days are over
    ],
)
def test_dates_are_years_with_a_fraction(day: str, expected: float, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"model,release_date\na,{day}\n")
    config = TableConfig(name="date", table=str(tmp_path / "t.csv"), value="release_date")

    assert decimal_year(date.fromisoformat(day)) == expected
    assert read_table(config)["a"].value == expected


def test_another_revision_does_not_inherit_the_number_of_the_name() -> None:
    table = {"org/a": TableEntry(0.7, "t.csv"), "a@step1": TableEntry(0.1, "t.csv")}

    def entry(label: str, **settings: Any) -> TableEntry | None:
        whole = {"name": "org/a", "label": label, "family": "f", "modality": "language"}
        return entry_of(table, ModelSpec(**whole, backend="transformers", **settings))

    assert entry("a") == entry("a", revision="main") == table["org/a"]
    assert entry("a@step1", revision="step1") == table["a@step1"]
    assert entry("a@step2", revision="step2") is None
    assert entry("a", random_init=True) is None


def test_a_table_that_is_not_utf_8_is_said(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("model,value\nbär,1\n".encode("latin-1"))

    with pytest.raises(DataError, match=r"t\.csv is not UTF-8"):
        read_table(TableConfig(name="m", table=str(tmp_path / "t.csv")))
