"""The command line: help everywhere, data on stdout and talk on stderr, light until it works."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from platorep.cli import app
from platorep.config import load_config, shipped_configs
from platorep.parameters.toyworld import WorldParameters
from platorep.toyworld.folder import write_folder

REPOSITORY = Path(__file__).parents[1]
HEAVY = {
    *("torch", "numpy", "pandas", "scipy", "matplotlib", "pyarrow"),
    *("transformers", "timm", "datasets", "safetensors", "huggingface_hub"),
}


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command of the live tree, with what is typed for it."""
    command = command or get_command(app)
    yield " ".join(path), command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands())


# --- help ---


def test_the_tree_is_walked() -> None:
    assert {"", "run", "plan", "extract", "measure", "align", "plot", "list", "score"} <= set(
        COMMANDS
    )
    assert {"cache list", "cache verify", "cache clean", "cache import"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]

    assert command.help
    assert command.help.splitlines()[0].endswith((".", "?"))
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"
        for option in parameter.opts:
            if option.startswith("--"):
                assert option == option.lower()
                assert "_" not in option


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_shown(name: str, flag: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), flag])

    assert result.exit_code == 0
    assert "Usage" in result.stdout
    assert result.stderr == ""


def test_every_command_is_in_the_readme() -> None:
    """Whole commands in code, and none that does not exist."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    written = re.findall(r"`(?:\.venv/bin/)?platorep ([a-z ]+[a-z])\b", text)
    leaves = {name for name, command in COMMANDS.items() if not hasattr(command, "commands")}

    assert {name for name in leaves if name not in written} == set()
    assert {line for line in written if not any(line.startswith(name) for name in leaves)} == set()


@pytest.mark.parametrize("name", ["run", "plan", "extract", "measure", "align", "plot"])
def test_the_stages_share_their_options(name: str) -> None:
    options = {option for p in COMMANDS[name].params for option in p.opts}

    assert {"config", "--set", "--output", "--json"} <= options
    if name != "plan":
        assert {"--quiet", "--verbose", "--keep-going"} <= options
    if name != "plot":
        assert {"--models", "--device"} <= options


def test_nothing_is_nothing_to_do() -> None:
    result = CliRunner().invoke(app, [])

    assert result.exit_code == 2
    assert "Usage" in result.stdout + result.stderr


# --- light ---


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["cache", "list", "--help"], 0),
        (["run", "smok"], 2),
        (["run", "smoke", "--set", "dataset.limt=3"], 2),
    ],
    ids=str,
)
def test_help_and_wrong_files_need_nothing_heavy(arguments: list[str], code: int) -> None:
    script = (
        "import sys\n"
        "from platorep.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print('imported:', *({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", script, *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert found.returncode == code, found.stderr
    assert found.stderr.splitlines()[-1] == "imported:"


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "platorep", "--help"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert found.returncode == 0
    assert "Usage" in found.stdout


def test_the_module_ends_with_the_same_codes() -> None:
    command = [sys.executable, "-m", "platorep", "run", "smok"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (found.returncode, found.stdout) == (2, "")
    assert "Did you mean 'smoke'?" in found.stderr


# --- data and talk ---


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(
        tmp_path_factory.mktemp("data") / "pairs", WorldParameters(image_size=16), 12
    )


Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a folder with a small experiment of arrays, `small.yaml`."""
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the handler is the command's own
    monkeypatch.chdir(tmp_path)
    ids = [f"scene-{i:06d}.png" for i in range(12)]
    for number, name in enumerate(("a", "b")):
        layers = np.random.default_rng(number).normal(size=(12, 2, 3)).astype("f4")
        np.savez(tmp_path / f"{name}.npz", layers=layers, ids=ids)
    (tmp_path / "table.csv").write_text("model,value,source\na,0.5,a paper\nb,0.7,a paper\n")
    experiment = {
        "name": "small",
        "dataset": {"source": str(pairs), "text": "caption"},
        "families": [
            {
                "name": "arrays",
                "modality": "other",
                "models": [{"name": f"{name}.npz", "label": name} for name in ("a", "b")],
            }
        ],
        "performance": [{"name": "skill", "table": "table.csv"}],
        "align": {
            "pairs": [["other", "other"]],
            "metrics": [{"name": "mutual_knn", "k": 3}],
            "null": {"permutations": 9},
        },
        "figures": [{"kind": "heatmap"}],
        "report": {"after_run": False},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(experiment))
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def objects(result: Any) -> list[dict[str, Any]]:
    """What `--json` printed; nothing else may stand on stdout."""
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert all(isinstance(entry, dict) for entry in found)
    return list(found)


