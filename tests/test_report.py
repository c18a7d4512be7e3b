"""The content of the page: its numbers are the tables', its rows the data's, its sentences true."""

import base64
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from media import drifting, tone
from PIL import Image
from runs import run_of

from platorep import execute
from platorep.config import ExperimentConfig
from platorep.config.report import ReportConfig
from platorep.errors import DataError
from platorep.execute import run_stages, what_matters
from platorep.kinds.pictures import WIDE, heat, spectrogram
from platorep.kinds.video import VIDEO, film_of
from platorep.metrics import METRICS, bind
from platorep.opened import Opened, neighbor_parameters
from platorep.report import neighbors, pairs
from platorep.report.building import build_content
from platorep.report.content import Content, Neighbors
from platorep.report.method import definition
from platorep.report.neighbors import evenly, lists_of, neighbor_rule, wanted_layers
from platorep.report.pairs import pairs_table
from platorep.report.shared import thumbnail
from platorep.reporting import Reporter
from platorep.results import Results, changes
from platorep.run import Run

N, K = 40, 5
HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\u2028 & \"quoted\" 'so' <!-- ]]> \\u003c",
    "שלום 你好 \N{GRINNING FACE} {{ 7 * 7 }} ${x}",
)
LABEL = "<b onmouseover=alert(2)>b</b>"


