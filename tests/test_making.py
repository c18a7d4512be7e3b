"""Cells are the same wherever they are computed; a worker needs nothing of the driver's cache."""

import os
import pickle
import shutil
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from elsewhere import Elsewhere
from runs import run_of

from platorep.config import ExperimentConfig
from platorep.data import load_dataset
from platorep.engines import Engine
from platorep.errors import AbsentError, DataError, IntegrityError
from platorep.extraction import extract, open_work
from platorep.extraction.making import _Carried, _Making
from platorep.failures import Errors, Failures
from platorep.features import Cell
from platorep.files import ByteLocks
from platorep.models import Reading, open_model
from platorep.models.streamed import Streamed
from platorep.parameters.toyworld import parse_network
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.run import Run
from platorep.toyworld.checkpoints import write_untrained
from platorep.workplace import Home

NUM_ROWS, PER_SHARD = 8, 5
WORLD = {"image_size": 32}
VIEWS = {"grey": {"of": "image", "change": "grey"}}
UNTRAINED = {"backend": "toyworld", "training": {"steps": 0}}


def experiment(*families: dict[str, Any], **said: Any) -> ExperimentConfig:
    raw = {
        "name": "made",
        "dataset": {"source": "toyworld", "world": WORLD, "limit": NUM_ROWS, "views": VIEWS},
        "families": families,
        "align": {"pairs": []},
        "extract": {"rows_per_shard": PER_SHARD, "workers": 0},
    }
    return ExperimentConfig.model_validate(raw | said)


READERS = {"name": "readers", "modality": "language", "models": ["llama4"], **UNTRAINED}
VIEWERS = {"name": "viewers", "modality": "vision", "models": ["conv4"], **UNTRAINED}
SEERS = {
    **{"name": "seers", "modality": "vision", "reads": ["image", "grey"], "pool": ["cls", "mean"]},
    "models": [{"name": "test_vit", "random_init": True, "arguments": {"img_size": 32}}],
}
TRUTH = {"name": "truth", "modality": "truth", "backend": "toyworld", "models": ["truth"]}


class Place:
    """A driver with its cache and results."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.results = folder / "driver-cache", Results(folder / "results")
        self.report = Reporter(-1)
        monkeypatch.setenv("PLATOREP_CACHE", str(self.cache))

    def run(self, config: ExperimentConfig, engine: Engine | None = None, **options: Any) -> Run:
        return run_of(config, self.results, self.cache, self.report, engine=engine, **options)

    def extract(self, config: ExperimentConfig, engine: Engine | None = None) -> Failures:
        return extract(self.run(config, engine))

    def cells(self) -> dict[str, Cell]:
        cells = self.results.read_json(self.results.cells, "extract")["cells"]
        return {label: Cell(self.cache / cell["folder"]) for label, cell in cells.items()}


def test_the_same_cells_from_a_worker_that_sees_nothing_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(READERS, VIEWERS, SEERS, TRUTH, controls={"baselines": True})
    engine = Elsewhere(tmp_path / "worker")
    there = Place(tmp_path / "there", monkeypatch)
    assert there.extract(config, engine).errors == {}
    here = Place(tmp_path / "here", monkeypatch)
    shutil.copytree(there.cache / "toyworld", here.cache / "toyworld")  # nor trained again here
    assert here.extract(config).errors == {}
    assert list(here.cells()) == list(there.cells()) != []
    for label, cell in here.cells().items():
        other = there.cells()[label]
        assert other.folder.name == cell.folder.name
        for one, two in zip(cell.read(), other.read(), strict=True):
            assert torch.equal(one, two), label
        facts = [one.meta["facts"] for one in (cell, other)]
        assert facts[0] == facts[1]
    assert list(there.cache.glob("*.partial")) == []

    sent = {done.unit.name.split(" ")[1] for done in engine.done}
    assert sent == {"llama4", "conv4", "test_vit", "colour", "grey"}, "where there is a network"
    made = {path.name for path in (tmp_path / "worker").iterdir()}
    assert made == {"toyworld", "models"}, "checkpoints that were carried, and facts of them"
    assert {path.name for path in (tmp_path / "worker" / "toyworld").glob("*/*")} == {"step000000"}


def test_who_sees_the_cache_writes_the_shards_of_a_cell_that_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = experiment(SEERS)
    engine = Elsewhere(tmp_path / "worker", seen=True)
    there = Place(tmp_path / "there", monkeypatch)
    assert there.extract(config, engine).errors == {}
    returned = [(done.part.shard, bool(done.value.features)) for done in engine.done]
    assert returned == [(0, True), (1, False)] * 2, "the first range of a view describes its cells"
    here = Place(tmp_path / "here", monkeypatch)
    assert here.extract(config).errors == {}
    assert len(here.cells()) == 4
    for label, cell in here.cells().items():
        for one, two in zip(cell.read(), there.cells()[label].read(), strict=True):
            assert torch.equal(one, two), label


def local_model(folder: Path, seed: int = 0) -> dict[str, Any]:
    """A family of one reader that lies in a folder."""
    write_untrained(folder, parse_network("llama4"), seed)
    return {"name": "local", "modality": "language", "models": [str(folder)]}


def test_a_unit_can_be_pickled_without_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, monkeypatch)
    run = place.run(experiment(local_model(tmp_path / "llama")))
    dataset = load_dataset(run.config.dataset, offline=True)
    work = open_work(run, open_model(run.specs[0], offline=True), dataset)
    making = _Making(run, dataset, Errors(), Home(place.cache))
    with ExitStack() as held:
        carried = _Carried(making, run.engine, making.home, deque([[work]]), held)
        (unit,) = carried._units()
        assert (unit.num_parts, unit.total) == (2, NUM_ROWS)
        again = pickle.loads(pickle.dumps(replace(unit, parts=())))
    assert (again.opens, again.given) == (unit.opens, unit.given)


def test_a_folder_that_a_node_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, monkeypatch)
    lacking, lying = (
        local_model(tmp_path / "driver-cache" / "llama"),
        local_model(tmp_path / "b", 1),
    )
    config = experiment(lacking, lying | {"name": "other"})
    errors = place.extract(config, Elsewhere(tmp_path / "worker")).errors
    assert list(errors) == ["llama"]
    assert isinstance(errors["llama"], AbsentError)
    for part in (os.uname().nodename, "hidden-cache/llama"):
        assert part in str(errors["llama"])
    assert place.cells()["b"].is_complete()


def test_another_model_of_the_same_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node with other files under the same path, such as an older snapshot of the hub."""
    place = Place(tmp_path, monkeypatch)
    config = experiment(local_model(tmp_path / "driver-cache" / "llama"))
    local_model(tmp_path / "hidden-cache" / "llama", seed=1)
    with pytest.raises(IntegrityError, match=r"on node .*: files\.model\.safetensors differ"):
        place.extract(config, Elsewhere(tmp_path / "worker"))
    assert not place.cells()["llama"].exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_part_that_fails_is_a_failure_of_its_cell(
    elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, monkeypatch)
    monkeypatch.syspath_prepend(str(tmp_path))
    family = {"name": "f", "modality": "other", "reads": "text", "backend": "module"}
    models = [
        {"name": "own_net:build", "inputs": f"own_net:{how}", "label": how}
        for how in ("few", "words")
    ]
    config = experiment(family | {"models": models, "layers": ["0"]})
    refused = load_dataset(config.dataset, offline=True).views["text"][PER_SHARD + 1]
    (tmp_path / "own_net.py").write_text(
        "import torch\n"
        "from platorep.errors import DataError\n"
        "def build():\n    return torch.nn.Sequential(torch.nn.Linear(3, 4))\n"
        "def words(text):\n    return torch.ones(4, 3) * len(text)\n"
        "def few(text):\n"
        f"    if text == {refused!r}:\n        raise DataError('not this')\n"
        "    return words(text)\n"
    )
    engine = Elsewhere(tmp_path / "worker") if elsewhere else None
    errors = place.extract(config, engine).errors
    assert list(errors) == ["few (text)"]
    assert isinstance(errors["few (text)"], DataError)
    assert place.cells()["few (text)"].missing_shards() == [1]
    assert place.cells()["words (text)"].is_complete()


