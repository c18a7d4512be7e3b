"""A page's content made by hand: two modalities, controls, rows with pictures and hostile texts."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from platorep.report.content import (
    Content,
    Measure,
    Metric,
    Model,
    Neighbors,
    Pair,
    Row,
    Table,
)

HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "</script><script>document.title='owned'</script>",
    "<!-- <script>",
    "\u202eright to left\u202c \u2028 next line",
    "\U0001f600 شمس 日本語",
    "${alert(1)} {{7*7}} =1+1 \\ & % # _ ^ ~ | `",
)
"""Texts that would do something if they were not taken as texts."""

K = 3


def content(num_rows: int = 30, seed: int = 0) -> Content:
    """Two language and two vision models, a random copy, a baseline; hostile labels and captions.

    Neighbors are rows nearby: of the vision models those after a row, of the language models the
    same for even rows and others for odd ones; they are there for the last two layers.
    """
    models = _models()
    pairs = [pair for metric in _METRICS for pair in _pairs(models, metric.name, num_rows)]
    rng = np.random.default_rng(seed)
    rows = [_row(index, rng) for index in range(num_rows)]
    return Content(
        title=f"mine {HOSTILE[0]}",
        asked=[("data set", f"photographs {HOSTILE[1]}"), ("rows", str(num_rows))],
        answer=["The two align.", f"It rises {HOSTILE[2]}."],
        warnings=[f"Few rows {HOSTILE[3]}", "second", "third", f"the fourth {HOSTILE[1]}"],
        failures=[(f"net {HOSTILE[0]}", f"no such file {HOSTILE[1]}")],
        models=models,
        measures=[
            Measure(name="bits", title="bits per byte (less is better)", lower_is_better=True),
            Measure(name="size", title="number of parameters", lower_is_better=False),
        ],
        metrics=_METRICS,
        pairs=pairs,
        n=num_rows,
        alpha=0.05,
        level=0.95,
        rows=rows,
        neighbors=_neighbors(models, num_rows),
        tables=_tables(models, pairs),
        method=[("command", f"platorep report mine.yaml {HOSTILE[6]}"), ("version", "0.2.0")],
        notes={},
    )


_METRICS = [
    Metric(
        name=f"mutual_knn{{k: {K}}}",
        title=f"mutual_knn, k = {K}",
        definition="Share of nearest neighbors that both have.",
        larger_is_closer=True,
    ),
    Metric(
        name="procrustes",
        title="Procrustes distance",
        definition="What no rotation removes.",
        larger_is_closer=False,
    ),
]


def _models() -> list[Model]:
    def model(label: str, family: str, modality: str, layers: int, **more: Any) -> Model:
        base: dict[str, Any] = {"kind": "trained", "of": "", "view": modality, "parameters": None}
        names = [f"block {layer}" for layer in range(layers)]
        return Model(
            label=label,
            family=family,
            modality=modality,
            layers=names,
            **({"measures": {}} | base | more),
        )

    lm: dict[str, Any] = {"family": "LM", "modality": "language", "layers": 3}
    return [
        model("lm-a", **lm, measures={"bits": 1.2, "size": 1e5}, parameters=1e5),
        model(f"lm-b {HOSTILE[1]}", **lm, measures={"bits": 0.9, "size": 1e8}, parameters=1e8),
        model("lm-a (random)", **lm, kind="random", of="lm-a", parameters=1e5),
        model("[bag] of words", "bag of words", "language", 1, kind="baseline"),
        model("net-a", "Net", "vision", 3, parameters=2e5),
        model(f"net-b {HOSTILE[5]}", f"Other {HOSTILE[0]}", "vision", 2, parameters=3e6),
    ]


def _pairs(models: list[Model], metric: str, num_rows: int) -> list[Pair]:
    made = []
    for number, (x, y) in enumerate((x, y) for x in models[:4] for y in models[4:]):
        for kind in (x.kind, "shuffled"):
            score = 0.1 + 0.0512345 * (8 - number) if kind == x.kind else 0.1
            made.append(_pair(x, y, metric, kind, score, num_rows))
    return made


def _pair(x: Model, y: Model, metric: str, kind: str, score: float, num_rows: int) -> Pair:
    """Scored at the last layers; a distance is 1 less the score."""
    distance = metric == "procrustes"

    def as_metric(value: float) -> float:
        return 1 - value if distance else value

    last = len(x.layers) - 1, len(y.layers) - 1
    layers = [
        [as_metric(score - 0.01 * (sum(last) - i - j)) for j in range(len(y.layers))]
        for i in range(len(x.layers))
    ]
    failed = x.kind == "baseline" and distance
    return Pair(
        x=x.label,
        y=y.label,
        metric=metric,
        kind=kind,
        layer_x=-1 if failed else last[0],
        layer_y=-1 if failed else last[1],
        score=None if failed else as_metric(score),
        chance=None if distance else K / (num_rows - 1),
        null_mean=as_metric(0.11),
        threshold=as_metric(0.17),
        p=0.005 if score > 0.17 else 0.6,
        p_adjusted=None if kind == "shuffled" else 0.01 if score > 0.17 else 0.06,
        calibrated=None if distance else max(0.0, score - 0.17),
        low=None if distance else score - 0.02,
        high=None if distance else score + 0.02,
        ceiling_share=None,
        n=num_rows,
        k=None if distance else K,
        reason=f"failed {HOSTILE[0]}" if failed else "",
        map=None if failed or kind == "shuffled" else layers,
    )


def _row(index: int, rng: np.random.Generator) -> Row:
    picture = io.BytesIO()
    colors = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(colors).resize((48, 48)).save(picture, "PNG")
    hostile = HOSTILE[index] if index < len(HOSTILE) else "of nothing in particular ."
    return Row(
        index=index,
        id=f"photo-{index} {hostile}",
        texts={"caption": f"caption {index} {hostile}", "caption_1": f"another {index}"},
        pictures={
            "image": "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
        },
        group="even" if index % 2 == 0 else f"odd {HOSTILE[4]}",
    )


def neighbor_rows(label: str, num_rows: int) -> np.ndarray:
    """The K nearest of each row."""
    ahead = np.arange(1, K + 1)
    near = (np.arange(num_rows)[:, None] + ahead) % num_rows
    if label.startswith("lm"):
        near[1::2] = (np.arange(num_rows)[1::2, None] + ahead + K) % num_rows
    return near


def _neighbors(models: list[Model], num_rows: int) -> list[Neighbors]:
    made = []
    for model in models:
        if model.kind != "trained":
            continue
        near = neighbor_rows(model.label, num_rows).astype("<u2")
        data = base64.b64encode(near.tobytes()).decode()
        made += [
            Neighbors(model=model.label, layer=layer, k=K, data=data)
            for layer in range(len(model.layers))[-2:]
        ]
    return made


def _tables(models: list[Model], pairs: list[Pair]) -> list[Table]:
    best = [[p.x, p.y, p.metric, p.kind, p.score, p.p, p.n, p.layer_x] for p in pairs]
    return [
        Table(
            name="best",
            title="Best layers",
            columns=["x", "y", "metric", "kind", "score", "p", "n", "layer_x"],
            rows=best,
        ),
        Table(
            name="performance",
            title="Performance",
            columns=["model", "measure", "value"],
            rows=[[m.label, name, value] for m in models for name, value in m.measures.items()],
        ),
        Table(
            name="models",
            title="Models",
            columns=["label", "family", "parameters", "trained"],
            rows=[[m.label, m.family, m.parameters, m.kind == "trained"] for m in models],
        ),
    ]
