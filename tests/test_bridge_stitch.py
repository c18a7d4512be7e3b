"""Stitches: what least squares and training find where the answer is known, and the command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tokenizers
import torch
import transformers
import yaml
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner

from platorep.bridges.image_stitch import (
    Head,
    ImageJoint,
    Positions,
    TappedImages,
    as_output,
    fit_head,
    positions,
    tap_images,
)
from platorep.bridges.layers import counterpart, evenly
from platorep.bridges.stitching import (
    Rows,
    Stitch,
    Training,
    least_squares,
    match,
    told,
    train,
)
from platorep.bridges.token_stitch import OpenCausal, TextJoint, tap_texts
from platorep.cli import app
from platorep.errors import ConfigError
from platorep.models.inside import OpenNetwork
from platorep.parameters.toyworld import parse_network
from platorep.studies.stitch_bench import others
from platorep.toyworld.networks import build_timm

N = 60
ROWS = np.arange(N)
TRAINING = Training(steps=12, batch_size=16, learning_rate=0.3, seed=0)


def orthogonal(d: int, rng: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(d, d, generator=rng)).Q


class Tiny(nn.Module):
    """Three convolutions; what `first` gives may be turned, and is turned back after it."""

    def __init__(self, rng: torch.Generator) -> None:
        super().__init__()
        self.first, self.back = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 6, 1)
        self.second = nn.Conv2d(6, 8, 3)
        for weight in self.parameters():
            weight.data = 0.5 * torch.randn(weight.shape, generator=rng)
        self.back.weight.data, self.back.bias.data = torch.eye(6)[..., None, None], torch.zeros(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.back(self.first(x)).relu()).relu().mean(dim=(2, 3))

    def turned(self, turn: Tensor) -> "Tiny":
        other = Tiny(torch.Generator())
        other.load_state_dict(self.state_dict())
        other.first.weight.data = torch.einsum("de,eijk->dijk", turn, self.first.weight.data)
        other.first.bias.data = turn @ self.first.bias.data
        other.back.weight.data = turn.T[..., None, None].clone()
        return other


def opened(network: nn.Module, names: tuple[str, ...], size: int = 9) -> OpenNetwork:
    network = network.eval().requires_grad_(False)
    return OpenNetwork(network, names, torch.as_tensor, (3, size, size), "tiny")


def tapped(network: nn.Module, images: Tensor, *names: str) -> TappedImages:
    own = opened(network, names, images.shape[-1])
    return tap_images(own, names, list(images), 16, lambda done: None)


@pytest.fixture
def images(rng: torch.Generator) -> Float[Tensor, "n c h w"]:
    return torch.randn(N, 3, 9, 9, generator=rng)


@pytest.fixture
def having(images: Tensor) -> Any:
    """Two labels that the pictures decide."""
    return np.stack([images.mean(dim=(1, 2, 3)) > 0, images[:, 0].std(dim=(1, 2)) > 1], axis=1)


def joined(front: TappedImages, back: TappedImages, having: Any, **other: Any) -> ImageJoint:
    head = fit_head(back.final, having, ROWS, 1.0)
    return ImageJoint((front, "first"), (back, "first"), head, having, **other)


def test_least_squares_is_that_of_numpy(rng: torch.Generator) -> None:
    x = torch.randn(200, 5, generator=rng) * torch.tensor([1.0, 50.0, 0.01, 3.0, 2.0]) + 7
    y = torch.randn(200, 3, generator=rng) + x[:, :3]
    found = least_squares([(x[:90], y[:90]), (x[90:], y[90:])])
    design = np.column_stack([x.double().numpy(), np.ones(200)])
    expected, _, _, _ = np.linalg.lstsq(design, y.double().numpy(), rcond=None)
    assert np.allclose(found.stitch.weight.numpy().T, expected[:-1], rtol=1e-4, atol=1e-5)
    assert np.allclose(found.stitch.bias.numpy(), expected[-1], rtol=1e-3, atol=1e-4)
    left = y.double().numpy() - design @ expected
    share = 1 - left.var(axis=0).sum() / y.double().numpy().var(axis=0).sum()
    assert found.share == pytest.approx(share, rel=1e-5)


def test_a_feature_that_does_not_vary_is_carried_by_the_intercept(rng: torch.Generator) -> None:
    x = torch.randn(50, 4, generator=rng)
    x[:, 2] = 3
    found = least_squares([(x, x)])
    assert torch.allclose(found.stitch(x), x, atol=1e-4)


def test_a_network_with_itself_loses_nothing(images: Tensor, having: Any) -> None:
    """At the same layer the stitch of least squares is the identity."""
    own = tapped(Tiny(torch.Generator().manual_seed(1)), images, "first")
    joint = joined(own, own, having)
    found = match(joint, ROWS, 16)
    assert torch.allclose(found.stitch.weight, torch.eye(6), atol=1e-5)
    assert torch.allclose(found.stitch.bias, torch.zeros(6), atol=1e-4)
    assert found.share == pytest.approx(1)
    expected = fit_head(own.final, having, ROWS, 1.0)(own.final)
    assert torch.allclose(told(joint.tell, found.stitch, ROWS, 16), expected, atol=1e-4)


@pytest.mark.parametrize("turn", ["rotation", "permutation"])
def test_a_turned_copy_is_turned_back(
    images: Tensor, having: Any, rng: torch.Generator, turn: str
) -> None:
    network = Tiny(torch.Generator().manual_seed(1))
    way = (
        orthogonal(6, rng) if turn == "rotation" else torch.eye(6)[torch.randperm(6, generator=rng)]
    )
    front, back = tapped(network, images, "first"), tapped(network.turned(way), images, "first")
    assert torch.allclose(front.final, back.final, atol=1e-4)  # one function
    joint = joined(front, back, having)
    found = match(joint, ROWS[:40], 16)
    assert torch.allclose(found.stitch.weight, way, atol=1e-4)
    own = fit_head(back.final, having, ROWS, 1.0)(back.final)
    assert torch.allclose(told(joint.tell, found.stitch, ROWS, 16), own, atol=1e-3)


class Known:
    """The best stitch is known: one for the rows to train on, one for those held out."""

    def __init__(self, fit: float, held_out: float) -> None:
        self._wanted = {True: fit * torch.eye(3), False: held_out * torch.eye(3)}

    def observed(self, rows: Rows) -> tuple[Tensor, Tensor]:
        x = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))[rows]
        return x, x

    def loss(self, stitch: Stitch, rows: Rows) -> Tensor:
        return (stitch.weight - self._wanted[bool(rows[0] < 40)]).square().sum()


def test_training_goes_on_from_least_squares() -> None:
    joint = Known(2, 2)
    found = train(joint, match(joint, ROWS[:40], 16), ROWS[:40], ROWS[40:], TRAINING)
    assert found.step > 0
    assert min(found.losses) < found.losses[0]
    assert float(joint.loss(found.stitch, ROWS[40:])) == pytest.approx(min(found.losses), rel=1e-4)


def test_what_only_gets_worse_stays_as_it_began() -> None:
    joint = Known(2, 1)
    start = match(joint, ROWS[:40], 16)
    found = train(joint, start, ROWS[:40], ROWS[40:], TRAINING)
    assert found.step == 0
    assert min(found.losses[1:]) > found.losses[0]
    assert torch.equal(found.stitch.weight, start.stitch.weight)


def test_batches_are_those_of_the_seed(images: Tensor, having: Any) -> None:
    front, back = (
        tapped(Tiny(torch.Generator().manual_seed(seed)), images, "first") for seed in (1, 2)
    )
    joint = joined(front, back, having)
    start = match(joint, ROWS[:40], 16)
    runs = [
        train(joint, start, ROWS[:40], ROWS[40:], Training(**vars(TRAINING) | {"seed": seed}))
        for seed in (0, 0, 1)
    ]
    assert runs[0].losses == runs[1].losses != runs[2].losses


def test_noise_shows_each_row_another_of_its_part() -> None:
    parts = (np.arange(0, 20, 2), np.arange(1, 20, 2), np.array([21, 20, 22]))
    seen = others(parts, 0)
    for part in parts:
        assert sorted(seen[part]) == sorted(part)
        assert (seen[part] != part).all()
    assert not np.array_equal(seen, others(parts, 1))


def test_maps_are_averaged_down_and_interpolated_up(rng: torch.Generator) -> None:
    few = Positions(torch.zeros(2, 0, 3), torch.randn(2, 3, 4, 4, generator=rng))
    other = Positions(torch.zeros(2, 0, 5), torch.zeros(2, 5, 2, 2))
    averaged = few.grid.unflatten(2, (2, 2)).unflatten(4, (2, 2)).mean(dim=(3, 5))
    assert torch.allclose(few.like(other), averaged.flatten(2).mT)
    there = Positions(torch.zeros(2, 0, 5), torch.zeros(2, 5, 4, 4))
    assert torch.equal(few.like(there), few.joined())
    up = few.like(Positions(torch.zeros(2, 0, 5), torch.zeros(2, 5, 8, 8)))
    assert up.mT.unflatten(2, (8, 8)).mean() == pytest.approx(float(few.grid.mean()), abs=1e-5)
    tokens = few.like(Positions(torch.zeros(2, 1, 5), torch.zeros(2, 5, 2, 2)))
    assert torch.allclose(tokens[:, 0], few.grid.mean(dim=(2, 3)))
    assert torch.allclose(tokens[:, 1:], averaged.flatten(2).mT)


@pytest.mark.parametrize(("name", "tap"), [("conv2", "layer2"), ("vit8", "blocks.1")])
def test_what_is_cut_open_can_be_put_together(name: str, tap: str) -> None:
    """Maps and tokens: the output of a module as positions and back, and the network goes on."""
    network = build_timm(parse_network(name), 16, 0)
    pictures = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    own = opened(network, (tap,), 16)
    (output,) = own.outputs(pictures, [tap])
    back = as_output(own, tap, positions(own, tap, output).joined(), output)
    assert torch.equal(back, output)
    assert own.can_resume(tap)
    assert torch.allclose(own.resumed(tap, back), network(pictures), rtol=1e-3, atol=1e-4)


def test_a_head_is_what_its_solver_fits(images: Tensor, having: Any) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    final = torch.randn(N, 5, generator=torch.Generator().manual_seed(3)) * 4 + 2
    head = fit_head(final, having, ROWS[:40], 0.1)
    z = StandardScaler().fit(final[:40].double()).transform(final.double())
    solver = LogisticRegression(C=0.1, max_iter=1000).fit(z[:40], having[:40, 1])
    assert np.allclose(head(final)[:, 1], solver.decision_function(z), atol=1e-4)
    assert isinstance(head, Head)


def test_layers_are_spread_by_depth() -> None:
    assert evenly(4, 5) == [1, 2, 3, 4]
    assert evenly(4, 30) == [7, 14, 22, 29]
    assert evenly(9, 3) == [0, 1, 2]
    assert [counterpart(i, 4, 2) for i in range(4)] == [0, 0, 1, 1]
    assert counterpart(0, 1, 3) == 2


# --- language ---

TEXTS = [[0, *map(int, t)] for t in np.random.default_rng(0).integers(1, 40, (N, 6))]
TEXTS = [text[: 3 + i % 5] for i, text in enumerate(TEXTS)]
LLAMA = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 16,
    "initializer_range": 0.3,
}
NETWORKS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**LLAMA),
    "gpt2": lambda: transformers.GPT2Config(
        n_embd=16, n_layer=3, n_head=2, n_positions=16, vocab_size=40, initializer_range=0.3
    ),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **LLAMA, num_key_value_heads=1, head_dim=8, sliding_window=4
    ),
}


def causal(name: str, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return transformers.AutoModelForCausalLM.from_config(NETWORKS[name]()).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_causal_model_goes_on_from_any_block(name: str) -> None:
    network = causal(name)
    own = OpenCausal(network, name)
    tokens = torch.tensor([[0, 5, 9, 2, 7, 1], [0, 3, 3, 8, 1, 2]])
    expected = network(tokens).logits
    for layer, states in zip(range(3), own.states(tokens, range(3)), strict=True):
        states.requires_grad_()
        found = own.resumed(layer, states, tokens.flip(0))
        assert torch.allclose(found, expected, atol=1e-5)
        found.sum().backward()
        assert states.grad is not None
        assert states.grad.abs().sum() > 0
    assert torch.allclose(network(tokens).logits, expected)  # as before
    reference = network(tokens, output_hidden_states=True).hidden_states
    assert all(
        torch.equal(a, b) for a, b in zip(own.states(tokens, range(3)), reference, strict=False)
    )


def test_a_model_that_looks_back_past_its_blocks_is_refused() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = transformers.LlamaConfig(**LLAMA)
            self.inner = causal("llama")
            self.dtype = torch.float32

        def get_input_embeddings(self) -> Any:
            return self.inner.get_input_embeddings()

        def forward(self, input_ids: Tensor, **other: Any) -> Any:
            found = self.inner(input_ids, **other)
            found.logits = found.logits + self.inner.get_input_embeddings()(input_ids).sum(-1, True)
            return found

    with pytest.raises(ConfigError, match="cannot be cut between its blocks"):
        OpenCausal(Skips(), "skips")


def test_nats_of_tapped_texts_are_those_of_the_model() -> None:
    network = causal("llama")
    own = tap_texts(OpenCausal(network, "llama"), [1], TEXTS, 16, lambda done: None)
    for text, nats in zip(TEXTS[:7], own.nats, strict=False):
        log = network(torch.tensor([text])).logits.log_softmax(dim=-1)[0]
        expected = -sum(float(log[i, token]) for i, token in enumerate(text[1:]))
        assert float(nats) == pytest.approx(expected, rel=1e-4)


def permuted(network: Any, order: Tensor) -> Any:
    """The same function, with the channels between its blocks in another order."""
    other = causal("llama")
    weights = {}
    for name, weight in network.state_dict().items():
        if "embed_tokens" in name or "lm_head" in name:
            weight = weight[:, order]
        elif "norm" in name or "o_proj" in name or "down_proj" in name:
            weight = weight[order]
        else:
            weight = weight[:, order]
        weights[name] = weight
    other.load_state_dict(weights)
    return other


def test_a_causal_model_is_stitched_to_its_permuted_copy(rng: torch.Generator) -> None:
    order = torch.randperm(16, generator=rng)
    network = causal("llama")
    front, back = (
        tap_texts(OpenCausal(n, "llama"), [1, 2], TEXTS, 16, lambda done: None)
        for n in (network, permuted(network, order))
    )
    assert torch.allclose(front.nats, back.nats, rtol=1e-4)
    joint = TextJoint((front, 2), (back, 2), TEXTS)
    found = match(joint, ROWS[:40], 16)
    assert torch.allclose(found.stitch.weight, torch.eye(16)[order], atol=1e-3)
    assert torch.allclose(told(joint.tell, found.stitch, ROWS, 16), back.nats, rtol=1e-3)
    other = TextJoint((front, 1), (back, 2), TEXTS)  # another layer: not the same
    start = match(other, ROWS[:40], 16)
    assert start.share < 0.99
    noise = TextJoint((front, 2), (back, 2), TEXTS, others((ROWS,), 0))
    assert match(noise, ROWS, 16).share < 0.5


# --- the command ---


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of two brightnesses, texts that tell them, tiny networks with random weights."""
    folder = tmp_path_factory.mktemp("stitch")
    (folder / "pictures").mkdir()
    texts = []
    rng = np.random.default_rng(0)
    for i in range(48):
        level = 40 + 160 * (i % 2) + rng.integers(0, 30, (8, 8, 3))
        Image.fromarray(level.astype(np.uint8)).save(folder / "pictures" / f"{i:02}.png")
        texts.append(f"{'bright' if i % 2 else 'dark'} picture {'left' if i % 3 else 'right'} w{i}")
    table = pd.DataFrame({"file_name": [f"{i:02}.png" for i in range(48)], "caption": texts})
    table["tone"] = [text.split()[0] for text in texts]
    table.to_csv(folder / "pictures" / "metadata.csv", index=False)
    words = {
        word: i for i, word in enumerate(["<s>", "<unk>", *sorted({*" ".join(texts).split()})])
    }
    tokens = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    tokens.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<s>", eos_token="<s>", pad_token="<s>"
    ).save_pretrained(folder / "reader")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**LLAMA | {"vocab_size": len(words)})
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "reader")
    views = {"image": {}, "text": {"column": "caption"}, "tone": {"kind": "text", "column": "tone"}}
    viewer = {"name": "test_efficientnet", "random_init": True, "transform": {"input_size": 32}}
    models = [viewer | {"label": "one"}, viewer | {"label": "other", "seed": 1}]
    content = {
        "name": "tiny",
        "dataset": {"source": str(folder / "pictures"), "views": views},
        "families": [
            {"name": "viewers", "modality": "vision", "models": models},
            {
                "name": "readers",
                "modality": "language",
                "models": [{"name": str(folder / "reader"), "label": "reader"}],
            },
        ],
        "align": {"pairs": [["vision", "vision"]], "metrics": [{"name": "mutual_knn", "k": 5}]},
        "bridge": {
            "stitch": {
                "words": ["bright", "left"],
                "layers": [1, 2],
                "steps": 2,
                "validation_share": 0.3,
                "pairs": [["one", "other"], ["reader", "reader"], ["one", "reader"]],
            }
        },
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    line = ["bridge", "stitch", str(folder / "tiny.yaml"), "--output", str(folder / "results")]
    done = CliRunner().invoke(app, [*line, "--json", "-q", *words])
    if done.exit_code == 1:
        raise done.exception or AssertionError(done.stderr)
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.usefixtures("shapes_unchecked")
def test_the_command(experiment: Path) -> None:
    code, out, err = run(experiment)
    assert code == 3, err  # the last pair reads two views, and the rest is done
    assert "a stitch needs two models that read one view" in err
    shown = json.loads(out)
    assert {row["control"] for row in shown} == {"", "random weights", "noise", "same layer"}
    results = experiment / "results"
    table = pd.read_csv(results / "bridge_stitch.csv", keep_default_na=False)
    vision = table[table["y"] == "other"]
    # a front that is random already has no random copy
    assert vision["control"].value_counts().to_dict() == {"": 4, "noise": 2, "same layer": 2}
    assert np.allclose(vision["own"] - vision["stitched"], vision["penalty"])
    same = table[table["control"] == "same layer"]
    assert same["penalty"].abs().max() < 1e-4
    words = table[table["measure"] == "bits per byte"]
    assert words["control"].value_counts()["random weights"] == 2
    assert np.allclose(words["stitched"] - words["own"], words["penalty"])
    itself = words[(words["control"] == "") & (words["layer_x"] == words["layer_y"])]
    assert len(itself) == 2
    assert itself["matched_penalty"].abs().max() < 1e-3
    assert np.allclose(itself["score"].astype(float), 1)
    assert all((results / "parts" / name).is_file() for name in table["weights"])
    for figure in ("bridge_stitch", "bridge_stitch_bits"):
        points = pd.read_csv(results / "figures" / f"{figure}.csv")
        assert (points["role"] == "correlation").sum() == 3
        assert (results / "figures" / f"{figure}.pdf").is_file()
    # finished pieces are not made again
    code, out, err = run(experiment, "--overwrite", "never")
    assert (code, json.loads(out)) == (3, shown), err
    # but those whose weights are damaged or gone are
    weights = results / "parts" / vision["weights"].iloc[0]
    weights.write_bytes(weights.read_bytes()[:50])
    code, out, err = run(experiment)
    assert (code, json.loads(out)) == (3, shown), err
    assert weights.stat().st_size > 50
    code, _, err = run(experiment, "--models", "one", "--set=bridge.stitch.pairs=[[one, other]]")
    assert code == 2
    assert "no pair is of two of the models" in err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"pairs": "[[one, otter]]"}, "Did you mean 'other'"),
        ({"words": "[]"}, "must have something to tell"),
        ({"view": "texts"}, "'texts' is no view of texts"),
        ({"layers": "[99]"}, "which has"),
    ],
)
def test_what_is_refused(experiment: Path, settings: dict[str, str], said: str) -> None:
    changed = {"pairs": "[[one, other]]"} | settings
    sets = [f"--set=bridge.stitch.{name}={value}" for name, value in changed.items()]
    code, _, err = run(experiment, *sets)
    assert code in (2, 5), err
    assert said in err