def test_stdout_is_data_only(run: Run) -> None:
    plan = objects(run("plan", "small.yaml", "--json"))
    assert [row["cell"] for row in plan if row["stage"] == "extract"] == ["a", "b"]
    assert {row["state"] for row in plan if row["stage"] == "extract"} == {"missing"}
    extracted = objects(run("extract", "small.yaml", "--json", "-v"))
    assert [row["label"] for row in extracted] == ["a", "b"]
    assert [
        row["label"] for row in objects(run("extract", "small.yaml", "--models", "b", "--json"))
    ] == ["b"]
    measured = objects(run("measure", "small.yaml", "--json"))
    assert [row["value"] for row in measured] == [0.5, 0.7]
    (best,) = objects(run("align", "small.yaml", "--json"))
    assert (best["x"], best["y"], best["metric"]) == ("a", "b", "mutual_knn{k: 3}")
    files = objects(run("plot", "small.yaml", "--json"))
    assert {Path(row["file"]).suffix for row in files} == {".pdf", ".png", ".csv"}
    assert all(Path(row["file"]).is_file() for row in files)
    again = objects(run("plan", "small.yaml", "--json"))
    assert {row["state"] for row in again if row["stage"] == "extract"} == {"cached"}
    assert "missing" not in {row["state"] for row in again}
    assert again[-2]["cell"].endswith(" 0 to do")
    assert objects(run("run", "small.yaml", "--json")) == [best]
    cells = objects(run("cache", "list", "--json"))
    assert [cell["state"] for cell in cells] == ["1/1 shards", "1/1 shards"]
    assert objects(run("cache", "verify", "--json")) == []
    assert objects(run("cache", "clean", "--partial", "--json")) == []
    removed = objects(run("cache", "clean", "--model", "a*", "--json"))
    assert len(removed) == 1


@pytest.mark.parametrize("stage", ["extract", "measure", "align", "run"])
def test_never_computes_nothing(run: Run, stage: str) -> None:
    """Neither before anything is there nor when all is; in between, what is there stands."""
    expected = 0 if stage == "measure" else 4  # a table of numbers is only read
    assert run(stage, "small.yaml", "--overwrite", "never").exit_code == expected
    assert not list(Path(os.environ["PLATOREP_CACHE"]).rglob("shard-*"))
    assert not list(Path("results").rglob("best.csv"))
    objects(run("run", "small.yaml", "--json"))
    assert run(stage, "small.yaml", "--overwrite", "never").exit_code == 0
    best = Path("results/small/best.csv").read_bytes()

    for piece in Path("results/small/parts").glob("*.json"):
        piece.unlink()
    if stage in ("align", "run"):
        ended = run(stage, "small.yaml", "--overwrite", "never")
        assert ended.exit_code == 4, ended.output
        assert "--overwrite never forbids" in ended.stderr
        assert Path("results/small/best.csv").read_bytes() == best
        assert not list(Path("results/small/parts").glob("*.json"))


def test_the_plan_adds_up(run: Run) -> None:
    *rows, total, largest = objects(run("plan", "small.yaml", "--json"))

    assert (total["stage"], total["cell"]) == ("total", f"{len(rows)} cells, {len(rows) - 1} to do")
    assert (largest["stage"], total["weights_mb"]) == ("largest", None)  # no sum: one at a time
    assert total["disk_mb"] == sum(row["disk_mb"] or 0 for row in rows)
    (align,) = (row for row in rows if row["stage"] == "align")
    assert align["seconds"] is not None
    assert total["seconds"] == align["seconds"]  # arrays of one's own are only read


