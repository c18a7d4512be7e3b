"""What is known of a local model is asked once, and again when what it is made from moved."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from platorep.config import ModelSpec
from platorep.models import open_model, open_remembered
from platorep.models.remembered import RememberedModel, local_files


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    path = tmp_path / "mine.npz"
    np.savez(path, ids=["a", "b"], layer0=np.eye(2), layer1=np.ones((2, 3)))
    return path


def spec_of(path: Path, **settings: Any) -> ModelSpec:
    raw = {"name": str(path), "label": "m", "family": "f", "modality": "other"}
    return ModelSpec.model_validate(raw | {"backend": "features"} | settings)


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[ModelSpec], tuple[RememberedModel, list[int]]]:
    """A remembered model, and a list that grows each time the model itself is opened."""

    def remembered(spec: ModelSpec) -> tuple[RememberedModel, list[int]]:
        opened: list[int] = []

        def opening() -> Any:
            opened.append(1)
            return open_model(spec, offline=True)

        return RememberedModel(spec, tmp_path / "cache", opening, local_files(spec)), opened

    return remembered


def test_it_answers_as_the_model_does(arrays: Path, tmp_path: Path, asked: Any) -> None:
    spec = spec_of(arrays)
    itself = open_model(spec, offline=True)

    for times in (1, 0):  # the second is answered without the model
        model, opened = asked(spec)
        assert model.identity() == itself.identity()
        assert model.describe() == itself.describe()
        assert model.flops() == itself.flops()
        assert len(opened) == times
    assert isinstance(open_remembered(spec, tmp_path, offline=True), RememberedModel)


def rewrite(path: Path) -> None:
    """Other content of the same size at the same time of change."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_changed_file_or_setting_is_asked_for_again(arrays: Path, asked: Any) -> None:
    before = asked(spec_of(arrays))[0].identity()

    other = asked(spec_of(arrays, layers=(1,)))[0].identity()
    rewrite(arrays)
    changed = asked(spec_of(arrays))[0].identity()
    (arrays.parent / "mine.npz.ids.txt").write_text("a\nb\n")
    model, opened = asked(spec_of(arrays))

    assert len({str(one) for one in (before, other, changed)}) == 3
    assert model.describe()
    assert opened == [1]


@pytest.mark.parametrize("name", ["net[1].npz", "a?.npz", "*.npz"])
def test_a_file_whose_name_is_a_pattern_is_seen_to_change(
    name: str, arrays: Path, tmp_path: Path, asked: Any
) -> None:
    file = arrays.rename(tmp_path / name)
    before = asked(spec_of(file))[0].identity()
    rewrite(file)
    assert asked(spec_of(file))[0].identity() != before


def test_a_damaged_answer_is_asked_for_again(arrays: Path, tmp_path: Path, asked: Any) -> None:
    identity = asked(spec_of(arrays))[0].identity()
    (kept,) = (tmp_path / "cache" / "models").iterdir()
    kept.write_bytes(kept.read_bytes()[:20])

    assert asked(spec_of(arrays))[0].identity() == identity


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "gpt2", "modality": "language", "backend": "transformers"},
        {"name": "resnet18", "modality": "vision", "backend": "timm"},
        {"name": "llama8", "modality": "language", "backend": "toyworld"},
    ],
)
def test_what_may_move_elsewhere_is_always_asked(settings: dict[str, Any]) -> None:
    spec = ModelSpec.model_validate(settings | {"label": "m", "family": "f"})

    assert local_files(spec) is None
