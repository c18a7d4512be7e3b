"""`dtype: auto` is the machine's choice: what another machine chose is taken, what a user binds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import run_of

from platorep.config import ExperimentConfig, ModelSpec
from platorep.extraction import extract
from platorep.models import compute_dtypes
from platorep.parameters.toyworld import WorldParameters, parse_network
from platorep.performance import measure
from platorep.reporting import Reporter
from platorep.results import Results
from platorep.toyworld.checkpoints import write_untrained
from platorep.toyworld.folder import write_folder

ON_A_GPU = "bfloat16"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_untrained(folder / "network", parse_network("llama8"))
    write_folder(folder / "pairs", WorldParameters(image_size=16), 4)
    return folder


class Bench:
    def __init__(self, made: Path, folder: Path) -> None:
        self.made, self.folder = made, folder
        self.log = (folder / "log").open("a+")

    def lines(self) -> str:
        self.log.flush()
        return (self.folder / "log").read_text()

    def run(self, dtype: str, **options: Any) -> Any:
        families = [{"name": "f", "modality": "language", "models": [str(self.made / "network")]}]
        raw = {
            "name": "test",
            "dataset": {"source": str(self.made / "pairs"), "text": "caption"},
            "families": families,
            "extract": {"dtype": dtype, "rows_per_shard": 2},
            "performance": [{"source": "captions"}],
            "align": {"pairs": [["language", "language"]]},
        }
        config = ExperimentConfig.model_validate(raw)
        results = Results(self.folder / "results")
        report = Reporter(0, self.log)
        return run_of(config, results, self.folder / "cache", report, **options)

    def extract(self, dtype: str, **options: Any) -> str:
        """The precision of the cell that the experiment ends with."""
        run = self.run(dtype, **options)
        assert not extract(run).errors
        content = run.results.read_json(run.results.cells, "extract")
        return str(content["cells"]["network"]["compute_dtype"])

    def measure(self, dtype: str, **options: Any) -> str:
        _, table = measure(self.run(dtype, **options))
        return str(table["dtype"].item())

    def shards(self) -> list[Path]:
        return sorted((self.folder / "cache").rglob("shard-*"))


@pytest.fixture
def bench(made: Path, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(made, tmp_path)
    yield bench
    bench.log.close()


def test_who_chooses_what() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    about: dict[str, Any] = {"name": "m", "label": "m", "family": "f"}
    text = ModelSpec(modality="language", backend="transformers", **about)
    image = ModelSpec(modality="vision", backend="timm", **about)
    assert compute_dtypes(text, "auto", gpu) == ("bfloat16", "float32")
    assert compute_dtypes(text, "auto", cpu) == ("float32", "bfloat16")
    assert compute_dtypes(text, "float16", gpu) == ("float16",)
    assert compute_dtypes(image, "auto", gpu) == compute_dtypes(image, "auto", cpu) == ("float32",)
    bound = text.model_copy(update={"dtype": "float32"})
    assert compute_dtypes(bound, "auto", gpu) == ("float32",)


@pytest.mark.parametrize("work", ["extract", "measure"])
def test_what_a_gpu_made_is_taken_and_told(work: str, bench: Bench) -> None:
    in_dtype = getattr(bench, work)
    assert in_dtype(ON_A_GPU) == ON_A_GPU
    assert "taken" not in bench.lines()
    assert in_dtype("auto") == ON_A_GPU
    assert "taken" in bench.lines()


@pytest.mark.parametrize("work", ["extract", "measure"])
def test_an_explicit_precision_binds_and_ones_own_choice_comes_first(
    work: str, bench: Bench
) -> None:
    in_dtype = getattr(bench, work)
    in_dtype(ON_A_GPU)
    assert in_dtype("float32") == "float32"
    assert in_dtype("auto") == "float32"
    assert "taken" not in bench.lines()


@pytest.mark.parametrize("work", ["extract", "measure"])
def test_anew_is_in_ones_own_choice(work: str, bench: Bench) -> None:
    in_dtype = getattr(bench, work)
    in_dtype(ON_A_GPU)
    assert in_dtype("auto", overwrite="always") == "float32"


def test_what_a_dead_task_left_undone_is_finished_as_it_was_begun(bench: Bench) -> None:
    bench.extract(ON_A_GPU)
    before = bench.shards()
    before[1].unlink()
    assert bench.extract("auto") == ON_A_GPU
    assert bench.shards() == before


def test_a_damaged_cell_of_another_machine_is_no_choice(bench: Bench) -> None:
    bench.extract(ON_A_GPU)
    (meta,) = (bench.folder / "cache").rglob("meta.json")
    meta.write_text("{")

    assert bench.extract("auto") == "float32"
