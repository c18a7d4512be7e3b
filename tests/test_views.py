"""Views: what a file may say of them, the rows they are observed in, the models that read them."""

import io
import json
import re
import tarfile
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from images import red
from pydantic import ValidationError
from runs import run_of

from platorep.config import DatasetConfig, ExperimentConfig, load_config
from platorep.data import EventDataset, load_dataset
from platorep.errors import ConfigError, DataError
from platorep.extraction import extract, open_work, rows_for
from platorep.features import CellKey, RowIdentities
from platorep.files import canonical_json, digest, read_sealed, sha256
from platorep.kinds.text import cut_after, encode_text
from platorep.models import open_model
from platorep.parameters.toyworld import ToyTraining, WorldParameters, parse_network
from platorep.parameters.views import ObservedView
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.toyworld.captions import caption
from platorep.toyworld.checkpoints import write_untrained
from platorep.toyworld.folder import write_folder
from platorep.toyworld.scenes import sample_pairs
from platorep.toyworld.training import network_folder

# --- the text of a row ---


CAPTIONS = ("two dogs run", "a dog", "", "one dog  chases\tanother", None, "a cat")


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"captions": 1}, "a dog"),
        ({"captions": [1, 0]}, "a dog; two dogs run"),
        ({}, "two dogs run"),
        ({"order": "shortest_first", "captions": 0}, "a dog"),  # the first of two equal ones
        ({"order": "shortest_first", "captions": 1}, "a cat"),
        ({"order": "longest_first", "captions": 0}, "one dog  chases\tanother"),
        ({"order": "longest_first", "captions": 2}, "a dog"),
        ({"order": "longest_first", "captions": 3}, "a cat"),
        ({"order": "shortest_first", "captions": [0, 2]}, "a dog; two dogs run"),
        ({"captions": "first"}, "two dogs run"),
        ({"captions": "all"}, "two dogs run; a dog; one dog  chases\tanother; a cat"),
    ],
    ids=str,
)
def test_texts_worked_by_hand(said: dict[str, Any], text: str) -> None:
    view = ObservedView.model_validate({"separator": "; "} | said)

    assert encode_text(CAPTIONS, view).decode() == text


def test_what_is_not_longer_is_not_touched() -> None:
    assert cut_after("one dog  chases\tanother", 3) == "one dog  chases"  # as it was written
    assert cut_after("  a b \n", 2) == "  a b \n"
    assert cut_after("  a b \n", 1) == "  a"


def test_a_caption_that_is_not_there_names_the_view(tmp_path: Path) -> None:
    folder = caption_folder(tmp_path / "pairs", 1)
    long = VIEWS["long"] | {"captions": 4, "order": "longest_first"}

    with pytest.raises(DataError, match=r"view 'long': caption_index 4 .* has 1 captions"):
        load_dataset(section(folder, long=long))


# --- rows ---


COLUMNS = ["short", "middling", "long"]
VIEWS: dict[str, Any] = {"image": {}} | {name: {"kind": "text", "column": name} for name in COLUMNS}


def caption_folder(place: Path, num: int = 12) -> Path:
    """Pictures of the toy world with three captions each: shapes; colours too; everything."""
    world = WorldParameters(image_size=16)
    write_folder(place, world, num)
    table = pd.read_csv(place / "captions.csv")
    for column, level in (("short", 1), ("middling", 2), ("long", 5)):
        table[column] = [caption(world, scene, level) for scene in sample_pairs(world, num)]
    table.drop(columns="caption").to_csv(place / "captions.csv", index=False)
    return place


def section(source: Path, **views: Any) -> DatasetConfig:
    return DatasetConfig.model_validate({"source": str(source), "views": VIEWS | views})


def test_views_are_of_the_same_rows(tmp_path: Path) -> None:
    folder = caption_folder(tmp_path / "pairs")
    dataset = load_dataset(section(folder, cut={"of": "long", "change": "first_words", "n": 2}))

    table = pd.read_csv(folder / "captions.csv")
    for name in COLUMNS:
        view = dataset.views[name]
        assert view.texts == tuple(table[name])
        alone = load_dataset(DatasetConfig(source=str(folder), text=name))
        assert view.ids == dataset.ids == alone.ids
        assert view.hashes == alone.views["text"].hashes
        assert dataset.views["image"].hashes == alone.views["image"].hashes
        assert view.mean_words == pytest.approx(mean(len(t.split()) for t in table[name]))
    assert dataset.views["cut"].texts == tuple(" ".join(t.split()[:2]) for t in table["long"])
    assert list(dataset.hashes) == [f"{name}_sha256" for name in ("image", *COLUMNS, "cut")]
    assert dataset.views["image"].mean_words is None


