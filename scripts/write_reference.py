"""Write what docs/ says of every key of an experiment file, from the sections themselves.

python scripts/write_reference.py
"""

import json
from itertools import groupby
from pathlib import Path

from platorep.config.keys import json_schema, keys

DOCS = Path(__file__).parents[1] / "docs"
HEAD = """\
# Every key of an experiment file

`platorep list keys [PATTERN]` prints the same. `[]` stands for each entry of a list, `NAME` for a
name of your own, `{kind: scaling}` for the entries of that kind. Editors that know YAML schemas
complete and check a file whose first line names [the schema](experiment.schema.json):
`# yaml-language-server: $schema=PATH/experiment.schema.json`. This page is written by
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
            cells = (f"`{row['key']}`", row["type"], default, row["about"])
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def schema_file() -> str:
    """docs/experiment.schema.json."""
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | json_schema()
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


PAGES = {"keys.md": keys_page, "experiment.schema.json": schema_file}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