def test_what_is_asked_no_more_is_not_drawn_from(run: Run) -> None:
    objects(run("run", "small.yaml", "--json"))
    objects(run("run", "small.yaml", "--set", "performance=[]", "--json"))
    assert len(Path("results/small/performance.csv").read_text().splitlines()) == 1


def test_run_ends_with_a_page_that_is_kept_until_something_changes(run: Run) -> None:
    page, on = Path("results/small/report.html"), ("--set", "report.after_run=true")
    ended = run("run", "small.yaml", *on)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout.split()[:3] == ["x", "y", "control"]
    assert f"report: {page} (to see it: " in ended.stderr.splitlines()[-1]
    assert "scene-000003" in page.read_text(encoding="utf-8")

    (told,) = objects(run("report", "small.yaml", "--no-images", "--rows", "2", "--json"))
    assert told["file"] == str(page)
    shown = page.read_text(encoding="utf-8")
    assert "platorep report small.yaml" in shown
    assert "data:image/webp" not in shown
    assert run("run", "small.yaml", *on).exit_code == 0
    assert page.read_text(encoding="utf-8") == shown

    objects(run("run", "small.yaml", *on, "--set", "align.metrics.0.k=2", "--json"))
    assert page.read_text(encoding="utf-8") != shown


def test_there_is_no_page_without_scores(run: Run) -> None:
    ended = run("report", "small.yaml")
    assert ended.exit_code == 4
    assert "Run `platorep" in ended.stderr


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("figures.0.metric=mutual_kn", 2),  # known from the file alone
        ("figures.0={kind: scaling, x: skil, points: other, lines: other}", 2),
        ("figures.0={kind: layer_heatmap, pair: [a, c], name: heatmap}", 2),
        ("figures.0={kind: density, name: heatmap}", 4),  # known once there are tables
    ],
)
def test_a_figure_that_cannot_be_drawn_leaves_the_good_one(run: Run, wrong: str, code: int) -> None:
    objects(run("run", "small.yaml", "--json"))
    figures = Path("results/small/figures")
    before = {path: path.read_bytes() for path in figures.iterdir()}
    assert len(before) == 3

    failed = run("plot", "small.yaml", "--set", wrong)

    assert failed.exit_code == code
    assert {path: path.read_bytes() for path in figures.iterdir()} == before
    assert ("heatmap.* is a figure of an earlier run" in failed.stderr) == (code == 4)


