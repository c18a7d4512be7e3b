"""Language models: every architecture class through the real loaders, against one text at a time.

Axes: n texts, l layers (0 is the embedding output), t tokens, d features.
"""

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from platorep.config import ModelSpec
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError
from platorep.models import Reading, open_model
from platorep.models.token_batches import pool_tokens, tokens_per_batch

TEXTS = (
    "a dog runs over the wet grass , and another dog runs after it through the water",
    "snow",
    "two children play",
    "a man in a red shirt climbs a rock",
    "the",
    "a girl jumps into the pool while her brother , who is older , looks at the dog",
    "two children play",
    "grass grass grass grass grass grass",
)
WORDS = sorted({word for text in TEXTS for word in text.split()})
VOCABULARY = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3} | {w: i + 4 for i, w in enumerate(WORDS)}
SIZE = {"vocab_size": len(VOCABULARY), "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
SHAPE = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,  # so that attention matters
}
GROUPED = {"num_key_value_heads": 1}
GPT2 = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 40, "initializer_range": 0.3}
BLOOM = {"hidden_size": 16, "n_layer": 3, "n_head": 2, "initializer_range": 0.3}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}
OPT = {"ffn_dim": 24, "word_embed_proj_dim": 16, "do_layer_norm_before": True}
BART = {
    f"{part}_{what}": value
    for part in ("encoder", "decoder")
    for what, value in (("layers", 3), ("attention_heads", 2), ("ffn_dim", 24))
}

CAUSAL: dict[str, Callable[[], Any]] = {
    "bloom": lambda: transformers.BloomConfig(**BLOOM, **SIZE),
    "llama": lambda: transformers.LlamaConfig(**SHAPE, **SIZE),
    "olmo": lambda: transformers.OlmoConfig(**SHAPE, **SIZE),
    "olmo2": lambda: transformers.Olmo2Config(**SHAPE, **SIZE),
    "gemma": lambda: transformers.GemmaConfig(head_dim=8, **GROUPED, **SHAPE, **SIZE),
    "mistral": lambda: transformers.MistralConfig(sliding_window=6, **GROUPED, **SHAPE, **SIZE),
    "mixtral": lambda: transformers.MixtralConfig(num_local_experts=3, **GROUPED, **SHAPE, **SIZE),
    "gpt2": lambda: transformers.GPT2Config(**GPT2, **SIZE),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**SHAPE, **SIZE),
    "opt": lambda: transformers.OPTConfig(**OPT, **SHAPE, **SIZE),
    "xlnet": lambda: transformers.XLNetConfig(  # its blocks pass on tokens first
        d_model=16, n_layer=3, n_head=2, d_inner=24, initializer_range=0.3, **SIZE
    ),
    "qwen3": lambda: transformers.Qwen3Config(head_dim=8, **GROUPED, **SHAPE, **SIZE),
}
MASKED: dict[str, Callable[[], Any]] = {
    "bert": lambda: transformers.BertConfig(**SHAPE, **SIZE),
    "roberta": lambda: transformers.RobertaConfig(**SHAPE, **SIZE),
    "albert": lambda: transformers.AlbertConfig(embedding_size=8, **SHAPE, **SIZE),
    "modernbert": lambda: transformers.ModernBertConfig(
        cls_token_id=0, sep_token_id=2, **SHAPE, **SIZE
    ),
}
ENCODERS: dict[str, Callable[[], Any]] = {
    "t5": lambda: transformers.T5Config(decoder_start_token_id=1, **T5, **SIZE),
    "bart": lambda: transformers.BartConfig(
        d_model=16, max_position_embeddings=40, init_std=0.3, **BART, **SIZE
    ),
}
UNTAPPED = {"albert"}  # one layer used three times: no list of blocks


@dataclass
class Texts:
    """As much of a dataset as a language model reads."""

    texts: Sequence[str] = TEXTS
    ids: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ids = self.ids or [f"row-{i}" for i in range(len(self.texts))]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int, /) -> str:
        return self.texts[i]


