"""What two models may agree on: the rows with their texts and pictures.

Axes: n rows that were scored, m rows on the page.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from jaxtyping import Integer
from PIL import Image

from platorep.align.groups import groups_of_rows
from platorep.bundles import Bundle
from platorep.bundles.shown import is_picture, read_shown
from platorep.data import EventDataset, View, load_dataset
from platorep.errors import PlatorepError
from platorep.opened import Opened
from platorep.report.content import Row

SIDE = 112
"""Pixels of the longer side of a picture."""
QUALITY = 60
URL = "data:image/webp;base64,"
LONGEST_TEXT = 1_000
"""Characters of a text."""


@dataclass
class Shown:
    """The rows, and why something of them is not there."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def rows_of(
    opened: Opened, chosen: Integer[np.ndarray, " m"], *, images: bool, texts: bool
) -> Shown:
    """The chosen rows as far as they may, and can, be shown."""
    shown = Shown()
    of_texts: dict[str, list[str]] = {}
    of_pictures: dict[str, dict[int, str]] = {}
    bundle = opened.run.bundle
    if bundle is not None:
        of_texts, of_pictures = _of_bundle(bundle, len(opened.ids), chosen, shown.notes)
        of_texts, of_pictures = of_texts if texts else {}, of_pictures if images else {}
    elif images or texts:
        dataset = _dataset(opened, shown.notes)
        views = [] if dataset is None else list(dataset.views.values())
        if texts:
            of_texts = {view.name: _texts(view, chosen) for view in views if view.texts is not None}
        if images:
            of_pictures = {
                view.name: _pictures(view, chosen, shown.notes)
                for view in views
                if view.kind.shows is not None and view.change is None
            }
    left_out = [what for what, kept in (("pictures", images), ("texts", texts)) if not kept]
    if left_out:
        shown.notes.append(f"Without {' and '.join(left_out)} of the rows, as it was asked for.")
    groups = [] if bundle is not None else _groups(opened, shown.notes)
    ids = opened.ids
    shown.rows = [
        Row(
            index=index,
            id=ids[index],
            texts={view: found[place] for view, found in of_texts.items()},
            pictures={v: found[place] for v, found in of_pictures.items() if place in found},
            group=groups[index] if groups else "",
        )
        for place, index in enumerate(chosen.tolist())
    ]
    return shown


def _of_bundle(
    bundle: Bundle, n: int, chosen: Integer[np.ndarray, " m"], notes: list[str]
) -> tuple[dict[str, list[str]], dict[str, dict[int, str]]]:
    """Texts and pictures that a bundle holds: what its settings name is not looked for here, since
    that would put files of whoever reads it on the page."""
    texts = read_shown(bundle.folder, "texts", n)
    pictures = read_shown(bundle.folder, "images", n)
    absent = [what for what, held in (("texts", texts), ("pictures", pictures)) if not held]
    if absent:
        notes.append(f"Without {' and '.join(absent)} of the rows: the bundle holds none.")
    rows = chosen.tolist()
    return (
        {view: [str(values[row] or "") for row in rows] for view, values in texts.items()},
        {
            view: {
                place: as_url(content)
                for place, row in enumerate(rows)
                if isinstance(content := values[row], bytes) and is_picture(content)
            }
            for view, values in pictures.items()
        },
    )


def _dataset(opened: Opened, notes: list[str]) -> EventDataset | None:
    """The data set, if it is here and its rows are those that were scored."""
    config = opened.run.config.dataset
    try:
        dataset = load_dataset(config, offline=True)
        expected = opened.results.dataset()["fingerprint"]
    except (PlatorepError, OSError) as error:
        notes.append(f"Without texts and pictures, since the data cannot be read here: {error}")
        return None
    if dataset.fingerprint != expected:
        notes.append(
            f"Without texts and pictures, since the rows of {config.source} are others now than "
            "those that were scored."
        )
        return None
    return dataset


def _texts(view: View, chosen: Integer[np.ndarray, " m"]) -> list[str]:
    def cut(text: str) -> str:
        more = len(text) > LONGEST_TEXT
        return f"{text[:LONGEST_TEXT]}\N{HORIZONTAL ELLIPSIS}" if more else text

    return [cut(view[index]) for index in chosen.tolist()]


def _pictures(view: View, chosen: Integer[np.ndarray, " m"], notes: list[str]) -> dict[int, str]:
    """By place among the chosen rows."""
    assert view.kind.shows is not None
    found: dict[int, str] = {}
    problems: list[str] = []
    for place, index in enumerate(chosen.tolist()):
        try:
            found[place] = thumbnail(view.kind.shows(view[index]))
        except Exception as error:  # a kind of somebody's own may raise anything
            problems.append(str(error))
    if problems:
        notes.append(f"{len(problems)} rows without a picture, such as: {problems[0]}")
    return found


def thumbnail(image: Image.Image) -> str:
    """A small picture as a data URL."""
    small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = BytesIO()
    small.save(buffer, "WEBP", quality=QUALITY, method=4)
    return as_url(buffer.getvalue())


def as_url(content: bytes) -> str:
    """A WebP file as a data URL."""
    return f"{URL}{base64.b64encode(content).decode()}"


def _groups(opened: Opened, notes: list[str]) -> Sequence[str]:
    """The group of every row of the data set, from the file that the experiment names."""
    align = opened.run.config.align
    named: Mapping[str, str | None] = {
        "align.groups.file": align.groups.file if align.groups else None,
        "align.null.within": align.null.within,
    }
    for key, file in named.items():
        if file is None:
            continue
        try:
            return groups_of_rows(file, key, opened.results)
        except PlatorepError as error:
            notes.append(f"Without groups of rows: {error}")
    return []
