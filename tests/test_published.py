"""What is told of platorep outside its code: citation, Python interface, what it depends on."""

import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import platorep

REPOSITORY = Path(platorep.__file__).parents[1]
OURS = {"bench", "docs", "test"}
"""Extras of those who work on platorep, not with it."""
CALLED = {
    "mpl_toolkits": "matplotlib",
    "PIL": "pillow",
    "colour": "colour-science",
    "pydantic_core": "pydantic",
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "vl_convert": "vl-convert-python",
    "yaml": "pyyaml",
}
"""Packages that are installed under another name than they are imported."""


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


def test_what_is_imported_is_declared() -> None:
    """A fresh environment has what `dependencies` and the extras for users name, and no more."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lists = [project["dependencies"], *(extras[name] for name in extras if name not in OURS)]
    declared = {re.split(r"[\[<>=]", line)[0].replace("-", "_") for of in lists for line in of}
    modules = {
        module
        for path in (REPOSITORY / "platorep").rglob("*.py")
        for module in re.findall(
            r"^ *(?:import|from) (\w+)[\w.]*(?: import .*| as .*)?$",
            path.read_text(encoding="utf-8"),
            flags=re.MULTILINE,
        )
    } - set(sys.stdlib_module_names)

    assert {"torch", "yaml", "platorep"} <= modules
    names = {CALLED.get(module, module).replace("-", "_") for module in modules - {"platorep"}}
    assert names - declared == set()