def test_a_row_that_is_bad_in_one_view_is_a_bad_row(tmp_path: Path) -> None:
    folder = caption_folder(tmp_path / "pairs")
    table = pd.read_csv(folder / "captions.csv")
    table.loc[3, "long"] = " "
    table.to_csv(folder / "captions.csv", index=False)

    assert len(load_dataset(DatasetConfig(source=str(folder), text="short"))) == 12
    with pytest.raises(DataError, match=r"line 5 .*view 'long': caption 0 is empty"):
        load_dataset(section(folder))
    dataset = load_dataset(section(folder).model_copy(update={"on_bad_row": "drop"}))
    assert [(row.row, row.reason) for row in dataset.dropped] == [
        (3, "view 'long': caption 0 is empty")
    ]
    assert {len(view) for view in dataset.views.values()} == {11}


def test_a_copy_in_any_observed_view_is_one(tmp_path: Path) -> None:
    """What is alike in a changed view alone is no copy: to make things alike is what it is for."""
    lines = [
        {"image": "0.png", "text": "a dog", "note": "x"},
        {"image": "1.png", "text": "A dog", "note": "y"},
        {"image": "2.png", "text": "a cat", "note": "x"},
        {"image": "3.png", "text": "a dog", "note": "z"},
    ]
    for i, line in enumerate(lines):
        (tmp_path / line["image"]).write_bytes(red(i))
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    lower = {"of": "text", "change": "case"}
    views = {"image": {}, "text": {}, "note": {"kind": "text"}, "lower": lower}
    config = DatasetConfig.model_validate({"source": str(tmp_path), "views": views})

    counted = load_dataset(config)
    dropped = load_dataset(config.model_copy(update={"deduplicate": True}))

    assert {view: copies.count for view, copies in counted.duplicates.items()} == {
        "image": 0, "text": 1, "note": 1,
    }  # fmt: skip
    assert counted.duplicates["note"].first == (("2.png", "0.png"),)
    assert dropped.ids == ("0.png", "1.png")
    assert [row.reason for row in dropped.dropped] == [
        "its note is the exact copy of that of id '0.png'",
        "its text is the exact copy of that of id '0.png'",
    ]


NUMBERS = [[0.5, -1.0], [2.0, 3.0], [4.0, 4.5]]
TEXTS = ["a dog", "a cat", "two cats"]


def csv_of(root: Path, numbers: bool) -> str:
    table = {"v": [json.dumps(v) for v in NUMBERS]} if numbers else {"text": TEXTS}
    pd.DataFrame(table).to_csv(root / "captions.csv", index=False)
    return str(root)


def parquet_of(root: Path, numbers: bool) -> str:
    path = root / "rows.parquet"
    pq.write_table(pa.table({"v": NUMBERS} if numbers else {"text": TEXTS}), path)
    return str(path)