def make_tokenizer(**settings: Any) -> transformers.PreTrainedTokenizerFast:
    """Words of TEXTS, `<s>` before each text."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **special, **({"pad_token": "<pad>"} | settings)
    )


def save(folder: Path, name: str = "llama", **settings: Any) -> Path:
    """A small random checkpoint, with its language-model head, as the hub has them."""
    if name in CAUSAL:
        return save_random(folder, transformers.AutoModelForCausalLM, CAUSAL[name](), **settings)
    if name in MASKED:
        return save_random(folder, transformers.AutoModelForMaskedLM, MASKED[name](), **settings)
    return save_random(folder, transformers.AutoModelForSeq2SeqLM, ENCODERS[name](), **settings)


def save_random(folder: Path, auto_class: Any, config: Any, **settings: Any) -> Path:
    torch.manual_seed(1)
    auto_class.from_config(config).save_pretrained(folder)
    make_tokenizer(**settings).save_pretrained(folder)
    return folder


def make_spec(name: str | Path, **settings: Any) -> ModelSpec:
    return ModelSpec(
        name=str(name),
        family="tests",
        **({"label": "tiny", "modality": "language", "backend": "transformers"} | settings),
    )


def extract(
    name: str | Path, dataset: Texts | None = None, batch: Any = "auto", **settings: Any
) -> list[Tensor]:
    dataset = dataset or Texts()
    loaded = open_model(make_spec(name, **settings), offline=True).load("cpu", torch.float32)
    return loaded.features(Reading(range(len(dataset.texts)), dataset, batch=batch))


def one_at_a_time(folder: Path, texts: Sequence[str] = TEXTS, pool: str = "mean") -> list[Tensor]:
    """All hidden states of each text alone, without padding; pooled in float64."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    rows = []
    for text in texts:
        with torch.no_grad():
            states = network(
                input_ids=torch.tensor([tokenizer(text)["input_ids"]]), output_hidden_states=True
            ).hidden_states
        one = {"mean": lambda s: s.mean(0), "last": lambda s: s[-1], "cls": lambda s: s[0]}[pool]
        rows.append([one(state[0].double()) for state in states])
    return [torch.stack(layer).float() for layer in zip(*rows, strict=True)]


def same(found: list[Tensor], expected: list[Tensor], tolerance: float = 2e-5) -> bool:
    assert [tuple(layer.shape) for layer in found] == [tuple(layer.shape) for layer in expected]
    return all(
        (a - b).abs().max() <= tolerance * b.abs().max()
        for a, b in zip(found, expected, strict=True)
    )


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("llama"))


PADDING = {
    "right": {"padding_side": "right"},
    "left": {"padding_side": "left"},
    "none": {"pad_token": None},
}


@pytest.mark.parametrize(
    ("name", "padding"),
    [(name, "right") for name in (*CAUSAL, *MASKED, *ENCODERS)]
    + [("llama", "left"), ("llama", "none")],
)
def test_equals_one_text_at_a_time(name: str, padding: str, tmp_path: Path) -> None:
    folder = save(tmp_path, name, **PADDING[padding])
    expected = one_at_a_time(folder)
    assert len(expected) == 4

    loaded = open_model(make_spec(folder), offline=True).load("cpu", torch.float32)
    for batch in (1, 13, 50, "auto"):
        finished: list[int] = []
        found = loaded.features(Reading(range(8), Texts(), batch=batch, progress=finished.append))
        assert same(found, expected), batch
        assert all(layer.dtype == torch.float32 for layer in found)
        assert sum(finished) == 8
        assert len(finished) == {1: 8, "auto": 1}.get(batch, len(finished))
    assert bool(loaded.details) == (name in UNTAPPED)  # else one layer's states at a time
    assert loaded.notes == ()


@pytest.mark.parametrize("pool", ["mean", "last", "cls"])
@pytest.mark.parametrize("name", ["llama", "bert", "xlnet"])
def test_pooling(name: str, pool: str, tmp_path: Path) -> None:
    folder = save(tmp_path, name)
    found = extract(folder, batch=40, pool=pool)
    assert same(found, one_at_a_time(folder, pool=pool))
    others = {"mean", "last", "cls"} - {pool}
    assert not any(same(found[1:], one_at_a_time(folder, pool=o)[1:], 1e-3) for o in others)


@pytest.mark.parametrize("pool", ["mean", "last", "cls"])
def test_a_pooled_vector_keeps_no_token_states(pool: Any, rng: torch.Generator) -> None:
    states = torch.randn(3, 7, 4, generator=rng)
    pooled = torch.zeros(3, 7, dtype=torch.bool)
    pooled[0], pooled[1, 0], pooled[2, 1:4] = True, True, True
    found = pool_tokens(states, pooled, pool)
    assert found.untyped_storage().nbytes() == 4 * 3 * 4
    by_hand = {"mean": states[2, 1:4].mean(0), "last": states[2, 3], "cls": states[2, 0]}
    assert torch.allclose(found[2], by_hand[pool])


