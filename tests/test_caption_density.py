"""Several texts per row, and alignment against how much they say: data, models, cells, figure."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib.image as mpl_image
import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError
from runs import run_of

from platorep.config import DatasetConfig, ExperimentConfig, VariantConfig
from platorep.data import load_dataset
from platorep.errors import DataError
from platorep.extract import open_work, rows_for
from platorep.features import CellKey
from platorep.files import digest, read_sealed, write_sealed
from platorep.kinds.text import cut_after, variant_text
from platorep.models import open_model
from platorep.parameters.toyworld import ToyTraining, WorldParameters, parse_network
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
        ({"caption_index": 1}, "a dog"),
        ({"caption_index": [1, 0]}, "a dog; two dogs run"),
        ({}, "two dogs run"),  # the dataset's own choice
        ({"order": "shortest_first", "caption_index": 0}, "a dog"),  # the first of two equal ones
        ({"order": "shortest_first", "caption_index": 1}, "a cat"),
        ({"order": "longest_first", "caption_index": 0}, "one dog  chases\tanother"),
        ({"order": "longest_first", "caption_index": 2}, "a dog"),
        ({"order": "longest_first", "caption_index": 3}, "a cat"),
        ({"order": "shortest_first", "caption_index": [0, 2]}, "a dog; two dogs run"),
        ({"caption_index": 3, "max_words": 3}, "one dog  chases"),  # white space stays as it is
        ({"caption_index": 3, "max_words": 4}, "one dog  chases\tanother"),
        ({"caption_index": "all", "max_words": 4}, "two dogs run; a"),
        ({"caption_index": "first", "max_words": 99}, "two dogs run"),
    ],
    ids=str,
)
def test_texts_worked_by_hand(said: dict[str, Any], text: str) -> None:
    dataset = DatasetConfig.model_validate({"source": "x", "separator": "; "})
    variant = VariantConfig.model_validate({"name": "v"} | said)

    assert variant_text(CAPTIONS, variant, dataset) == text


def test_what_is_not_longer_is_not_touched() -> None:
    assert cut_after("  a b \n", 2) == "  a b \n"
    assert cut_after("  a b \n", 1) == "  a"


def test_a_caption_that_is_not_there_names_the_variant() -> None:
    variant = VariantConfig(name="long", caption_index=4, order="longest_first")

    with pytest.raises(DataError, match=r"variant 'long': caption_index 4 .* has 4 captions"):
        variant_text(CAPTIONS, variant, DatasetConfig(source="x"))


# --- rows ---


def caption_folder(place: Path, num: int = 12) -> Path:
    """Pictures of the toy world with three captions each: shapes; colours too; everything."""
    world = WorldParameters(image_size=16)
    write_folder(place, world, num)
    table = pd.read_csv(place / "captions.csv")
    for column, level in (("short", 1), ("middling", 2), ("long", 5)):
        table[column] = [caption(world, scene, level) for scene in sample_pairs(world, num)]
    table.drop(columns="caption").to_csv(place / "captions.csv", index=False)
    return place


COLUMNS = ["short", "middling", "long"]
VARIANTS = [{"name": name, "caption_index": i} for i, name in enumerate(COLUMNS)]


def section(folder: Path, **said: Any) -> DatasetConfig:
    return DatasetConfig.model_validate({"source": str(folder), "text": COLUMNS} | said)


def test_variants_are_texts_of_the_same_rows(tmp_path: Path) -> None:
    folder = caption_folder(tmp_path / "pairs")
    plain, dataset = load_dataset(section(folder)), load_dataset(section(folder, variants=VARIANTS))

    table = pd.read_csv(folder / "captions.csv")
    for name in COLUMNS:
        read = dataset.reading(name)
        assert list(read.texts) == list(table[name])
        alone = load_dataset(section(folder, caption_index=COLUMNS.index(name)))
        assert (read.ids, read.views["image"].hashes, read.views["text"].hashes) == (
            alone.ids, alone.views["image"].hashes, alone.views["text"].hashes
        )  # fmt: skip
        assert read.mean_words == pytest.approx(mean(len(t.split()) for t in table[name]))
    assert dataset.reading("").texts == plain.views["text"].texts == dataset.views["text"].texts
    assert dataset.fingerprint == plain.fingerprint
    assert "variants" not in plain.provenance
    assert [v["name"] for v in dataset.provenance["variants"]] == COLUMNS


def test_a_row_that_is_bad_in_one_variant_is_a_bad_row(tmp_path: Path) -> None:
    folder = caption_folder(tmp_path / "pairs")
    table = pd.read_csv(folder / "captions.csv")
    table.loc[3, "long"] = " "
    table.to_csv(folder / "captions.csv", index=False)

    assert len(load_dataset(section(folder))) == 12  # nobody reads that caption
    with pytest.raises(DataError, match="variant 'long': caption 2 is empty"):
        load_dataset(section(folder, variants=VARIANTS))
    dataset = load_dataset(section(folder, variants=VARIANTS, on_bad_row="drop"))
    assert [row.row for row in dataset.dropped] == [3]
    assert {len(dataset.reading(name).texts) for name in ("", *COLUMNS)} == {11}


# --- what a file may say ---


def experiment(source: Path | str, **changes: Any) -> dict[str, Any]:
    raw: dict[str, Any] = {
        "name": "density",
        "dataset": {"source": str(source), "text": COLUMNS, "variants": VARIANTS},
        "families": [
            {"name": "L", "modality": "language", "models": ["some/llama"]},
            {"name": "V", "modality": "vision", "models": ["resnet18"]},
            {"name": "A", "modality": "language", "backend": "features", "models": ["a.npz"]},
        ],
        "controls": {"random_weights": True},
    }
    return raw | changes


def test_a_language_model_becomes_one_per_variant() -> None:
    specs = ExperimentConfig.model_validate(experiment("pairs")).models()

    assert {spec.label: (spec.variant, spec.random_of) for spec in specs} == {
        "llama (short)": ("short", ""),
        "llama (middling)": ("middling", ""),
        "llama (long)": ("long", ""),
        "resnet18": ("", ""),
        "a.npz": ("", ""),  # arrays are read as they are
        "llama (short) (random)": ("short", "llama (short)"),
        "llama (middling) (random)": ("middling", "llama (middling)"),
        "llama (long) (random)": ("long", "llama (long)"),
        "resnet18 (random)": ("", "resnet18"),
    }


LEVELS = [{"name": f"level {level}", "caption_level": level} for level in (1, 5)]
TOY = {
    "dataset": {"source": "toyworld", "limit": 6, "variants": LEVELS},
    "families": [
        {"name": "L", "modality": "language", "backend": "toyworld", "models": ["llama8"],
         "training": {"steps": 4, "checkpoints": [2]}},
        {"name": "V", "modality": "vision", "backend": "toyworld", "models": ["conv4"]},
    ],
}  # fmt: skip


def test_a_level_is_what_toy_language_models_are_trained_on(tmp_path: Path) -> None:
    config = ExperimentConfig.model_validate(experiment("toyworld", **TOY))

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
    config = ExperimentConfig.model_validate(experiment("toyworld", **TOY))
    dataset = load_dataset(config.dataset)
    world = config.dataset.world
    scenes = sample_pairs(world, 6)

    for level in (1, 5):
        own = DatasetConfig(source="toyworld", limit=6, world=WorldParameters(caption_level=level))
        texts = dataset.reading(f"level {level}").texts
        assert texts == tuple(caption(world, scene, level) for scene in scenes)
        assert texts == load_dataset(own).views["text"].texts
    assert dataset.views["text"].texts == dataset.reading("level 5").texts  # the world's own level
    same_place = {"world": {"pairs": "same_place", "caption_level": 3}}
    elsewhere = load_dataset(DatasetConfig.model_validate(TOY["dataset"] | same_place))
    alone = load_dataset(
        DatasetConfig.model_validate({"source": "toyworld", "limit": 6} | same_place)
    )
    assert elsewhere.views["text"].texts == alone.views["text"].texts


def test_words_can_be_cut_from_toy_captions() -> None:
    cut = {"name": "cut", "max_words": 2}
    config = DatasetConfig.model_validate({"source": "toyworld", "limit": 3, "variants": [cut]})

    dataset = load_dataset(config)

    expected = [" ".join(text.split()[:2]) for text in dataset.views["text"].texts]
    assert list(dataset.reading("cut").texts) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": [{"name": "a"}, {"name": "a"}]}, "the name 'a' stands there twice"),
        ({"variants": [{"name": "a", "caption_level": 2}]}, "caption_level of 'a' has no effect"),
        ({"variants": [{"name": " "}]}, "should match"),
        ({"variants": [{"name": "a", "max_words": 0}]}, "greater than 0"),
        ({"source": "toyworld", "variants": [{"name": "a", "order": "shortest_first"}]},
         "order of 'a' has no effect"),
    ],
)  # fmt: skip
def test_variants_without_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DatasetConfig.model_validate({"source": "pairs"} | changes)


def test_variants_that_nobody_reads_are_refused() -> None:
    families = [{"name": "V", "modality": "vision", "models": ["resnet18", "resnet50"]}]
    pairs = {"pairs": [["vision", "vision"]]}

    with pytest.raises(ValidationError, match="no language model reads captions"):
        ExperimentConfig.model_validate(experiment("pairs", families=families, align=pairs))


# --- nothing changes without variants ---


def test_without_variants_all_is_as_it_was(tmp_path: Path) -> None:
    """Keys and digests that were computed before there were variants."""
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

    def key(label: str) -> str:
        (spec,) = [spec for spec in config.models() if spec.label == label]
        return CellKey(
            model={"name": label},
            rows=rows_for(spec, dataset).fingerprint,
            compute_dtype="float32",
            store_dtype="float32",
        ).digest()

    assert dataset.fingerprint.startswith("322c29de43b21336")
    assert key("llama8@5") == "fb0c9f23c6de9852"
    assert key("llama8@5 (random)") == "8387cbfa493edec2"
    assert key("conv4") == "ff0a41f836f51881"
    (truth,) = [spec for spec in config.models() if spec.label == "truth"]
    run = run_of(config, tmp_path / "results", tmp_path)
    work = open_work(run, open_model(truth, offline=True), dataset)
    assert work.target.key.digest() == "95c0586363b74caf"
    assert digest(dict(dataset.provenance)) == "ad4adc94671e80fc"
    folders = Path(os.environ["PLATOREP_CACHE"]).glob("toyworld/pairs-*/")
    assert [path.name for path in folders if path.is_dir()] == ["pairs-adcd02ea972be28d"]


# --- from YAML to PNG ---


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `density.yaml` was run by the command itself."""
    base = tmp_path_factory.mktemp("density")
    caption_folder(base / "pairs", 24)
    for name in ("llama8", "llama16", "conv4", "conv8"):
        write_untrained(base / name, parse_network(name))
    models = [
        {"name": "small", "modality": "language", "models": ["llama8"]},
        {"name": "large", "modality": "language", "models": ["llama16"]},
        {"name": "views", "modality": "vision", "models": ["local-dir:conv4", "local-dir:conv8"]},
    ]
    raw = experiment("pairs", families=models) | {
        "extract": {"workers": 0},
        "performance": [{"name": "bits_per_byte", "source": "captions"}],
        # Short captions of so few scenes are often alike, and neighbors would be left out for it.
        "align": {
            "metrics": [{"name": "cka", "kernel": "linear", "estimator": "debiased"}],
            "null": {"permutations": 9},
        },
        "controls": {"random_weights": True, "shuffled_pairs": True},
        "figures": [
            {"kind": "density"},
            {"kind": "density", "name": "two", "variants": ["long", "short"], "controls": False},
            {"kind": "heatmap"},
        ],
    }
    (base / "density.yaml").write_text(yaml.safe_dump(raw))
    run = platorep(base, "run", "density.yaml", "-v")
    assert run.returncode == 0, run.stderr
    (base / "log.txt").write_text(run.stderr)
    return base


