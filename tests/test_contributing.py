"""What CONTRIBUTING says is there."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith(("| a ", "| an "))]
PATHS = sorted(set(re.findall(r"`([a-z]+/[\w./-]+|docs/[\w./-]+)`", TEXT)))


@pytest.mark.parametrize("path", PATHS)
def test_every_place_that_it_names_is_there(path: str) -> None:
    assert (REPOSITORY / path).exists()


def test_the_table_has_a_row_for_everything_that_is_added() -> None:
    things = [row.split("|")[1].split()[1] for row in ROWS]

    named = ["metric", "figure", "measure", "backend", "source", "kind", "analysis"]
    assert things == [*named, "study", "change", "setting", "command"]
    assert all(len(re.findall(r"`(?:platorep|tests)/", row)) >= 2 for row in ROWS)


@pytest.mark.parametrize(
    ("thing", "registry"),
    [
        ("metric", "METRICS"),
        ("figure", "FIGURES"),
        ("measure", "MEASURES"),
        ("kind", "KINDS"),
        ("analysis", "ANALYSES"),
        ("study", "STUDIES"),
    ],
)
def test_the_list_of_things_is_in_a_file_that_the_row_names(thing: str, registry: str) -> None:
    (row,) = [row for row in ROWS if row.split()[2] == thing]
    files = [REPOSITORY / path for path in re.findall(r"`([\w/]+\.py)`", row)]

    assert any(
        re.search(rf"^{registry}.* = index_by_name\(", file.read_text("utf-8"), re.M)
        for file in files
    )