def tar_of(root: Path, numbers: bool) -> str:
    path = root / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for i, (vector, text) in enumerate(zip(NUMBERS, TEXTS, strict=True)):
            stream = io.BytesIO()
            np.save(stream, np.array(vector, np.float32))
            content = stream.getvalue() if numbers else text.encode()
            member = tarfile.TarInfo(f"{i}.{'npy' if numbers else 'txt'}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)


@pytest.mark.parametrize("source", [csv_of, parquet_of, tar_of])
def test_rows_of_numbers_alone_and_of_texts_alone(source: Any, tmp_path: Path) -> None:
    """No file stands for a row: what calls it is its number, or its key in a shard."""

    def load(numbers: bool, views: dict[str, Any]) -> EventDataset:
        (folder := tmp_path / str(numbers)).mkdir()
        config = {"source": source(folder, numbers), "views": views}
        return load_dataset(DatasetConfig.model_validate(config))

    numbers, texts = load(True, {"v": {"kind": "array"}}), load(False, {"text": {}})

    shard = "shard/" if source is tar_of else ""
    assert numbers.ids == texts.ids == tuple(f"{shard}{i}" for i in range(3))
    assert np.array_equal([numbers.views["v"][i] for i in range(3)], np.array(NUMBERS, "float32"))
    assert list(numbers.hashes) == ["v_sha256"]
    assert texts.views["text"].texts == tuple(TEXTS)
    assert texts.views["text"].hashes == tuple(sha256(text.encode()) for text in TEXTS)
    assert list(texts.hashes) == ["text_sha256"]


def test_lines_without_files_are_rows_each(tmp_path: Path) -> None:
    """Equal texts are two rows there; an `id` calls them otherwise than their numbers."""
    (tmp_path / "captions.csv").write_text("text,key\na dog,k1\na dog,k2\n")
    config = {"source": str(tmp_path), "views": {"text": {}}}

    assert load_dataset(DatasetConfig.model_validate(config)).ids == ("0", "1")
    assert load_dataset(DatasetConfig.model_validate(config | {"id": "key"})).ids == ("k1", "k2")


# --- changed views ---


def test_a_change_of_a_change(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("text\nA Dog runs home\nCats\n")
    views = {
        "twice": {"of": "less", "change": "case", "to": "upper"},  # named before what it changes
        "text": {},
        "less": {"of": "text", "change": "first_words", "n": 2},
    }

    data = load_dataset(DatasetConfig.model_validate({"source": str(tmp_path), "views": views}))

    assert data.views["less"].texts == ("A Dog", "Cats")
    assert data.views["twice"].texts == ("A DOG", "CATS")
    assert data.views["twice"].hashes == tuple(map(sha256, (b"A DOG", b"CATS")))
    assert data.unchanged == {"less": 1}


def test_hashes_of_changes_by_hand(tmp_path: Path) -> None:
    """A text is named by itself, all else by what was changed, and how; never by a view's name."""
    folder = caption_folder(tmp_path / "pairs", 2)
    grey = {"of": "image", "change": "grey"}
    turned = {"of": "grey", "change": "rotate", "degrees": 180}

    data = load_dataset(section(folder, grey=grey, turned=turned))

    for i, original in enumerate(data.views["image"].hashes):
        first = sha256(canonical_json([1, original, {"change": "grey"}]).encode())
        second = sha256(canonical_json([1, first, {"change": "rotate", "degrees": 180}]).encode())
        assert (data.views["grey"].hashes[i], data.views["turned"].hashes[i]) == (first, second)
    named_otherwise = load_dataset(section(folder, colourless=grey))
    assert named_otherwise.views["colourless"].hashes == data.views["grey"].hashes
    assert named_otherwise.fingerprint == data.fingerprint  # of what is observed
    for i in range(2):
        pixels = [np.asarray(data.views[name][i]) for name in ("image", "turned")]
        assert np.ptp(pixels[1], axis=2).max() == 0 < np.ptp(pixels[0], axis=2).max()


# --- what a file may say ---


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"views": {"a": {"of": "b", "change": "case"}, "b": {"of": "a", "change": "case"}}},
         "'a' of 'b' of 'a': a circle"),
        ({"views": {"a": {"of": "a", "change": "case"}}}, "'a' of 'a': a circle"),
        ({"views": {"a": {"of": "image", "change": "case"}}},
         "makes the text change `case` of 'image', whose kind is image. Changes of that kind: gr"),
        ({"views": {"a": {"of": "img", "change": "grey"}}},
         "change of 'img', which is no view. Did you mean 'image'? There are: image, text"),
        ({"views": {"text": {"of": "text", "change": "case"}}}, "'text' is there already"),
        ({"views": {"smell": {}}}, "'smell' needs a `kind`: image, text, audio, video, array"),
        ({"image": "photo", "views": {"image": {}}}, "say it there (views: {image: {column: ...}}"),
        ({"text": "caption", "views": {"text": {}}}, "`text` has no effect, since `views` names"),
        ({"caption_index": 1, "views": {"text": {}}}, "`caption_index` has no effect"),
        ({"separator": "|", "views": {"text": {}}}, "`separator` has no effect"),
        ({"views": {"image": {"captions": 1}}}, "`captions` means nothing to 'image'"),
        ({"views": {"image": {"column": ["a", "b"]}}}, "only texts are joined"),
        ({"views": {"text": {"level": 2}}}, "`level` of 'text' has no effect"),
        ({"views": {"text": {"again": 1}}}, "`again` of 'text' has no effect"),
        ({"source": "toyworld", "views": {"text": {"order": "shortest_first"}}},
         "`order` of 'text' has no effect"),
        ({"views": {" ": {"kind": "text"}}}, "should match"),
        ({"views": {"cut": {"of": "text", "change": "first_words", "n": 0}}}, "greater than 0"),
        ({"views": {"text": {"captions": []}}}, "at least 1 item"),
        ({"views": {"text": {"column": []}}}, "at least 1 item"),
        ({"caption_index": []}, "at least 1 item"),
    ],
)  # fmt: skip
def test_views_without_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        DatasetConfig.model_validate({"source": "pairs"} | settings)


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ("photo", "views.v: Input should be a valid dictionary; found 'photo'"),
        (
            "{kind: smell}",
            "views.v.kind: unknown kind of view 'smell'. Known: array, audio",
        ),
        ("{kind: text, captionz: 1}", "views.v.captionz: unknown key. Did you mean 'captions'?"),
        ("{of: image, change: gray}", "views.v: change 'gray' is unknown. Did you mean 'grey'?"),
        ("{of: image}", "views.v: change is missing"),
        ("{change: grey}", "views.v.of: is missing"),
        ("{of: image, change: grey, seed: 1}", "views.v.seed: unknown key. Known: change, of."),
    ],
)
def test_an_error_in_a_view_names_the_key(view: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(
        f"name: e\ndataset:\n  source: pairs\n  views:\n    v: {view}\n"
        "families: [{name: V, modality: vision, models: [resnet18]}]\n"
    )

    with pytest.raises(ConfigError, match=r"e\.yaml:5: dataset\.") as refused:
        load_config(file)
    assert message in str(refused.value)


# --- who reads what ---


def experiment(source: Path | str = "pairs", **changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "name": "views",
        "dataset": {"source": str(source), "views": VIEWS},
        "families": [
            {"name": "L", "modality": "language", "reads": COLUMNS, "models": ["some/llama"]},
            {"name": "V", "modality": "vision", "models": ["resnet18"]},
            {"name": "A", "modality": "language", "backend": "features", "models": ["a.npz"]},
        ],
    }
    return raw | changes


def read_by(raw: dict[str, Any]) -> dict[str, str]:
    return {spec.label: spec.view for spec in ExperimentConfig.model_validate(raw).models()}


def test_a_model_becomes_one_per_view() -> None:
    raw = experiment(controls={"random_weights": True})
    specs = ExperimentConfig.model_validate(raw).models()

    assert {spec.label: (spec.view, spec.kind, spec.random_of) for spec in specs} == {
        "llama (short)": ("short", "text", ""),
        "llama (middling)": ("middling", "text", ""),
        "llama (long)": ("long", "text", ""),
        "resnet18": ("image", "image", ""),
        "a.npz": ("", None, ""),  # arrays are known by ids
        "llama (short) (random)": ("short", "text", "llama (short)"),
        "llama (middling) (random)": ("middling", "text", "llama (middling)"),
        "llama (long) (random)": ("long", "text", "llama (long)"),
        "resnet18 (random)": ("image", "image", "resnet18"),
    }


def test_what_is_read_where_nothing_is_said() -> None:
    language = [{"name": "L", "modality": "language", "models": ["m"]}]
    vision = {"name": "V", "modality": "vision", "models": ["resnet18"]}
    caption = {"image": {}, "caption": {"kind": "text"}}
    cut = {"of": "caption", "change": "first_words", "n": 2}

    def label(views: dict[str, Any], **family: Any) -> dict[str, str]:
        families = [language[0] | family, vision]
        found = read_by(experiment(dataset={"source": "x", "views": views}, families=families))
        return {name: view for name, view in found.items() if name != "resnet18"}

    assert label({}) == {"m": "text"}
    assert label(caption) == {"m": "caption"}  # the only one
    assert label(caption | {"cut": cut}) == {"m": "caption"}
    assert label(caption | {"cut": cut}, reads="cut") == {"m (cut)": "cut"}
    assert label(caption | {"cut": cut}, reads=["caption", "cut"]) == {
        "m": "caption", "m (cut)": "cut",
    }  # fmt: skip
    both = {"image": {}, "text": {}, "caption": {"kind": "text"}}
    assert label(both) == {"m": "text"}
    own = [{"name": "x", "label": "own"}]
    assert label(both, reads="caption", models=own) == {"own (caption)": "caption"}
    free = {"modality": "other", "backend": "module", "models": ["m"]}  # a network of one's own
    sound = {"sound": {"kind": "audio"}}
    with pytest.raises(ValidationError, match="one or several of image, text, caption"):
        label(both, **free)
    only = experiment(dataset={"source": "x", "views": sound}, families=[language[0] | free])
    assert read_by(only | {"align": {"pairs": []}}) == {"m": "sound"}


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ({"models": ["m"]}, "must say what it `reads`: one or several of short, middling, long"),
        ({"models": ["m"], "reads": "shrt"}, "reads 'shrt', which is no view. Did you mean 'sh"),
        ({"models": ["m"], "modality": "audio"}, "there is no view of audio"),
        ({"models": ["a.npz"], "backend": "features", "reads": "short"}, "`reads` means nothing"),
    ],
)  # fmt: skip
def test_a_view_that_cannot_be_read_is_named(family: dict[str, Any], message: str) -> None:
    raw = experiment(families=[{"name": "L", "modality": "language"} | family])

    with pytest.raises(ValidationError, match=re.escape(message)):
        ExperimentConfig.model_validate(raw)