def test_tables_edited_into_nonsense_are_named_and_not_drawn(run: Run) -> None:
    objects(run("run", "small.yaml", "--json"))
    folder = Path("results/small")
    damages: dict[str, list[Callable[[str], str]]] = {
        "models.csv": [
            lambda text: "garbage",
            lambda text: text.splitlines()[0],
            lambda text: text[: len(text) // 2],
            lambda text: text.replace(",", ";"),
            lambda text: text.replace("a,", "zzz,"),
        ],
        "best.csv": [
            lambda text: "label,model\n1,2\n",
            lambda text: text.replace(",a,", ",zzz,"),
            lambda text: text.replace(",b,", ",,"),
        ],
        "performance.csv": [
            lambda text: "garbage",
            lambda text: text.replace("0.5", "half"),
        ],
    }
    for name, changes in damages.items():
        good = (folder / name).read_text()
        for change in changes:
            (folder / name).write_text(change(good))
            drawn = run("plot", "small.yaml")
            assert drawn.exit_code == 5, (name, change(good), drawn.output)
            assert f"{folder / name} " in drawn.stderr or "models.csv" in drawn.stderr
        (folder / name).write_text(good)


def test_a_plan_knows_scores_of_other_settings(run: Run) -> None:
    objects(run("run", "small.yaml", "--json"))

    def state(*more: str) -> str:
        rows = objects(run("plan", "small.yaml", *more, "--json"))
        return str(next(row["state"] for row in rows if row["stage"] == "align"))

    assert state() == "cached"
    assert state("--set", "align.metrics.0.k=4") == "missing"


def test_a_plan_without_its_dataset(run: Run) -> None:
    result = run("plan", "small.yaml", "--set", "dataset.source=./nowhere", "--json")
    rows = json.loads(result.stdout)

    assert result.exit_code == 4
    assert "nowhere" in result.stderr
    assert (rows[0]["state"], rows[-2]["stage"]) == ("missing", "total")
    assert all(row["seconds"] is None for row in rows)


def test_a_plan_ends_as_a_run_would_with_a_wrong_setting(run: Run) -> None:
    wrong = ("--set", "families.0.models.0.pool=cls", "--json")
    planned, ended = run("plan", "small.yaml", *wrong), run("run", "small.yaml", *wrong)

    assert (planned.exit_code, ended.exit_code) == (2, 2)
    assert "pool" in planned.stderr
    assert json.loads(planned.stdout)[1]["state"] == "unknown"


def test_a_plan_says_what_a_run_would_do(run: Run) -> None:
    """After a change of one thing, what depends on it is to do, and nothing else."""

    def planned(*more: str) -> dict[str, str]:
        rows = objects(run("plan", "small.yaml", *more, "--json"))
        return {row["cell"]: row["state"] for row in rows if row["state"] is not None}

    objects(run("run", "small.yaml", "--json"))
    done = planned()
    assert set(done.values()) == {"here", "cached"}

    def changed(*more: str) -> set[str]:
        after = planned(*more)
        return {cell for cell in after if after[cell] != done.get(cell)}

    figure, metric = "heatmap", "mutual_knn{k: 3}"
    assert changed("--set", "align.null.alpha=0.01") == {figure}  # the tables alone
    table = Path("results/small/performance.csv")
    before = table.read_text()
    table.write_text(before.replace("0.5", "0.25"))
    assert changed() == {"skill", figure}  # it would be written anew
    table.write_text(before)
    drawn = Path("results/small/figures/heatmap.png")
    drawn.write_bytes(drawn.read_bytes()[:-1])
    assert changed() == {figure}
    objects(run("run", "small.yaml", "--json"))
    assert changed() == set()
    numbers = Path("table.csv")
    before = numbers.read_text()
    numbers.write_text(before.replace("0.5", "0.25"))
    assert changed() == {"skill", figure}
    numbers.write_text(before)
    assert changed() == set()
    assert changed("--set", "dataset.limit=11") >= {"a", "b", metric, figure}


@pytest.mark.parametrize("what", ["metrics", "figures", "configs"])
def test_listings(run: Run, what: str) -> None:
    rows = objects(run("list", what, "--json"))

    assert len(rows) > 2
    first = rows[0]["name"]
    assert [row["name"] for row in objects(run("list", what, first, "--json"))] == [first]
    assert objects(run("list", what, "no such thing", "--json")) == []
    assert first in run("list", what).stdout


def test_listed_configs_name_the_command_that_they_are_for(run: Run) -> None:
    commands = {row["name"]: row["command"] for row in objects(run("list", "configs", "--json"))}
    assert commands["toyworld"] == "platorep run toyworld"
    assert commands["toyworld-map"] == "platorep bridge map toyworld-map"
    assert commands["filters"] == "platorep units filters filters"
    assert commands["theory-pmi"] == "platorep theory pmi theory-pmi"


def test_listing_timms_models(run: Run) -> None:
    rows = objects(run("list", "models", "vit_tiny*", "--json"))

    assert "vit_tiny_patch16_224.augreg_in21k" in [row["name"] for row in rows]


def test_tables_for_people_say_the_same(run: Run) -> None:
    run("extract", "small.yaml")
    result = run("align", "small.yaml")

    header, row = result.stdout.splitlines()
    assert header.split()[:3] == ["x", "y", "metric"] or "metric" in header
    assert row.split()[:2] == ["a", "b"]


def test_talk_goes_to_stderr_and_can_be_turned_off(run: Run) -> None:
    said = run("extract", "small.yaml")
    assert "dataset pairs: 12 rows" in said.stderr
    assert "wrote" not in said.stderr
    assert "wrote shard-00000" in run("extract", "small.yaml", "-v", "--overwrite", "always").stderr
    quiet = run("extract", "small.yaml", "-q", "--overwrite", "always")
    assert [line for line in quiet.stderr.splitlines() if not line.startswith("warning:")] == []


def test_options_are_the_files_settings(run: Run, tmp_path: Path) -> None:
    flags = ("--limit", "8", "--batch-size", "2", "--models", "a", "--output", "elsewhere")
    (row,) = objects(run("extract", "small.yaml", *flags, "--json"))

    assert row["label"] == "a"
    config = json.loads((tmp_path / "elsewhere" / "run.json").read_text())["config"]
    assert config["dataset"]["limit"] == 8
    assert config["extract"]["batch"] == 2
    overridden = ("--set", "dataset.limit=9", "--set", "align.metrics.0.k=4")
    run("extract", "small.yaml", *overridden)
    config = json.loads((tmp_path / "results" / "small" / "run.json").read_text())["config"]
    assert config["dataset"]["limit"] == 9
    assert config["align"]["metrics"][0]["parameters"]["k"] == 4


def test_models_add_up(run: Run) -> None:
    rows = objects(run("extract", "small.yaml", "--models", "a", "--models", "[b-z]", "--json"))
    assert [row["label"] for row in rows] == ["a", "b"]

    result = run("extract", "small.yaml", "--models", "a", "--models", "z*")

    assert result.exit_code == 2
    assert "--models z*" in result.stderr


def test_a_metric_that_is_larger_than_the_data_is_refused(run: Run) -> None:
    run("extract", "small.yaml")

    result = run("align", "small.yaml", "--set", "align.metrics.0.k=12")

    assert result.exit_code == 2
    assert "k" in result.stderr


def test_imported_features_are_a_models_cell(run: Run, tmp_path: Path) -> None:
    layers = np.random.default_rng(5).normal(size=(12, 1, 4)).astype("f4")
    np.save(tmp_path / "mine.npy", layers)

    several = run("cache", "import", "small.yaml", "*", "mine.npy")
    assert several.exit_code == 2
    assert "here are several: a, b" in several.stderr
    result = run("cache", "import", "small.yaml", "b", "mine.npy")

    assert result.exit_code == 0, result.stderr
    assert Path(result.stdout.strip()).is_dir()
    assert run("extract", "small.yaml", "--models", "a").exit_code == 0
    assert run("align", "small.yaml").exit_code == 0


# --- shipped experiments ---


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_experiment_is_planned(run: Run, name: str, tmp_path: Path) -> None:
    """Offline, with an empty cache: what is not known is said, and nothing is computed."""
    of_prh_val = dict.fromkeys(("prh-test", "prh-density", "prh-metrics"), "[!v]*")
    chosen = (of_prh_val | {"prh-vision": "vit_tiny*"}).get(name, "*")  # its vision models, once
    flags = ("--limit", "16", "--models", chosen, "--offline", "--json")
    config = load_config(shipped_configs()[name])
    result = run("plan", name, *flags)
    made_here = config.dataset.source in ("toyworld", "deadleaves")
    assert result.exit_code == (0 if made_here else 4), result.output
    rows = json.loads(result.stdout)

    labels = [spec.label for spec in config.models() if fnmatch(spec.label, chosen)]
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_stage.setdefault(row["stage"], []).append(row)
    assert [row["cell"] for row in by_stage["extract"]] == labels
    assert {row["state"] for row in by_stage["extract"]} <= {"missing", "unknown"}
    assert all(row["note"] for row in by_stage["extract"] if row["state"] == "unknown")
    assert len(by_stage.get("measure", [])) == len(config.performance)
    galleries = 0 if config.align.gallery is None else 1
    assert len(by_stage["align"]) == len(config.align.metrics) + galleries
    assert len(by_stage.get("plot", [])) == len(config.figures)
    if name == "prh-val":  # timm knows the sizes of its networks without their weights
        (giant,) = [
            r for r in by_stage["extract"] if r["cell"].startswith("vit_giant_patch14_dinov2")
        ]
        assert (giant["layers"], giant["width"], giant["rows"]) == (40, "1536", 16)
        assert giant["parameters"] == pytest.approx(1.14e9, rel=0.01)
        assert giant["disk_mb"] == pytest.approx(16 * 40 * 1536 * 4 / 1e6, abs=0.1)
    assert not (tmp_path / "results").exists()
    cached = json.loads(run("cache", "list", "--json").stdout)
    assert cached == []
