"""What is finished is known by all that decides it: every field of the settings of `align` is in
the name of what it moves, and of nothing else."""

import copy
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from test_align import FEATURES, IDS, Bench, N

from platorep.align.models import Aligned
from platorep.align.pieces import Pieces
from platorep.config import AlignConfig, ControlsConfig
from platorep.config.analyses import ANALYSIS_TABLES
from platorep.parameters.section import Section

PAIRS, LISTS, LAYERS = "scores of a pair", "neighbor lists of a gallery", "what layers are like"
EVERYTHING = {PAIRS, LISTS, LAYERS}

SETTINGS: dict[str, Any] = {
    "pairs": [[{"model": "words-b"}, {"model": "eyes-a"}]],
    "metrics": [{"name": "mutual_knn", "k": 2}, {"name": "cka", "layers": "last"}],
    "null": {"permutations": 2, "within": "groups.csv"},
    "interval": {"method": "subsamples", "parts": 2, "size": 5},
    "gallery": {"queries": 10, "sizes": [10, 15], "k": [1], "groups": "sources.csv"},
    "controls": {"shuffled_pairs": True},
}
OTHERS: dict[str, tuple[Any, set[str]]] = {
    "pairs": ([[{"model": "words-b"}, {"model": "eyes-a"}]] * 2, set()),
    "preprocess.clip_quantile": (0.9, EVERYTHING),
    "preprocess.clip_scope": ("model", EVERYTHING),
    "preprocess.clip_estimate": ("exact", EVERYTHING),
    "preprocess.standardize": (True, EVERYTHING),
    "preprocess.normalize": ("none", EVERYTHING),
    "preprocess.center": ("before", EVERYTHING),
    "preprocess.remove_components": (1, EVERYTHING),
    "metrics.0.parameters": ({"k": 3}, {PAIRS}),
    "metrics.0.parameters.similarity": ({"k": 2, "similarity": "euclidean"}, {PAIRS, LISTS}),
    "metrics.0.parameters.center": ({"k": 2, "center": True}, {PAIRS, LISTS}),
    "metrics.1.name": ("rv", {PAIRS}),
    "metrics.1.layers": ("all", {PAIRS}),
    "null.permutations": (3, {PAIRS}),
    "null.alpha": (0.2, set()),
    "null.seed": (1, {PAIRS}),
    "null.correction": ("holm", set()),
    "null.within": ("others.csv", {PAIRS}),
    "interval.method": ("disjoint", {PAIRS}),
    "interval.parts": (3, {PAIRS}),
    "interval.size": (6, {PAIRS}),
    "interval.level": (0.9, {PAIRS}),
    "interval.seed": (1, {PAIRS}),
    "held_out": (True, {PAIRS}),
    "concatenated": (True, {PAIRS, LISTS}),
    "memory": ("1MiB", set()),
    "gallery.queries": (9, EVERYTHING),
    "gallery.sizes": ([10, 16], {LISTS}),
    "gallery.k": ([2], {LISTS}),
    "gallery.groups": ("others.csv", {LISTS}),
    "gallery.seed": (1, {LISTS}),
    "controls.shuffled_pairs": (False, {PAIRS}),
    "controls.seed": (1, {PAIRS}),
}
"""Another value of every field, and what it makes anew."""