def platorep(base: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "platorep", *arguments],
        cwd=base,
        env=os.environ | {"PLATOREP_CACHE": str(base / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_figure_shows_the_tables(ran: Path) -> None:
    results = ran / "results" / "density"
    best = pd.read_csv(results / "best.csv", keep_default_na=False).astype({"score": float})
    points = pd.read_csv(results / "figures" / "density.csv", keep_default_na=False)
    captions = pd.read_csv(ran / "pairs" / "captions.csv")

    def scores(variant: str, *, control: str = "", x_random: bool = False, y_random: bool = False,
               models: tuple[str, ...] = ("llama8", "llama16")) -> list[float]:  # fmt: skip
        labels = [f"{name} ({variant}){' (random)' if x_random else ''}" for name in models]
        rows = best[best["x"].isin(labels) & (best["control"] == control)]
        rows = rows[rows["y_random"].astype(str) == str(y_random)]
        assert len(rows) == 2 * len(models)
        return list(rows["score"])

    def shown(role: str, family: str = "") -> pd.DataFrame:
        rows = points[(points["role"] == role) & (points["family"] == family)]
        return rows.set_index("variant").astype({"score": float, "num_words": float})

    for variant in COLUMNS:
        words = mean(len(text.split()) for text in captions[variant])
        assert set(points.loc[points["variant"] == variant, "num_words"]) == {words}
        found, own = shown("mean").loc[variant], scores(variant)
        assert found["score"] == pytest.approx(mean(own))
        assert float(found["high"]) - found["score"] == pytest.approx(stdev(own) / 4**0.5)
        assert found["score"] - float(found["low"]) == pytest.approx(stdev(own) / 4**0.5)
        assert int(found["num_pairs"]) == 4
        for family, model in (("small", "llama8"), ("large", "llama16")):
            expected = mean(scores(variant, models=(model,)))
            assert shown("family", family).loc[variant, "score"] == pytest.approx(expected)
        for role, kind in (
            ("random language", {"x_random": True}),
            ("random other", {"y_random": True}),
            ("shuffled", {"control": "shuffled"}),
        ):
            expected = mean(scores(variant, **kind))  # type: ignore[arg-type]
            assert shown(role).loc[variant, "score"] == pytest.approx(expected)
        assert shown("chance").loc[variant, "score"] == pytest.approx(float(best["chance"].iloc[0]))
        pairs = points[(points["role"] == "pair") & (points["variant"] == variant)]
        assert sorted(pairs["score"].astype(float)) == pytest.approx(sorted(own))
    two = pd.read_csv(results / "figures" / "two.csv")
    assert set(two["variant"]) == {"long", "short"}
    assert set(two["role"]) == {"mean", "family", "pair", "chance"}


def test_the_picture_is_drawn(ran: Path) -> None:
    image = mpl_image.imread(ran / "results" / "density" / "figures" / "density.png")

    assert image.shape[1] == pytest.approx(3.3 * 300, abs=3)
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 100


def test_tables_say_what_was_read(ran: Path) -> None:
    results = ran / "results" / "density"
    models = pd.read_csv(results / "models.csv", keep_default_na=False).set_index("label")
    captions = pd.read_csv(ran / "pairs" / "captions.csv")
    rows = pd.read_parquet(results / "rows.parquet")

    for name in COLUMNS:
        words = mean(len(text.split()) for text in captions[name])
        for label in (f"llama8 ({name})", f"llama16 ({name}) (random)"):
            assert models.loc[label, "variant"] == name
            assert float(models.loc[label, "num_words"]) == pytest.approx(words)
        assert f"text_sha256 ({name})" in rows
    assert models.loc["conv4", "variant"] == models.loc["conv4", "num_words"] == ""
    assert models.loc["llama8 (long) (random)", "random_of"] == "llama8 (long)"


def test_images_are_extracted_once_and_texts_once_per_variant(ran: Path) -> None:
    wrote = [line for line in (ran / "log.txt").read_text().splitlines() if "wrote shard" in line]

    assert len(wrote) == 2 * 3 * 2 + 2 * 2  # language x variants x random, vision x random
    again = platorep(ran, "run", "density.yaml", "-v")
    assert "wrote shard" not in again.stderr


def test_bits_per_byte_are_of_what_the_model_reads(ran: Path) -> None:
    table = pd.read_csv(ran / "results" / "density" / "performance.csv").set_index("model")
    captions = pd.read_csv(ran / "pairs" / "captions.csv")

    for name in COLUMNS:
        num_bytes = sum(len(text.encode()) for text in captions[name])
        assert table.loc[f"llama8 ({name})", "num_bytes"] == num_bytes


def test_other_texts_under_the_same_name_are_refused(ran: Path, tmp_path: Path) -> None:
    base = tmp_path / "copy"
    shutil.copytree(ran, base)
    raw = yaml.safe_load((base / "density.yaml").read_text())
    cells = base / "results" / "density" / "cells.json"
    content = read_sealed(cells, of="density", cure="")
    short, long = (content["cells"][f"llama8 ({name})"] for name in ("short", "long"))
    short["folder"], long["folder"] = long["folder"], short["folder"]
    write_sealed(cells, content, of="density")

    swapped = platorep(base, "align", "density.yaml", "--fail-fast")
    assert swapped.returncode == 5
    assert "llama8 (short)" in swapped.stderr
    assert "text_sha256 (short)" in swapped.stderr
    raw["dataset"]["variants"][0]["name"] = "brief"
    raw["figures"] = []
    (base / "density.yaml").write_text(yaml.safe_dump(raw))
    renamed = platorep(base, "align", "density.yaml", "--fail-fast", "--models", "*conv*")
    assert renamed.returncode != 0
    extracted = platorep(base, "extract", "density.yaml", "-v")
    assert extracted.returncode == 0, extracted.stderr
    assert "wrote shard" not in extracted.stderr  # another name is no other text
