"""The rooms of the house and who may import whom; importing the package is light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import platorep

LAYERS = (
    {"errors"},
    {"files", "machine", "reporting", "stamps"},
    {"own_code"},
    {"plugins"},
    {
        "arrays",
        "registry",
        "parameters",
        "holding",
        "hub",
        "rows",
        "switches",
        "tensors",
        "engines",
    },
    {"config", "identities", "kinds", "metrics", "preprocess", "statistics", "toyworld"},
    {"bundles"},
    {"data", "models"},
    {"bridges", "units"},
    {"failures", "features", "results"},
    {"experiment_rows", "run", "upkeep"},
    {"workplace"},
    {"drawn", "extraction"},
    {"performance", "align", "checking", "comparing", "plots", "theory"},
    {"grounding", "studies"},
    {"opened"},
    {"report"},
    {"packing"},
    {"listing", "plan", "execute", "starting", "with_null"},
    {"api", "cli"},
    {"__main__"},
)
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
ROOT = Path(platorep.__file__).parent


def imported(tree: ast.AST) -> set[str]:
    """The units of platorep that a module imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, (ast.Name, ast.Attribute))
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(str(node.args[0].value))
    return {name.split(".")[1] for name in names if name.startswith("platorep.")} & set(LEVEL)


@pytest.mark.parametrize(
    "source",
    [
        "import platorep.cli",
        "import platorep.cli as c",
        "from platorep import cli",
        "from platorep.cli import app",
        "def f():\n    from platorep.cli import app",
        "import importlib\nimportlib.import_module('platorep.cli')",
    ],
)
def test_every_form_of_import_is_seen(source: str) -> None:
    assert imported(ast.parse(source)) == {"cli"}


@pytest.mark.parametrize(
    "module", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_point_down(module: Path) -> None:
    unit = module.relative_to(ROOT).parts[0].removesuffix(".py")
    found = imported(ast.parse(module.read_text(encoding="utf-8")))
    if unit == "__init__":  # hands on the interface, lazily
        assert found <= {"api", "opened", "packing", "with_null"}
        return
    upward = {name for name in found - {unit} if LEVEL[name] >= LEVEL[unit]}
    assert not upward, f"{unit} (layer {LEVEL[unit]}) imports {upward}"


@pytest.mark.parametrize("entry", ["platorep", "platorep.config", "platorep.cli"])
def test_importing_is_light(entry: str) -> None:
    heavy = {"torch", "transformers", "timm", "matplotlib", "pandas", "datasets", "scipy", "ray"}
    code = f"import sys, {entry}; print(*({heavy!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_a_folder_is_read_without_the_library_for_tables() -> None:
    code = "import sys, platorep.data; print('datasets' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False"]


def test_one_module_imports_ray() -> None:
    """Who does without `platorep[ray]` never meets it."""
    importing = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if re.search(r"^\s*(import|from) ray\b", path.read_text(encoding="utf-8"), re.M)
    }
    assert importing == {"engines/ray.py"}