def test_copies_on_changed_views() -> None:
    """Once per trained network and change, but where a family reads it itself."""
    changes = {
        "grey": {"of": "image", "change": "grey"},
        "turned": {"of": "grey", "change": "rotate"},
        "scrambled": {"of": "text", "change": "word_order"},
    }
    raw = {
        "name": "copies",
        "dataset": {"source": "toyworld", "views": changes},
        "families": [
            {"name": "L", "modality": "language", "backend": "toyworld", "models": ["llama8"],
             "training": {"steps": 4, "checkpoints": [2]}, "reads": ["text", "scrambled"]},
            {"name": "V", "modality": "vision", "models": ["resnet18"]},
            {"name": "R", "modality": "vision", "models": ["resnet18"], "random_init": True},
            {"name": "t", "modality": "truth", "backend": "toyworld", "models": ["truth"]},
        ],
        "controls": {"random_weights": True, "changed_views": True},
    }  # fmt: skip
    raw["families"][2]["models"] = [{"name": "resnet18", "label": "r"}]  # type: ignore[index]
    specs = ExperimentConfig.model_validate(raw).models()

    copies = {s.label: (s.view, s.changed_of, s.is_control) for s in specs if s.changed_of}
    assert copies == {
        "resnet18 (grey)": ("grey", "resnet18", True),
        "resnet18 (turned)": ("turned", "resnet18", True),
    }
    (own,) = [spec for spec in specs if spec.label == "llama8@4 (scrambled)"]
    assert (own.view, own.changed_of, own.is_control) == ("scrambled", "", False)
    raw["families"][0]["reads"] = ["text"]  # type: ignore[index]
    copied = [spec for spec in ExperimentConfig.model_validate(raw).models() if spec.changed_of]
    assert {spec.label for spec in copied} == {*copies, "llama8@4 (scrambled)"}
    clash = {"random": {"of": "image", "change": "grey"}}
    taken = [{"name": "V", "modality": "vision",
              "models": ["resnet18", {"name": "resnet18", "random_init": True}]}]  # fmt: skip
    with pytest.raises(ValidationError, match=r"repeated model label .*: resnet18 \(random\)"):
        ExperimentConfig.model_validate(
            raw
            | {"families": taken, "dataset": {"source": "x", "views": clash}}
            | {"controls": {"changed_views": True}}
        )
    of_images = {name: view for name, view in changes.items() if name != "scrambled"}
    raw["dataset"]["views"] = of_images  # type: ignore[index]
    raw["families"] = raw["families"][:1]  # type: ignore[index]
    with pytest.raises(ValidationError, match=r"controls\.changed_views has no effect"):
        ExperimentConfig.model_validate(raw)