def config_of(folder: Path, **changes: Any) -> ExperimentConfig:
    """Two readers and two viewers of pictures that have a colour each: arrays, nothing trained."""
    rng = np.random.default_rng(0)
    data = folder / "pairs"
    data.mkdir(parents=True)
    rows, groups = ["file_name,caption"], ["id,group"]
    for index in range(N):
        name = f"<i>{index:02d}.png"
        Image.new("RGB", (20, 10), (5 * index, 0, 0)).save(data / name)
        caption = HOSTILE[index % 4].replace('"', '""')
        rows.append(f'{name},"row {index}: {caption}"')
        groups.append(f"{name},{'low' if index < 10 else 'high'}")
    (data / "captions.csv").write_text("\n".join(rows), encoding="utf-8")
    (folder / "groups.csv").write_text("\n".join(groups), encoding="utf-8")
    signal = rng.normal(size=(N, 6))
    for name, noise in (("a", 0.2), ("b", 2.0), ("u", 0.3), ("v", 1.0)):
        layers = {f"layer{i}": signal + (noise + i) * rng.normal(size=(N, 6)) for i in range(3)}
        ids = [f"<i>{index:02d}.png" for index in range(N)]
        np.savez(folder / f"{name}.npz", ids=ids, **{k: v.astype("f4") for k, v in layers.items()})
    (folder / "skill.csv").write_text(f'model,value\na,0.5\n"{LABEL}",0.7\n')

    def family(name: str, modality: str, **labels: str) -> dict[str, Any]:
        models = [{"name": str(folder / f"{f}.npz"), "label": label} for f, label in labels.items()]
        return {"name": name, "modality": modality, "backend": "features", "models": models}

    raw = {
        "name": "page",
        "dataset": {"source": str(data), "text": "caption"},
        "families": [
            family("readers", "language", a="a", b=LABEL),
            family("viewers", "vision", u="u", v="v"),
        ],
        "performance": [{"name": "skill", "table": str(folder / "skill.csv")}],
        "align": {
            "metrics": [{"name": "mutual_knn", "k": K}, {"name": "cka"}],
            "null": {"permutations": 19, "within": str(folder / "groups.csv")},
        },
        "controls": {"shuffled_pairs": True},
    }
    return ExperimentConfig.model_validate(raw | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("page")
    config = config_of(folder, report={"after_run": False})
    run = run_of(config, Results(folder / "results", "page"), folder / "cache")
    errors, _ = run_stages(run)
    assert not errors
    return run


@pytest.fixture(scope="module")
def content(run: Run) -> Content:
    return build_content(Opened(run), "platorep report page.yaml")


def lists(entry: Neighbors, rows: int = N) -> np.ndarray:
    return np.frombuffer(base64.b64decode(entry.data), "<u2").reshape(rows, entry.k)


# --- pairs and tables ---


def test_every_pair_is_there_with_the_numbers_of_the_table(run: Run, content: Content) -> None:
    best = Opened(run).best
    assert len(content.pairs) == len(best) == 16  # 4 pairs, 2 metrics, as they are and shuffled
    names = ["score", "chance", "null_mean", "threshold", "p", "p_adjusted", "calibrated", "n", "k"]
    for pair, row in zip(content.pairs, best.to_dict("records"), strict=True):
        assert (pair.x, pair.y, pair.metric) == (row["x"], row["y"], row["metric"])
        assert pair.kind == (row["control"] or "trained")
        assert (pair.layer_x, pair.layer_y) == (row["layer_x"], row["layer_y"])
        for name in names:
            found, expected = getattr(pair, name), row[name]
            assert (found is None) == pd.isna(expected), name
            assert found is None or found == pytest.approx(expected, rel=1e-5), name


def test_maps_are_the_scores_of_layer_pairs(run: Run, content: Content) -> None:
    scores = Opened(run).scores.set_index(["x", "y", "metric", "control", "layer_x", "layer_y"])
    for pair in content.pairs:
        assert pair.map is not None
        control = "" if pair.kind == "trained" else pair.kind
        grid = np.array(pair.map, dtype=float)
        assert grid.shape == (3, 3)
        assert grid[pair.layer_x, pair.layer_y] == pytest.approx(pair.score, rel=1e-4)
        for (i, j), value in np.ndenumerate(grid):
            expected = scores.loc[(pair.x, pair.y, pair.metric, control, i, j), "score"]
            assert value == pytest.approx(expected, rel=1e-4)


def test_maps_of_trained_pairs_come_first_where_there_is_no_room(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "MOST_CELLS", 75)
    tables = Opened(run).tables
    found, note = pairs.pairs_of(tables, pairs_table(tables))
    assert [pair.kind for pair in found if pair.map is not None] == ["trained"] * 8
    assert note.startswith("8 of 16 maps")


def test_tables_are_those_of_the_results(run: Run, content: Content) -> None:
    tables = {table.name: table for table in content.tables}
    assert [*tables] == ["best", "performance", "models"]
    opened = Opened(run)
    for name, frame in (("performance", opened.performance), ("models", opened.models)):
        shown = pd.DataFrame([*tables[name].rows], columns=[*tables[name].columns])
        for column in shown:
            for a, b in zip(shown[column], frame[column], strict=True):
                assert a == b or a == pytest.approx(b, rel=1e-5) or (pd.isna(a) and pd.isna(b))
    assert "low" not in tables["best"].columns  # empty throughout


def test_models_and_measures(content: Content) -> None:
    a, b, u, _ = content.models
    assert (a.label, a.family, a.kind, a.layers) == (
        *("a", "readers", "trained"),
        ["layer0", "layer1", "layer2"],
    )
    assert (b.label, b.measures["skill"], u.measures) == (LABEL, 0.7, {})
    assert [measure.name for measure in content.measures] == ["skill"]


# --- rows ---


def test_a_row_has_its_text_its_picture_and_its_group(content: Content) -> None:
    assert [row.index for row in content.rows] == [*range(N)] == [*range(content.n)]
    for index, row in enumerate(content.rows):
        assert row.id == f"<i>{index:02d}.png"
        assert row.texts == {"text": f"row {index}: {HOSTILE[index % 4]}"}
        assert row.group == ("low" if index < 10 else "high")
        head, _, data = row.pictures["image"].partition(",")
        assert head == "data:image/webp;base64"
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        assert shown.shape == (10, 20, 3)
        np.testing.assert_allclose(shown.mean(axis=(0, 1)), [5 * index, 0, 0], atol=6)
    assert content.notes == {}


@pytest.mark.parametrize("mode", ["L", "RGBA", "F", "I;16", "P", "1"])
def test_any_image_becomes_a_small_picture(mode: str) -> None:
    head, _, data = thumbnail(Image.new(mode, (300, 100))).partition(",")
    shown = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (head, shown.format, shown.size) == ("data:image/webp;base64", "WEBP", (112, 37))


def test_content_is_json(content: Content) -> None:
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(content), allow_nan=False))["models"][1]["label"] == LABEL