def test_arrays_of_features_are_no_networks(tmp_path: Path) -> None:
    ids = [f"{i}" for i in range(30)]
    for name in ("one", "other"):
        np.savez(tmp_path / f"{name}.npz", ids=ids, layer=np.ones((30, 4)))
    family = {"name": "mine", "modality": "vision", "backend": "features"}
    said = {
        "name": "tiny",
        "dataset": {"source": ".", "views": {"text": {}}},
        "families": [{**family, "models": ["one.npz", "other.npz"]}],
        "align": {"pairs": [["vision", "vision"]]},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(said))
    pd.DataFrame({"text": ids}).to_csv(tmp_path / "captions.csv", index=False)
    code, _, err = run(tmp_path)
    assert code == 2, err
    assert "one.npz and other.npz are arrays of features: a stitch needs networks" in err


def test_texts_may_be_classes(experiment: Path) -> None:
    sets = ["pairs=[[one, other]]", "words=[]", "label=tone", "layers=[2]"]
    code, out, err = run(experiment, *(f"--set=bridge.stitch.{name}" for name in sets))
    assert code == 0, err
    noise, plain = (
        next(row for row in json.loads(out) if row["control"] == control)
        for control in ("noise", "")
    )
    assert plain["own"] == 1  # brightness is easily told
    assert noise["penalty"] > plain["penalty"]
