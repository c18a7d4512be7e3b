"""README.md of a bundle: a dataset card in the form that the Hugging Face Hub reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from platorep.bundles import FORMAT_VERSION, About
from platorep.files import yaml_text
from platorep.opened import Opened
from platorep.report.models import TRAINED
from platorep.report.pairs import pairs_table
from platorep.results import last_parts

MOST_PAIRS = 20
"""Of the table of results on the card; best.csv has all."""


def card(opened: Opened, about: About, dataset: Mapping[str, Any], *, shown: Sequence[str]) -> str:
    """The card.

    Args:
        dataset: What run.json says of it.
        shown: What of the rows is inside: `texts`, `images`, both or none.
    """
    sections = (
        _metadata(about, opened),
        f"# {about.experiment}: representational alignment of {len(opened.models)} models",
        _what(about, opened, dataset),
        _statement(about, dataset, shown),
        f"## Models\n\n{_models(opened)}",
        f"## Results\n\n{results_text(opened)}",
        _use(about),
    )
    return "\n\n".join(sections) + "\n"


def _metadata(about: About, opened: Opened) -> str:
    tables = {"best": opened.results.best, "models": opened.results.models}
    said = {
        "license": about.license,
        "pretty_name": f"{about.experiment} (platorep)",
        "tags": ["platorep", "representational-alignment", "representation-similarity"],
        "configs": [
            {"config_name": name, "data_files": f"results/{path.name}"}
            for name, path in tables.items()
        ],
    }
    return f"---\n{yaml_text(said)}---"


def _what(about: About, opened: Opened, dataset: Mapping[str, Any]) -> str:
    metrics = ", ".join(f"`{name}`" for name in opened.best["metric"].unique())
    inside = (
        "the features of every layer"
        if about.features == "all"
        else "of every layer who is near whom (no features)"
    )
    return (
        f"A finished experiment of `platorep`: "
        f"{len(opened.models)} models on {len(opened.ids)} rows of `{_plain(dataset['source'])}`, "
        f"scored by {metrics}. Inside are its settings, all tables, and {inside}."
    )


def _statement(about: About, dataset: Mapping[str, Any], shown: Sequence[str]) -> str:
    commit = f" at commit `{dataset['commit']}`" if dataset.get("commit") else ""
    lines = [
        f"- Rows: {dataset['num_rows']} of `{_plain(dataset['source'])}`{commit}, fingerprint "
        f"`{dataset['fingerprint'][:16]}`.",
        "- Ids of the rows are inside (`results/rows.parquet`); they may be names of files. So are "
        "SHA-256 hashes of what each model saw, by which anybody who has a sample can tell that it "
        "was among the rows.",
    ]
    for what, words in (
        ("texts", "Texts of the rows"),
        ("images", "Small pictures (112 pixels) of the rows"),
    ):
        lines.append(f"- {words} are {'' if what in shown else 'not '}inside.")
    if about.features == "all":
        lines.append(
            "- Features are inside. What a network saw can be guessed from them in part: treat "
            "them as the data itself where that is personal."
        )
    lines.append(
        f"- Licence: `{_plain(about.license)}`, of this bundle; data set and models have their own."
    )
    return "## What is inside, and what is not\n\n" + "\n".join(lines)


def _models(opened: Opened) -> str:
    cells = opened.results.read_json(opened.results.cells, "extract")["cells"]
    rows = []
    for label in opened.models["label"]:
        spec, cell = opened.spec(label), cells.get(label, {})
        rows.append(
            {
                "model": label,
                "name": last_parts(spec.name),
                "revision": (cell.get("revision") or "")[:12],
                "family": spec.family,
                "reads": spec.view,
                "layers": cell.get("num_layers"),
                "key of features": cell.get("key"),
            }
        )
    return _table(pd.DataFrame(rows))


def results_text(opened: Opened) -> str:
    """The best pairs of trained models, as a table."""
    pairs = pairs_table(opened.tables)
    trained = pairs[pairs["kind"] == TRAINED]
    trained = trained.sort_values("score", ascending=False, kind="stable")
    columns = ["x", "y", "metric", "layer_x", "layer_y", "score", "chance", "p_adjusted", "n"]
    table = trained[[name for name in columns if name in trained]].head(MOST_PAIRS)
    more = (
        f"\n\nThe {MOST_PAIRS} best of {len(trained)} pairs of trained models; `results/best.csv` "
        "has all, and the controls."
        if len(trained) > MOST_PAIRS
        else "\n\n`results/best.csv` has the controls too."
    )
    return _table(table.round(4)) + more


def _use(about: About) -> str:
    return f"""## Use

```bash
pip install platorep
platorep score mine.npz hub:USER/NAME     # your own features of the same rows, against every model
platorep report hub:USER/NAME             # one HTML page with all of it
```

```python
import platorep
opened = platorep.open_bundle("USER/NAME")   # or a folder, or a .zip
opened.best, opened.scores, opened.performance
```

`mine.npz` has an array `n d` per layer, and `ids` as in `results/rows.parquet`. Format \
{FORMAT_VERSION}, written by platorep {about.platorep}: `bundle.json` lists every file with its \
size and SHA-256; nothing in here is code."""


def _table(frame: pd.DataFrame) -> str:
    """In Markdown; what could end a cell, or begin markup, is escaped."""
    head = "| " + " | ".join(map(str, frame.columns)) + " |"
    line = "|" + "---|" * len(frame.columns)
    rows = [
        "| " + " | ".join(_cell(value) for value in row) + " |"
        for row in frame.itertuples(index=False)
    ]
    return "\n".join([head, line, *rows])


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else _escaped(str(value))


def _escaped(text: str) -> str:
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _plain(text: object) -> str:
    """Within backticks."""
    return " ".join(str(text).replace("`", "'").split())