def test_what_is_not_to_be_shown_is_not_there(run: Run) -> None:
    shows = ReportConfig(images=False, texts=False)
    content = build_content(Opened(run), shows=shows)
    assert all(not row.texts and not row.pictures for row in content.rows)
    assert "alert(1)" not in str(content.rows)
    assert content.notes == {"rows": "Without pictures and texts of the rows, as it was asked for."}
    with_texts = build_content(Opened(run), shows=ReportConfig(images=False))
    assert all(row.texts and not row.pictures for row in with_texts.rows)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: shutil.move(data, f"{data}.away"), "cannot be read here: dataset.source"),
        (
            lambda data: (data / "captions.csv").write_text("file_name,caption\n<i>00.png,x\n"),
            "are others now than those that were scored",
        ),
    ],
    ids=["gone", "others"],
)
def test_other_data_are_told_and_not_shown(
    run: Run, tmp_path: Path, change: Any, told: str
) -> None:
    folder = Path(run.config.dataset.source)
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    try:
        change(folder)
        content = build_content(Opened(run))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(f"{folder}.away", ignore_errors=True)
        shutil.copytree(kept, folder)
    assert told in content.notes["rows"]
    assert all(row.id and not row.texts and not row.pictures for row in content.rows)
    assert content.pairs
    assert content.neighbors


# --- neighbors ---


def test_neighbors_are_those_of_the_layers_and_their_overlap_is_the_score(
    run: Run, content: Content
) -> None:
    opened = Opened(run)
    found = {(entry.model, entry.layer): lists(entry) for entry in content.neighbors}
    assert len(found) == 12  # every layer of four models
    rule = neighbor_parameters(opened, f"mutual_knn{{k: {K}}}")
    for (model, layer), rows in found.items():
        np.testing.assert_array_equal(rows, opened.nearest(model, layer, rule))
    for pair in content.pairs:
        if pair.kind == "trained" and pair.metric.startswith("mutual_knn"):
            both = zip(found[pair.x, pair.layer_x], found[pair.y, pair.layer_y], strict=True)
            shared = [len({*x.tolist()} & {*y.tolist()}) / K for x, y in both]
            assert np.mean(shared) == pytest.approx(pair.score, rel=1e-5)