def test_copies_read_what_was_changed(tmp_path: Path) -> None:
    """A copy's cell is of the rows that it reads; its network and its original's are one."""
    caption_folder(tmp_path / "pairs", 4)
    config = ExperimentConfig.model_validate(
        experiment(
            dataset={
                "source": str(tmp_path / "pairs"),
                "text": "long",
                "views": {"grey": {"of": "image", "change": "grey"}},
            },
            families=[{"name": "V", "modality": "vision", "models": [f"local-dir:{tmp_path}/a"]}],
            align={"pairs": [["vision", "vision"]]},
            controls={"changed_views": True},
        )
    )
    write_untrained(tmp_path / "a", parse_network("conv4"))
    run = run_of(config, tmp_path / "results", tmp_path)
    dataset = load_dataset(config.dataset)

    plain, grey = (
        open_work(run, open_model(spec, offline=True), dataset).target.key for spec in run.specs
    )

    assert plain.model == grey.model
    for key, view in ((plain, "image"), (grey, "grey")):
        rows = RowIdentities(ids=dataset.ids, hashes=dataset.views[view].hashes)
        assert key.rows == rows.fingerprint


def test_a_change_that_does_nothing_is_told(tmp_path: Path) -> None:
    caption_folder(tmp_path / "pairs", 3)
    views = {
        "whole": {"of": "text", "change": "first_words", "n": 99},
        "shouted": {"of": "text", "change": "case", "to": "upper"},
    }
    config = trained(tmp_path, text="long", views=views)
    results, report = Results(tmp_path / "results"), Reporter(-1)

    assert not extract(run_of(config, results, tmp_path / "cache", report)).errors

    assert report.warnings == ["whole: the change does nothing in 3 of 3 rows"]
    said = results.read_json(results.run, "extract")["dataset"]
    assert said["unchanged"] == {"whole": 3}
    assert said["duplicates"] == {view: {"count": 0, "first": []} for view in ("image", "text")}
    rows = pd.read_parquet(results.rows)
    assert list(rows["whole_sha256"]) == list(rows["text_sha256"])
    assert set(rows["shouted_sha256"]).isdisjoint(rows["text_sha256"])


