"""What a bundle does not tell: where files lay on the machine that made it."""

import re
from pathlib import Path
from typing import Any

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
    return last_part(value) if is_path(value) else without_folders(value)


def settings_shortened(value: Any) -> Any:
    """The same of settings, where a text is a path as a whole or not at all."""
    if isinstance(value, dict):
        return {key: settings_shortened(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [settings_shortened(entry) for entry in value]
    return last_part(value) if isinstance(value, str) and is_path(value) else value


def is_path(text: str) -> bool:
    return text.removeprefix("local-dir:").startswith("/")


def last_part(text: str) -> str:
    return Path(text).name
