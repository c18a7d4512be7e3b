"""What is told of platorep outside its code: its citation, the page of its Python interface."""

from pathlib import Path

import pytest
import yaml

import platorep

REPOSITORY = Path(platorep.__file__).parents[1]


def test_the_citation_is_one() -> None:
    """Keys that CFF 1.2 requires, of the software and of what it refers to, and this version."""
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))

    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["version"] == platorep.__version__
    assert citation["authors"] == [{"name": "The platorep developers"}]  # an entity, no person
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)


@pytest.mark.parametrize("name", [name for name in platorep.__all__ if not name.startswith("_")])
def test_the_site_documents_what_is_exported(name: str) -> None:
    page = (REPOSITORY / "docs/api.md").read_text(encoding="utf-8")

    assert f"\n::: platorep.{name}\n" in page
