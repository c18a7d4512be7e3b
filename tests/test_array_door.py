"""The door for a user's arrays: what is taken exactly, what is refused and how."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

import platorep
from platorep.arrays import as_features, as_float32, refuse_inflated
from platorep.errors import DataError, IntegrityError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
Y = X[:, :4] + RNG.normal(size=(40, 4))
EXPECTED = platorep.score(X, Y)

FRAME = pd.DataFrame(X, columns=list("abcdef"))


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
@pytest.mark.parametrize("metric", ["cka", "mutual_knn"])
def test_features_whose_powers_are_no_numbers_are_refused(metric: str, scale: float) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 20, 3))

    with pytest.raises(DataError, match="Rescale"):
        platorep.score(x * scale, y, metric=metric)
    assert platorep.score(x * 1e-60, y, metric=metric) == pytest.approx(
        platorep.score(x, y, metric=metric), abs=1e-9
    )


def read_only() -> np.ndarray:
    array = X.copy()
    array.flags.writeable = False
    return array


SAME: dict[str, Callable[[], Any]] = {
    "big-endian": lambda: X.astype(">f8"),
    "negative strides": lambda: X[::-1, ::-1].copy()[::-1, ::-1],
    "Fortran order": lambda: np.asfortranarray(X),
    "read-only": read_only,
    "a view of every other column": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "not aligned": lambda: np.frombuffer(b"\0" + X.tobytes(), np.float64, offset=1).reshape(40, 6),
    "long double": lambda: X.astype(np.longdouble),
    "masked, nothing of it": lambda: np.ma.masked_array(X, mask=False),
    "data frame": lambda: FRAME,
    "data frame of nullable columns": lambda: FRAME.astype("Float64"),
    "memory map": lambda: X.view(np.memmap),
    "tensor": lambda: torch.from_numpy(X),
    "transposed tensor": lambda: torch.from_numpy(X.T.copy()).T,
    "negated view": lambda: (
        torch.complex(torch.zeros(40, 6, dtype=torch.float64), -torch.from_numpy(X)).conj().imag
    ),
    "parameter": lambda: torch.nn.Parameter(torch.from_numpy(X)),
}


@pytest.mark.parametrize("how", SAME)
def test_the_same_numbers_give_the_same_score(how: str) -> None:
    features = as_features(SAME[how](), "x")
    assert features.numpy().tolist() == X.tolist()
    assert platorep.score(SAME[how](), Y) == EXPECTED
    assert platorep.score([SAME[how]()], [Y, Y]).tolist() == [[EXPECTED, EXPECTED]]
    assert platorep.score(X, [SAME[how]()]) == platorep.score([X], [X])


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (np.array([[1, -(2**24)]]), torch.float32),
        (np.array([[1, 2**24 + 1]]), torch.float64),
        (np.array([[-(2**53), 3]]), torch.float64),
        (np.array([[2**53, 3]], dtype=">u8"), torch.float64),
        (np.array([[7, 255]], dtype=np.uint8), torch.float32),
        (np.array([[True, False]]), torch.float32),
        (torch.tensor([[3, 2**30]]), torch.float64),
        (torch.tensor([[3, 2**16 - 1]], dtype=torch.uint16), torch.float32),
        (np.array([[1.5, 2]], dtype=">f2"), torch.float16),
        (torch.tensor([[1.5, 2]]).to(torch.float8_e4m3fn), torch.float32),
        (torch.tensor([[1.5, 2]]).bfloat16(), torch.bfloat16),
    ],
)
def test_numbers_are_taken_exactly(given: Any, kind: torch.dtype) -> None:
    found = as_features(given, "x")

    assert found.dtype == kind
    assert [int(v * 2) for v in found[0].tolist()] == [int(v * 2) for v in given[0].tolist()]


def test_whole_numbers_beyond_float32_are_told_apart() -> None:
    """Rounded to float32 they would all be one row."""
    x = RNG.integers(0, 1000, (40, 3))
    assert platorep.score(x + 2**40, x, similarity="euclidean", k=3) == 1


def test_a_narrow_precision_is_not_overrun() -> None:
    with pytest.raises(DataError, match=r"x holds values up to 1e\+300.*beyond what float32"):
        as_float32(torch.tensor([[1e300, float("nan")]], dtype=torch.float64), "x")
    assert as_float32(torch.tensor([[float("inf")]], dtype=torch.float64), "x").isinf()


class Closed:
    shape = (40, 6)

    def __array__(self, *args: object, **more: object) -> np.ndarray:
        raise RuntimeError("its memory is elsewhere")


MASKED = np.ma.masked_array(X, mask=False)
MASKED[7, 2] = np.ma.masked

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "masked": (lambda: MASKED, r"masked array with 1 masked values, the first at \(7, 2\)"),
    "masked tensor": (
        lambda: torch.masked.masked_tensor(torch.ones(4, 2), torch.ones(4, 2) > 2),
        "masked tensor",
    ),
    "complex": (lambda: X + 1j, "complex numbers.*complex128.*expected real"),
    "complex tensor": (lambda: torch.ones(4, 2) * 1j, "complex numbers"),
    "too large": (lambda: np.array([[1, 2], [3, 2**53 + 1]]), r"9007199254740993 at \(1, 1\)"),
    "too small": (lambda: np.array([[1, -(2**63)]]), r"-9223372036854775808 at \(0, 1\)"),
    "too large, unsigned": (lambda: np.array([[1, 2**64 - 1]], dtype=np.uint64), "at"),
    "strings": (lambda: X.astype(str), "holds strings"),
    "objects": (lambda: X.astype(object), r"Python objects.*astype\(float\)"),
    "dates": (lambda: np.zeros((40, 2), "M8[s]"), "holds dates"),
    "records": (lambda: np.zeros(40, [("a", float), ("b", int)]), "holds records"),
    "mixed data frame": (lambda: FRAME.assign(name="s"), r"columns that hold no numbers: 'name'"),
    "missing in a data frame": (
        lambda: FRAME.assign(g=pd.array([*range(39), None], dtype="Int64")),
        "not finite in 1 of 40 rows, first in row 39",
    ),
    "sparse": (lambda: sparse.csr_array(X), r"sparse \(csr_array\): give `.toarray\(\)`"),
    "sparse tensor": (lambda: torch.from_numpy(X).to_sparse(), "no plain tensor"),
    "no values": (lambda: torch.ones(4, 2, device="meta"), "no plain tensor"),
    "elsewhere": (Closed, "Closed.*cannot be read as an array: its memory is elsewhere"),
    "a dictionary": (lambda: {"layer": X}, "dict"),
    "a path": (lambda: "features.npy", "str"),
    "nothing": (lambda: None, "NoneType"),
    "no layers": (list, "no layers"),
    "a number": (lambda: 3.0, "float"),
    "one axis": (lambda: X[0], r"shape \(6,\), expected two axes"),
    "not finite": (lambda: np.full((40, 2), np.nan), "not finite in 40 of 40 rows"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of MaskedTensors")
@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_features_is_refused_by_name(what: str) -> None:
    make, message = REFUSED[what]

    with pytest.raises(DataError, match=f"(?s)^y.*{message}|^layer 0 of y.*{message}") as caught:
        platorep.score(X, make())
    assert len(str(caught.value)) < 300
    if what not in ("no layers", "a number", "a dictionary", "a path", "nothing"):
        with pytest.raises(DataError, match=f"(?s)^layer 1 of y.*{message}"):
            platorep.score(X, [X, make()])


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(80 << 20))
    with pytest.raises(IntegrityError, match=r"would unpack to 83886080"):
        refuse_inflated(path)
    np.savez_compressed(path, x=np.zeros((1000, 1000)))  # all zeros, but not much
    refuse_inflated(path)