def test_rows_come_back_in_the_order_asked_for(llama: Path) -> None:
    loaded = open_model(make_spec(llama), offline=True).load("cpu", torch.float32)
    every = loaded.features(Reading(range(8), Texts()))
    some = loaded.features(Reading([5, 0, 4], Texts(), batch=20))
    assert same(some, [layer[[5, 0, 4]] for layer in every])


def test_chosen_layers(llama: Path) -> None:
    every = extract(llama)
    found = extract(llama, layers=(-1, 0))
    assert same(found, [every[3], every[0]])
    with pytest.raises(ConfigError, match=r"layers \[4\] do not exist. It has 4 layers"):
        extract(llama, layers=(4,))
    with pytest.raises(ConfigError, match="none twice"):
        extract(llama, layers=(3, -1))


def test_prompt_is_filled_with_the_text_as_it_is(llama: Path) -> None:
    texts = Texts(["snow {text}", "dog"])
    expected = extract(llama, Texts(["the snow {text} runs", "the dog runs"]))
    assert same(extract(llama, texts, prompt="the {text} runs"), expected)
    with pytest.raises(ConfigError, match="`prompt` must hold"):
        open_model(make_spec(llama, prompt="the"), offline=True)


@pytest.mark.parametrize(
    ("name", "settings", "longest"),
    [
        ("gpt2", {}, 40),
        ("roberta", {}, 38),  # positions begin after the padding index 1
        ("llama", {}, 40),
        ("llama", {"model_max_length": 9}, 9),
        ("bloom", {}, None),
    ],
)
def test_too_long_texts_name_the_row(
    name: str, settings: dict[str, Any], longest: int | None, tmp_path: Path
) -> None:
    folder = save(tmp_path, name, **settings)
    length = longest or 300
    fits = Texts(["dog", "dog " * (length - 1)])  # and <s>
    assert same(extract(folder, fits), one_at_a_time(folder, fits.texts))
    if longest is None:
        return
    long = Texts(["dog", "snow " * longest, "dog"], ["first", "second", "third"])
    with pytest.raises(DataError) as error:
        extract(folder, long)
    for part in ("'second'", f"{longest + 1} tokens", f"for {longest}", f"max_tokens: {longest}"):
        assert part in str(error.value)
    cut = Texts(["dog", "snow " * (longest - 1), "dog"])
    assert same(extract(folder, long, max_tokens=longest), one_at_a_time(folder, cut.texts))


def test_max_tokens_counts_special_tokens_and_cuts_on_the_right(tmp_path: Path) -> None:
    folder = save(tmp_path, truncation_side="left")
    found = extract(folder, Texts(["two children play", "snow"]), max_tokens=3)
    assert same(found, one_at_a_time(folder, ["two children", "snow"]))


def test_a_text_without_tokens_names_the_row(tmp_path: Path) -> None:
    folder = save(tmp_path)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(single="$A")
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(DataError, match="no token of the text of row 'b'"):
        extract(folder, Texts(["snow", " "], ["a", "b"]))


@pytest.mark.parametrize("drops", [False, True])
def test_a_tokenizer_that_loses_spaces_is_reported(drops: bool, tmp_path: Path) -> None:
    folder = save(tmp_path)
    tokenizer = Tokenizer(models.BPE(merges=[], vocab=byte_vocabulary(), unk_token=None))
    if drops:
        tokenizer.normalizer = None
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert count_notes(fast, ["snow", "a dog", "the dog"]) == (
        ["2 texts, the first of them row 'row-1'"] if drops else []
    )
    assert folder.is_dir()


def test_a_tokenizer_that_lowers_case_means_to(tmp_path: Path) -> None:
    vocabulary = {"[UNK]": 0, "a": 1, "dog": 2, ",": 3, "##s": 4}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")
    assert count_notes(fast, ["A Dog, dogs", "a cat", "a dog"]) == [
        "1 texts, the first of them row 'row-1'"
    ]


def byte_vocabulary() -> dict[str, int]:
    return {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}


def count_notes(tokenizer: Any, texts: list[str]) -> list[str]:
    from platorep.models.tokens import TextReader

    reader = TextReader(tokenizer, make_spec("x"), longest=None, num_embeddings=None)
    reader.read(texts, Texts(texts).ids)
    return [note.partition(" for ")[2].partition(":")[0] for note in reader.notes]