def fields(section: type[Section], before: str = "") -> Iterator[str]:
    """Every field, `section.field` where it is a section of its own."""
    for name, field in section.model_fields.items():
        kinds = (field.annotation, *typing.get_args(field.annotation))
        listed = typing.get_origin(field.annotation) is tuple
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, Section) and not listed]
        yield from fields(inner[0], f"{before}{name}.") if inner else [f"{before}{name}"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One pair of models of one layer each, aligned."""
    folder = tmp_path_factory.mktemp("keys")
    bench = Bench(folder)
    for label in ("words-b", "eyes-a"):
        bench.put(label, FEATURES[label][:1])
    for name, size in (("groups", 6), ("sources", 1), ("others", 2)):
        groups = [str(i // size) for i in range(N)]
        pd.DataFrame({"id": IDS, "group": groups}).to_csv(folder / f"{name}.csv", index=False)
    bench.align(**changed(bench, SETTINGS))
    return bench


def changed(bench: Bench, settings: dict[str, Any]) -> dict[str, Any]:
    """With the files of groups where they lie."""
    null, gallery = dict(settings["null"]), dict(settings["gallery"])
    null["within"] = str(bench.root.parent / null["within"])
    gallery["groups"] = str(bench.root.parent / gallery["groups"])
    return settings | {"null": null, "gallery": gallery}


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The settings with one of them changed."""
    settings: Any = copy.deepcopy(SETTINGS)
    *sections, field = path.partition(".parameters")[0].split(".")
    inside = settings
    for name in sections:
        inside = inside[int(name)] if name.isdigit() else inside.setdefault(name, {})
    if ".parameters" in path:  # they stand beside the name
        inside[int(field)] |= value
    else:
        inside[field] = value
    return dict(settings)


def kind(path: Path) -> str:
    if path.name.startswith("layers-"):
        return LAYERS
    return LISTS if path.suffix == ".safetensors" else PAIRS


def test_every_field_is_tried() -> None:
    tried = {".".join([p for p in path.split(".") if not p.isdigit()][:2]) for path in OTHERS}
    further = {
        path
        for path in fields(AlignConfig)
        if path.partition(".")[0] in (*ANALYSIS_TABLES, "repeats")
    }
    known = set(fields(AlignConfig)) - {"metrics"} - further
    known |= {"metrics.name", "metrics.layers", "metrics.parameters"}
    more_models = {f"controls.{name}" for name in ("random_weights", "changed_views", "baselines")}
    known |= set(fields(ControlsConfig, "controls.")) - more_models
    assert known == tried


def test_an_analysis_moves_no_score(bench: Bench) -> None:
    """The pieces of pairs are named without them; each analysis names its own pieces."""
    asked: dict[str, Any] = {name: {} for name in ANALYSIS_TABLES}
    plain = bench.config()
    settings = plain.align.model_dump(mode="json", include={"pairs"})
    align = AlignConfig.model_validate(settings | asked | {"repeats": {"text": ["again"]}})
    alone = AlignConfig.model_validate(settings)
    x, y = (Aligned(spec, bench.cells[spec.label]) for spec in plain.models()[:2])

    names = {
        Pieces(bench.results, plain.model_copy(update={"align": one}), None)._path(x, y)
        for one in (align, alone)
    }

    assert len(names) == 1


@pytest.mark.parametrize("path", OTHERS)
def test_a_field_renames_what_it_moves(bench: Bench, path: str) -> None:
    value, moved = OTHERS[path]
    before = set(bench.parts())

    bench.align(**changed(bench, with_value(path, value)))

    assert {kind(file) for file in set(bench.parts()) - before} == moved


def test_the_content_of_a_file_counts_and_not_its_name(bench: Bench) -> None:
    folder, before = bench.root.parent, set(bench.parts())
    for name in ("groups", "sources"):
        (folder / f"{name}-copy.csv").write_bytes((folder / f"{name}.csv").read_bytes())
    null = SETTINGS["null"] | {"within": "groups-copy.csv"}
    gallery = SETTINGS["gallery"] | {"groups": "sources-copy.csv"}

    bench.align(**changed(bench, SETTINGS | {"null": null, "gallery": gallery}))
    assert set(bench.parts()) == before

    for name in ("groups", "sources"):
        copied = pd.read_csv(folder / f"{name}-copy.csv").assign(group=[i // 3 for i in range(N)])
        copied.to_csv(folder / f"{name}-copy.csv", index=False)
    bench.align(**changed(bench, SETTINGS | {"null": null, "gallery": gallery}))
    assert {kind(file) for file in set(bench.parts()) - before} == {PAIRS, LISTS}


def test_other_features_rename_everything(bench: Bench) -> None:
    before = set(bench.parts())
    rng = torch.Generator().manual_seed(9)
    bench.put("eyes-a", [torch.randn(N, 3, generator=rng)], attempt=2)

    bench.align(**changed(bench, SETTINGS))

    assert {kind(file) for file in set(bench.parts()) - before} == EVERYTHING


def test_the_queries_count_where_no_groups_tell_of_them(bench: Bench) -> None:
    plain = {"null": {"permutations": 2}, "gallery": {"queries": 10, "sizes": [10], "k": [1]}}
    bench.align(**SETTINGS | plain)
    before = set(bench.parts())

    bench.align(**SETTINGS | plain | {"gallery": plain["gallery"] | {"queries": 8}})

    assert {kind(file) for file in set(bench.parts()) - before} == EVERYTHING
