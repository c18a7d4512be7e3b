"""Write what docs/ says of every key of an experiment file and of every command, from these.

python scripts/write_reference.py
"""

import json
import re
from collections.abc import Iterator
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any

from typer.main import get_command

from platorep.cli import app
from platorep.config.keys import json_schema, keys

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """\
# Every key of an experiment file

`platorep list keys [PATTERN]` prints the same. `[]` stands for each entry of a list, `NAME` for a
name of your own, `{kind: scaling}` for the entries of that kind. Editors that know YAML schemas
complete and check a file whose first line names [the schema](experiment.schema.json):
`# yaml-language-server: $schema=PATH/experiment.schema.json`. This page is written by
`scripts/write_reference.py`."""
COMMANDS_HEAD = """\
# Every command

`platorep COMMAND --help` prints the same. Tables go to stdout, talk and errors to stderr;
[errors](errors/README.md) explains exit codes. This page is written by
`scripts/write_reference.py`."""


def keys_page() -> str:
    """docs/keys.md."""
    lines = [HEAD]
    for top, rows in groupby(
        keys(), key=lambda row: row["key"].partition(".")[0].partition("[")[0]
    ):
        lines += ["", f"## {top}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
        for row in rows:
            default = f"`{row['default']}`" if row["default"] else ""
            lines.append(_row(f"`{row['key']}`", row["type"], default, row["about"]))
    return "\n".join(lines) + "\n"


def schema_file() -> str:
    """docs/experiment.schema.json."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | json_schema()
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def commands(command: Any = None, path: str = "platorep") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with what is typed for it; groups are walked."""
    command = command or get_command(app)
    inside = getattr(command, "commands", None)
    if inside is None:
        yield path, command
    for name, inner in (inside or {}).items():
        yield from commands(inner, f"{path} {name}")


def example_and_page(command: Any) -> tuple[str, str]:
    """What stands below a command's help: a line to type, and a file of docs/."""
    found = re.fullmatch(r"Example: (.+)\n\nMore: docs/(\S+)", command.epilog or "")
    return (found[1], found[2]) if found else ("", "")


def commands_page() -> str:
    """docs/cli.md."""
    lines = [COMMANDS_HEAD]
    for path, command in commands():
        example, page = example_and_page(command)
        lines += ["", f"## {path}", "", command.help, "", "```bash", example, "```", ""]
        lines += ["| argument or option | default | meaning |", "|---|---|---|"]
        lines += [_row(*_of_parameter(parameter)) for parameter in command.params]
        lines += ["", f"More: [{page}]({page})"]
    return "\n".join(lines) + "\n"


def _of_parameter(parameter: Any) -> tuple[str, str, str]:
    """As typed, its default where that says something, and what it means.

    Of what typer knows of a parameter only this is the same in all its versions.
    """
    default = parameter.default
    value = parameter.metavar or parameter.name.upper()
    if isinstance(default, Enum):
        value = "|".join(map(str, type(default)))
    names = "/".join((*parameter.opts, *parameter.secondary_opts))
    is_argument = parameter.param_type_name == "argument"
    typed = value if is_argument else f"{names} {value}"
    if getattr(parameter, "is_flag", False):
        typed = names
    said = isinstance(default, str | int) and not isinstance(default, bool) and default
    return f"`{typed}`", f"`{default}`" if said else "", parameter.help


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


PAGES = {
    "keys.md": keys_page,
    "experiment.schema.json": schema_file,
    "cli.md": commands_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