def test_a_tokenizer_that_is_only_a_sentencepiece_file(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 5),
        model_prefix=str(folder / "tokenizer"),
        vocab_size=SIZE["vocab_size"],
        model_type="bpe",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = open_model(make_spec(folder), offline=True)
    assert "tokenizer.model" in model.identity()["files"]
    loaded = model.load("cpu", torch.float32)
    short = TEXTS[1:5]
    found = loaded.features(Reading(range(4), Texts(short)))
    assert loaded.notes == ()
    # Its first state is the mean embedding of <s> and sentencepiece's own pieces.
    processor = sentencepiece.SentencePieceProcessor(str(folder / "tokenizer.model"))
    table = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    for row, text in zip(found[0], short, strict=True):
        assert torch.allclose(row, table[[1, *processor.encode(text)]].mean(0), atol=1e-6)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_missing_weights_are_no_random_weights(tmp_path: Path) -> None:
    folder = save(tmp_path)
    rewrite(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(IntegrityError, match=r"lack 1 .*layers.1.mlp.up_proj"):
        extract(folder)


def test_weights_of_another_shape(tmp_path: Path) -> None:
    folder = save(tmp_path)
    rewrite(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(7)}))
    with pytest.raises(IntegrityError, match="do not fit"):
        extract(folder)


def test_bin_files_are_read_as_tensors_only(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    expected = extract(folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    assert same(extract(folder), expected)

    class Harmful:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was run",))

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful(), protocol=2))
    with pytest.raises(IntegrityError, match="not unpickled"):
        extract(folder)
    assert not (tmp_path / "was run").exists()


def test_safetensors_come_before_bin(tmp_path: Path) -> None:
    folder = save(tmp_path)
    expected = extract(folder)
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    assert same(extract(folder), expected)


def test_weights_in_parts(tmp_path: Path) -> None:
    folder = save(tmp_path / "whole")
    network = transformers.AutoModelForCausalLM.from_pretrained(folder)
    parts = shutil.copytree(folder, tmp_path / "parts")
    (parts / "model.safetensors").unlink()
    network.save_pretrained(parts, max_shard_size="5KB")
    names = sorted(path.name for path in parts.glob("model-*.safetensors"))
    assert len(names) > 1
    assert same(extract(parts), extract(folder))
    assert set(names) < set(open_model(make_spec(parts), offline=True).identity()["files"])
    (parts / names[1]).unlink()
    with pytest.raises(AbsentError, match="has no weights, or not all"):
        extract(parts)


