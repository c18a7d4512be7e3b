"""`platorep init`: data are looked at, models chosen, and the file that is written works."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_data_senses
import timm
import torch
import transformers
import yaml
from images import red
from jsonschema import Draft202012Validator
from safetensors.torch import save_file
from test_language import SHAPE, SIZE, WORDS, make_tokenizer
from timm.models import save_for_hf
from typer.testing import CliRunner, Result

from platorep.cli import app
from platorep.config import DatasetConfig, load_config
from platorep.data import load_dataset
from platorep.machine import Machine
from platorep.parameters.toyworld import WorldParameters
from platorep.starting import models
from platorep.starting.catalog import KNOWN
from platorep.starting.seeing import look
from platorep.toyworld.folder import write_folder

Init = Callable[..., Result]


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Init:
    """The command in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, ["init", *words])


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama, a folder of timm, a file of weights with a classifier, an encoder."""
    root = tmp_path_factory.mktemp("networks")
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, **SIZE))
    bert = transformers.BertModel(transformers.BertConfig(**SHAPE, **SIZE))
    for name, network in (("llama", llama), ("bert", bert)):
        network.save_pretrained(root / name)
        make_tokenizer().save_pretrained(root / name)
    save_for_hf(timm.create_model("test_vit"), root / "vit")
    weights = timm.create_model("test_efficientnet", num_classes=7).state_dict()
    save_file(weights, root / "test_efficientnet.safetensors")
    return root


def photos(folder: Path, names: dict[str, str] | None = None, table: str = "captions.csv") -> None:
    """Three images with a table of two columns."""
    folder.mkdir(exist_ok=True)
    for i in range(3):
        (folder / f"{i}.png").write_bytes(red(i))
    rows = names or {f"{i}.png": f"the red number {i}" for i in range(3)}
    lines = ["file,about", *(f"{name},{text}" for name, text in rows.items())]
    (folder / table).write_text("\n".join(lines), encoding="utf-8")


# --- looking ---


@pytest.mark.parametrize("kind", test_data_senses.SOURCES)
def test_every_kind_is_seen_in_every_kind_of_source(kind: str, tmp_path: Path) -> None:
    source = test_data_senses.SOURCES[kind](tmp_path)

    seen = look(source, offline=True)

    assert set(seen.kinds) == {"image", "text", "audio", "video", "array"}
    assert seen.num_rows == test_data_senses.NUM
    config = DatasetConfig.model_validate({"source": seen.source} | dict(seen.dataset))
    data = load_dataset(config)
    assert len(data) == test_data_senses.NUM
    assert data.views["text"][1] == "text 1"


@pytest.mark.parametrize("table", ["captions.csv", "list.csv"])
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_a_table_may_have_any_name(table: str, whole: bool, tmp_path: Path) -> None:
    photos(tmp_path / "photos", table=table)

    seen = look(str(tmp_path / "photos" / ("" if whole else table)), offline=True)

    assert [(c.view, c.name, c.example) for c in seen.columns] == [
        ("image", "file", "0.png"),
        ("text", "about", "the red number 0"),
    ]
    config = DatasetConfig.model_validate({"source": seen.source} | dict(seen.dataset))
    assert list(load_dataset(config).views["image"].ids) == ["0.png", "1.png", "2.png"]


def test_of_several_texts_the_captions_are_chosen_and_the_others_told(tmp_path: Path) -> None:
    photos(tmp_path)
    lines = [
        "split,file,title,caption_a,caption_b,size",
        'train,0.png,a long title of many words here,"a dog, running",a dog,3.5',
        "test,1.png,another title,a cat sleeps,one cat,4",
    ]
    (tmp_path / "captions.csv").write_text("\n".join(lines))

    seen = look(str(tmp_path), offline=True)

    assert {c.name: c.view for c in seen.columns if c.view} == {
        "file": "image",
        "caption_a": "text",
    }
    assert [column.name for column in seen.further_texts] == ["title", "caption_b"]
    assert {c.name: c.what for c in seen.columns}["size"] == "number"


def test_lists_of_captions_are_seen(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "captions.csv").unlink()
    rows = [{"file": f"{i}.png", "about": ["a red one", "one that is red"]} for i in range(3)]
    (tmp_path / "all.jsonl").write_text("\n".join(map(json.dumps, rows)))

    seen = look(str(tmp_path), offline=True)

    assert [(c.view, c.several) for c in seen.columns] == [("image", False), ("text", True)]


def test_folders_by_class_are_images_without_texts(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(red(7))

    seen = look(str(tmp_path), offline=True)

    assert seen.kinds == ("image",)
    assert (seen.dataset["format"], seen.num_rows) == ("class_folders", 2)


def test_images_alone_are_seen(tmp_path: Path) -> None:
    photos(tmp_path)
    (tmp_path / "captions.csv").unlink()

    seen = look(str(tmp_path), offline=True)

    assert (seen.kinds, seen.num_rows) == (("image",), 3)


# --- refusals ---


def _nothing(folder: Path) -> None:
    folder.mkdir()


def _notes(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.doc").write_text("none")


def _two_tables(folder: Path) -> None:
    photos(folder, table="a.csv")
    photos(folder, table="b.csv")


def _no_names(folder: Path) -> None:
    photos(folder, {"Ann": "a red photograph", "Bob": "another one"})


def _elsewhere(folder: Path) -> None:
    photos(folder, {"0.jpg": "a red one"})
    (folder / "full").mkdir()
    (folder / "full" / "0.jpg").write_bytes(red(1))


def _semicolons(folder: Path) -> None:
    photos(folder)
    table = folder / "captions.csv"
    table.write_text(table.read_text().replace(",", ";"))


def _broken(folder: Path) -> None:
    photos(folder)
    (folder / "0.png").write_bytes(b"no image")


def _header_only(folder: Path) -> None:
    photos(folder)
    (folder / "captions.csv").write_text("file,about\n")


@pytest.mark.parametrize(
    ("make", "code", "said"),
    [
        (None, 4, "there is no folder or file photos"),
        (_nothing, 4, "photos is empty. Expected images"),
        (_notes, 4, "no image, sound, film or table. It holds: notes.doc"),
        (_two_tables, 2, "several tables: a.csv, b.csv. Say which one"),
        (_no_names, 5, "names no file, though photos holds 3, such as 0.png"),
        (_elsewhere, 5, "first '0.jpg'. There is full/0.jpg."),
        (_semicolons, 5, "Cells are divided by commas"),
        (_broken, 5, "(image '0.png'), view 'image'"),
        (_header_only, 5, "photos has no row"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_data_that_will_not_do_are_refused(
    make: Callable[[Path], None] | None, code: int, said: str, init: Init
) -> None:
    if make is not None:
        make(Path("photos"))

    result = init("photos")

    assert result.exit_code == code, result.output
    assert said in " ".join(result.stderr.split())
    assert not Path("photos.yaml").exists()


def test_features_are_no_data(init: Init) -> None:
    Path("mine.npz").write_bytes(b"")
    result = init("mine.npz")
    assert (result.exit_code, "`platorep init DATA mine.npz`" in result.stderr) == (2, True)


def test_a_file_is_replaced_only_when_told(init: Init, networks: Path) -> None:
    photos(Path("photos"))
    Path("photos.yaml").write_text("mine")

    assert init("photos", str(networks / "vit")).exit_code == 2
    assert Path("photos.yaml").read_text() == "mine"
    assert init("photos", str(networks / "vit"), "--force").exit_code == 0
    assert load_config(Path("photos.yaml")).name == "photos"
    assert init("photos", str(networks / "vit"), "--output", "mine.yaml").exit_code == 0
    assert load_config(Path("mine.yaml")).name == "mine"  # two files, two folders of results


def test_a_model_that_reads_something_else_is_refused(init: Init, networks: Path) -> None:
    photos(Path("photos"))
    Path("photos/captions.csv").unlink()

    result = init("photos", str(networks / "llama"))

    assert result.exit_code == 2
    assert "none of the models reads what the data have (image)" in result.stderr


# --- models ---


def test_known_networks_are_those_of_timm_and_as_large_as_said() -> None:
    for family in KNOWN:
        sizes = [millions for _, millions in family.sizes]
        assert sizes == sorted(sizes)
        if family.modality == "vision":
            assert all(timm.is_model_pretrained(name) for name, _ in family.sizes)
            name, millions = family.sizes[0]
            with torch.device("meta"):
                network = timm.create_model(name, num_classes=0)
            size = sum(p.numel() for p in network.parameters()) / 1e6
            assert size == pytest.approx(millions, rel=0.08)


def test_ones_own_models_are_recognised(init: Init, networks: Path, tmp_path: Path) -> None:
    """A folder of models stands for all of them; the same name elsewhere gets a number."""
    photos(Path("photos"))
    shutil.copytree(networks / "vit", tmp_path / "others" / "vit")
    Path("mine.npz").write_bytes(b"")

    words = ("--models", str(networks), "others/vit", "mine.npz")
    assert init("photos", *words, "--output", "new/mine.yaml").exit_code == 0

    config = load_config(Path("new/mine.yaml"))
    by_name = {family.name: family for family in config.families}
    assert [*by_name] == ["bert", "llama", "test_efficientnet", "vit", "vit (2)", "mine"]
    assert by_name["vit"].models[0].name == f"local-dir:{networks / 'vit'}"
    assert by_name["vit (2)"].models[0].name == f"local-dir:{tmp_path / 'others' / 'vit'}"
    weights = networks / "test_efficientnet.safetensors"
    assert by_name["test_efficientnet"].models[0].checkpoint == str(weights)
    assert (by_name["mine"].backend, by_name["mine"].modality) == ("features", "other")
    assert config.figures[0].model_dump()["references"] == ("bert",), "it predicts nothing"


def test_what_fits_depends_on_memory_cores_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(gib: float, cores: int, rows: int) -> set[str]:
        monkeypatch.setattr(Machine, "memory_bytes", lambda _: int(gib * 2**30))
        monkeypatch.setattr(Machine, "num_cores", lambda _: cores)
        drafts = models.fitting(("image", "text"), rows, 60, "cpu")
        return {str(name) for draft in drafts for name in draft.models}

    small, usual, large = chosen(1, 2, 300), chosen(16, 2, 300), chosen(512, 128, 300)

    assert small < usual < large
    assert "EleutherAI/pythia-70m" in small
    assert "bigscience/bloomz-560m" in usual - small, "2.2 GB of weights in 1 GiB of memory"
    assert "bigscience/bloomz-7b1" in large - usual
    assert chosen(16, 2, 100_000) == chosen(16, 2, 1024), "more rows are limited at first"


# --- the file ---


@pytest.fixture(scope="module")
def toy_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "photos"
    write_folder(folder, WorldParameters(), 40)
    draw = random.Random(0)  # words that the tiny tokenizer knows
    rows = [
        f"scene-{i:06d}.png,{' '.join(draw.sample([w for w in WORDS if w.isalpha()], 6))}"
        for i in range(40)
    ]
    (folder / "captions.csv").write_text("\n".join(["file_name,caption", *rows]))
    return folder


def test_the_file_says_what_editors_check_it_by(init: Init, toy_photos: Path) -> None:
    result = init(str(toy_photos), "--output", "mine.yaml", "--device", "cpu")

    assert result.exit_code == 0, result.output
    assert "platorep plan mine.yaml" in result.stderr
    text = Path("mine.yaml").read_text(encoding="utf-8")
    first, *rest = text.splitlines()
    schema = json.loads(Path(first.removeprefix("# yaml-language-server: $schema=")).read_text())
    assert list(Draft202012Validator(schema).iter_errors(yaml.safe_load(text))) == []
    keys = [line for line in rest if line.strip() and not line.lstrip().startswith(("#", "-"))]
    before = dict(zip(rest[1:], rest, strict=False))
    said = [line for line in keys if "#" in line or before[line].lstrip().startswith("#")]
    assert len(said) > 15
    assert max(map(len, text.splitlines())) < 140


@pytest.mark.parametrize("change", ["mixed", "deduplicate", "null"])
def test_what_is_commented_out_may_be_put_in(init: Init, change: str, networks: Path) -> None:
    photos(Path("photos"))
    assert init("photos", str(networks / "vit"), str(networks / "llama")).exit_code == 0
    text = Path("photos.yaml").read_text()
    assert f"# {change}: " in text

    Path("photos.yaml").write_text(text.replace(f"# {change}: ", f"{change}: "))

    load_config(Path("photos.yaml"))


def test_repeats_and_ceiling_may_be_put_in(init: Init, networks: Path) -> None:
    photos(Path("photos"))
    rows = [f'{i}.png,"a red, {i}",one that is red' for i in range(3)]
    Path("photos/captions.csv").write_text("\n".join(["file,text_a,text_b", *rows]))
    assert init("photos", str(networks / "vit"), str(networks / "llama")).exit_code == 0

    text = Path("photos.yaml").read_text()
    for line in ("# text_b: ", "# repeats: ", "# ceiling: "):
        assert line in text
        text = text.replace(line, line.removeprefix("# "))
    Path("photos.yaml").write_text(text)

    assert load_config(Path("photos.yaml")).align.read_anew() == {"text": ("text_b",)}


def test_names_of_others_do_no_harm_in_the_file(init: Init, networks: Path) -> None:
    name = "a: # {b}\nc"
    photos(Path(name))
    rows = ['0.png,"x\ny: # [z"', '1.png,"\u202e*&!"', "2.png,- - -"]
    Path(name, "captions.csv").write_text("\n".join(['file,"text\n: {a"', *rows]))

    result = init(name, str(networks / "llama"), "--output", "mine.yaml")

    assert result.exit_code == 0, result.output
    config = load_config(Path("mine.yaml"))
    assert load_dataset(config.dataset).views["text"][0] == "x\ny: # [z"
    assert "\u202e" not in Path("mine.yaml").read_text()


@pytest.mark.parametrize("name", ["~nobody's", "a\x85b", "a\u2028b", "a\u2029: #b"])
def test_odd_names_are_written_as_they_are(init: Init, name: str) -> None:
    """Ends of lines that YAML takes for others, and the home folder of nobody."""
    photos(Path(name))
    rows = [f"{i}.png,the red number {i}" for i in range(3)]
    Path(name, "captions.csv").write_text("\n".join([f"file,{name}", *rows]), newline="")
    Path("mine.npz").write_bytes(b"")

    result = init(name, "mine.npz", "--output", "mine.yaml")

    assert result.exit_code == 0, result.output
    dataset = load_dataset(load_config(Path("mine.yaml")).dataset)
    assert dataset.views["text"][2] == "the red number 2"


def test_a_column_without_a_name_is_passed_over(tmp_path: Path) -> None:
    photos(tmp_path)
    lines = ["file,,about", *(f"{i}.png,many more words of {i},a red {i}" for i in range(3))]
    (tmp_path / "captions.csv").write_text("\n".join(lines))

    seen = look(str(tmp_path), offline=True)

    assert [(c.name, c.what, c.view) for c in seen.columns] == [
        ("file", "image", "image"),
        ("", "without a name", ""),
        ("about", "text", "text"),
    ]


def test_from_a_folder_to_results_without_a_network(
    init: Init, networks: Path, toy_photos: Path
) -> None:
    """The newcomer's way: init, plan, run."""
    local = [networks / "llama", networks / "test_efficientnet.safetensors"]
    result = init(str(toy_photos), "--models", *map(str, local))
    assert result.exit_code == 0, result.output

    def run(*words: str) -> Any:
        found = CliRunner().invoke(app, [*words, "photos.yaml", "--offline", "--json"])
        failed = Path("results/photos/failures.jsonl")
        assert found.exit_code == 0, failed.read_text() if failed.exists() else found.stderr
        return json.loads(found.stdout)

    planned = run("plan")
    assert {row["state"] for row in planned if row["stage"] == "extract"} == {"missing"}
    best = run(
        "run",
        "--set=align.null.permutations=9",
        "--set=figures=[{kind: scaling}]",
        "--set=controls={}",
    )
    assert ("llama", "test_efficientnet") in {(row["x"], row["y"]) for row in best}
    assert Path("results/photos/figures/scaling.png").is_file()
