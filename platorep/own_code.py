"""A user's own code, `package.module:object`: importing it, and naming what it consists of.

Light: nothing is imported until the object itself is asked for.
"""

import importlib
import importlib.util
import modulefinder
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from platorep.errors import ConfigError, PlatorepError, nearest
from platorep.files import sha256_file


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
    except Exception as error:  # whatever the user's own lines do, and names that begin with .
        reason = f"{type(error).__name__}: {error}"
        raise _not_importable(whose, name, reason) from error
    found = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            hint = nearest(part, [one for one in vars(module) if not one.startswith("_")])
            raise ConfigError(f"{whose}: {name!r} has no {attribute!r}.{hint}")
        found = getattr(found, part)
    return found


def code_files(path: str, whose: str) -> list[Path]:
    """The files of a user's own object: its package, or its module and the modules beside it that
    it imports. Installed libraries are not looked at, and the module itself is not imported.

    Raises:
        ConfigError: there is no such module.
    """
    name = path.partition(":")[0]
    file = _origin(name, whose)
    if file is None:
        return []
    package, _, inner = name.partition(".")
    if inner or file.name == "__init__.py":
        root = _origin(package, whose)
        return sorted(root.parent.rglob("*.py")) if root else [file]
    finder = modulefinder.ModuleFinder(path=[str(file.parent)])
    finder.run_script(str(file))
    found: Iterable[Any] = finder.modules.values()
    return sorted({file, *(Path(module.__file__) for module in found if module.__file__)})


def code_hashes(path: str, whose: str) -> list[str]:
    """The hashes of `code_files`, in their order."""
    return [sha256_file(file) for file in code_files(path, whose)]


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
