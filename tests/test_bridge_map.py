"""Maps between layers and what is found through them: known answers, oracles, the command."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import linalg, stats
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import Ridge, RidgeCV
from typer.testing import CliRunner

from platorep.bridges.maps import PENALTIES, Fit, Similarities, fit_maps, principal_axes
from platorep.bridges.parts import divide, groups_of_copies
from platorep.bridges.retrieval import (
    chance_rank,
    chance_recall,
    cosines,
    csls,
    median_interval,
    rank,
    share_interval,
)
from platorep.cli import app
from platorep.errors import DataError
from platorep.plots.bridge_map import bridge_map_points, draw_bridge_map
from platorep.studies.map_tables import both_ways, map_table, numbers, predictions, rank_all

FITTED, SEARCHED = slice(0, 60), slice(60, 100)
EVERY = ("procrustes", "ridge", "cca")


def fit(x: torch.Tensor, y: torch.Tensor) -> Fit:
    return Fit(*(principal_axes(side[FITTED], side[SEARCHED]) for side in (x, y)))


def searched(x: torch.Tensor, y: torch.Tensor, name: str) -> Similarities:
    return fit_maps(fit(x, y), [name])[name]


def itself(num: int) -> np.ndarray:
    return np.arange(num)[None]


def related(rng: torch.Generator, widths: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Two noisy linear images of the same eight causes, in float64."""

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    causes = random(100, 8)
    x, y = (causes @ random(8, d) + 0.7 * random(100, d) + 3 for d in widths)
    return x, y


# --- known answers ---


