"""docs/compare.md: what it says of our side is run, on files in the form of the peers'.

Definitions of theirs are worked out again here, from their formulas; none of their code is run.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

import platorep
from platorep.config import ExperimentConfig
from platorep.metrics import METRICS
from platorep.models import open_model
from platorep.models.arrays import LoadedArrays

PAGE = (Path(__file__).parent.parent / "docs" / "compare.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"### ([^\n]+)\n(?:(?!###).)*?```python\n(.*?)```", PAGE, flags=re.DOTALL)
)
Array = NDArray[np.float64]


def run(peer: str, **given: Any) -> dict[str, Any]:
    """The names that the example of coming from a peer defines."""
    names = dict(given)
    exec(EXAMPLES[peer], names)
    return names


@pytest.fixture
def pair() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 7))
    return x, x[:, :5] @ rng.normal(size=(5, 9)) + rng.normal(size=(60, 9)) + 1


def centred(features: Array, width: int) -> Array:
    return np.pad(features - features.mean(0), ((0, 0), (0, width - features.shape[1])))


def angle(x: Array, y: Array) -> float:
    return float(np.arccos((x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y)))


def rotated(x: Array, y: Array) -> tuple[Array, Array]:
    left, _, right = np.linalg.svd(x.T @ y)
    return x @ left, y @ right.T


def white(x: Array) -> Array:
    values, vectors = np.linalg.eigh(x.T @ x)
    return x @ vectors / np.sqrt(values) @ vectors.T


def test_angles_of_netrep(pair: tuple[Array, Array]) -> None:
    x, y = pair
    x_like = y[:, : x.shape[1]]
    found = run("netrep", x=x, y=y, x_like=x_like)

    a, b = centred(x, 9), centred(y, 9)
    assert found["rotation"] == pytest.approx(angle(*rotated(a, b)), abs=1e-6)
    whitened = rotated(white(centred(x, 7)), white(centred(x_like, 7)))
    assert found["linear"] == pytest.approx(angle(*whitened), abs=1e-6)
    of_x, of_y = linear_sum_assignment(a.T @ b, maximize=True)
    assert found["permutation"] == pytest.approx(angle(a[:, of_x], b[:, of_y]), abs=1e-6)
    assert found["kernel"] == pytest.approx(angle(a @ a.T, b @ b.T), abs=1e-6)


@pytest.mark.parametrize("rdm", ["sqeuclidean", "correlation"])
def test_dissimilarities_of_rsatoolbox(pair: tuple[Array, Array], rdm: str) -> None:
    """From an RDM alone its rank correlation with another; and its kernels' Bures similarity."""
    x, y = (pdist(side, rdm) for side in pair)
    found = run("rsatoolbox", rdm_x=squareform(x), rdm_y=squareform(y))

    assert found["score"] == pytest.approx(spearmanr(x, y).statistic, abs=1e-6)
    if rdm == "sqeuclidean":  # whose centred kernels are those of the features
        a, b = (centred(side, side.shape[1]) for side in pair)
        bures = np.linalg.svd(a.T @ b, compute_uv=False).sum() / np.linalg.norm(a)
        assert platorep.score(*pair, "procrustes") == pytest.approx(
            bures / np.linalg.norm(b), abs=1e-6
        )
        whitened = np.cos(angle(a @ a.T, b @ b.T))  # its `cosine_cov`
        assert platorep.score(*pair, "cka") == pytest.approx(whitened, abs=1e-6)


def test_the_calibration_of_aristotelian(pair: tuple[Array, Array]) -> None:
    """Algorithm 2 of arXiv:2602.14486, from the scores under each permutation."""
    x, y = pair
    found = run("Aristotelian, calibrated-similarity", x_layers=[x, x[:, :3]], y_layers=[y])

    best = max(platorep.score(layer, y, "mutual_knn", k=10) for layer in (x, x[:, :3]))
    all_scores = np.sort([best, *found["found"].null])
    threshold = all_scores[int(np.ceil(0.95 * 201)) - 1]
    assert found["p"] == (1 + (found["found"].null >= best).sum()) / 201
    assert found["threshold"] == pytest.approx(threshold)
    assert found["calibrated"] == pytest.approx(max((best - threshold) / (1 - threshold), 0))


def test_embeddings_of_platonic_universe(
    pair: tuple[Array, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"vit_base_hsc": list(pair[0]), "vit_base_jwst": list(pair[1])}
    pd.DataFrame(columns).to_parquet(tmp_path / "vit_jwst.parquet")
    monkeypatch.chdir(tmp_path)

    found = run("platonic-universe")["score"]

    search = NearestNeighbors(n_neighbors=10, metric="cosine")
    x, y = (search.fit(side).kneighbors(return_distance=False) for side in pair)
    shared = [len(set(a) & set(b)) for a, b in zip(x, y, strict=True)]
    assert found == pytest.approx(np.mean(shared) / 10)


@pytest.mark.parametrize("root", ["", "images/"], ids=["one folder", "class folders"])
def test_features_of_thingsvision(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are found by their names, in whatever order the experiment has them."""
    features, names = np.arange(12.0).reshape(4, 3), ["d.jpg", "b.jpg", "a.jpg", "c.jpg"]
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features/features.npy", features)
    lines = "".join(f"{root}{name}\n" for name in names)
    (tmp_path / "features/file_names.txt").write_text(lines, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    run("thingsvision")

    written = re.findall(r"### thingsvision.*?```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    align = {"pairs": [["vision", "vision"]]}
    config = ExperimentConfig.model_validate(
        yaml.safe_load(written) | {"name": "x", "align": align}
    )
    loaded = open_model(config.models()[0], offline=True).load("cpu", torch.float32)
    assert isinstance(loaded, LoadedArrays)
    (layer,) = loaded.take([0, 1, 2, 3], ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    assert layer.tolist() == features[[2, 1, 3, 0]].tolist()


def test_names_of_measures_are_ours() -> None:
    table = PAGE.split("## The same measure by another name")[1].split("##")[0]
    named = re.findall(r"^\| `(\w+)", table, flags=re.MULTILINE)

    assert len(named) > 10
    assert set(named) <= set(METRICS)
    assert f"| measures | {len(METRICS)} |" in PAGE


def test_every_source_is_said_and_used() -> None:
    """A footnote has a repository, a file and a version, or names a folder of files."""
    defined = dict(re.findall(r"^\[\^([\w-]+)\]: (.*)$", PAGE, flags=re.MULTILINE))
    used = re.findall(r"(?<!\n)\[\^([\w-]+)\]", PAGE)

    assert set(used) == set(defined)
    for source in defined.values():
        assert re.match(r"[\w-]+/[\w-]+, \S", source), source
        assert re.search(r"@ [0-9a-f]{7}\b", source) or "modules of" in source, source
