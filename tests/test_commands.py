"""Every command has an example that parses and a page of docs/ that explains it."""

import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
WRITER = runpy.run_path(str(ROOT / "scripts/write_reference.py"))
COMMANDS: dict[str, Any] = dict(WRITER["commands"]())


def test_groups_are_walked() -> None:
    assert {"platorep run", "platorep cache list", "platorep bridge map"} <= COMMANDS.keys()


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_has_an_example_that_parses(path: str) -> None:
    command = COMMANDS[path]
    example, _ = WRITER["example_and_page"](command)

    assert (example + " ").startswith(f"{path} "), "one that can be typed as it stands"
    arguments = shlex.split(example.removeprefix(path))
    command.make_context(path, arguments)  # parses and runs nothing


@pytest.mark.parametrize("path", COMMANDS)
def test_a_page_explains_the_whole_command(path: str) -> None:
    _, page = WRITER["example_and_page"](COMMANDS[path])

    assert page != "cli.md", "it is written from the help"
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert f"{path} " in text or f"{path}`" in text