# --- the short form, and what 0.1.0 made ---


def trained(tmp_path: Path, **dataset: Any) -> ExperimentConfig:
    """Two networks in `tmp_path`, on pairs there."""
    for name in ("llama8", "conv4"):
        if not (tmp_path / name).is_dir():
            write_untrained(tmp_path / name, parse_network(name))
    return ExperimentConfig.model_validate(
        {
            "name": "views",
            "dataset": {"source": str(tmp_path / "pairs")} | dataset,
            "families": [
                {"name": "L", "modality": "language", "models": [str(tmp_path / "llama8")]},
                {"name": "V", "modality": "vision", "models": [f"local-dir:{tmp_path / 'conv4'}"]},
            ],
            "extract": {"workers": 0},
        }
    )


def test_the_short_form_means_two_views(tmp_path: Path) -> None:
    caption_folder(tmp_path / "pairs", 3)
    long = {"image": {"column": "file_name"}, "text": {"column": COLUMNS, "captions": [0, 2]}}
    forms = {
        "short": {"text": COLUMNS, "caption_index": [0, 2]},
        "long": {"views": long},
        "changed": {"text": COLUMNS, "caption_index": [0, 2],
                    "views": {"grey": {"of": "image", "change": "grey"}}},
    }  # fmt: skip
    before: dict[str, Any] = {}
    for form, dataset in forms.items():
        config = trained(tmp_path, **dataset)
        found = load_dataset(config.dataset)
        results = Results(tmp_path / form)
        assert not extract(run_of(config, results, tmp_path / "cache")).errors
        shards = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("shard-*")}
        cells = read_sealed(results.cells, of="", cure="")["cells"]
        rows = results.rows.read_bytes()
        now = {
            "fingerprint": found.fingerprint,
            "shards": shards,
            "keys": {label: cell["key"] for label, cell in cells.items()},
        }
        if form != "changed":
            now["rows"] = rows  # has a column for each view
        assert before in ({}, before | now)
        before |= now
    assert len(before["shards"]) == 2


