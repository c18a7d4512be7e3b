"""`platorep check`: what moves features is found, and what moves none is not blamed.

Axes: n samples, d features. Networks are small and random, and broken on purpose.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
import yaml
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from test_any_network import CASES, MODALITY
from test_any_network import save as save_network
from test_language import WORDS, make_spec, make_tokenizer, save, save_random
from test_probing import READ_PADDING
from torch import Tensor
from typer.testing import CliRunner

from platorep.checking import CHECKS
from platorep.checking.checks import Subject, another_device
from platorep.checking.judging import Judge, Verdict
from platorep.checking.trust import KEPT_NEIGHBORS, Changes, LayerChange, compare_layers, share
from platorep.cli import app
from platorep.config import ModelSpec, PreprocessConfig
from platorep.errors import ConfigError, DataError
from platorep.metrics import bind
from platorep.models import Description, Loaded, Model, Reading, open_model
from platorep.models.memory import PooledRows

AS_IS = PreprocessConfig(clip_quantile=1, normalize="none", center="none")
NUM_TEXTS = 24


def texts() -> list[str]:
    """Different ones, of 1 to 12 words."""
    draw = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(WORDS), (NUM_TEXTS, 12), generator=draw).tolist()
    return [" ".join(WORDS[word] for word in row[: 1 + i % 12]) for i, row in enumerate(drawn)]


@dataclass
class Texts:
    texts: Sequence[str] = field(default_factory=texts)

    @property
    def ids(self) -> Sequence[str]:
        return [f"row-{i}" for i in range(len(self.texts))]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int, /) -> str:
        return self.texts[i]


def open_offline(spec: ModelSpec) -> Model:
    return open_model(spec, offline=True)


def subject_of(
    spec: ModelSpec, opening: Callable[[ModelSpec], Model] = open_offline, **changes: Any
) -> Subject:
    samples = Texts()
    subject = Subject(
        spec=spec.model_copy(update={"view": "text", "kind": "text"}),
        open=opening,
        samples=samples,
        rows=range(NUM_TEXTS),
        kind="text",
        lengths=[len(text) for text in samples.texts],
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    return replace(subject, **changes)


def verdicts(subject: Subject, *names: str) -> dict[str, Verdict]:
    checks = [CHECKS[name] for name in names or CHECKS]
    return {one.check: one for one in Judge(subject, PreprocessConfig()).verdicts(checks)}


# --- how far, and how far is too far ---


def test_changes_worked_by_hand() -> None:
    before = torch.zeros(12, 2)
    before[:, 0] = torch.arange(1, 13)
    before[:, 1] = torch.arange(1, 13) ** 2
    after = before.clone()
    after[3] += torch.tensor([0.0, 0.1])  # of length sqrt(4^2 + 16^2)

    found = compare_layers([after], [before], ["norm"], limit=0.01, preprocessing=AS_IS)

    assert found.worst.change == pytest.approx(0.1 / 272**0.5, rel=1e-5)
    assert found.mutual_knn == 1
    assert found.trusted
    assert "mutual_knn with itself 1" in found.words()
    assert not replace(found, limit=0.005).trusted
    assert "norm by up to 0.0061 of their length, where rounding explains 0.005" in (
        replace(found, limit=0.005).words()
    )


def test_no_score_moves_by_more_than_a_layer_lost_of_its_neighbors(rng: torch.Generator) -> None:
    metric = bind("mutual_knn")

    def score(x: Tensor, y: Tensor) -> float:
        return float(metric.compare([metric.summarize(x)], [metric.summarize(y)])[0, 0])

    moved = []
    for noise in (0.01, 0.1, 0.5, 2.0):
        x = torch.randn(60, 5, generator=rng)
        y = x + torch.randn(60, 5, generator=rng)
        changed = x + noise * torch.randn(60, 5, generator=rng)
        moved.append(abs(score(changed, y) - score(x, y)))
        assert moved[-1] <= 1 - score(changed, x) + 1e-12
    assert max(moved) > 1 - KEPT_NEIGHBORS  # so that the bound is not idle


def layer(name: str, change: float = 0.0, mutual_knn: float | None = 1.0) -> LayerChange:
    return LayerChange(layer=name, change=change, mutual_knn=mutual_knn)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([layer("a"), layer("b")], "nothing moves"),
        (
            [layer("a"), layer("b", 0.004, 0.9899)],
            "neighbors stay (mutual_knn with itself .989), features move by 0.004 of their length "
            "at most",
        ),
        (
            [layer("a", 0.001, 0.5), layer("b"), layer("c", 0.001, 0.91), layer("d", 0.001, 0.9)],
            "moves neighbors at a, c to d: mutual_knn with itself .500",
        ),
        (
            [layer("a", 0.5, None), layer("b", float("nan"), None), layer("c", float("inf"), None)],
            "gives values that are not finite at b to c; moves features at a by up to 0.5 of their "
            "length, where rounding explains 0.1",
        ),
    ],
)
def test_words(layers: list[LayerChange], words: str) -> None:
    changes = Changes(layers=tuple(layers), limit=0.1)

    assert changes.words() == words
    assert changes.trusted is words.startswith(("nothing", "neighbors stay"))


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (0.9999, ".999"), (0.98, ".980"), (0.0, ".000")]
)
def test_a_share_is_never_rounded_up(value: float, text: str) -> None:
    assert share(value) == text


def test_a_layer_that_says_nothing_of_neighbors_is_not_judged_by_them() -> None:
    constant, other = torch.ones(20, 3), torch.randn(20, 3)

    found = compare_layers(
        [constant, other], [constant, other], ["cls", "norm"], limit=0.0, preprocessing=AS_IS
    )

    assert [one.mutual_knn for one in found.layers] == [None, 1]
    assert found.trusted


# --- real loaders, networks broken on purpose ---


def test_an_ordinary_model_is_trusted(tmp_path: Path) -> None:
    found = verdicts(subject_of(make_spec(save(tmp_path))))

    assert list(found) == list(CHECKS)
    others = {check: one.trusted for check, one in found.items() if one.trusted != "yes"}
    assert others.pop("bfloat16", "no") == "no"  # one neighbor of 24 samples is .004 already
    assert others == {"sdpa": None, "device": None}
    assert found["reloaded"].words == found["again"].words == "nothing moves"
    assert "what the model uses" in found["sdpa"].words


def test_the_encoder_of_a_pair_is_opened_again_when_it_was_saved_alone(tmp_path: Path) -> None:
    found = verdicts(subject_of(make_spec(save(tmp_path, "t5"))), "reloaded")

    assert found["reloaded"].words == "nothing moves"


@pytest.mark.parametrize("name", ["fnet", "convbert"])
def test_a_network_that_reads_padding_is_found_and_guarded(name: str, tmp_path: Path) -> None:
    folder = save_random(tmp_path, transformers.AutoModelForMaskedLM, READ_PADDING[name])

    found = verdicts(subject_of(make_spec(folder)), "again", "batch", "padding")

    assert found["again"].trusted == "yes"
    for check in ("batch", "padding"):
        assert found[check].trusted == "guarded"
        assert "Platorep reads its samples in batches of equal length" in found[check].words
    assert found["padding"].changes is not None
    assert found["padding"].changes.worst.change > 0.01


def test_float16_that_overflows_is_not_finite(tmp_path: Path) -> None:
    folder = save(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] *= 1e6  # 65504 is the largest number of float16
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    found = verdicts(subject_of(make_spec(folder)), "bfloat16", "float16")

    assert found["bfloat16"].trusted == "yes"
    assert found["float16"].trusted == "no"
    assert found["float16"].words == (
        "gives values that are not finite at hidden_states.0 to hidden_states.3. Compute in "
        "float32 (`dtype: float32`)."
    )
    with pytest.raises(DataError, match=r"first at hidden_states\.0.*computed in float16"):
        verdicts(subject_of(make_spec(folder), dtype=torch.float16), "again")


CODE = """
import torch
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class OwnConfig(PretrainedConfig):
    model_type = "own"

    def __init__(self, vocab_size=40, hidden_size=8, num_hidden_layers=1, **more):
        self.vocab_size, self.hidden_size = vocab_size, hidden_size
        self.num_hidden_layers = num_hidden_layers
        super().__init__(**more)