def test_decoders_stay_from_part_to_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though each part comes with samples of its own."""
    place = Place(tmp_path, monkeypatch)
    config = experiment(VIEWERS, controls={"baselines": True})
    (spec,) = [spec for spec in config.models() if spec.label == "colour histogram"]
    view = load_dataset(config.dataset, offline=True).views["image"]
    loaded = open_model(spec, offline=True).load("cpu", torch.float32)
    assert isinstance(loaded, Streamed)
    (whole,) = loaded.features(Reading(range(NUM_ROWS), view, workers=0))
    streams, parts = set(), []
    for rows in (range(PER_SHARD), range(PER_SHARD, NUM_ROWS)):
        sent = pickle.loads(pickle.dumps(view.taken(rows)))
        parts += loaded.features(Reading(range(len(rows)), sent, workers=0, sent=True))
        streams.add(loaded._stream)
    assert torch.equal(torch.cat(parts), whole)
    assert len(streams) == 1
    assert place.cache.exists()


def test_what_another_process_is_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, monkeypatch)
    config = experiment(local_model(tmp_path / "a"), local_model(tmp_path / "b", 1) | {"name": "c"})
    assert place.extract(config).errors == {}
    cell = place.cells()["a"]
    shutil.rmtree(place.cells()["b"].folder)
    content = cell.shard_path(1).read_bytes()
    cell.shard_path(1).unlink()
    ready, tell = os.pipe()
    if (child := os.fork()) == 0:
        locks = ByteLocks(cell.folder / ".lock")
        locks.acquire(1, wait=True)
        os.write(tell, b".")
        while not place.cells()["b"].is_complete():  # which is made first
            time.sleep(0.01)
        time.sleep(0.1)
        cell.shard_path(1).write_bytes(content)
        os._exit(0)
    os.read(ready, 1)
    place.report.verbosity = 0
    assert place.extract(config).errors == {}
    os.waitpid(child, 0)
    said = capsys.readouterr().err
    assert said.index("extract b:") < said.index("a: waiting for another process")
    assert "extract a" not in said
    assert cell.is_complete()
