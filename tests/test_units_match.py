"""Units that match: streamed correlations, best buddies, cliques, text by characters, the command.

Axes: n samples, p positions, u and v units.
"""

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
import transformers
import yaml
from PIL import Image
from timm.models import save_for_hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from typer.testing import CliRunner

from platorep.cli import app
from platorep.config import ModelSpec
from platorep.errors import DamagedError
from platorep.models import open_model
from platorep.studies.units_shown import chosen_cliques
from platorep.units import correlation, maps
from platorep.units.buddies import Matched, cliques, false_shares, match_units
from platorep.units.correlation import moments
from platorep.units.maps import Layers, Maps, every_position, on_grid, read_maps, write_maps
from platorep.units.naming import name_of
from platorep.units.reading import write_text_maps

Rows = np.ndarray
"""n p u."""


def on_disk(path: Path, rows: Rows, *, by_position: bool = False, block: int = 7) -> Maps:
    """Maps as they are written, in blocks that do not divide the rows, in two layers."""
    n, p, u = rows.shape
    flat = torch.from_numpy(rows.reshape(n * p, u).astype(np.float32))
    blocks = ([part[:, : u // 2], part[:, u // 2 :]] for part in flat.split(block))
    at = every_position(n, p)
    write_maps(path, blocks, at, layers=Layers((0, 2), 3), by_position=by_position, of="these")
    return read_maps(path, "these")


def smooth(seed: int, n: int = 60, p: int = 9, u: int = 8) -> Rows:
    """Units whose neighbouring positions are alike."""
    rows: np.ndarray = np.random.default_rng(seed).standard_normal((n, p, u))
    return rows + np.roll(rows, 1, axis=1)


def matched(tmp_path: Path, x: Rows, y: Rows, permutations: int = 20) -> Matched:
    pair = [on_disk(tmp_path / f"{name}.npy", rows) for name, rows in (("x", x), ("y", y))]
    return match_units(*pair, permutations=permutations, seed=0)


def test_streamed_is_what_all_maps_at_once_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the offset is ten thousand times the spread, and for samples in another order."""
    monkeypatch.setattr(maps, "CHUNK", 50)
    monkeypatch.setattr(correlation, "CHUNK", 50)
    x = (smooth(0) + 1e4).astype(np.float32)
    y = (x[..., ::-1] * 3 + smooth(1)).astype(np.float32)
    pair = [on_disk(tmp_path / f"{name}.npy", rows) for name, rows in (("x", x), ("y", y))]
    some, order = np.arange(40), np.random.default_rng(0).permutation(40)
    for others in (some, order):
        found = moments(*pair, some, others).correlation()
        flat = [rows.reshape(-1, 8).astype(np.float64).T for rows in (x[some], y[others])]
        np.testing.assert_allclose(found, np.corrcoef(*flat)[:8, 8:], atol=2e-6)


def test_halves_add_up(tmp_path: Path) -> None:
    pair = [on_disk(tmp_path / f"{i}.npy", smooth(i)) for i in (0, 1)]
    parts = [moments(*pair, part, part) for part in np.array_split(np.arange(60), 2)]
    whole = moments(*pair, np.arange(60), np.arange(60)).correlation()
    np.testing.assert_allclose((parts[0] + parts[1]).correlation(), whole, atol=1e-7)


def test_a_unit_that_does_not_vary_matches_nothing(tmp_path: Path) -> None:
    x = smooth(0)
    x[..., 3] = 0.1  # no float32: what is left of it is rounding
    y = x.copy()
    y[..., 4] = np.nan_to_num(1e4 + 0.1)
    found = matched(tmp_path, x, y)
    assert set(found.whole.x) == set(range(8)) - {3, 4}


def test_permuted_and_rescaled_units_find_themselves(tmp_path: Path) -> None:
    order = np.random.default_rng(5).permutation(8)
    x = smooth(0)
    y = x[..., order] * np.arange(1, 9) * 0.01 + 3
    found = matched(tmp_path, x, y)
    assert order[found.whole.y].tolist() == found.whole.x.tolist() == list(range(8))
    np.testing.assert_allclose(found.whole.strength, 1, atol=1e-6)
    assert found.whole.again.all()
    assert (false_shares(found.whole.strength, found.null) < 0.05).all()
    negative = matched(tmp_path, x, -y)  # the opposite is no match
    assert not np.isclose(negative.whole.strength, 1, atol=0.5).any()


def test_independent_units_are_at_the_null(tmp_path: Path) -> None:
    """In 20 worlds of no match at all, about one in twenty may have any at 5 %."""
    found = [matched(tmp_path, smooth(i), smooth(100 + i)) for i in range(20)]
    q = [false_shares(one.whole.strength, one.null) for one in found]
    assert sum((of_world <= 0.05).any() for of_world in q) <= 3
    strengths = np.concatenate([one.whole.strength for one in found])
    null = np.concatenate([strength for one in found for strength in one.null])
    assert abs(strengths.mean() - null.mean()) < 0.02


def test_planted_units_are_found_and_confirmed(tmp_path: Path) -> None:
    x, y = smooth(0, n=200, u=30), smooth(1, n=200, u=40)
    y[..., 5:9] = x[..., 20:24] + 0.8 * y[..., 5:9]
    found = matched(tmp_path, x, y)
    sure = false_shares(found.whole.strength, found.null) <= 0.05
    pairs = list(zip(found.whole.x[sure].tolist(), found.whole.y[sure].tolist(), strict=True))
    planted = [(20, 5), (21, 6), (22, 7), (23, 8)]
    assert set(planted) <= set(pairs)
    assert len(pairs) <= 5  # one in twenty may be false
    confirmed = dict(zip(pairs, found.whole.again[sure].tolist(), strict=True))
    assert {pair for pair, again in confirmed.items() if again} == set(planted)
    for half in found.halves:  # chosen there, the correlation is not less elsewhere
        real = (half.x >= 20) & (half.x < 24) & (half.y == half.x - 15)
        assert real.sum() == 4
        np.testing.assert_allclose(half.elsewhere[real], half.strength[real], atol=0.05)
        chance = ~real
        assert half.elsewhere[chance].mean() < half.strength[chance].mean() / 3
        assert half.again[chance].mean() < 0.3


def test_what_is_shared_by_position_alone_is_in_the_null(tmp_path: Path) -> None:
    bump = 5 * np.exp(-(np.linspace(-2, 2, 9) ** 2))[None, :, None]
    x, y = smooth(0) + bump, smooth(1) + bump
    kept = matched(tmp_path, x, y)
    assert kept.whole.strength.max() > 0.5
    assert (false_shares(kept.whole.strength, kept.null) > 0.05).all()
    pair = [on_disk(tmp_path / f"{i}.npy", z, by_position=True) for i, z in enumerate((x, y))]
    removed = match_units(*pair, permutations=5, seed=0)
    assert removed.whole.strength.max() < 0.2


def test_false_shares_by_hand() -> None:
    strength, null = np.array([0.5, 0.9, 0.2]), [np.array([0.6, 0.1]), np.array([0.3]), np.zeros(0)]
    # at .9 none of the null: 1/4 false of 1 found; at .5 one: 2/4 of 2; at .2 two: 3/4 of 3
    np.testing.assert_allclose(false_shares(strength, null), [0.25, 0.25, 0.25])
    tied = [np.array([0.6, 0.5, 0.5])]  # 4/2 of 2 at .5, 1/2 of 1 at .9
    np.testing.assert_allclose(false_shares(np.array([0.5, 0.9]), tied), [1, 0.5])
    assert false_shares(np.zeros(0), null).shape == (0,)


def test_cliques_are_those_of_brute_force() -> None:
    for seed in range(20):
        draw = np.random.default_rng(seed)
        names = "abcd"
        buddies: dict[tuple[str, str], dict[tuple[int, int], float]] = {}
        for pair in itertools.combinations(names, 2):
            order = draw.permutation(3)
            kept = draw.random(3) < 0.8
            buddies[pair] = {(u, int(order[u])): draw.random() for u in range(3) if kept[u]}

        def r(a: tuple[str, int], b: tuple[str, int], among: Any = buddies) -> float | None:
            found: float | None = among[a[0], b[0]].get((a[1], b[1]))
            return found

        expected: dict[tuple[tuple[str, int], ...], float] = {}
        for size in (4, 3):
            for group in itertools.combinations(names, size):
                for units in itertools.product(range(3), repeat=size):
                    clique = tuple(zip(group, units, strict=True))
                    strengths = [r(*two) for two in itertools.combinations(clique, 2)]
                    inside = any(set(clique) <= set(larger) for larger in expected)
                    if None not in strengths and not inside:
                        expected[clique] = min(s for s in strengths if s is not None)
        found = cliques(buddies)
        assert {clique.units: clique.strength for clique in found} == expected
        assert [c.strength for c in found] == sorted(expected.values(), reverse=True)


def test_maps_are_resampled_by_area_and_between_centres() -> None:
    fine = torch.zeros(1, 1, 12, 12)
    fine[0, 0, 5, 6] = 1  # a pixel that plain bilinear sampling would pass over
    assert on_grid(fine, 2).sum() == pytest.approx(4 / 144, rel=0.5)
    assert on_grid(torch.ones(1, 1, 12, 9), 5).flatten().tolist() == pytest.approx([1] * 25)
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)  # at the borders the triangle is cut
    np.testing.assert_allclose(on_grid(ramp, 4)[0, 5:7, 0], [2.5, 4.5], atol=1e-6)
    assert on_grid(ramp[..., :1, :1], 3).tolist() == [[[0.0]] * 9]


# --- texts ---

TEXTS = ("über 🐕 dogs run", "dogs", "a naïve 🐕", "run dogs run über dogs")


def language_folder(folder: Path, kind: str) -> Path:
    """A small Llama whose tokenizer cuts in bytes, or in words that it spells in lower case."""
    if kind == "bytes":
        tokenizer = Tokenizer(
            models.BPE(
                {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []
            )
        )
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        words = dict.fromkeys(word for text in TEXTS for word in text.split())
        tokenizer = Tokenizer(
            models.WordLevel({w: i for i, w in enumerate(words)} | {"<unk>": 20}, "<unk>")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")
    if kind == "words":
        wrapped.backend_tokenizer.post_processor = None
    size = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2}
    config = transformers.LlamaConfig(
        vocab_size=len(wrapped), num_attention_heads=2, max_position_embeddings=64,
        bos_token_id=None, initializer_range=0.3, **size,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    wrapped.save_pretrained(folder)
    return folder


def language_spec(folder: Path, **settings: Any) -> ModelSpec:
    return ModelSpec(
        name=str(folder), label=folder.name, family="f", modality="language",
        backend="transformers", **settings,
    )  # fmt: skip


def test_characters_have_the_token_that_covers_them(tmp_path: Path) -> None:
    ids = [str(i) for i in range(len(TEXTS))]
    found = {}
    for kind in ("bytes", "words"):
        spec = language_spec(language_folder(tmp_path / kind, kind))
        network = open_model(spec, offline=True).open_texts("cpu", torch.float32)
        found[kind] = network.spelled(TEXTS, ids)
    # four bytes for the dog, of which the last has read it all; two for the umlaut
    assert found["bytes"][0].token_at.tolist()[:8] == [1, 2, 3, 4, 5, 9, 10, 11]
    assert found["words"][0].token_at.tolist() == [0, 0, 0, 0, -1, 1, -1, 2, 2, 2, 2, -1, 3, 3, 3]


def test_a_prompt_and_special_tokens_cover_nothing(tmp_path: Path) -> None:
    folder = language_folder(tmp_path / "words", "words")
    spec = language_spec(folder, prompt="run {text} dogs")
    network = open_model(spec, offline=True).open_texts("cpu", torch.float32)
    (text,) = network.spelled(["dogs run"], ["0"])
    assert text.token_at.tolist() == [0, 0, 0, 0, -1, 1, 1, 1]
    assert list(text.tokens.pooled) == [False, True, True, False]


def test_texts_are_held_against_each_other_by_character(tmp_path: Path) -> None:
    """Against corrcoef over characters that both have, put together one by one."""
    ids = [str(i) for i in range(len(TEXTS))]
    written, by_hand = [], []
    for kind in ("bytes", "words"):
        spec = language_spec(language_folder(tmp_path / kind, kind))
        network = open_model(spec, offline=True).open_texts("cpu", torch.float32)
        path = tmp_path / f"{kind}.npy"
        layers = Layers((0, 2), 3)
        write_text_maps(
            path, network, layers, TEXTS, ids, by_position=False, of=kind, progress=lambda n: None
        )
        written.append(read_maps(path, kind))
        loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / kind).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / kind)
        rows: dict[tuple[int, int], np.ndarray] = {}
        for i, text in enumerate(TEXTS):
            read = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
            with torch.no_grad():
                states = loaded(read["input_ids"], output_hidden_states=True).hidden_states
            side_by_side = torch.cat([states[0][0], states[2][0]], dim=1).numpy()
            for (start, end), row in zip(
                read["offset_mapping"][0].tolist(), side_by_side, strict=True
            ):
                rows |= {(i, c): row for c in range(start, end)}
        by_hand.append(rows)
    common = sorted(by_hand[0].keys() & by_hand[1].keys())
    assert len(common) == sum(len(text.replace(" ", "")) for text in TEXTS)
    expected = np.corrcoef(*(np.array([rows[at] for at in common]).T for rows in by_hand))
    all_texts = np.arange(len(TEXTS))
    found = moments(written[0], written[1], all_texts, all_texts).correlation()
    np.testing.assert_allclose(found, expected[:16, 16:], atol=1e-5)


# --- the command ---


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small image networks, one of them the copy of another with its units in disorder."""
    folder = tmp_path_factory.mktemp("units")
    draw = np.random.default_rng(0)
    (folder / "data").mkdir()
    for i in range(16):
        coarse = Image.fromarray(draw.integers(0, 255, (5, 5, 3), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / "data" / f"{i:02}.png")
    names = "\n".join(f"{i:02}.png,a dog {i}" for i in range(16))
    (folder / "data" / "captions.csv").write_text(f"file_name,text\n{names}\n")
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = timm.create_model("test_resnet", num_classes=0)
        save_for_hf(network, folder / f"net{seed}", safe_serialization=True)
    models = [{"name": f"local-dir:{folder / f'net{i}'}", "label": f"net{i}"} for i in (0, 1)]
    models.append({**models[0], "label": "net0-again"})
    content = {
        "name": "units",
        "dataset": {"source": str(folder / "data"), "views": {"image": {}, "text": {}}},
        "families": [{"name": "f", "modality": "vision", "models": models}],
        "align": {"pairs": [["vision", "vision"]]},
        "controls": {"random_weights": True},
        "units": {"match": {"grid": 4, "layers": [0, -1]}},
    }
    (folder / "units.yaml").write_text(yaml.safe_dump(content))
    return folder


def run(experiment: Path, *arguments: str) -> Any:
    line = ["units", "match", str(experiment / "units.yaml"), "--output", str(experiment / "out")]
    return CliRunner().invoke(app, [*line, *arguments])


@pytest.mark.usefixtures("shapes_unchecked")
def test_the_command_finds_a_copy_and_resumes(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And makes maps again that a killed run has left damaged."""
    seen: list[Path] = []

    def damaged_at_first(path: Path, of: str) -> Maps:
        seen.append(path)
        if seen.count(path) == 1:
            raise DamagedError(f"{path} is damaged.")
        return read_maps(path, of)

    monkeypatch.setattr(sys.modules["platorep.studies.units_match"], "read_maps", damaged_at_first)
    done = run(experiment, "--json")
    assert done.exit_code == 0, done.output
    shares = pd.read_csv(experiment / "out" / "units_shares.csv")
    overall = shares[shares["layer"].isna() & shares["control"].isna()].set_index(["x", "y"])
    assert (overall.loc[("net0", "net0-again"), "share"] > 0.9).all()  # three units never fire
    assert (overall.loc[("net0", "net0-again"), "confirmed"] == 1).all()
    assert (overall.loc[("net0", "net1"), "share"] < 0.6).all()
    matches = pd.read_csv(experiment / "out" / "units_match.csv")
    copy = matches[(matches["x"] == "net0") & (matches["y"] == "net0-again")]
    assert (copy["unit_x"] == copy["unit_y"]).all()
    assert (copy["layer_x"] == copy["layer_y"]).all()
    assert not list((experiment / "out" / "parts").glob("maps-*"))
    shown = pd.read_csv(experiment / "out" / "figures" / "units_cliques_image.csv")
    assert set(shown.groupby("clique")["model"].nunique()) <= {2, 3}
    assert shown["value"].between(0, 1).all()
    before = (experiment / "out" / "units_match.csv").read_bytes()
    again = run(experiment, "--overwrite", "never")
    assert again.exit_code == 0, again.output
    assert (experiment / "out" / "units_match.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ("units.match.layers=[9]", 3, "which has"),
        ("units.match.layers=[]", 2, "layers"),
        ("units.match.grid=0", 2, "grid"),
    ],
)
def test_bad_settings_are_refused(experiment: Path, settings: str, code: int, says: str) -> None:
    failed = run(experiment, "--set", settings, "--output", str(experiment / "bad"))
    assert failed.exit_code in (2, code), failed.output
    assert says in failed.output


def test_one_network_has_nobody_to_match(experiment: Path) -> None:
    failed = run(experiment, "--models", "net1*", "--output", str(experiment / "alone"))
    assert failed.exit_code == 2
    assert "two networks" in failed.output


def test_a_unit_is_named_by_the_word_it_goes_with() -> None:
    draw = np.random.default_rng(0)
    texts = [f"a {word} on grass" for word in draw.choice(["dog", "cat", "Über-man"], 90)]
    said = np.array(["dog" in text for text in texts])
    found = name_of(said + 0.1 * draw.standard_normal(90), texts, 0)
    assert found is not None
    assert found.word == "dog"
    assert found.p == pytest.approx(1 / 200)
    none = [name_of(draw.standard_normal(90), texts, i) for i in range(10)]
    assert sum(one is not None and one.p <= 0.05 for one in none) <= 2
    assert name_of(np.ones(90), texts, 0) is None
    assert name_of(draw.standard_normal(4), ["a dog"] * 4, 0) is None


def test_one_clique_of_each_part_of_depth_is_shown() -> None:
    rows = [
        {"clique": i, "control": control, "strength": r, "model": m, "layer": layer, "unit": i}
        for i, (control, r, layer) in enumerate(
            [("", 0.9, 0), ("both random weights", 0.99, 3), ("", 0.8, 0), ("", 0.5, 3)]
        )
        for m in "abc"
    ]
    depths = {(m, layer): layer / 3 for m in "abc" for layer in range(4)}
    shown = chosen_cliques(pd.DataFrame(rows), pd.DataFrame(), depths, 2)
    assert [(clique[0], r) for clique, r in shown] == [(("a", 0, 0), 0.9), (("a", 3, 3), 0.5)]
