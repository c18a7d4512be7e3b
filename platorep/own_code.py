"""A user's own code, `package.module:object`: importing it, and naming what it consists of.

Light: nothing is imported until the object itself is asked for.
"""

import ast
import importlib
import importlib.util
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from platorep.errors import ConfigError, PlatorepError, nearest
from platorep.files import sha256_file

OWN_PACKAGE = __name__.partition(".")[0]
"""Is an installed library, wherever it lies."""


def import_own(path: str, whose: str) -> Any:
    """The object that `package.module:object` names.

    Args:
        whose: What the message calls it, such as "metric 'mine:score'".

    Raises:
        ConfigError: the module cannot be imported, or has no such object.
    """
    name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(name)
    except PlatorepError:
        raise
    except ImportError as error:
        raise _not_importable(whose, name, error) from error
    except (Exception, SystemExit) as error:  # whatever its lines do; names that begin with .
        reason = f"{type(error).__name__}: {error}"
        raise _not_importable(whose, name, reason) from error
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = nearest(part, [one for one in vars(module) if not one.startswith("_")])
            raise ConfigError(f"{whose}: {name!r} has no {attribute!r}.{hint}")
        found = getattr(found, part)
    return found


def code_files(path: str, whose: str) -> dict[str, Path]:
    """The files of a user's own object: its module, the package that this is in, and all that they
    import, wherever that lies, but installed libraries. The module itself is not imported.

    Returns:
        Name, from the folder on Python's path on -> file; in order of name.

    Raises:
        ConfigError: there is no such module.
    """
    name = path.partition(":")[0]
    origin = _origin(name, whose)
    if origin is None:
        return {}
    root = origin.parents[name.count(".") + (origin.name == "__init__.py")]
    files = {origin}
    package = root / name.partition(".")[0]
    if (package / "__init__.py").is_file():
        files |= {*package.rglob("*.py")}
    found = {file.relative_to(root).as_posix(): file for file in files}
    waiting = [] if _is_installed(root) else list(found)
    while waiting:
        file = waiting.pop()
        imported = dict(_imported(found[file], Path(file).with_suffix("").parts))
        new = {name: file for name, file in imported.items() if name not in found}
        found |= new
        waiting += new
    return dict(sorted(found.items()))


def _imported(file: Path, name: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Name and file of each module of one's own that a file imports, with the packages around it.

    Args:
        name: Of the file's own module, part by part; `__init__` is one.
    """
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # whoever imports it says so
    for node in ast.walk(tree):
        modules: list[tuple[str, ...]] = []
        if isinstance(node, ast.Import):
            modules = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            around = name[: -node.level] if node.level else ()
            of = (*around, *(node.module.split(".") if node.module else ()))
            modules = [(*of, alias.name) for alias in node.names]
        for module in modules:
            for length in range(1, len(module) + 1):
                yield from _files_of(module[:length])


def _files_of(module: Sequence[str]) -> Iterator[tuple[str, Path]]:
    place = "/".join(module)
    for root in _roots(module[0]):
        for name in (f"{place}/__init__.py", f"{place}.py"):
            if (root / name).is_file():
                yield name, root / name
                return


def _roots(top: str) -> tuple[Path, ...]:
    """The folders in which an outermost module lies, but those of installed libraries."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None or top == OWN_PACKAGE:
        return ()
    places = spec.submodule_search_locations or [str(spec.origin)] * spec.has_location
    roots = [Path(place).parent for place in places]
    return tuple(root for root in roots if not _is_installed(root))


def _is_installed(folder: Path) -> bool:
    """Whether it is a folder of installed libraries, or of Python's own."""
    installed = {"site-packages", "dist-packages"}
    return bool(installed & {*folder.parts}) or folder.is_relative_to(sysconfig.get_path("stdlib"))


def code_hashes(path: str, whose: str) -> list[str]:
    """The hashes of `code_files`, in their order."""
    return [sha256_file(file) for file in code_files(path, whose).values()]


def _origin(name: str, whose: str) -> Path | None:
    """The file of a module; None where it has none, as a package without `__init__.py`."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, TypeError, ValueError, AttributeError) as error:
        raise _not_importable(whose, name, error) from error
    if spec is None:
        raise _not_importable(whose, name, f"No module named {name!r}")
    return Path(spec.origin) if spec.has_location and spec.origin else None


def _not_importable(whose: str, name: str, why: object) -> ConfigError:
    return ConfigError(
        f"{whose}: module {name!r} cannot be imported: {why}. It must be importable from where the "
        "program runs (installed, on PYTHONPATH, or in the folder of the experiment's file)."
    )