def test_keys_are_those_of_0_1_0(tmp_path: Path) -> None:
    """Of the short form as it was computed before there were views."""
    raw = {
        "name": "k",
        "dataset": {"source": "toyworld", "limit": 4, "world": {"image_size": 16}},
        "families": [
            {"name": "l", "modality": "language", "backend": "toyworld", "models": ["llama8"],
             "training": {"steps": 5, "checkpoints": [2]}},
            {"name": "v", "modality": "vision", "backend": "toyworld", "models": ["conv4"],
             "training": {"steps": 5}},
            {"name": "t", "modality": "truth", "backend": "toyworld", "models": ["truth"]},
        ],
        "controls": {"random_weights": True},
    }  # fmt: skip
    config = ExperimentConfig.model_validate(raw)
    dataset = load_dataset(config.dataset)
    keys = row_keys(config, dataset)

    assert dataset.fingerprint.startswith("322c29de43b21336")
    assert keys["llama8@5"] == "fb0c9f23c6de9852"
    assert keys["llama8@5 (random)"] == "8387cbfa493edec2"
    assert keys["conv4"] == "ff0a41f836f51881"
    (truth,) = [spec for spec in config.models() if spec.label == "truth"]
    run = run_of(config, tmp_path / "results", tmp_path)
    work = open_work(run, open_model(truth, offline=True), dataset)
    assert work.target.key.digest() == "95c0586363b74caf"
    assert digest(dict(dataset.provenance)) == "ad4adc94671e80fc"


def row_keys(config: ExperimentConfig, dataset: EventDataset) -> dict[str, str]:
    """By label, of a model of that name on the rows that it reads."""
    return {
        spec.label: CellKey(
            model={"name": spec.label},
            rows=rows_for(spec, dataset).fingerprint,
            compute_dtype="float32",
            store_dtype="float32",
        ).digest()
        for spec in config.models()
    }


def pasted(message: str) -> tuple[dict[str, Any], list[str]]:
    """The views and the entry `reads` that an error gives."""
    views = re.search(r"^( +)views:\n(?:\1 .*\n)+", message, re.MULTILINE)
    reads = re.search(r"^ +reads: .*$", message, re.MULTILINE)
    assert views is not None
    assert reads is not None
    return yaml.safe_load(views[0])["views"], yaml.safe_load(reads[0])["reads"]


def refused(file: Path, raw: dict[str, Any]) -> str:
    file.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match="`variants` are views now") as error:
        load_config(file)
    return str(error.value)


def test_variants_of_the_toy_world_become_views_of_the_same_keys(tmp_path: Path) -> None:
    """The keys are those that 0.1.0 made of this file."""
    raw: dict[str, Any] = {
        "name": "k",
        "dataset": {
            "source": "toyworld",
            "limit": 4,
            "world": {"image_size": 16},
            "variants": [
                {"name": "shapes", "caption_level": 1},
                {"name": "cut", "max_words": 3},
            ],
        },
        "families": [
            {"name": "l", "modality": "language", "backend": "toyworld", "models": ["llama8"],
             "training": {"steps": 5}},
            {"name": "v", "modality": "vision", "backend": "toyworld", "models": ["conv4"],
             "training": {"steps": 5}},
        ],
    }  # fmt: skip
    views, reads = pasted(refused(tmp_path / "old.yaml", raw))

    del raw["dataset"]["variants"]
    raw["dataset"]["views"], raw["families"][0]["reads"] = views, reads
    config = ExperimentConfig.model_validate(raw)

    assert row_keys(config, load_dataset(config.dataset)) == {
        "llama8 (shapes)": "77de5c1e874bc010",
        "llama8 (cut)": "1f41d94bc101b0f3",
        "conv4": "ff0a41f836f51881",
    }
    networks = [
        network_folder(tmp_path, parse_network(spec.name), spec.world, spec.training).name
        for spec in config.models()
    ]
    assert networks == [
        "llama8-5e8a3bae34218a5d", "llama8-2be1de9d52ace1d6", "conv4-49e224b0f0582de8",
    ]  # fmt: skip


