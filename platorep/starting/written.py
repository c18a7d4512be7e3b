"""The first experiment as YAML with comments: what each line is, and what one may change."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from platorep.config.keys import keys
from platorep.files import yaml_text
from platorep.reporting import printable
from platorep.starting.models import ROWS, Draft
from platorep.starting.seeing import Seen

SCHEMA = "experiment.schema.json"
"""Of experiment files, in the package; docs/ has the same."""
COMMENTS_AT = 50
"""The column in which comments begin."""
LONGEST = 120
Line = tuple[str, str]
"""What is set, and what is said of it."""


def experiment_text(name: str, command: str, seen: Seen, drafts: Sequence[Draft]) -> str:
    """The whole file.

    Args:
        name: Of the experiment.
        command: What was typed.
    """
    head = (
        f"# yaml-language-server: $schema={schema_place()}\n"
        f"# Written by `{printable(command)}`. Every key: `platorep list keys`, docs/keys.md.\n"
        f"# {about('name')}\nname: {_flow(name)}\n"
    )
    sections = {
        "dataset": _dataset(seen),
        "families": _families(drafts),
        "performance": _measures(drafts),
        "align": _align(seen, drafts),
        "controls": _controls(),
        "figures": _figures(drafts),
    }
    return head + "".join(
        f"\n# {about(key)}\n{key}:\n" + "".join(f"{_commented(*line)}\n" for line in lines)
        for key, of in sections.items()
        if (lines := list(of))
    )


def schema_place() -> str:
    """Where the schema lies that belongs to this version: an absolute path; a URL if it has spaces,
    which end a path in the line that editors read."""
    path = Path(str(resources.files("platorep"))) / SCHEMA
    return path.as_uri() if " " in str(path) else str(path)


@cache
def _meanings() -> Mapping[str, str]:
    return {row["key"]: row["about"] for row in keys()}


def about(key: str) -> str:
    """The first sentence that the reference has of a key."""
    return _meanings()[key].partition(". ")[0].removesuffix(".")


def _commented(line: str, comment: str) -> str:
    """The comment behind what it is about, or above it where that is long."""
    if not comment:
        return line
    beside = f"{line:<{COMMENTS_AT}} # {comment}"
    if len(line) < COMMENTS_AT and len(beside) <= LONGEST:
        return beside
    return f"{' ' * (len(line) - len(line.lstrip()))}# {comment}\n{line}"


def _flow(value: Any) -> str:
    """A value on one line."""
    text = yaml_text(value, default_flow_style=True, width=10**9)
    return text.removesuffix("\n").removesuffix("...").strip()


def _dataset(seen: Seen) -> Iterator[Line]:
    yield f"  source: {_flow(seen.source)}", "Where the rows are"
    for key, value in seen.dataset.items():
        if key != "views":
            yield f"  {key}: {_flow(value)}", about(f"dataset.{key}")
    yield "  views:", about("dataset.views")
    by_view = {column.view: column for column in seen.columns}
    for view, said in seen.dataset["views"].items():
        column = by_view[view]
        hint = (
            f"Column {printable(column.name)}" if "column" not in said else f"E.g. {column.example}"
        )
        if column.several:
            hint = "Several captions in a cell: `captions: 0` is the first, `all` joins them"
        yield f"    {_flow(view)}: {_flow(said)}", hint
    for column in seen.further_texts[:3]:
        said = {"kind": "text", "column": column.name}
        yield f"    # {_flow(column.name)}: {_flow(said)}", "More captions; `reads` chooses"
    if "text" in seen.dataset["views"]:
        yield (
            "    # mixed: {of: text, change: word_order}",
            "A control: `platorep list changes`",
        )
    if seen.num_rows is None or seen.num_rows > ROWS:
        yield f"  limit: {ROWS}", f"Of {seen.num_rows or 'more'} rows; without this line all"
        yield "  # shuffle: 0", about("dataset.shuffle")
    yield "  on_bad_row: error", about("dataset.on_bad_row")
    yield "  # deduplicate: near", "Drop copies; near: also images that look alike"


def _families(drafts: Sequence[Draft]) -> Iterator[Line]:
    """What is the same for each family is said of the first."""
    for draft in drafts:
        first = draft is drafts[0]
        yield f"  - name: {_flow(draft.name)}", about("families[].name") if first else ""
        yield f"    modality: {draft.modality}", about("families[].modality") if first else ""
        for key, value in draft.settings.items():
            yield f"    {key}: {_flow(value)}", SETTINGS[key]
        yield "    models:", "Names of timm or the hub, or folders" if first else ""
        for model in draft.models:
            yield f"      - {_flow(model)}", ""
        for model in draft.larger:
            next_one = model is draft.larger[0]
            yield f"      # - {_flow(model)}", "Larger, for more time or memory" if next_one else ""


SETTINGS = {
    "pool": "Over tokens or patches: cls, mean, last, or a list",
    "backend": "The library that loads it",
    "side": "Which part of a network of several senses",
}


def _measures(drafts: Sequence[Draft]) -> Iterator[Line]:
    if any(draft.modality == "language" and draft.predicts for draft in drafts):
        measure = {"name": "bits_per_byte", "source": "captions"}
        yield f"  - {_flow(measure)}", "Or a text file of your own, a hub dataset"


def _align(seen: Seen, drafts: Sequence[Draft]) -> Iterator[Line]:
    n = min(seen.num_rows or ROWS, ROWS)
    k = max(1, min(10, n // 4))
    yield f"  pairs: {_flow(_pairs(drafts))}", "Every model of x with every model of y"
    yield f"  metrics: [{{name: mutual_knn, k: {k}}}]", "`platorep list metrics`"
    yield "  # null: {permutations: 1000}", "The smallest p is 1 / (permutations + 1); 0: no null"
    if further := seen.further_texts:
        repeats = f"  # repeats: {{text: {_flow([further[0].name])}}}"
        yield repeats, "With that view: what a second caption would agree"
        yield "  # ceiling: {}", "Needs repeats: how much two models can agree at most"


def _pairs(drafts: Sequence[Draft]) -> list[list[str]]:
    """Every modality with every other; one alone with itself."""
    modalities: list[str] = list(dict.fromkeys(draft.modality for draft in drafts))
    if len(modalities) == 1:
        return [modalities * 2]
    return [list(pair) for pair in itertools.combinations(modalities, 2)]


def _controls() -> Iterator[Line]:
    yield "  random_weights: true", "The same networks untrained"
    yield "  shuffled_pairs: true", "What is left where nothing belongs together"
    yield "  baselines: true", "Bags of words, colour histograms: no network at all"


def _figures(drafts: Sequence[Draft]) -> Iterator[Line]:
    modalities = dict.fromkeys(draft.modality for draft in drafts)
    others = [one for one in modalities if one != "language"]
    if "language" in modalities and others:
        languages = [draft for draft in drafts if draft.modality == "language"]
        levels = [draft.name for draft in languages if not draft.predicts]
        scaling: dict[str, Any] = {"kind": "scaling", "x": "num_parameters"}
        if len(levels) < len(languages):
            scaling["x"] = "bits_per_byte"
            scaling |= {"references": levels} if levels else {}
        scaling |= {} if "vision" in others else {"lines": others[0]}
        yield f"  - {_flow(scaling)}", "Alignment against performance or size"
    yield "  - {kind: heatmap}", "Every model with every other"
    yield "  - {kind: layers}", "Along depth"
