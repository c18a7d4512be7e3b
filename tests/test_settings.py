"""Every field of every settings class: refused, in a key, or proven to move nothing.

A table below has a line for each field; a field without one fails. What a line says is put to the
test: the key changes, the setting is refused, or the numbers stay.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from images import red
from media import drifting, film, tone
from PIL import Image
from runs import run_of
from test_adapters import write_adapter
from test_labelled import class_folders
from test_language import Texts, save
from timm.models import save_for_hf

from platorep.config import (
    BitsPerByteConfig,
    DatasetConfig,
    ExperimentConfig,
    LabelledConfig,
    ModelSpec,
    ProbeConfig,
)
from platorep.config.experiment import ControlsConfig
from platorep.config.models import (
    ExtractConfig,
    FamilyConfig,
    ModelConfig,
    ModelSettings,
    TransformConfig,
)
from platorep.config.performance import (
    HarnessConfig,
    TableConfig,
    TasksSolvedConfig,
    TaskTableConfig,
)
from platorep.data import load_dataset
from platorep.data.events import changed_hash, changed_sample
from platorep.errors import AbsentError, ConfigError, DataError
from platorep.extraction import extract, rows_for
from platorep.features import Cell
from platorep.kinds import KINDS
from platorep.kinds.audio import Sound
from platorep.kinds.video import decode_video
from platorep.models import Reading, compute_dtypes, open_model
from platorep.models.module import MODULE_SETTINGS
from platorep.models.toyworld import NOT_OF_TEXTS
from platorep.parameters.deadleaves import LeavesParameters
from platorep.parameters.section import Section
from platorep.parameters.toyworld import ToyTraining, WorldParameters, parse_network
from platorep.parameters.views import CHANGES, ObservedView
from platorep.performance.causal_bits import measurement_key, weights_identity
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.labelled import read_labelled
from platorep.performance.probing import probe_key, tapped
from platorep.performance.windows import PLAIN, Rule
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.toyworld.training import checkpoint_folder, train

REFUSED, KEY, HUB, NEUTRAL = "refused", "key", "hub", "neutral"
"""HUB: refused where nothing comes from the hub, whose commit is in the key (test_models_hub)."""


@dataclass(frozen=True)
class Field:
    """What becomes of a field, and a value that is not its default."""

    outcome: str
    value: Any = None
    beside: dict[str, Any] | None = None
    """Settings without which it means nothing."""


def classified(section: type[Section], table: dict[str, Any]) -> None:
    assert set(table) == set(section.model_fields), f"{section.__name__}: classify each field"


# --- models ---

ANYWHERE: dict[str, Any] = {
    "backend": "timm",
    "bundle": "BUNDLE",
    "revision": "v1",
    "pool": "last",
    "layers": (0,),
    "dtype": "float16",
    "attention": "eager",
    "side": "language",
    "device_map": "cpu",
    "random_init": True,
    "seed": 1,
    "trust_remote_code": True,
    "adapter": "ADAPTER",
    "prompt": "a {text}",
    "max_tokens": 3,
    "special_tokens": "drop",
    "checkpoint": "WEIGHTS",
    "arguments": {"drop_path_rate": 0.1},
    "transform": {"crop_pct": 0.5},
    "training": {"steps": 3},
    "inputs": "own_network:others",
}
TEXT = {
    **dict.fromkeys(("pool", "layers", "dtype", "attention", "prompt", "max_tokens"), KEY),
    **dict.fromkeys(("special_tokens", "random_init", "seed"), KEY),
}
IMAGES = dict.fromkeys(("pool", "layers", "dtype", "random_init", "seed", "transform"), KEY)
TAKEN: dict[str, dict[str, str]] = {
    "text": TEXT
    | {"revision": HUB, "device_map": NEUTRAL, "trust_remote_code": KEY, "adapter": KEY},
    "image": IMAGES | {"revision": HUB, "arguments": KEY},
    "image with a checkpoint": {"checkpoint": KEY},
    "text of two halves": {"side": KEY},
    "toy text": TEXT | {"training": KEY},
    "toy image": IMAGES | {"training": KEY},
    "truth": {"layers": KEY},
    "baseline": {},
    "arrays": {"layers": KEY},
    "module": dict.fromkeys(MODULE_SETTINGS, KEY),
}
ONLY = ("image with a checkpoint", "text of two halves")
CASES = [
    (kind, name)
    for kind, taken in TAKEN.items()
    for name in ANYWHERE
    if name != "backend" and (kind not in ONLY or name in taken)
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    save(folder / "llama")
    save(folder / "t5", "t5")
    write_adapter(folder / "adapter")
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_for_hf(
            timm.create_model("test_vit", num_classes=0),
            folder / f"vit{seed}",
            safe_serialization=True,
        )
    (folder / "own_network.py").write_text("import torch\n")  # a key needs no more
    np.savez(folder / "own.npz", a=np.ones((2, 3)), b=np.zeros((2, 3)))
    training, world = ToyTraining(steps=0), WorldParameters(image_size=16)
    for name in ("llama8", "vit8"):
        for seed in (0, 1):
            changed = training.model_copy(update={"seed": seed})
            train(folder / "cache" / "toyworld", parse_network(name), world, changed)
    return folder


@pytest.fixture(autouse=True)
def cache(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATOREP_CACHE", str(made / "cache"))
    monkeypatch.syspath_prepend(str(made))


def spec_of(kind: str, made: Path, **settings: Any) -> ModelSpec:
    toy = {"backend": "toyworld", "world": WorldParameters(image_size=16), "step": 0}
    bases: dict[str, dict[str, Any]] = {
        "text": {"name": str(made / "llama"), "modality": "language", "backend": "transformers"},
        "text of two halves": {
            "name": str(made / "t5"),
            "modality": "language",
            "backend": "transformers",
        },
        "image": {"name": f"local-dir:{made / 'vit0'}", "modality": "vision", "backend": "timm"},
        "image with a checkpoint": {
            "name": "test_vit",
            "modality": "vision",
            "backend": "timm",
            "checkpoint": str(made / "vit0" / "model.safetensors"),
        },
        "toy text": toy
        | {"name": "llama8", "modality": "language", "training": ToyTraining(steps=0)},
        "toy image": toy | {"name": "vit8", "modality": "vision", "training": ToyTraining(steps=0)},
        "truth": toy | {"name": "truth", "modality": "truth"},
        "baseline": {"name": "bag of words", "modality": "language", "backend": "baseline"},
        "arrays": {
            "name": str(made / "own.npz"),
            "modality": "other",
            "backend": "features",
        },
        "module": {
            "name": "own_network:build",
            "modality": "other",
            "backend": "module",
            "inputs": "own_network:tokens",
            "layers": ["blocks.*", "norm"],
        },
    }
    return ModelSpec.model_validate({"label": "m", "family": "f"} | bases[kind] | settings)


def key_of(spec: ModelSpec) -> Any:
    dtypes = compute_dtypes(spec, "auto", torch.device("cpu"))
    return open_model(spec, offline=True).identity(), dtypes[0]


def test_every_model_setting_has_a_line() -> None:
    classified(ModelSettings, ANYWHERE)
    tried = {name for taken in TAKEN.values() for name in taken}
    assert tried == set(ANYWHERE) - {"backend", "bundle"}  # what a bundle holds: test_bundles


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_model_setting_is_refused_or_in_the_key(kind: str, name: str, made: Path) -> None:
    outcome = TAKEN[kind].get(name, REFUSED)
    beside = {"random_init": True} if name == "seed" and outcome == KEY else {}
    value = ANYWHERE[name]
    if name in ("adapter", "checkpoint"):
        place = {"adapter": made / "adapter", "checkpoint": made / "vit1" / "model.safetensors"}
        value = str(place[name])
    if kind.startswith("toy") and name == "training":
        value = {"steps": 0, "seed": 1}
    if name == "pool" and "image" in kind:
        value = "mean"
    if name == "layers" and kind == "module":
        value = ["norm"]
    changed = spec_of(kind, made, **beside, **{name: value})
    if outcome in (REFUSED, HUB):
        with pytest.raises(ConfigError, match=f"`{name}`"):
            key_of(changed)
        return
    plain = spec_of(kind, made, **beside)
    assert (key_of(changed) == key_of(plain)) == (outcome == NEUTRAL)
    if outcome == NEUTRAL:
        found, expected = (
            open_model(spec, offline=True)
            .load("cpu", torch.float32)
            .features(Reading(range(4), Texts()))
            for spec in (changed, plain)
        )
        assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", ["text", "image", "toy text", "toy image"])
def test_a_seed_alone_is_refused(kind: str, made: Path) -> None:
    with pytest.raises(ConfigError, match="`seed`"):
        key_of(spec_of(kind, made, seed=3))


def test_what_a_spec_adds_to_the_settings(made: Path) -> None:
    own = set(ModelSpec.model_fields) - set(ModelSettings.model_fields)
    neutral = dict.fromkeys(("label", "family", "random_of", "changed_of", "repeat_of"), "other")
    moving = {"name", "modality", "world", "step", "view", "kind", "pools"}
    assert own == set(neutral) | moving
    assert set(ModelConfig.model_fields) - set(ModelSettings.model_fields) == {"name", "label"}
    plain = key_of(spec_of("text", made))
    for name, value in neutral.items():
        assert key_of(spec_of("text", made, **{name: value})) == plain
    copy = made / "copy"
    save(copy, "gpt2")
    assert key_of(spec_of("text", made, name=str(copy))) != plain
    truth = key_of(spec_of("truth", made))
    assert key_of(spec_of("truth", made, world=WorldParameters(seed=1))) != truth
    # step and world of a network: below; view and kind: its rows, test_views; pools: the tests of
    # whoever loads a network for several cells
    family = set(FamilyConfig.model_fields) - set(ModelSettings.model_fields)
    assert family == {"name", "modality", "reads", "models"}


TRANSFORM = {
    "input_size": 96,
    "mean": (0.1, 0.2, 0.3),
    "std": (0.1, 0.2, 0.3),
    "interpolation": "nearest",
    "crop_pct": 0.5,
    "crop_mode": "squash",
}


def test_every_part_of_a_transform_is_in_the_key(made: Path) -> None:
    classified(TransformConfig, TRANSFORM)
    plain = key_of(spec_of("image", made))
    for name, value in TRANSFORM.items():
        assert key_of(spec_of("image", made, transform={name: value})) != plain, name


TRAINING: dict[str, Field] = {
    "seed": Field(KEY, 1),
    "steps": Field(KEY, 9),
    "checkpoints": Field(NEUTRAL, (2,)),
    "num_scenes": Field(KEY, 9),
    "num_frames": Field(KEY, 4),
    "batch_size": Field(KEY, 9),
    "learning_rate": Field(KEY, 0.5),
    "temperature": Field(KEY, 0.5),
    "weight_decay": Field(KEY, 0.5),
    "tasks": Field(KEY, ("disc",)),
}
WORLD: dict[str, Field] = {
    "seed": Field(KEY, 1),
    "num_places": Field(KEY, 9),
    "concentration": Field(KEY, 0.7),
    "layout_concentration": Field(KEY, 0.7),
    "uniform_share": Field(KEY, 0.7),
    "nuisance": Field(KEY, 0.7),
    "image_size": Field(KEY, 16),
    "caption_level": Field(KEY, 2),
    "pairs": Field(KEY, "same_place"),
    "shared": Field(KEY, 0.5),
}

UNSEEN = {
    "llama8": {"pairs", "shared", "nuisance", "image_size"},
    "conv8": {"pairs", "shared", "caption_level"},
    "film8": {"pairs", "shared", "caption_level"},
    "sound8": {"pairs", "shared", "caption_level", "image_size"},
}
"""What of a world a network of this kind is not trained on."""


@pytest.mark.parametrize("name", NOT_OF_TEXTS)
def test_what_is_of_pictures_is_refused_of_texts(name: str, made: Path) -> None:
    training = {name: TRAINING[name].value}
    spec = spec_of("toy text", made, training=training)
    with pytest.raises(ConfigError, match=f"training.{name}"):
        open_model(spec, offline=True)


@pytest.mark.parametrize("network", UNSEEN)
def test_a_toy_network_lies_where_its_training_says(network: str, tmp_path: Path) -> None:
    classified(ToyTraining, TRAINING)
    classified(WorldParameters, WORLD)
    training, world = ToyTraining(steps=8), WorldParameters()

    def place(world: WorldParameters, training: ToyTraining, step: int = 8) -> Path:
        return checkpoint_folder(tmp_path, parse_network(network), world, training, step)

    plain = place(world, training)
    assert place(world, training, 4) != plain
    for name, field in TRAINING.items():
        changed = place(world, training.model_copy(update={name: field.value}))
        idle = field.outcome == NEUTRAL or (network == "llama8" and name in NOT_OF_TEXTS)
        assert (changed == plain) == idle, name
    for name, field in WORLD.items():
        changed = place(world.model_copy(update={name: field.value}), training)
        assert (changed == plain) == (name in UNSEEN[network]), name


@pytest.mark.parametrize("name", WORLD)
def test_a_world_is_in_the_rows(name: str) -> None:
    def rows(**world: Any) -> Any:
        found = load_dataset(
            DatasetConfig.model_validate(
                {"source": "toyworld", "world": {"image_size": 24} | world, "limit": 3}
            )
        )
        return found.fingerprint

    assert rows(**{name: WORLD[name].value}) != rows()


LEAVES = {"seed": 1, "image_size": 20, "r_min": 2.0, "r_max": 30.0, "octaves": 1, "color": 0.5}


def test_all_that_is_said_of_dead_leaves_is_in_the_rows() -> None:
    classified(LeavesParameters, LEAVES)
    rows = {
        load_dataset(
            DatasetConfig.model_validate(
                {"source": "deadleaves", "leaves": {"image_size": 24} | changed, "limit": 8}
            )
        ).fingerprint
        for changed in ({}, *({name: value} for name, value in LEAVES.items()))
    }
    assert len(rows) == 1 + len(LEAVES)


# --- extraction ---

EXTRACT: dict[str, Field] = {
    "dtype": Field(KEY, "float16"),
    "store": Field(KEY, "float16"),
    "batch": Field(NEUTRAL, 40),
    "workers": Field(NEUTRAL, 0),
    "rows_per_shard": Field(NEUTRAL, 2),
}


def test_extraction(made: Path, tmp_path: Path) -> None:
    classified(ExtractConfig, EXTRACT)
    folder = class_folders(tmp_path / "pictures")
    (folder / "metadata.csv").write_text(
        "file_name,text\ncat/00.png,two children play\ntrain/01.png,snow\ncat/02.png,the\n"
    )

    def cell(root: str, **settings: Any) -> Cell:
        raw = {
            "name": "test",
            "dataset": {"source": str(folder)},
            "families": [
                {"name": "f", "modality": "language", "models": [str(made / "llama")]},
            ],
            "extract": settings,
            "align": {"pairs": [["language", "language"]]},
        }
        config = ExperimentConfig.model_validate(raw)
        results = Results(tmp_path / root / "results")
        run = run_of(config, results, tmp_path / root / "cache", Reporter(-1))
        assert not extract(run).errors
        (meta,) = (tmp_path / root / "cache" / "features").rglob("meta.json")
        return Cell(meta.parent)

    plain = cell("plain")
    for name, field in EXTRACT.items():
        changed = cell(name, **{name: field.value})
        assert (changed.folder.name == plain.folder.name) == (field.outcome == NEUTRAL), name
        if field.outcome == NEUTRAL:
            for x, y in zip(changed.read(), plain.read(), strict=True):
                torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


# --- rows ---

CAPTIONS = "file_name,text,other,number\n" + "".join(
    f"{folder}/{i:02d}.png,caption {i % 3},another {i},id{i}\n"
    for i, folder in ((0, "cat"), (1, "train"), (2, "cat"), (3, "train"))
)
BOTH = {"text": ("text", "other"), "caption_index": (0, 1)}
DATASET: dict[str, Field] = {
    "source": Field(KEY, "ELSEWHERE"),
    "format": Field(NEUTRAL, "folder"),
    "world": Field(REFUSED, {"seed": 1}),
    "leaves": Field(REFUSED, {"seed": 1}),
    "subset": Field(HUB, "large"),
    "revision": Field(HUB, "v1"),
    "split": Field(REFUSED, "test"),
    "image": Field(KEY, "second"),
    "text": Field(KEY, "other"),
    "id": Field(KEY, "number"),
    "caption_index": Field(KEY, 1, {"text": ("text", "other")}),
    "separator": Field(KEY, "; ", BOTH),
    "views": Field(KEY, {"image": {}, "text": {"column": "other"}}),
    "limit": Field(KEY, 2),
    "shuffle": Field(KEY, 1),
    "deduplicate": Field(KEY, True),
    "on_bad_row": Field(KEY, "drop"),
    "files_anywhere": Field(KEY, True),
}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    folder = class_folders(tmp_path / "pairs")
    lines = CAPTIONS.splitlines()
    (folder / "metadata.csv").write_text(
        "\n".join([lines[0] + ",second"] + [f"{line},cat/04.png" for line in lines[1:]]) + "\n"
    )
    return folder


def rows(config: dict[str, Any], view: str = "text") -> Any:
    """What names the rows, and what names those that a model of this view reads."""
    found = load_dataset(DatasetConfig.model_validate(config))
    spec = ModelSpec(
        name="m",
        label="m",
        family="f",
        modality="language",
        backend="transformers",
        kind="text",
        view=view,
    )
    return found.fingerprint, rows_for(spec, found).fingerprint


@pytest.mark.parametrize("name", DATASET)
def test_a_setting_of_the_data_is_in_the_rows(name: str, pairs: Path, tmp_path: Path) -> None:
    classified(DatasetConfig, DATASET)
    field = DATASET[name]
    value = field.value
    if name == "source":
        value = str(class_folders(tmp_path / "elsewhere", first=7))
        (Path(value) / "metadata.csv").write_text("file_name,text\ncat/08.png,x\n")
    if name in ("on_bad_row", "files_anywhere"):
        (tmp_path / "outside.png").write_bytes(red(200))
        bad = {"on_bad_row": "cat/99.png,x,y,id9,z", "files_anywhere": "../outside.png,x,y,id9,z"}
        with (pairs / "metadata.csv").open("a") as file:
            file.write(f"{bad[name]}\n")
    plain = {"source": str(pairs)} | (field.beside or {})
    if field.outcome in (REFUSED, HUB):
        with pytest.raises((ConfigError, ValueError, AbsentError), match=name):
            rows(plain | {name: value})
        return
    changed = rows(plain | {name: value})
    if name in ("on_bad_row", "files_anywhere"):
        with pytest.raises(DataError, match=name):
            rows(plain)
        return
    assert (changed == rows(plain)) == (field.outcome == NEUTRAL)


@pytest.mark.parametrize("name", ["subset", "revision", "split", "image", "id"])
@pytest.mark.parametrize(
    "kind", ["parquet", "webdataset", "toyworld", "deadleaves", "class_folders"]
)
def test_what_a_kind_of_source_does_not_have_is_refused(kind: str, name: str) -> None:
    made = {"toyworld": [], "deadleaves": []}
    taken = (made | {"class_folders": ["split"]}).get(kind, ["image", "id"])
    sources = {"parquet": "x.parquet", "webdataset": "x.tar"} | {name: name for name in made}
    config = DatasetConfig.model_validate(
        {"source": sources.get(kind, "x"), "format": kind, name: "other"}
    )
    with pytest.raises(Exception, match="means nothing" if name not in taken else "x") as refused:
        load_dataset(config)
    assert ("means nothing" in str(refused.value)) == (name not in taken)


VIEW: dict[str, Field] = {
    "kind": Field(REFUSED, "image"),  # the text would be the name of a file
    "column": Field(KEY, "other"),
    "captions": Field(KEY, 1, {"column": ("text", "other")}),
    "separator": Field(KEY, "; ", {"column": ("text", "other"), "captions": "all"}),
    "order": Field(KEY, "longest_first", {"column": ("text", "other")}),
    "level": Field(REFUSED, 2),  # of a folder; the toy world's: test_views
    "again": Field(REFUSED, 1),  # likewise: test_toyworld
}


@pytest.mark.parametrize("name", VIEW)
def test_a_setting_of_a_view_is_in_the_rows(name: str, pairs: Path) -> None:
    classified(ObservedView, VIEW)
    (pairs / "metadata.csv").write_text("file_name,text,other\ncat/00.png,two dogs,a dog runs\n")
    field = VIEW[name]
    plain = {"kind": "text", "column": "text"} | (field.beside or {})

    def identities(view: dict[str, Any]) -> Any:
        views = {"image": {"column": "file_name"}, "caption": view}
        return rows({"source": str(pairs), "views": views}, "caption")

    if field.outcome == REFUSED:
        with pytest.raises((ValueError, DataError), match="no file" if name == "kind" else name):
            identities(plain | {name: field.value})
        return
    assert identities(plain | {name: field.value}) != identities(plain)


CHANGED: dict[str, dict[str, Any]] = {
    "word_order": {"seed": 1},
    "first_words": {"n": 2},
    "case": {"to": "upper"},
    "content_words": {},
    "grey": {},
    "rotate": {"degrees": 180},
    "patches": {"size": 8, "seed": 1},
    "blur": {"radius": 2.0},
    "crop": {"scale": 0.5, "seed": 1},
    "reverse": {},
    "noise": {"snr_db": 3.0, "seed": 1},
    "frame_order": {"seed": 1},
}
"""Another value of each field; all move the key of what is changed."""


@pytest.mark.parametrize("name", CHANGED)
def test_a_setting_of_a_change_is_in_the_rows(name: str) -> None:
    assert set(CHANGED) == set(CHANGES)
    change, kind = CHANGES[name], KINDS[CHANGES[name].kind]
    assert set(CHANGED[name]) == set(change.model_fields) - {"of", "change"}, "classify each field"
    samples = {
        "text": "A dog AND a cat in the snow",
        "image": Image.open(BytesIO(red(200))),
        "audio": Sound(tone(440.0), 16_000),
        "video": decode_video(film(drifting(6), "gif")),
    }

    def hash_of(**settings: Any) -> str:
        least = {"n": 4} if name == "first_words" else {}
        made = change.model_validate({"of": "x", "change": name} | least | settings)
        before = samples[kind.name]
        return changed_hash(kind, changed_sample(kind, before, made, "ab"), made, "ab")

    assert hash_of(of="y") == hash_of()  # the same samples under another name
    for field, value in CHANGED[name].items():
        assert hash_of(**{field: value}) != hash_of(), field


# --- performance ---

BITS: dict[str, Field] = {
    "name": Field(NEUTRAL, "other"),
    "source": Field(KEY, "OTHER"),
    "documents": Field(KEY, "file"),
    "subset": Field(HUB, "large"),
    "revision": Field(HUB, "v1"),
    "split": Field(HUB, "test"),
    "text": Field(HUB, "other"),
    "limit_documents": Field(KEY, 1),
    "limit_bytes": Field(KEY, 3),
    "context": Field(KEY, 4),
    "score_end": Field(KEY, True),
}


@pytest.mark.parametrize("name", BITS)
def test_a_setting_of_bits_per_byte_is_in_the_key(name: str, made: Path, tmp_path: Path) -> None:
    classified(BitsPerByteConfig, BITS)
    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    text.write_text("two children\nplay\n")
    other.write_text("snow\n")
    spec = spec_of("text", made)
    weights = weights_identity(open_model(spec, offline=True).identity(), spec)

    def key(**settings: Any) -> str:
        config = BitsPerByteConfig.model_validate({"source": str(text)} | settings)
        corpus = read_corpus(config, offline=True)
        rule = Rule(context=config.context, score_end=config.score_end)
        return measurement_key(weights, corpus, rule, dtype="float32")

    value = str(other) if name == "source" else BITS[name].value
    if BITS[name].outcome == HUB:
        with pytest.raises(ConfigError, match=f"`{name}`"):
            key(**{name: value})
        return
    assert (key(**{name: value}) == key()) == (BITS[name].outcome == NEUTRAL)


def test_what_of_a_model_moves_bits_per_byte(made: Path) -> None:
    """Weights, tokenizer and the arithmetic; not how its features are pooled."""
    moving = {"random_init", "adapter", "trust_remote_code", "attention"}
    plain = spec_of("text", made)

    def weights(spec: ModelSpec) -> dict[str, Any]:
        return weights_identity(open_model(spec, offline=True).identity(), spec)

    for name, outcome in TAKEN["text"].items():
        if outcome == KEY and name not in ("dtype", "seed"):
            value = str(made / "adapter") if name == "adapter" else ANYWHERE[name]
            changed = weights(spec_of("text", made, **{name: value}))
            assert (changed != weights(plain)) == (name in moving), name


PROBE: dict[str, Field] = {
    "name": Field(NEUTRAL, "other"),
    "probe": Field(KEY, "knn"),
    "dataset": Field(KEY, "OTHER"),
    "layers": Field(KEY, (0,)),
    "c": Field(KEY, (2.0,)),
    "max_iterations": Field(KEY, 9),
    "k": Field(KEY, (3,), {"probe": "knn"}),
}
LABELLED: dict[str, Field] = {
    "source": Field(KEY, "OTHER"),
    "format": Field(NEUTRAL, "folder"),
    "subset": Field(HUB, "large"),
    "revision": Field(HUB, "v1"),
    "image": Field(KEY, "second"),
    "label": Field(KEY, "other"),
    "id": Field(NEUTRAL, "number"),
    "split": Field(REFUSED, "elsewhere"),
    "validation_split": Field(REFUSED, "elsewhere"),
    "test_split": Field(REFUSED, "elsewhere"),
    "validation_share": Field(KEY, 0.4),
    "test_share": Field(KEY, 0.4),
    "limit": Field(KEY, 15),
    "seed": Field(KEY, 1),
    "on_bad_row": Field(KEY, "drop"),
}


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    folder = class_folders(tmp_path / "labelled")
    lines = [
        f"{('cat', 'train')[i % 2]}/{i:02d}.png,{'ab'[i % 2]},{'ab'[i // 10]},n{i}"
        for i in range(20)
    ]
    second = [
        f"{line},{('cat', 'train')[(i + 1) % 2]}/{(i + 1) % 20:02d}.png"
        for i, line in enumerate(lines)
    ]
    (folder / "metadata.csv").write_text(
        "\n".join(["file_name,label,other,number,second", *second]) + "\n"
    )
    return folder


@pytest.mark.parametrize("name", LABELLED)
def test_a_setting_of_labelled_images_is_in_the_key(
    name: str, labelled: Path, tmp_path: Path
) -> None:
    classified(LabelledConfig, LABELLED)
    field, value = LABELLED[name], LABELLED[name].value
    probe = ProbeConfig.model_validate(
        {"name": "p", "probe": "linear", "dataset": {"source": str(labelled)}}
    )

    def key(**settings: Any) -> str:
        config = LabelledConfig.model_validate({"source": str(labelled)} | settings)
        found = read_labelled(config, offline=True)
        spec = ModelSpec(name="m", label="m", family="f", modality="vision", backend="timm")
        cells = [rows_for(spec, data).fingerprint for data in found.datasets]
        return probe_key(probe, found, [] if name in ("label", "id") else cells)

    if name == "source":
        value = str(class_folders(tmp_path / "elsewhere", first=40))
    if name == "on_bad_row":
        with (labelled / "metadata.csv").open("a") as file:
            file.write("cat/99.png,a,a,n99,cat/99.png\n")
        with pytest.raises(Exception, match="on_bad_row"):
            key()
        key(on_bad_row="drop")
        return
    if field.outcome in (REFUSED, HUB):
        with pytest.raises(Exception, match=r"split|means nothing|no captions"):
            key(**{name: value})
        return
    assert (key(**{name: value}) == key()) == (field.outcome == NEUTRAL)


@pytest.mark.parametrize("name", PROBE)
def test_a_setting_of_a_probe_is_in_the_key(name: str, labelled: Path, made: Path) -> None:
    classified(ProbeConfig, PROBE)
    field = PROBE[name]

    def key(**settings: Any) -> Any:
        raw = {"name": "p", "probe": "linear", "dataset": {"source": str(labelled)}} | settings
        config = ProbeConfig.model_validate(raw)
        spec = spec_of("image", made)
        model = open_model(tapped(spec, config), offline=True)
        return probe_key(
            config, read_labelled(config.dataset, offline=True), [str(key_of(model.spec))]
        )

    value = {"source": str(labelled), "seed": 1} if name == "dataset" else field.value
    beside = field.beside or {}
    assert (key(**beside, **{name: value}) == key(**beside)) == (field.outcome == NEUTRAL)


READ_ANEW: dict[type[Section], set[str]] = {
    TableConfig: {"name", "table", "value", "better"},
    HarnessConfig: {"name", "harness", "task", "metric", "filter", "better", "regardless_of"},
    TasksSolvedConfig: {"name", "tasks", "solved_at"},
    TaskTableConfig: {"table", "columns"},
}
"""Nothing of these is kept: every run reads the files and computes the numbers."""


@pytest.mark.parametrize("section", READ_ANEW)
def test_what_is_read_anew_has_no_key(section: type[Section]) -> None:
    assert set(section.model_fields) == READ_ANEW[section]


def test_controls() -> None:
    """Copies are models of their own; the shuffled order is one of align's settings."""
    own = {"random_weights", "shuffled_pairs", "changed_views", "baselines", "seed"}
    assert set(ControlsConfig.model_fields) == own
    raw: dict[str, Any] = {
        "name": "test",
        "dataset": {"source": "toyworld"},
        "families": [{"name": "f", "modality": "vision", "models": ["resnet18"]}],
        "align": {"pairs": [["vision", "vision"]]},
    }

    def seeds(**controls: Any) -> list[int]:
        config = ExperimentConfig.model_validate(raw | {"controls": controls})
        return [spec.seed for spec in config.models()]

    assert seeds() == [0]
    assert seeds(random_weights=True) == [0, 0]
    assert seeds(random_weights=True, seed=3) == [0, 3]


