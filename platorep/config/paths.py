"""Names that are, or may be, paths beside the experiment's file."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator

from platorep.files import expanded

HUB = "hub:"
"""Before the name of a bundle on the hub."""
ABOUT = "bundle.json"
"""The file that makes a folder a bundle."""


def names_bundle(name: str) -> bool:
    """Whether this is what a bundle is called where an experiment file may stand too: a folder with
    bundle.json in it, an archive `*.zip`, or `hub:user/name`."""
    path = expanded(name)
    return name.startswith(HUB) or path.suffix == ".zip" or (path / ABOUT).is_file()


def _resolve_name_or_path(
    name: str, info: Any
) -> str:  # info: ValidationInfo, which beartype refuses
    """The full path of what lies beside the experiment's file; other names stay as they are."""
    folder = (info.context or {}).get("folder")
    prefix = "local-dir:" if name.startswith("local-dir:") else ""
    path = expanded(name.removeprefix(prefix))
    if folder is None or path.is_absolute():
        return f"{prefix}{path}" if path.is_absolute() else name
    is_pattern = any(character in name for character in "*?[{")  # which no hub's names have
    if prefix or name.startswith(("./", "../")) or (folder / path).exists() or is_pattern:
        return f"{prefix}{Path(os.path.normpath(folder / path))}"
    return name


NameOrPath = Annotated[str, AfterValidator(_resolve_name_or_path)]
"""A hub identifier, or a path relative to the experiment's file (an existing path wins)."""


def _resolve_path(name: str, info: Any) -> str:
    """The full path; `..` is worked out, patterns stay as they are."""
    folder = (info.context or {}).get("folder") or Path()
    return os.path.normpath(folder / expanded(name))


LocalPath = Annotated[str, AfterValidator(_resolve_path)]
"""A path, or a pattern of paths, relative to the experiment's file."""
