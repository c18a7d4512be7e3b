"""A user's own arrays as a model: formats, names of rows, refusals.

Axes: n rows, l layers, d features.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError
from platorep.models import Ids, Reading, open_model

IDS = ("a", "b", "c", "d")
LAYERS = {  # two widths; layer10 comes after layer2
    "layer2": torch.arange(8.0).reshape(4, 2),
    "layer10": torch.arange(100.0, 112.0).reshape(4, 3),
}


def make_spec(path: Path, **settings: Any) -> ModelSpec:
    settings = {"modality": "vision", **settings}
    return ModelSpec(name=str(path), label="mine", family="f", backend="features", **settings)


def extract(path: Path, ids: Sequence[str] = IDS, rows: Any = None, **spec: Any) -> list[Tensor]:
    loaded = open_model(make_spec(path, **spec), offline=True).load("cpu", torch.bfloat16)
    return loaded.features(Reading(range(len(ids)) if rows is None else rows, Ids(ids)))


def notes(path: Path) -> tuple[str, ...]:
    return open_model(make_spec(path), offline=True).load("cpu", torch.float32).notes


def save(path: Path, arrays: dict[str, Tensor], ids: Sequence[Any] | None = None) -> Path:
    """All of `arrays` in one file of the kind that its ending says."""
    if path.suffix == ".safetensors":
        save_file(arrays, path, None if ids is None else {"ids": json.dumps(list(ids))})
    else:
        named = {} if ids is None else {"ids": np.array(ids)}
        np.savez(path, **{k: v.numpy() for k, v in arrays.items()}, **named)
    return path


def equal(found: list[Tensor], *expected: Tensor) -> bool:
    assert all(layer.dtype == torch.float32 for layer in found)
    return [layer.tolist() for layer in found] == [layer.tolist() for layer in expected]


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_one_array_per_layer_in_natural_order(ending: str, tmp_path: Path) -> None:
    path = save(tmp_path / f"mine{ending}", LAYERS)
    assert equal(extract(path), LAYERS["layer2"], LAYERS["layer10"])
    described = open_model(make_spec(path), offline=True).describe()
    assert described.layers == ("layer2", "layer10")
    assert described.widths == (2, 3)
    assert described.weight_bytes == path.stat().st_size
    assert described.parameters is None
    assert equal(extract(path, layers=(-1,)), LAYERS["layer10"])
    with pytest.raises(ConfigError, match=r"layers \[2\] do not exist"):
        extract(path, layers=(2,))


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".npy"])
def test_one_array_of_all_layers(ending: str, tmp_path: Path) -> None:
    stack = torch.arange(24.0).reshape(4, 3, 2)
    path = tmp_path / f"mine{ending}"
    if ending == ".npy":
        np.save(path, stack.numpy())
    else:
        save(path, {"features": stack})
    assert equal(extract(path), stack[:, 0], stack[:, 1], stack[:, 2])


def test_number_types_become_float32(tmp_path: Path) -> None:
    for kind in ("<f2", ">f8", "<i8", "<u2", "|i1"):
        np.save(tmp_path / "mine.npy", np.array([[1, 2], [3, 4], [5, 6], [7, 8]], dtype=kind))
        assert equal(extract(tmp_path / "mine.npy"), torch.arange(1.0, 9).reshape(4, 2)), kind
    save_file({"x": LAYERS["layer2"].bfloat16()}, tmp_path / "mine.safetensors")
    assert equal(extract(tmp_path / "mine.safetensors"), LAYERS["layer2"])


@pytest.mark.parametrize("where", ["safetensors", "npz", "npz integers", "txt", "csv"])
def test_named_rows_are_matched(where: str, tmp_path: Path) -> None:
    ids: Sequence[Any] = (7, 30, 4, 1) if "integers" in where else ("b", "extra row", "d", "c")
    wanted = [str(ids[i]) for i in (2, 3, 0)]
    ending = {"safetensors": ".safetensors", "txt": ".safetensors"}.get(where, ".npz")
    beside = where in ("txt", "csv")
    path = save(tmp_path / f"mine{ending}", LAYERS, None if beside else ids)
    if where == "txt":
        path.with_name(f"{path.name}.ids.txt").write_text("\n".join(ids) + "\n")
    if where == "csv":
        lines = ["name,more", *(f'"{i}",x' for i in ids)]
        path.with_name(f"{path.name}.ids.csv").write_text("\n".join(lines))
    order = [2, 3, 0]
    assert equal(extract(path, wanted), LAYERS["layer2"][order], LAYERS["layer10"][order])
    assert equal(extract(path, wanted, rows=[1]), *(layer[[3]] for layer in LAYERS.values()))
    assert notes(path) == ()
    with pytest.raises(DataError, match=r"lacks 2 of the dataset's 5 rows, the first 'z'"):
        extract(path, [*wanted, "z", "zz"], rows=[3])  # of all rows, not of this shard's


def test_rows_without_names_are_trusted_and_counted(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.npz", LAYERS)
    assert equal(extract(path, rows=[3, 1]), *(layer[[3, 1]] for layer in LAYERS.values()))
    assert "order was trusted" in notes(path)[0]
    with pytest.raises(DataError, match="has 4 rows, the dataset 3"):
        extract(path, ("a", "b", "c"))


def test_names_must_fit_the_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="names 3 rows of 4"):
        extract(save(tmp_path / "few.npz", LAYERS, ("a", "b", "c")))
    with pytest.raises(DataError, match="names row 'b' more than once"):
        extract(save(tmp_path / "twice.npz", LAYERS, ("a", "b", "c", "b")))


def test_shapes_that_are_no_features(tmp_path: Path) -> None:
    x = torch.ones(4, 2)
    for wrong in (
        {"a": x, "b": torch.ones(3, 2)},
        {"a": torch.ones(4)},
        {"a": torch.ones(4, 0)},
        {"a": x, "b": torch.ones(4, 2, 2)},
        {"a": torch.ones(4, 2, 2, 2)},
        {},
    ):
        path = save(tmp_path / "mine.npz", wrong)
        with pytest.raises(DataError, match="does not hold features: found"):
            extract(path)
        assert (
            "does not hold features"
            in open_model(make_spec(path), offline=True).describe().unknown[0]
        )


def test_values_that_are_not_finite_name_the_row(tmp_path: Path) -> None:
    x = torch.ones(4, 2)
    x[2, 1] = float("nan")
    path = save(tmp_path / "mine.npz", {"v1": torch.ones(4, 2), "v4": x})
    with pytest.raises(DataError, match=r"layer 'v4' is not finite in row 'c'"):
        extract(path)
    assert equal(extract(path, rows=[0, 1, 3]), torch.ones(3, 2), torch.ones(3, 2))


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("was run"),))


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    objects = np.empty((1,), dtype=object)
    objects[0] = Harmful()
    np.save(tmp_path / "mine.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "mine.npz", x=objects, allow_pickle=True)
    (tmp_path / "mine.safetensors").write_bytes(b"no header")
    for name in ("mine.npy", "mine.npz", "mine.safetensors"):
        with pytest.raises(IntegrityError, match="cannot be read"):
            extract(tmp_path / name)
    assert not (tmp_path / "was run").exists()
    np.savez(tmp_path / "mine.npz", ids=np.array(list("abcd"), dtype=object), v1=np.ones((4, 2)))
    with pytest.raises(IntegrityError, match=r"`ids` as strings .* numpy\.asarray\(ids, str\)"):
        extract(tmp_path / "mine.npz")


def test_what_is_no_real_number_is_refused_by_name(tmp_path: Path) -> None:
    for array, message in (
        (np.array([["a", "b"]] * 4), "strings"),
        (np.ones((4, 2)) * 1j, "complex numbers"),
        (np.array([[1, 2]] * 3 + [[3, 2**24 + 1]]), r"16777217 at \(3, 1\).*beyond 16777216"),
        (np.zeros(4, [("a", float)]), "records"),
    ):
        np.savez(tmp_path / "mine.npz", v1=np.ones((4, 2)), v4=array)
        with pytest.raises(DataError, match=f"array 'v4' of .*mine.npz holds .*{message}"):
            extract(tmp_path / "mine.npz")
    np.savez(tmp_path / "mine.npz", v1=np.full((4, 2), 1e300))
    with pytest.raises(DataError, match=r"layer 'v1'.*up to 1e\+300"):
        extract(tmp_path / "mine.npz")


def test_ids_are_strings_or_integers_in_utf_8(tmp_path: Path) -> None:
    path = save(tmp_path / "bytes.npz", LAYERS, [row_id.encode() for row_id in IDS])
    assert equal(extract(path), *LAYERS.values())
    for ids in ([[1], [2], [3], [4]], [None] * 4):
        save_file(LAYERS, tmp_path / "mine.safetensors", {"ids": json.dumps(ids)})
        with pytest.raises(IntegrityError, match="no list of strings or integers"):
            extract(tmp_path / "mine.safetensors")
    save_file(LAYERS, tmp_path / "mine.safetensors", {"ids": "[" * 100_000})
    with pytest.raises(IntegrityError, match="cannot be read"):
        extract(tmp_path / "mine.safetensors")
    path.with_name("bytes.npz.ids.txt").write_bytes(b"\xff\n" * 4)
    with pytest.raises(DataError, match=r"ids.txt cannot be read as ids in UTF-8"):
        extract(path)
    path.with_name("bytes.npz.ids.txt").unlink()
    path.with_name("bytes.npz.ids.csv").write_text('id\n"' + "a" * 200_000 + '"\n')
    with pytest.raises(DataError, match="cannot be read as ids"):
        extract(path)


@pytest.mark.parametrize("ending", [".npz", ".npy", ".safetensors", ".pt"])
def test_a_damaged_file_is_a_sentence(ending: str, tmp_path: Path) -> None:
    """Cut, empty, text, bits flipped: refused, or (where a value changed) read."""
    path, stack = tmp_path / f"mine{ending}", torch.arange(24.0).reshape(4, 3, 2)
    if ending == ".npy":
        np.save(path, stack.numpy())
    elif ending == ".pt":
        torch.save({"feats": stack}, path)
    else:
        save(path, {"stack": stack}, IDS)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    damaged = [b"", b"a,b\n1,2\n", b"[" * 5000, whole[:20], whole[: len(whole) // 2], whole[:-3]]
    for _ in range(60):
        noise = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(len(whole), size=rng.integers(1, 9))
        noise[places] ^= rng.integers(1, 256, len(places)).astype(np.uint8)
        damaged.append(noise.tobytes())
    for number, content in enumerate(damaged):
        path.write_bytes(content)
        error = refusal(path)
        assert error or number >= 6
        assert error == "" or (str(path) in error and len(error) < 600)
        open_model(make_spec(path), offline=True).describe()


def refusal(path: Path) -> str:
    try:
        return "" if len(extract(path)[0]) == 4 else "another number of rows"
    except (IntegrityError, DataError) as error:
        return str(error)


def test_a_file_that_takes_much_more_memory_than_disk_is_refused(tmp_path: Path) -> None:
    zeros = np.zeros((1, 1000, 40_000), dtype=np.int8)
    np.savez_compressed(tmp_path / "bomb.npz", a=zeros, b=zeros, c=zeros)
    with pytest.raises(IntegrityError, match=r"would unpack to 12\d{7}"):
        extract(tmp_path / "bomb.npz")
    wide = torch.zeros(1).expand(100_000, 100_000, 1000)
    torch.save({"feats": wide}, tmp_path / "wide.pt")
    with pytest.raises(IntegrityError, match=r"4 bytes, expanded to 40000000000000"):
        extract(tmp_path / "wide.pt")


def test_identity_follows_the_content(tmp_path: Path) -> None:
    def of(path: Path, **settings: Any) -> str:
        identity = open_model(make_spec(path, **settings), offline=True).identity()
        return json.dumps(identity, sort_keys=True)

    path = save(tmp_path / "mine.npz", LAYERS)
    copy = Path(shutil.copy(path, tmp_path / "copy.npz"))
    assert of(copy) == of(path)
    assert str(tmp_path) not in of(path)
    assert of(path, layers=(0,)) != of(path)
    assert of(path, layers=(-2,)) == of(path, layers=(0,))
    copy.with_name("copy.npz.ids.txt").write_text("a\nb\nc\nd\n")
    assert of(copy) != of(path)
    other = save(tmp_path / "other.npz", {k: v + 1 for k, v in LAYERS.items()})
    assert of(other) != of(path)


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.safetensors, \.npy, \.npz"):
        extract(tmp_path / "mine.mat")
    with pytest.raises(AbsentError, match="there is no file"):
        extract(tmp_path / "mine.npz")
    with pytest.raises(ConfigError, match="`pool`, `random_init` mean nothing to backend features"):
        extract(tmp_path / "mine.npz", pool="mean", random_init=True)