def test_a_label_says_a_seed_only_of_what_has_one() -> None:

    def raw(backend: str) -> dict[str, Any]:
        return {
            "name": "test",
            "dataset": {"source": "toyworld"},
            "families": [
                {
                    "name": "f",
                    "modality": "vision",
                    "backend": backend,
                    "models": ["conv8"],
                    "training": {"seed": 3},
                }
            ],
            "align": {"pairs": [["vision", "vision"]]},
        }

    labels = {
        backend: ExperimentConfig.model_validate(raw(backend)).models()[0].label
        for backend in ("toyworld", "timm")
    }
    assert labels == {"toyworld": "conv8-seed3", "timm": "conv8"}


def test_keys_are_those_of_0_1_0(made: Path) -> None:
    """What 0.1.0 said of the same models, but for the hashes of files: old cells are found."""

    def said(spec: ModelSpec) -> dict[str, Any]:
        found, _ = key_of(spec)
        for name in ("files", "weights", "random_init"):
            found |= {name: sorted(found[name])} if isinstance(found.get(name), dict) else {}
        return dict(found)

    files = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    text = {
        "backend": "transformers",
        "files": files,
        "tap": "hidden states: embedding output, every layer, the last after the final norm",
        "layers": "all",
        "pool": "mean",
        "prompt": None,
        "max_tokens": None,
        "truncate": "right",
        "special_tokens": "as the tokenizer adds them",
        "attention": "sdpa",
        "trust_remote_code": False,
    }
    assert said(spec_of("text", made)) == text
    assert said(spec_of("text", made, random_init=True)) == text | {
        "files": [name for name in files if name != "model.safetensors"],
        "random_init": ["initialised_by", "seed"],
    }
    image = said(spec_of("image", made))
    assert len(image.pop("weights")) == 64
    assert "num_classes" in image.pop("model_args")  # what timm has written
    assert image == {
        "backend": "timm",
        "architecture": "test_vit",
        "arguments": {},
        "tap": "forward_intermediates, without a final norm",
        "layers": "all",
        "pool": "cls",
        "transform": {
            "input_size": [3, 160, 160],
            "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "crop_pct": 0.95,
            "crop_mode": "center",
        },
    }
    made_up = Corpus(("a",), "made up")
    assert measurement_key({"x": 1}, made_up, PLAIN, dtype="float32") == "8b0adc0d7ddf31ac"