class OwnModel(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = "own"
    _supports_sdpa = True
    _keys_to_ignore_on_save = {"shift"}

    def __init__(self, config):
        super().__init__(config)
        self.words = torch.nn.Embedding(config.vocab_size, config.hidden_size)
        self.shift = torch.nn.Parameter(torch.zeros(config.hidden_size))
        self.post_init()

    def _init_weights(self, module):  # a parameter that no file holds is zero, not what memory held
        if module is self:
            torch.nn.init.zeros_(self.shift)

    def get_input_embeddings(self):
        return self.words

    def forward(self, input_ids, attention_mask=None, output_hidden_states=False, **more):
        first = self.words(input_ids)
        last = first.cumsum(1) + self.shift
        if self.config._attn_implementation == "eager":
            last = last + torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0])
        states = (first, last) if output_hidden_states else None
        return BaseModelOutput(last_hidden_state=last, hidden_states=states)
"""


def save_own(folder: Path) -> Path:
    """A repository with code of its own: a saved copy loses a parameter, eager is another model."""
    (folder / "own.py").write_text(CODE)
    config = {
        "model_type": "own",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"},
        "vocab_size": 40,
    }
    (folder / "config.json").write_text(json.dumps(config))
    draw = torch.Generator().manual_seed(0)
    words = torch.randn(40, 8, generator=draw)
    weights = {"words.weight": words, "shift": torch.full((8,), 3.0)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    make_tokenizer().save_pretrained(folder)
    return folder


def test_a_repository_whose_copy_and_whose_eager_attention_are_other_models(tmp_path: Path) -> None:
    spec = make_spec(save_own(tmp_path), trust_remote_code=True)

    found = verdicts(subject_of(spec), "again", "batch", "padding", "eager", "reloaded")

    assert {check: one.trusted for check, one in found.items()} == {
        "again": "yes",
        "batch": "yes",
        "padding": "yes",
        "eager": "no",
        "reloaded": "no",
    }
    assert "neighbors at hidden_states.1" in found["reloaded"].words
    assert "no saved copy" in found["reloaded"].words
    assert "Say which one is meant" in found["eager"].words


class Noisy(Loaded):
    """A network that is wrong in one way."""

    layers = ("only",)
    notes = ()

    def __init__(self, wrong: str) -> None:
        self._wrong, self._draw = wrong, torch.Generator().manual_seed(0)

    def features(self, reading: Reading) -> list[Float[Tensor, "n _"]]:
        found = PooledRows(len(reading.rows))
        batches = self.remembered_batches(reading.batch, 1)

        def step(start: int, stop: int) -> None:
            rows = torch.tensor(list(reading.rows[start:stop]))
            features = torch.stack([rows + 1.0, (rows + 1.0).sin() * 9], dim=1)
            if self._wrong == "again":
                features += torch.rand(features.shape, generator=self._draw)
            if self._wrong == "batch" and len(rows) > 12:  # more than any probe puts together
                features += features.mean(dim=0)
            if self._wrong == "padding":
                features += features.max()
            found.fill(range(start, stop), [features])

        batches.run([1] * len(reading.rows), step, "samples")
        return found.layers


class NoisyModel(Model):
    def __init__(self, spec: ModelSpec, wrong: str) -> None:
        self.spec, self._wrong = spec, wrong

    def identity(self) -> dict[str, Any]:
        return {}

    def describe(self) -> Description:
        return Description()

    def download(self) -> None:
        raise AssertionError("nothing to fetch")

    def load(self, device: torch.device | str, dtype: torch.dtype) -> Loaded:
        if dtype == torch.float16:
            raise RuntimeError("not implemented for 'Half'")
        return Noisy(self._wrong)


@pytest.mark.parametrize(
    ("wrong", "blamed"),
    [
        ("nothing", set()),
        ("again", {"again", "batch", "padding"}),
        ("batch", {"batch"}),
        ("padding", {"batch", "padding"}),
    ],
)
def test_any_backend_is_checked_and_each_fault_has_its_check(wrong: str, blamed: set[str]) -> None:
    def opening(spec: ModelSpec) -> Model:
        if spec.attention is not None:
            raise ConfigError("`attention` means nothing")
        return NoisyModel(spec, wrong)

    found = verdicts(subject_of(make_spec("none", backend="timm"), opening))

    assert {check for check, one in found.items() if one.trusted == "no"} == blamed
    left_out = {check: one.words for check, one in found.items() if one.trusted is None}
    assert left_out == {
        "float16": "not checked: it fails: not implemented for 'Half'",
        "eager": "not checked: backend timm has no attention to choose",
        "sdpa": "not checked: backend timm has no attention to choose",
        "device": "not checked: this machine has one kind of device, cpu",
        "reloaded": "not checked: backend timm has no weights that a library saves.",
    }


def test_samples_of_one_length_have_no_padding(tmp_path: Path) -> None:
    subject = subject_of(make_spec(save(tmp_path)), lengths=None, kind="image")

    found = verdicts(subject, "padding")["padding"]

    assert (found.trusted, found.changes) == (None, None)
    assert found.words == "not checked: these samples of kind image have one length: no padding"


def test_a_model_is_checked_in_the_precision_in_which_it_is_used(tmp_path: Path) -> None:
    subject = subject_of(make_spec(save(tmp_path)), dtype=torch.bfloat16)

    found = verdicts(subject, "again", "batch", "bfloat16")

    assert [one.changes and one.changes.limit for one in found.values()] == [
        0.08838834764831845
    ] * 3
    assert found["again"].words == "nothing moves"
    assert found["bfloat16"].changes is not None
    assert found["bfloat16"].changes.worst.change > 0.001  # held against float32


# --- the command ---


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """A folder of texts, and an experiment with a good model of them and a bad one."""
    data = tmp_path / "data"
    data.mkdir()
    rows = [f'{i},"{text}"' for i, text in enumerate([*texts(), texts()[0]])]  # the last is a copy
    (data / "captions.csv").write_text("\n".join(["file_name,caption", *rows]))
    (tmp_path / "own").mkdir()
    models = [
        {"name": str(save(tmp_path / "tiny")), "label": "tiny"},
        {"name": str(save_own(tmp_path / "own")), "label": "own", "trust_remote_code": True},
    ]
    config = {
        "name": "texts",
        "dataset": {"source": str(data), "views": {"text": {"column": "caption"}}},
        "families": [{"name": "L", "modality": "language", "models": models}],
        "align": {"pairs": [["language", "language"]]},
    }
    path = tmp_path / "texts.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def check(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def test_trust_is_exit_code_0_and_distrust_5(experiment: Path) -> None:
    few = ("--data", experiment, "--checks", "again", "--checks", "reload*")

    good, bad = check("tiny", *few), check("*", *few, "--json")

    assert good.exit_code == 0, good.output
    assert good.stdout.splitlines()[0].split() == [
        *("model", "check", "trusted", "change", "limit", "mutual_knn", "verdict"),
    ]
    assert bad.exit_code == 5
    assert "not everything can be trusted (own: reloaded)" in bad.stderr
    rows = json.loads(bad.stdout)
    assert [(row["model"], row["check"], row["trusted"]) for row in rows] == [
        ("tiny", "again", "yes"),
        ("tiny", "reloaded", "yes"),
        ("own", "again", "yes"),
        ("own", "reloaded", "no"),
    ]
    assert [len(row["layers"]) for row in rows] == [4, 4, 2, 2]
    assert set(rows[0]["layers"][0]) == {"layer", "change", "mutual_knn"}


def test_a_folder_is_a_model_too_and_layers_are_shown_one_by_one(experiment: Path) -> None:
    folder = experiment.parent / "tiny"

    result = check(folder, "--data", experiment, "--checks", "batch", "--by-layer", "--json")

    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert [(row["model"], row["layer"]) for row in rows] == [
        ("tiny", f"hidden_states.{i}") for i in range(4)
    ]


def test_without_an_experiment_the_toy_world_is_read(tmp_path: Path) -> None:
    timm.models.save_for_hf(timm.create_model("test_vit"), tmp_path / "vit")

    result = check(tmp_path / "vit", "--limit", "16", "--checks", "b*", "--checks", "reloaded")

    assert result.exit_code in (0, 5), result.output
    assert "reloaded yes" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("none/of/it",), 4, "none/of/it"),
        (("nonesuch",), 4, "is no folder, no name of timm"),
        (("tini", "--data", "EXPERIMENT"), 4, "Did you mean 'tiny'? There are: tiny, own"),
        (("tiny", "--data", "EXPERIMENT", "--checks", "x"), 2, "There are: again, batch, padding"),
        (("tiny", "--data", "EXPERIMENT", "--limit", "9"), 2, "k must be smaller"),
        (("tiny", "--set", "a=b"), 2, "name one by --data"),
        (("resnet18", "--modality", "sight"), 2, "Use language or vision or"),
        (("FILE",), 2, "is a file, which does not say all that is needed"),
        (("EMPTY",), 4, "has no config.json"),
    ],
)
def test_refusals(experiment: Path, arguments: Sequence[str], code: int, words: str) -> None:
    places = {"EXPERIMENT": experiment, "FILE": experiment, "EMPTY": experiment.parent / "data"}

    result = check(*(places.get(word, word) for word in arguments))

    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr


def test_one_model_that_cannot_be_opened_leaves_the_others(experiment: Path) -> None:
    (experiment.parent / "tiny" / "model.safetensors").unlink()

    result = check("*", "--data", experiment, "--checks", "again")

    assert result.exit_code == 3
    assert "own   again yes" in result.stdout
    assert "tiny was not checked" in result.stderr


@pytest.mark.parametrize("name", ["clip-vision", "wav2vec2", "videomae"])
def test_every_sense_is_checked_on_scenes_of_the_toy_world(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    folder = save_network(tmp_path, case)
    checks = ("again", "batch", "padding", "reloaded")
    few = [argument for check in checks for argument in ("--checks", check)]

    result = check(folder, "--modality", MODALITY[case.kind], "--limit", "12", "--json", *few)

    rows = {row["check"]: row for row in json.loads(result.stdout)}
    assert (result.exit_code, list(rows)) == (0, list(checks)), result.output
    assert [rows[one]["trusted"] for one in ("again", "reloaded")] == ["yes", "yes"]
    assert rows["batch"]["trusted"] in ("yes", "guarded")
    assert "have one length" in rows["padding"]["verdict"]


def test_a_toy_network_is_checked_by_its_label(tmp_path: Path) -> None:
    config = {
        "name": "toy",
        "dataset": {"source": "toyworld", "limit": 16, "world": {"image_size": 32}},
        "families": [
            {
                "name": "conv",
                "modality": "vision",
                "backend": "toyworld",
                "training": {"steps": 0},
                "models": ["conv8"],
            },
            {"name": "truth", "modality": "truth", "backend": "toyworld", "models": ["truth"]},
        ],
        "align": {"pairs": [["vision", "truth"]]},
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(config))

    result = check("*", "--data", path, "--checks", "again", "--checks", "reloaded", "--json")

    assert result.exit_code == 0, result.output
    assert [(row["model"], row["check"], row["trusted"]) for row in json.loads(result.stdout)] == [
        ("conv8", "again", "yes"),
        ("conv8", "reloaded", "yes"),
        ("truth", "all", None),
    ]


@pytest.mark.parametrize(
    ("device", "known", "other"),
    [
        ("cpu", ("cpu",), None),
        ("cpu", ("cuda", "cpu"), "cuda"),
        ("cuda:1", ("cuda", "cpu"), "cpu"),
        ("mps", ("mps", "cpu"), "cpu"),
    ],
)
def test_a_gpu_is_held_against_the_cpu(
    device: str, known: tuple[str, ...], other: str | None
) -> None:
    found = another_device(torch.device(device), [torch.device(one) for one in known])

    assert found == (None if other is None else torch.device(other))


OWN_MODULE = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4))

def feed(text):
    return torch.tensor([len(text), text.count(" ")], dtype=torch.float32)
"""


def test_a_module_of_ones_own_is_saved_and_reloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net_of_this_test.py").write_text(OWN_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    spec = make_spec(
        "net_of_this_test:build",
        backend="module",
        inputs="net_of_this_test:feed",
        layers=("0", "1"),
    )

    found = verdicts(subject_of(spec), "again", "batch", "eager", "reloaded")

    assert {check: one.trusted for check, one in found.items()} == {
        "again": "yes",
        "batch": "yes",
        "eager": None,
        "reloaded": "yes",
    }
    assert found["reloaded"].words == "nothing moves"