def test_variants_of_captions_become_views(tmp_path: Path) -> None:
    """Every setting of a variant; a name that YAML would read otherwise is one still."""
    captions = [["a dog", "two dogs run far", "one"], ["cats", "a cat sits", "no cat at all"]]
    lines = [{"on: off": f"{i}.png", **dict(zip("abc", texts, strict=True))}
             for i, texts in enumerate(captions)]  # fmt: skip
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(red(i))
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    raw: dict[str, Any] = {
        "name": "k",
        "dataset": {
            "source": str(tmp_path),
            "image": "on: off",
            "text": ["a", "b", "c"],
            "caption_index": "all",
            "separator": "; ",
            "variants": [
                {"name": "5", "max_words": 4},
                {"name": "yes", "caption_index": [2, 0]},
                {"name": "longest: first", "order": "longest_first", "caption_index": 0},
                {"name": "everything"},
            ],
        },
        "families": [{"name": "l", "modality": "language", "models": ["m"]}],
        "align": {"pairs": [["language", "language"]]},
    }
    views, reads = pasted(refused(tmp_path / "old.yaml", raw))

    for key in ("variants", "image", "text", "caption_index", "separator"):
        del raw["dataset"][key]
    raw["dataset"]["views"], raw["families"][0]["reads"] = views, reads
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(raw))
    config = load_config(tmp_path / "new.yaml")
    dataset = load_dataset(config.dataset)

    expected = {
        "5": ("a dog; two dogs", "cats; a cat sits;"),
        "yes": ("one; a dog", "no cat at all; cats"),
        "longest: first": ("two dogs run far", "no cat at all"),
        "everything": ("a dog; two dogs run far; one", "cats; a cat sits; no cat at all"),
    }
    assert {f"m ({name})": dataset.views[name].texts for name in expected} == {
        spec.label: dataset.views[spec.view].texts for spec in config.models()
    }
    assert {name: dataset.views[name].texts for name in expected} == expected
    for spec in config.models():  # as 0.1.0 named rows: ids, and hashes of what is read
        hashes = tuple(sha256(text.encode()) for text in expected[spec.view])
        assert rows_for(spec, dataset) == RowIdentities(ids=("0.png", "1.png"), hashes=hashes)


# --- toy worlds ---


LEVELS = {f"level {level}": {"kind": "text", "level": level} for level in (1, 5)}
TOY: dict[str, Any] = {
    "dataset": {"source": "toyworld", "limit": 6, "views": {"image": {}, "text": {}} | LEVELS},
    "families": [
        {"name": "L", "modality": "language", "backend": "toyworld", "models": ["llama8"],
         "training": {"steps": 4, "checkpoints": [2]}, "reads": list(LEVELS)},
        {"name": "V", "modality": "vision", "backend": "toyworld", "models": ["conv4"]},
    ],
    "controls": {"random_weights": True},
}  # fmt: skip


def test_a_level_is_what_toy_language_models_are_trained_on(tmp_path: Path) -> None:
    config = ExperimentConfig.model_validate(experiment(**TOY))

    def folder(label: str) -> Path:
        (spec,) = [spec for spec in config.models() if spec.label == label]
        return network_folder(tmp_path, parse_network(spec.name), spec.world, spec.training)

    plain = {spec.label: spec.world.caption_level for spec in config.models()}
    assert plain["llama8@2 (level 1)"] == plain["llama8@4 (level 1) (random)"] == 1
    assert plain["llama8@4 (level 5)"] == 5
    assert folder("llama8@2 (level 1)") == folder("llama8@4 (level 1)")
    assert folder("llama8@4 (level 1)") != folder("llama8@4 (level 5)")
    # One training of the vision network serves all levels: they are no part of its name.
    vision = [
        network_folder(
            tmp_path, parse_network("conv4"), WorldParameters(caption_level=level), ToyTraining()
        )
        for level in range(1, 6)
    ]
    assert set(vision) == {folder("conv4")}


def test_levels_are_the_worlds_own_captions() -> None:
    config = ExperimentConfig.model_validate(experiment(**TOY))
    dataset = load_dataset(config.dataset)
    scenes = sample_pairs(config.dataset.world, 6)

    for level in (1, 5):
        own = DatasetConfig(source="toyworld", limit=6, world=WorldParameters(caption_level=level))
        texts = dataset.views[f"level {level}"].texts
        assert texts == tuple(caption(config.dataset.world, scene, level) for scene in scenes)
        assert texts == load_dataset(own).views["text"].texts
    assert dataset.views["text"].texts == dataset.views["level 5"].texts  # the world's own level
    same_place = {"world": {"pairs": "same_place", "caption_level": 3}}
    elsewhere = load_dataset(DatasetConfig.model_validate(TOY["dataset"] | same_place))
    alone = load_dataset(
        DatasetConfig.model_validate({"source": "toyworld", "limit": 6} | same_place)
    )
    assert elsewhere.views["text"].texts == alone.views["text"].texts


def test_words_can_be_cut_from_toy_captions() -> None:
    cut = {"of": "text", "change": "first_words", "n": 2}
    config = DatasetConfig.model_validate({"source": "toyworld", "limit": 3, "views": {"cut": cut}})

    dataset = load_dataset(config)

    texts = dataset.views["text"].texts
    assert texts is not None
    assert dataset.views["cut"].texts == tuple(" ".join(text.split()[:2]) for text in texts)