@pytest.mark.parametrize("width", [6, 90])  # narrower and wider than there are fitted rows
@pytest.mark.parametrize("name", EVERY)
def test_a_rotated_copy_is_found(rng: torch.Generator, name: str, width: int) -> None:
    """Every map finds it; Procrustes puts it exactly where it belongs, of whatever width."""
    x = torch.randn(100, width, generator=rng, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=rng, dtype=torch.float64))
    found = searched(x, 3 * x @ rotation + 1, name)

    for similarity in (found.x_to_y, found.y_to_x, csls(found.x_to_y)):
        assert rank(similarity, itself(40)).recall(1) == 1
    if name == "procrustes":
        np.testing.assert_allclose(np.diag(found.x_to_y), 1, atol=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_independent_features_are_found_by_chance(name: str) -> None:
    """And so are pairs that were fitted in random order. Means over 30 worlds."""
    recalls = []
    for seed in range(30):
        rng = torch.Generator().manual_seed(seed)
        x, y = related(rng, (12, 9))
        apart = torch.randn(100, 9, generator=rng, dtype=torch.float64)
        order = torch.randperm(60, generator=rng).numpy()
        axes = fit(x, y)
        for of in (fit(x, apart), Fit(axes.x, axes.y.in_order(order))):
            (found,) = fit_maps(of, [name]).values()
            recalls.append(rank(found.x_to_y, itself(40)).recall(10)[0])
    assert rank(searched(x, y, name).x_to_y, itself(40)).recall(10) > 0.6
    assert np.mean(recalls[::2]) == pytest.approx(chance_recall(40, 10), abs=0.04)
    assert np.mean(recalls[1::2]) == pytest.approx(chance_recall(40, 10), abs=0.08)


# --- oracles ---


@pytest.mark.parametrize("widths", [(12, 9), (9, 12), (90, 20)])
def test_procrustes_equals_scipy(rng: torch.Generator, widths: tuple[int, int]) -> None:
    x, y = (side.numpy() for side in related(rng, widths))
    means = [side[FITTED].mean(axis=0) for side in (x, y)]
    x, y = x - means[0], y - means[1]
    if max(widths) > 60:  # what the fitted rows do not span no map knows of
        for side in (x, y):
            basis = linalg.orth(side[FITTED].T)
            side[:] = side @ basis @ basis.T
    pad = max(widths)
    x, y = (np.pad(side, ((0, 0), (0, pad - side.shape[1]))) for side in (x, y))
    rotation, _ = linalg.orthogonal_procrustes(x[FITTED], y[FITTED])
    expected = cosines(x[SEARCHED] @ rotation, y[SEARCHED])

    np.testing.assert_allclose(
        searched(*map(torch.from_numpy, (x, y)), "procrustes").x_to_y, expected, atol=1e-7
    )


@pytest.mark.parametrize("widths", [(12, 9), (90, 20)])
def test_ridge_and_its_penalty_equal_scikit_learn(
    rng: torch.Generator, widths: tuple[int, int]
) -> None:
    x, y = related(rng, widths)
    axes = fit(x, y)
    found = fit_maps(axes, ["ridge"])["ridge"]
    sides = [(x, y, axes.x, axes.penalty_x, found.x_to_y)]
    sides.append((y, x, axes.y, axes.penalty_y, found.y_to_x))
    for source, target, of, penalty, similarity in sides:
        alphas = PENALTIES * of.unit
        chosen = RidgeCV(alphas=alphas).fit(source[FITTED], target[FITTED])
        assert PENALTIES[0] < penalty < PENALTIES[-1]  # else it says little of the choice
        assert penalty * of.unit == pytest.approx(chosen.alpha_)
        ridge = Ridge(alpha=chosen.alpha_).fit(source[FITTED], target[FITTED])
        mean, (basis, _) = target[FITTED].mean(0), torch.linalg.qr((target[FITTED]).T)
        if target.shape[1] < 60:
            basis = torch.eye(target.shape[1], dtype=target.dtype)
        else:
            basis = torch.from_numpy(linalg.orth((target[FITTED] - mean).numpy().T))
        predicted = (torch.from_numpy(ridge.predict(source[SEARCHED])) - mean) @ basis
        items = (target[SEARCHED] - mean) @ basis
        np.testing.assert_allclose(similarity, cosines(predicted.numpy(), items.numpy()), atol=1e-8)


def test_cca_solves_its_eigenvalue_problem(rng: torch.Generator) -> None:
    """Against the generalized eigenvalue problem of the two regularised covariances."""
    x, y = related(rng, (12, 9))
    axes = fit(x, y)
    a, b = (side.numpy() - side[FITTED].numpy().mean(axis=0) for side in (x, y))
    p, q = a.shape[1], b.shape[1]
    across = a[FITTED].T @ b[FITTED]
    left = np.block([[np.zeros((p, p)), across], [across.T, np.zeros((q, q))]])
    of_x = a[FITTED].T @ a[FITTED] + axes.penalty_x * axes.x.unit * np.eye(p)
    of_y = b[FITTED].T @ b[FITTED] + axes.penalty_y * axes.y.unit * np.eye(q)
    values, vectors = linalg.eigh(left, linalg.block_diag(of_x, of_y))
    values, vectors = values[::-1][:q], vectors[:, ::-1][:, :q] * np.sqrt(2 * values[::-1][:q])

    expected = cosines(a[SEARCHED] @ vectors[:p], b[SEARCHED] @ vectors[p:])
    np.testing.assert_allclose(fit_maps(axes, ["cca"])["cca"].x_to_y, expected, atol=1e-8)


def test_cca_without_penalties_has_scikit_learns_correlations(
    rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = related(rng, (5, 4))
    oracle = CCA(n_components=4, scale=False, max_iter=5000, tol=1e-12)
    u, v = oracle.fit_transform(x[FITTED].numpy(), y[FITTED].numpy())
    expected = [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(4)]
    axes = fit(x, y)
    assert np.linalg.svd(axes.common)[1] == pytest.approx(expected, abs=1e-6)


def test_a_constant_layer_is_refused(rng: torch.Generator) -> None:
    x = torch.randn(100, 6, generator=rng)
    with pytest.raises(DataError, match="all 60 rows that maps are fitted on are the same"):
        principal_axes(torch.full((60, 6), 0.1), x)
    found = searched(x, torch.cat([x[:, :3], x[:, :1].expand(-1, 3)], dim=1), "cca")
    assert np.isfinite(found.x_to_y).all()  # axes of rounding alone are left out


# --- retrieval ---


def test_csls_by_hand() -> None:
    """k = 1: a query's nearest is .9, .6; an item's .9, .5."""
    similarity = np.array([[0.9, 0.2], [0.6, 0.5]])
    expected = [[1.8 - 0.9 - 0.9, 0.4 - 0.9 - 0.5], [1.2 - 0.6 - 0.9, 1.0 - 0.6 - 0.5]]
    np.testing.assert_allclose(csls(similarity, k=1), expected)


def test_csls_sees_through_a_hub() -> None:
    """Item 0 is nearest to every query, so cosine finds it for all of them."""
    similarity = np.eye(12) * 0.3 + 0.1
    similarity[:, 0] = 0.6
    similarity[0, 0] = 0.8
    assert rank(similarity, itself(12)).recall(1) == pytest.approx(1 / 12)
    assert rank(csls(similarity), itself(12)).recall(1) == 1


def test_tied_items_share_their_ranks() -> None:
    """By hand: the right one first; tied with one other; all tied; last behind a tied pair."""
    similarity = np.array(
        [[0.9, 0.1, 0.2, 0.3], [0.5, 0.5, 0.1, 0.2], [0.0, 0.0, 0.0, 0.0], [0.4, 0.4, 0.3, 0.1]]
    )
    ranks = rank(similarity, np.stack([np.arange(4), [1, 1, 3, 0]]))
    assert ranks.expected()[0].tolist() == [1, 1.5, 2.5, 4]
    assert ranks.found(1)[0].tolist() == [1, 0.5, 0.25, 0]
    assert ranks.found(3)[0].tolist() == [1, 1, 0.75, 0]
    assert ranks.expected()[1].tolist() == [4, 1.5, 2.5, 1.5]


def test_ranks_equal_counting(rng: torch.Generator) -> None:
    similarity = torch.randint(0, 6, (15, 15), generator=rng).double().numpy()
    right = np.stack([np.random.default_rng(i).permutation(15) for i in range(3)])
    ranks = rank(similarity + 1e-13 * np.arange(15), right)
    own = np.take_along_axis(similarity, right.T, axis=1).T[..., None]
    assert (ranks.above == (similarity > own).sum(axis=2)).all()
    assert (ranks.tied == (similarity == own).sum(axis=2) - 1).all()


def test_what_chance_finds(rng: torch.Generator) -> None:
    similarity = torch.randn(25, 25, generator=rng).numpy().astype(np.float64)
    orders = np.stack([np.random.default_rng(i).permutation(25) for i in range(3000)])
    ranks = rank(similarity, orders)
    assert ranks.recall(5).mean() == pytest.approx(chance_recall(25, 5), abs=0.005)
    medians = np.median(ranks.expected(), axis=1)
    assert medians.mean() == pytest.approx(chance_rank(25), abs=0.3)


def test_intervals() -> None:
    """Wilson's equals SciPy's; that of the median holds it as often as it says."""
    exact = stats.binomtest(7, 40).proportion_ci(0.95, method="wilson")
    assert share_interval(7 / 40, 40) == pytest.approx((exact.low, exact.high))
    rng = np.random.default_rng(0)
    ends = [median_interval(rng.exponential(size=60)) for _ in range(300)]
    assert np.mean([low <= np.log(2) <= high for low, high in ends]) >= 0.93


# --- parts ---


def test_copies_stay_in_one_part() -> None:
    """Rows 0 and 5 have one picture, 5 and 9 one caption: the three go together."""
    pictures = [f"p{i}" for i in range(40)]
    captions = [f"c{i}" for i in range(39)] + [""]
    pictures[5], captions[9] = pictures[0], captions[5]
    groups = groups_of_copies([pictures, captions], 40)
    assert len(set(groups)) == 38
    for seed in range(20):
        parts = divide(groups, 0.25, 0.5, seed)
        together = [parts.choose, parts.fit, parts.search]
        assert sorted(np.concatenate(together)) == list(range(40))
        assert sum({0, 5, 9} <= set(part) for part in together) == 1


def test_parts_are_as_large_as_asked_and_seeded() -> None:
    single = np.arange(101)
    sizes = [len(p) for p in vars(divide(single, 0.25, 0.5, 0)).values()]
    assert sizes == [25, 51, 25]
    first, again, other = (divide(single, 0.25, 0.5, seed).fit for seed in (0, 0, 1))
    assert (first == again).all()
    assert not np.array_equal(first, other)


# --- tables and figure ---


def made_up_table(rng: torch.Generator) -> pd.DataFrame:
    """Three trained pairs whose alignment and recall rise together, and a control."""
    rows = []
    for i, noise in enumerate((0.2, 1.0, 3.0, 9.0)):
        x = torch.randn(100, 6, generator=rng, dtype=torch.float64)
        y = x + noise * torch.randn(100, 6, generator=rng, dtype=torch.float64)
        about = {
            "x": f"reader {i}", "y": "viewer", "x_family": f"f{i}", "y_family": "v",
            "kind": "pairs" if i < 3 else "pairs with a random copy", "metric": "mutual_knn{k: 10}",
            "layer_x": 0, "layer_y": 0, "score_chosen": 0.5 - i / 10, "score": 0.5 - i / 10,
            "score_chance": 0.1, "n_fit": 60, "n_items": 40,
        }  # fmt: skip
        of = fit(x, y)
        right = np.stack([np.random.default_rng(j).permutation(40) for j in range(50)])
        ranked = rank_all(of, ["procrustes", "ridge"], np.concatenate([itself(40), right]))
        rows += [about | key.about(of) | numbers(ranks, [ranks]) for key, ranks in ranked.items()]
    return map_table(rows)


def test_the_tables_say_what_was_found(rng: torch.Generator) -> None:
    table = made_up_table(rng)
    best = table.iloc[0]
    assert best["recall_1_low"] <= best["recall_1"] <= best["recall_1_high"]
    assert best["recall_10"] > best["threshold_10"] >= best["chance_10"] == 0.25
    assert best["p_10"] == pytest.approx(1 / 51)
    assert table.loc[table["map"] == "procrustes", "penalty"].isna().all()
    assert table.loc[table["map"] == "ridge", "penalty"].isin(PENALTIES).all()
    both = both_ways(table)
    assert len(both) == len(table) / 2
    said = predictions(both).set_index(["map", "similarity", "k", "kind", "alignment"])["rho"]
    assert said["ridge", "cosine", 10, "pairs", "score"] == pytest.approx(1)
    points = bridge_map_points(both, predictions(both))
    figure = draw_bridge_map(points)
    assert len(figure.axes) == 2
    drawn = [line.get_gid() for line in figure.axes[0].lines]
    assert sum(str(gid).startswith("pairs|") for gid in drawn) == 3
    assert "chance" in drawn


def test_a_single_pair_has_no_correlation_to_draw(rng: torch.Generator) -> None:
    both = both_ways(made_up_table(rng).query("x == 'reader 0'"))
    figure = draw_bridge_map(bridge_map_points(both, predictions(both)))
    assert [ax.get_title() for ax in figure.axes] == ["procrustes\n1 pair", "ridge\n1 pair"]


# --- the command ---


def experiment(folder: Path, num: int = 120, **settings: str) -> Path:
    """A world of ten causes: two readers and a viewer of one's own, and one who saw other rows."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(num, 10))

    def seen(noise: float) -> dict[str, np.ndarray]:
        return {
            f"layer {i}": (causes @ rng.normal(size=(10, 30)) + level * rng.normal(size=(num, 30)))
            .astype(np.float32) for i, level in enumerate((9.0, noise))
        }  # fmt: skip

    ids = [str(i) for i in range(num)]
    for name, noise in (("reader", 0.5), ("viewer", 0.5), ("stranger", 0.5)):
        layers = seen(noise)
        if name == "stranger":
            layers = {key: rng.permutation(values) for key, values in layers.items()}
        np.savez(folder / f"{name}.npz", ids=np.array(ids), **layers)
    (folder / "captions.csv").write_text(
        "text\n" + "".join(f"caption {i // 2 * 2 if i < 20 else i}\n" for i in range(num))
    )
    models = {"language": ["reader", "stranger"], "vision": ["viewer"]}
    families = "".join(
        f"  - {{name: {m}, modality: {m}, backend: features, models: "
        f"[{', '.join(f'{{name: {n}.npz, label: {n}}}' for n in names)}]}}\n"
        for m, names in models.items()
    )
    said = ", ".join(f"{key}: {value}" for key, value in settings.items())
    path = folder / "mine.yaml"
    path.write_text(
        "name: mine\ndataset: {source: ., views: {text: {}}}\n"
        f"families:\n{families}"
        "align: {metrics: [{name: mutual_knn, k: 5}]}\n"
        f"bridge: {{map: {{permutations: 50, {said}}}}}\n"
    )
    return path


def test_the_command(tmp_path: Path) -> None:
    """The reader is found, the stranger is not; copies are never apart; a second run makes
    nothing but a damaged piece; `--overwrite never` and too few rows end as they should."""
    config = experiment(tmp_path, choose="0.3", fit="0.4")
    folder = tmp_path / "out"

    def command(*more: str) -> tuple[int, str]:
        line = ["bridge", "map", str(config), "--output", str(folder), "--json", *more]
        ended = CliRunner().invoke(app, line)
        return ended.exit_code, ended.stdout + ended.stderr

    assert command("--overwrite", "never")[0] == 4
    assert command()[0] == 0
    found = pd.read_csv(folder / "bridge_map.csv").set_index("x")
    found = found[found["similarity"] == "csls"]
    assert set(found["layer_x"].loc["reader"]) == set(found["layer_y"].loc["reader"]) == {1}
    assert (found.loc["reader", "recall_1"] > 0.8).all()
    assert (found.loc["reader", "p_1"] < 0.05).all()
    assert (found.loc["reader", "unpaired_10"] < 0.6).all()
    for row in found.loc["stranger"].itertuples():
        assert row.recall_10_low <= row.chance_10 <= row.recall_10_high
    assert found["n_fit"].nunique() == 1
    assert (folder / "bridge_map_prediction.csv").exists()
    assert (folder / "figures" / "bridge_map.png").exists()
    before = {p.name: p.stat().st_mtime_ns for p in (folder / "parts").glob("map-*")}
    table = (folder / "bridge_map.csv").read_bytes()
    assert command("--overwrite", "never")[0] == 0
    assert {p.name: p.stat().st_mtime_ns for p in (folder / "parts").glob("map-*")} == before
    assert (folder / "bridge_map.csv").read_bytes() == table
    damaged = min((folder / "parts").glob("map-*"))
    damaged.write_bytes(damaged.read_bytes().replace(b"cosine", b"cosinus", 1))
    assert command()[0] == 0  # made again, with the layers that it needs
    assert (folder / "bridge_map.csv").read_bytes() == table
    code, said = command("--set", "bridge.map.fit=0.65")
    assert code == 5
    assert "it takes 20 each to fit and to search" in said
    code, said = command("--set", "bridge.map.fit=0.7")
    assert code == 2
    assert "leave none to search" in said
