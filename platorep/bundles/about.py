"""bundle.json: what a bundle says of itself, and which names its files may have.

docs/format.md is the specification; keep the two together.
"""

import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from platorep.config.paths import ABOUT
from platorep.errors import DamagedError, IntegrityError, shown
from platorep.files import read_sealed

FORMAT_VERSION = 1
"""Raise when the layout or the meaning of a field changes."""
CARD, EXPERIMENT = "README.md", "experiment.yaml"
NEIGHBORS, SHOWN, RESULTS, FEATURES = "neighbors", "shown", "results", "features"
CURE = "Get the bundle anew from where it came from."
MAX_JSON = 2**26
"""Bytes of a JSON file that is read whole."""

_PART = r"[\w@+=-][\w.@+=-]{0,119}"
_ALLOWED = re.compile(
    rf"{re.escape(EXPERIMENT)}"
    rf"|{RESULTS}/[A-Za-z0-9_]{{1,64}}\.(json|csv|parquet)"
    rf"|{FEATURES}/{_PART}/{_PART}/[0-9a-f]{{16}}/(meta\.json|rows\.parquet|shard-\d{{5}}\.safetensors)"
    rf"|{NEIGHBORS}/{_PART}\.safetensors"
    rf"|{SHOWN}/(texts|images)\.parquet"
)
_CELL = re.compile(rf"{FEATURES}/{_PART}/{_PART}/[0-9a-f]{{16}}")
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""What some systems take for a device, whatever its ending."""


class _Part(BaseModel):
    """A part of bundle.json; later versions may say more."""

    model_config = ConfigDict(frozen=True, strict=True)


class Listed(_Part):
    """A file of the bundle."""

    path: Annotated[str, Field(max_length=400)]
    size: NonNegativeInt
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Lists(_Part):
    """The neighbor lists of one model."""

    label: str
    file: Annotated[str, Field(max_length=400)]


class About(_Part):
    """What a bundle says of itself."""

    kind: Literal["platorep bundle"] = "platorep bundle"
    format_version: PositiveInt
    platorep: str
    """The version that wrote it."""
    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
    license: str
    features: Literal["all", "none"]
    neighbors: list[Lists]
    files: list[Listed]

    def listed(self, folder: str) -> list[Listed]:
        """The files below a folder."""
        return [file for file in self.files if file.path.startswith(f"{folder}/")]

    @property
    def num_bytes(self) -> int:
        return sum(file.size for file in self.files)


def read_about(path: Path, where: str) -> About:
    """What bundle.json says, checked: versions, types, names.

    Args:
        where: What the message calls the bundle.

    Raises:
        FileNotFoundError: it is not there.
        DamagedError: it is not what was written, or no bundle's.
        IntegrityError: its format is of the future, or a name is not allowed.
    """
    if path.stat().st_size > MAX_JSON:
        raise IntegrityError(
            f"{where}: {ABOUT} has {path.stat().st_size} bytes, at most {MAX_JSON} are read. {CURE}"
        )
    content = read_sealed(path, of=None, cure=CURE)
    _refuse_later_version(content, where)
    try:
        about = About.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=True)[0]
        at = ".".join(map(str, first["loc"]))
        raise DamagedError(
            f"{where}: {ABOUT} is no bundle's: {at}: {first['msg']}; found "
            f"{shown(first['input'])}. {CURE}"
        ) from error
    refuse_bad_names([file.path for file in about.files], where)
    there = {file.path for file in about.files}
    for lists in about.neighbors:
        if not lists.file.startswith(f"{NEIGHBORS}/") or lists.file not in there:
            raise DamagedError(
                f"{where}: {ABOUT} says that the neighbors of {shown(lists.label)} are in "
                f"{shown(lists.file)}, which is no such file of it. {CURE}"
            )
    return about


def _refuse_later_version(content: dict[str, Any], where: str) -> None:
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise IntegrityError(
            f"{where} has format {version}, this platorep reads up to {FORMAT_VERSION}. Update "
            "platorep (`pip install --upgrade platorep`)."
        )


def refuse_bad_names(names: list[str], where: str) -> None:
    """Refuse names that no bundle has: absolute, of other folders, twice, or one on some systems.

    Raises:
        IntegrityError: says which.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not is_allowed(name):
            raise IntegrityError(
                f"{where} names a file {shown(name)}, which no bundle has (docs/format.md). "
                "Nothing of it was used; do not trust whoever made it."
            )
        same = unicodedata.normalize("NFC", name).casefold()
        if same in seen:
            raise IntegrityError(
                f"{where} names {shown(name)} and {shown(seen[same])}, which are one file on some "
                f"systems. {CURE}"
            )
        seen[same] = name


def is_allowed(name: str) -> bool:
    """Whether a bundle may list a file that is so called."""
    parts = name.split("/")
    return (
        _ALLOWED.fullmatch(name) is not None
        and not any(_DEVICES.match(part) for part in parts)
        and not any(part.endswith(".") for part in parts)
    )


def is_cell(folder: str) -> bool:
    """Whether features may lie in a folder that is so called."""
    return _CELL.fullmatch(folder) is not None and is_allowed(f"{folder}/meta.json")
