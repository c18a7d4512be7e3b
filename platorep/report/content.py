"""What the page consists of. `page/report.js` reads the same as JSON, under the same names.

Axes: n rows that were scored, k neighbors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Number = float | int | None
"""None: there is none."""


@dataclass(frozen=True, kw_only=True)
class Model:
    label: str
    family: str
    modality: str
    kind: str
    """`trained`, `random` (weights), `changed` (a copy on a changed view), or `baseline`."""
    of: str
    """The model whose copy it is; "": it is none."""
    view: str
    parameters: Number
    layers: Sequence[str]
    """Names, in order."""
    measures: dict[str, Number]
    """By name of the measure. A copy is drawn where the model stands whose copy it is."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number of each model's competence: one of the x axes."""

    name: str
    title: str
    """With its unit: `bits per byte of captions (less is better)`."""
    lower_is_better: bool


@dataclass(frozen=True, kw_only=True)
class Metric:
    name: str
    """As tables have it: `mutual_knn{k: 10}`."""
    title: str
    definition: str
    """In a sentence or two, with its source."""
    larger_is_closer: bool


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two models under one metric, as best.csv has them."""

    x: str
    y: str
    metric: str
    kind: str
    """`trained`: both are; `shuffled`; else the kinds of the two that are not, such as `random`."""
    layer_x: int
    """-1: none."""
    layer_y: int
    score: Number
    chance: Number
    null_mean: Number
    threshold: Number
    p: Number
    p_adjusted: Number
    calibrated: Number
    low: Number
    high: Number
    ceiling_share: Number
    """Share of the way from chance to the noise ceiling, where one was measured."""
    n: int
    k: Number
    reason: str
    """Why there is no score; "": there is one."""
    map: Sequence[Sequence[Number]] | None
    """Scores of layer pairs: a list per layer of x; None where it is not on the page."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the data, as far as it may be shown."""

    index: int
    """Among the n that were scored."""
    id: str
    texts: dict[str, str]
    """By name of the view."""
    pictures: dict[str, str]
    """Data URLs, by name of the view; empty: there are none, or they may not be shown."""
    group: str
    """"": rows have none."""


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """The k nearest of all n rows, for every row that is on the page, in one layer."""

    model: str
    layer: int
    k: int
    data: str
    """k unsigned integers of 16 bits (of 32 bits for n > 65,536) for each of `Content.rows`, in
    their order: `Row.index` of the nearest first. Little-endian, in base64."""


@dataclass(frozen=True, kw_only=True)
class Table:
    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Number | bool]]


@dataclass(frozen=True, kw_only=True)
class Content:
    title: str
    asked: Sequence[tuple[str, str]]
    """What was asked, as term and text: data set, rows, models ..."""
    answer: Sequence[str]
    """Sentences, computed."""
    warnings: Sequence[str]
    failures: Sequence[tuple[str, str]]
    """What failed, and why."""
    models: Sequence[Model]
    measures: Sequence[Measure]
    metrics: Sequence[Metric]
    pairs: Sequence[Pair]
    n: int
    """Rows that were scored."""
    alpha: float
    """Of the null: a pair is above it where its p is no larger."""
    level: Number
    """Of the intervals of scores; None: there are none."""
    rows: Sequence[Row]
    """Those that are on the page; neighbors beside them are known by their index alone."""
    neighbors: Sequence[Neighbors]
    """Of layers that are on the page: at least the best ones of the pairs of trained models."""
    tables: Sequence[Table]
    """best, performance, models."""
    method: Sequence[tuple[str, str]]
    """Settings, versions, citation, the command: term and text."""
    notes: dict[str, Any]
    """What the page leaves out, and why: by section (`neighbors`, `rows`, `map`), a sentence."""