def test_best_layers_of_trained_pairs_have_room_first(
    run: Run, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = {(p.x, p.layer_x) for p in content.pairs if p.kind == "trained"}
    best |= {(p.y, p.layer_y) for p in content.pairs if p.kind == "trained"}
    size = len(content.neighbors[0].data)
    monkeypatch.setattr(neighbors, "BUDGET", len(best) * size)
    short = build_content(Opened(run))
    assert {(entry.model, entry.layer) for entry in short.neighbors} == best
    assert f"{len(best)} of 12 layers" in short.notes["neighbors"]
    monkeypatch.setattr(neighbors, "BUDGET", 11 * size)
    assert short.notes["neighbors"].count("Without") == 0
    without_one = lists_of(
        Opened(run),
        [("a", i) for i in (0, 1, 2)] * 3 + [("u", 0), ("v", 1), ("v", 2)],
        np.arange(N),
        neighbor_rule(Opened(run), pairs_table(Opened(run).tables)),
    )
    assert without_one.notes[0].endswith("too large. Without: layer 2 of v.")


def test_of_many_rows_some_are_shown_with_what_is_near_them(run: Run) -> None:
    opened = Opened(run)
    content = build_content(opened, shows=ReportConfig(rows=23))
    assert (content.n, len(content.rows)) == (N, 23)
    assert "23 of 40 rows" in content.notes["rows"]
    place = [row.index for row in content.rows]
    assert place == sorted(set(place))
    best = max((p for p in content.pairs if p.kind == "trained"
                and p.metric.startswith("mutual_knn")), key=lambda p: p.score or 0)  # fmt: skip
    rule = neighbor_parameters(opened, best.metric)
    queries = evenly(N)[: 23 // (2 * K + 1)]
    for model, layer in ((best.x, best.layer_x), (best.y, best.layer_y)):
        whole = opened.nearest(model, layer, rule)
        assert {*queries.tolist(), *whole[queries].ravel().tolist()} <= {*place}
        (entry,) = (e for e in content.neighbors if (e.model, e.layer) == (model, layer))
        np.testing.assert_array_equal(lists(entry, 23), whole[place])


def test_neighbors_of_rows_in_any_order(run: Run) -> None:
    opened = Opened(run)
    rule = neighbor_parameters(opened, f"mutual_knn{{k: {K}}}")
    whole = opened.nearest("a", 0, rule)
    for rows in ([0, 5, 2], [3, 3, 5], [4, 5, 6]):
        np.testing.assert_array_equal(opened.nearest("a", 0, rule, np.array(rows)), whole[rows])


def test_what_is_above_the_null_is_so_by_the_alpha_that_was_scored_with(run: Run) -> None:
    found = build_content(Opened(run))
    assert (found.alpha, found.level) == (0.05, None)
    null = run.config.align.null.model_copy(update={"alpha": 0.2})
    align = run.config.align.model_copy(update={"null": null})
    changed = replace(run, config=run.config.model_copy(update={"align": align}))
    assert build_content(Opened(changed)).alpha == 0.05  # what the tables are of


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_every_beginning_is_spread_evenly(n: int) -> None:
    order = evenly(n)
    assert sorted(order) == [*range(n)]
    for part in (n // 10, n // 3):
        if part > 1:
            gaps = np.diff([0, *sorted(order[:part]), n])
            assert gaps.max() <= 3 * n / part


def test_models_whose_features_are_gone_are_told(run: Run, tmp_path: Path) -> None:
    moved = run_of(run.config, run.results, tmp_path / "nothing")
    content = build_content(Opened(moved))
    assert content.neighbors == []
    assert "No neighbors of 4 models" in content.notes["neighbors"]
    assert len(content.rows) == N


def test_wanted_layers_begin_with_those_of_trained_pairs() -> None:
    table = pd.DataFrame(
        {
            "x": ["a (random)", "a", "b"],
            "y": ["u", "u", "u"],
            "kind": ["random", "trained", "trained"],
            "layer_x": [3, 1, -1],
            "layer_y": [0, 2, -1],
        }
    )
    assert wanted_layers(table, {"u": 3}) == [
        *(("a", 1), ("u", 2)),
        *(("a (random)", 3), ("u", 0)),
        ("u", 1),
    ]


# --- warnings, failures, method ---


def test_failures_and_old_settings_are_told(run: Run, tmp_path: Path) -> None:
    results = Results(tmp_path / "results", "page")
    shutil.copytree(run.results.folder, results.folder)
    lines = [
        {"stage": "extract", "cell": "w", "error": "AbsentError", "message": "<script>no"},
        {"stage": "report", "cell": "report.html", "error": "X", "message": "of an earlier page"},
    ]
    results.failures.write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"stage": "')
    results.update_json(
        results.run,
        lambda facts: facts["align"].update(
            warnings=["extract w failed: AbsentError: <script>no", "few rows"]
        ),
    )
    changed = run.config.model_copy(
        update={"align": run.config.align.model_copy(update={"concatenated": True})}
    )
    content = build_content(Opened(run_of(changed, results, run.root)))
    assert content.failures == [("extract: w", "AbsentError: <script>no")]
    assert content.warnings == [
        "few rows",
        "The experiment's file has changed since: align.concatenated (false, now true). The "
        "scores, and the settings on this page, are of what it said before.",
    ]
    assert "concatenated" not in dict(content.method)["Settings"]


def test_what_moves_no_number_has_not_changed(run: Run, tmp_path: Path) -> None:
    """Settings that an older version did not know, and files that lie elsewhere now."""
    results = Results(tmp_path / "results", "page")
    shutil.copytree(run.results.folder, results.folder)
    elsewhere = "/home/somebody/a.npz"

    def older(facts: dict[str, Any]) -> None:
        family = facts["config"]["families"][0]
        for section in (family, family["models"][0]):
            del section["bundle"]
        family["models"][0]["name"] = elsewhere

    results.update_json(results.run, older)
    content = build_content(Opened(run_of(run.config, results, run.root)))
    assert content.warnings == []
    assert "name: a.npz" in dict(content.method)["Settings"]
    assert "/home/somebody" not in dict(content.method)["Settings"]


def test_a_setting_inside_a_list_is_named() -> None:
    before = {"f": [{"a": 1, "l": [1, 2]}, {"a": 3}], "g": [1], "gone": 1}
    now = {"f": [{"a": 1, "l": [1, 5], "new": None}, {"a": 4}], "g": [1, 2], "new": 1}
    assert changes(before, now) == {
        "f[0].l[1]": (2, 5),
        "f[1].a": (3, 4),
        "g": ([1], [1, 2]),
    }


def test_what_was_asked(content: Content) -> None:
    assert content.asked == [
        ("Data", "pairs"),
        ("Rows", "40"),
        ("Models: language", "2: readers"),
        ("Models: vision", "2: viewers"),
    ]


def test_method_says_command_settings_and_definitions(content: Content) -> None:
    method = dict(content.method)
    assert method["Command"] == "platorep report page.yaml"
    assert "k: 5" in method["Settings"]
    assert "caption_level" not in method["Settings"]  # a default
    assert "source: pairs\n" in method["Settings"]  # no path of this machine
    assert "name: a.npz\n" in method["Settings"]
    assert method["Preprocessing"].startswith("clip_quantile: 0.95, clip_scope: layer, ")
    assert method["Null and p"] == (
        "19 permutations of the rows of y, inside their group of groups.csv (seed 0), each the "
        "same for all layers and all pairs of models. Of each permutation, as of the rows in their "
        "order, the score is the best of all layer pairs, wherever that is. p = (1 + the number of "
        "permutations that come as close or closer) / 20, so no p is below 0.05. Corrected over 4 "
        "pairs of trained models, each metric by itself, by Benjamini and Hochberg's (false "
        "discovery rate). The threshold is the 0.95 quantile: of these 19 scores and the observed "
        "one number 19, counted from the farthest."
    )
    assert "torch" in method["Computed with (extract)"]
    assert "arXiv:2405.07987" in method["To cite"]
    assert content.metrics[0].title == "mutual_knn, k\xa0=\xa05"
    assert content.metrics[0].definition == (
        "Share of the k nearest neighbors that two layers have in common. Here k = 5 (neighbors "
        "per sample), similarity = cosine (what makes a sample near: cosine, inner product or "
        "Euclidean distance), of features after preprocessing. Not moved by: isotropic scaling, "
        "permutation of the units, positive scaling of "
        "each sample's vector, rotation. Source: arXiv:2405.07987."
    )


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_where_it_is_from(name: str) -> None:
    assert definition(bind(name)).count("Source: ") == 1


# --- pictures of what is no image ---


@pytest.mark.parametrize("hertz", [250.0, 4000.0])
def test_a_tone_is_a_dark_line_where_it_belongs(hertz: float) -> None:
    """The rows are the 9 octaves below 8,000 Hz, where the rate of 16,000 ends."""
    shown = np.asarray(spectrogram(tone(hertz).astype(np.float32)))
    darkest = shown.mean(axis=1).argmin() / len(shown)
    octaves_down = np.log2(8000 / hertz) / np.log2(512)
    assert darkest == pytest.approx(octaves_down, abs=0.06)


def test_numbers_are_grey_from_left_to_right() -> None:
    shown = np.asarray(heat(np.array([[0.0, 1.0], [1.0, 0.5]], dtype=np.float32)))
    assert shown.shape == (WIDE, WIDE)
    assert [shown[y, x] for y in (5, -5) for x in (5, -5)] == [255, 0, 0, 127]
    assert np.asarray(heat(np.zeros(3, dtype=np.float32))).std() == 0


def test_a_film_shows_its_middle() -> None:
    frames = drifting(9)
    assert VIDEO.shows is not None
    np.testing.assert_array_equal(np.asarray(VIDEO.shows(film_of(frames, 25.0))), frames[4])


# --- the stage ---


def test_what_run_ends_with_begins_with_the_best_trained_pairs(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = Opened(run).best
    shown = what_matters(run, best)
    assert [*shown["control"]] == [""] * 8 + ["shuffled"] * 8
    knn = shown[shown["control"].eq("") & shown["metric"].str.startswith("mutual")]
    assert [*knn.index] == [*shown.index[:4]]
    assert [*knn["score"]] == sorted(knn["score"], reverse=True)
    monkeypatch.setattr(execute, "MOST_ROWS", 3)
    assert [*what_matters(run, best).index] == [*shown.index[:3]]
    assert execute.ending(run, best)[0] == f"13 more rows: {run.results.best}"


def test_a_page_that_fails_leaves_the_scores_and_the_older_page(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(content: Content) -> str:
        raise DataError("no page today")

    monkeypatch.setattr("platorep.report.stage.page_html", fail)
    results, report = Results(tmp_path / "results", "page"), Reporter(-1)
    shutil.copytree(run.results.folder, results.folder)
    results.report.write_text("an older page")
    config = run.config.model_copy(update={"report": ReportConfig()})
    errors, best = run_stages(run_of(config, results, run.root, report))
    assert [str(error) for error in errors] == ["no page today"]
    assert len(best) == 16
    assert "no page today" in results.failures.read_text()
    assert results.report.read_text() == "an older page"
    assert any("is the page of an earlier run" in text for text in report.warnings)
