"""What a bundle does not tell: where files lay on the machine that made it."""

import re
from typing import Any

from platorep.results import is_path, last_parts

_PATH = re.compile(r"(?<![\w./~])/(?!/)(?:[^\s/:'\",;()\[\]]+/)+(?P<last>[^\s/:'\",;()\[\]]*)")


def without_folders(text: str) -> str:
    """A sentence with the last part of every absolute path in it."""
    return _PATH.sub(lambda path: path["last"], text)


def shortened(value: Any) -> Any:
    """A JSON value with the last part of every absolute path in its texts."""
    if isinstance(value, dict):
        return {key: shortened(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shortened(entry) for entry in value]
    if not isinstance(value, str):
        return value
    return last_parts(value) if is_path(value) else without_folders(value)
