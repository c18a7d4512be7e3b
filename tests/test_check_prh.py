"""The comparison of a finished run with known numbers, on tables made up for it."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "check_prh.py"
DINOV2 = "vit_base_patch14_dinov2.lvd142m"


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Writes a run's tables and gives the script's exit code and what it prints."""

    def check(*pairs: tuple[str, str, float], dataset: str = "prh@wit_1024") -> tuple[int, str]:
        families = {"open_llama_3b": "OpenLLaMA", "open_llama_7b": "OpenLLaMA", DINOV2: "DINOv2"}
        rows: list[dict[str, Any]] = [
            {
                **{"dataset": dataset, "x": x, "y": y, "x_modality": "language"},
                **{"y_modality": "vision", "x_family": families[x], "y_family": families[y]},
                **{"x_random": False, "y_random": False, "control": ""},
                **{"metric": "mutual_knn{k: 10}", "score": score},
            }
            for x, y, score in pairs
        ]
        shuffled = rows[0] | {"control": "shuffled", "score": 0.5}
        pd.DataFrame([*rows, shuffled]).to_csv(tmp_path / "best.csv", index=False)
        models = {"label": list(families), "num_parameters": [3e9, 7e9, 9e7]}
        pd.DataFrame(models).to_csv(tmp_path / "models.csv", index=False)
        code = runpy.run_path(str(SCRIPT))["main"]([str(tmp_path)])
        return code, capsys.readouterr().out

    return check


def test_known_numbers_hold(check: Callable[..., tuple[int, str]]) -> None:
    code, text = check(("open_llama_3b", DINOV2, 0.1352), ("open_llama_7b", DINOV2, 0.155))

    assert code == 1  # the mean of these two is not that of 170 pairs
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert lines["mutual_knn{k: 10} of open_llama_3b x " + DINOV2].rstrip().endswith("yes")
    assert "0.1550" in next(line for name, line in lines.items() if name.startswith("largest"))
    assert lines["OpenLLaMA: rises with size"].rstrip().endswith("yes")
    assert lines["mean mutual_knn{k: 10} of 2 pairs"].rstrip().endswith("NO")


def test_a_number_that_is_off_is_said(check: Callable[..., tuple[int, str]]) -> None:
    code, text = check(("open_llama_3b", DINOV2, 0.12), ("open_llama_7b", DINOV2, 0.11))

    assert code == 1
    (line,) = (
        line for line in text.splitlines() if "open_llama_3b x" in line and "of open" in line
    )
    assert line.rstrip().endswith("NO")
    (line,) = (line for line in text.splitlines() if "rises" in line)
    assert line.rstrip().endswith("NO")


def test_other_data_has_nothing_to_compare(check: Callable[..., tuple[int, str]]) -> None:
    assert check(("open_llama_3b", DINOV2, 0.135), dataset="flickr8k")[0] == 2