def test_random_weights_come_from_the_seed_alone(tmp_path: Path, llama: Path) -> None:
    bare = shutil.copytree(llama, tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = extract(bare, random_init=True, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert same(extract(llama, random_init=True, seed=3), first, 0)
    assert not same(extract(llama, random_init=True, seed=4), first, 1e-2)
    assert not same(extract(llama), first, 1e-2)
    with pytest.raises(AbsentError, match="random_init"):
        extract(bare)


class TestIdentity:
    def of(self, name: Path, **settings: Any) -> dict[str, Any]:
        identity = open_model(make_spec(name, **settings), offline=True).identity()
        assert json.loads(json.dumps(identity)) == identity
        return identity

    def test_says_what_moves_a_number(self, llama: Path) -> None:
        plain = self.of(llama)
        assert plain["attention"] == "sdpa"
        different = [
            {"pool": "last"},
            {"layers": (0,)},
            {"prompt": "a {text}"},
            {"max_tokens": 5},
            {"attention": "eager"},
            {"random_init": True},
            {"random_init": True, "seed": 1},
            {"trust_remote_code": True},
        ]
        found = [plain, *(self.of(llama, **settings) for settings in different)]
        assert len({json.dumps(identity) for identity in found}) == len(found)
        assert self.of(llama, layers=(-4,)) == self.of(llama, layers=(0,))
        assert self.of(llama, pool="mean") == plain
        assert self.of(llama, dtype="float16", device_map="auto", label="other") == plain

    def test_follows_the_content_not_the_place(self, llama: Path, tmp_path: Path) -> None:
        copy = shutil.copytree(llama, tmp_path / "copy")
        assert self.of(copy) == self.of(llama)
        assert str(tmp_path) not in json.dumps(self.of(copy))
        (copy / "README.md").write_text("moves nothing")
        assert self.of(copy) == self.of(llama)
        for name in ("model.safetensors", "config.json", "tokenizer.json"):
            original = (copy / name).read_bytes()
            (copy / name).write_bytes(original.rstrip() + b"\n\n")  # weights are not opened
            assert self.of(copy) != self.of(llama), name
            (copy / name).write_bytes(original)


def test_weights_that_are_cut_off_are_damage(llama: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(llama, tmp_path / "copy")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    with pytest.raises(IntegrityError, match="is damaged"):
        extract(copy)


def test_attention_implementations_agree(llama: Path) -> None:
    assert same(extract(llama, attention="eager"), extract(llama, attention="sdpa"))
    with pytest.raises(AbsentError, match=r"needs a package.*FlashAttention"):
        extract(llama, attention="flash_attention_2")
    elsewhere = open_model(make_spec(llama, attention="flash_attention_2"), offline=True)
    assert elsewhere.describe().widths == (16,) * 4


@pytest.mark.parametrize("name", [*CAUSAL, *MASKED, *ENCODERS])
def test_description_is_that_of_the_loaded_model(name: str, tmp_path: Path) -> None:
    folder = save(tmp_path, name)
    model = open_model(make_spec(folder), offline=True)
    found = model.describe()
    features = extract(folder)
    assert found.widths == tuple(layer.shape[1] for layer in features)
    assert found.layers == tuple(f"hidden_states.{i}" for i in range(4))
    assert found.weight_bytes == (folder / "model.safetensors").stat().st_size
    assert found.download_bytes == 0
    network = transformers.AutoModel.from_pretrained(folder)
    network = network.get_encoder() if network.config.is_encoder_decoder else network
    assert found.parameters == sum(p.numel() for p in network.parameters())
    assert found.unknown == ()


def test_memory_that_runs_out_halves_the_batch(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = extract(llama)
    forward = transformers.LlamaModel.forward
    sizes: list[int] = []
    most = 24

    def small(self: Any, input_ids: Tensor, **others: Any) -> Any:
        sizes.append(input_ids.numel())
        if input_ids.numel() > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")
        return forward(self, input_ids=input_ids, **others)

    monkeypatch.setattr(transformers.LlamaModel, "forward", small)
    loaded = open_model(make_spec(llama), offline=True).load("cpu", torch.float32)
    assert same(loaded.features(Reading(range(8), Texts())), expected)
    tries = len(sizes)
    assert same(loaded.features(Reading(range(8), Texts())), expected)
    assert max(sizes[tries:]) <= most  # what fits is remembered
    most = 10
    with pytest.raises(AbsentError, match=r"a single sample \(19 tokens\)"):
        loaded.features(Reading(range(8), Texts()))


def test_batches_hold_texts_of_like_length(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, ...]] = []
    forward = transformers.LlamaModel.forward

    def watched(self: Any, input_ids: Tensor, **others: Any) -> Any:
        shapes.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **others)

    loaded = open_model(make_spec(llama), offline=True).load("cpu", torch.float32)
    monkeypatch.setattr(transformers.LlamaModel, "forward", watched)
    loaded.features(Reading(range(8), Texts(), batch=24))
    # Tokens with <s>: 19, 18, 10, 7, 4, 4, 2, 2; a batch holds 24, padding included.
    assert shapes == [(1, 19), (1, 18), (2, 10), (4, 4)]


@pytest.mark.parametrize(
    ("parameters", "tokens"), [(10**6, 16384), (10**9, 5000), (7 * 10**9, 2048)]
)
def test_a_large_network_begins_with_fewer_tokens_on_a_gpu(parameters: int, tokens: int) -> None:
    network = torch.nn.Linear(1000, parameters // 1000, bias=False, device="meta")
    assert tokens_per_batch(network, torch.device("cuda")) == tokens
    on_cpu = tokens_per_batch(network, torch.device("cpu"))
    assert on_cpu == max(512, 128 * torch.get_num_threads())


def test_absences(tmp_path: Path, llama: Path) -> None:
    with pytest.raises(AbsentError, match=r"'org/model'.*is not, or not whole.*--download-only"):
        extract("org/model")
    with pytest.raises(AbsentError, match="neither a local folder that exists nor a model"):
        extract(tmp_path / "nowhere")
    with pytest.raises(AbsentError, match=r"has no config\.json"):
        extract(tmp_path)
    unknown = open_model(make_spec("org/model"), offline=True).describe()
    assert unknown.layers is None
    assert "org/model" in unknown.unknown[0]
    with pytest.raises(ConfigError, match="`revision` means nothing"):
        extract(llama, revision="main")


def test_settings_of_other_backends_are_refused(llama: Path) -> None:
    with pytest.raises(ConfigError, match="`checkpoint`, `arguments` mean nothing"):
        extract(llama, checkpoint="x.pth", arguments={"img_size": 3})
    with pytest.raises(ConfigError, match="reads text, and no view of kind image"):
        extract(llama, modality="vision")


def test_a_model_spread_over_devices_has_the_same_features(llama: Path) -> None:
    assert same(extract(llama, device_map="auto"), extract(llama))
