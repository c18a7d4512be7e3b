"""Bits per byte against one forward pass per token; corpora and tables."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from platorep.config import BitsPerByteConfig, ModelSpec, TableConfig
from platorep.errors import AbsentError, ConfigError, DataError, IntegrityError
from platorep.models import open_model
from platorep.models.pretrained import Pretrained
from platorep.performance import bits
from platorep.performance.bits import ReadsAheadError, bits_per_byte
from platorep.performance.causal import open_causal
from platorep.performance.causal_bits import measurement_key, weights_identity
from platorep.performance.corpus import Corpus, read_corpus
from platorep.performance.table import TableEntry, read_table
from platorep.performance.windows import PLAIN, Rule, rolling_windows

DOCUMENTS = (
    "a dog runs over the wet grass",
    "Straße",
    "写真 🐕",
    "x",
    "two children, and then two children more; and then the same again",
)
CORPUS = Corpus(DOCUMENTS, "made up")
CONTEXT = 16
SIZE = {"bos_token_id": 256, "eos_token_id": 257, "vocab_size": 258}
LLAMA = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.5,  # so that what was read before matters
}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**LLAMA, **SIZE),
    "gpt2": lambda: transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, n_positions=CONTEXT, initializer_range=0.5, **SIZE
    ),
    "bloom": lambda: transformers.BloomConfig(
        hidden_size=16, n_layer=2, n_head=2, initializer_range=0.5, **SIZE
    ),
    "gemma2": lambda: transformers.Gemma2Config(  # caps its logits after the head
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=3.0, **LLAMA, **SIZE
    ),
}


def byte_tokenizer(**special: str | None) -> Any:
    """Every byte of UTF-8 is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def build(config: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = transformers.AutoModelForCausalLM.from_config(config)
    return network.double().eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer(bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="module")
def llama() -> Any:
    return build(CONFIGS["llama"]())


def oracle_bits(
    network: Any, documents: tuple[str, ...], context: int, closing: list[int]
) -> tuple[float, int]:
    """One token at a time, nothing batched, cut or padded; and the number of predicted tokens.

    Token number i of N, counted from 1, is predicted from what came after the last multiple of
    `context` before i, and that token itself; in the last stretch, from `context` tokens.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens_of = {letter: i for i, letter in enumerate(alphabet)}
    byte_letter = bytes_to_letters()
    total, count = 0.0, 0
    for document in documents:
        tokens = [tokens_of[byte_letter[byte]] for byte in document.encode()] + closing
        sequence = [256, *tokens]
        for i in range(1, len(sequence)):
            start = (i - 1) // context * context
            if start + context > len(tokens):
                start = max(0, len(tokens) - context)
            with torch.inference_mode():
                logits = network(input_ids=torch.tensor([sequence[start:i]])).logits[0, -1]
            numbers = [float(value) for value in logits]
            top = max(numbers)
            log_sum = top + math.log(sum(math.exp(value - top) for value in numbers))
            total += (log_sum - numbers[sequence[i]]) / math.log(2)
            count += 1
    return total, count


def bytes_to_letters() -> dict[int, str]:
    """The letters that byte-level tokenizers write bytes as (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {byte: chr(byte) for byte in plain}
    return table | {byte: chr(256 + i) for i, byte in enumerate(others)}


# Windows


def test_windows_by_hand() -> None:
    windows = list(rolling_windows([1, 2, 3, 4, 5, 6, 7], first=0, context=3))
    assert [(w.tokens, w.num_scored) for w in windows] == [
        ((0, 1, 2, 3), 3),
        ((3, 4, 5, 6), 3),
        ((4, 5, 6, 7), 1),  # reaches back: 4, 5 and 6 are read, 7 is predicted
    ]


@pytest.mark.parametrize("context", [1, 2, 3, 7, 8, 100])
@pytest.mark.parametrize("length", [0, 1, 2, 6, 7, 8, 15])
def test_every_token_is_predicted_once_and_none_is_first(context: int, length: int) -> None:
    predicted: list[int] = []
    for window in rolling_windows(range(1, length + 1), first=0, context=context):
        assert 1 <= len(window.tokens) - 1 <= context
        assert 1 <= window.num_scored < len(window.tokens)
        predicted += window.tokens[-window.num_scored :]
    assert predicted == list(range(1, length + 1))


# Bits per byte


@pytest.mark.parametrize("batch_tokens", [None, 1, 40])
@pytest.mark.parametrize("context", [None, 5, 1])
@pytest.mark.parametrize("score_end", [False, True])
def test_equals_one_token_at_a_time(
    llama: Any, tokenizer: Any, context: int | None, score_end: bool, batch_tokens: int | None
) -> None:
    closing = [257] if score_end else []
    expected, num_tokens = oracle_bits(llama, DOCUMENTS, context or CONTEXT, closing)

    found = bits_per_byte(
        llama,
        tokenizer,
        CORPUS,
        Rule(context=context, score_end=score_end),
        batch_tokens=batch_tokens,
    )

    assert found.bits == pytest.approx(expected, rel=1e-12)
    assert found.num_bytes == sum(len(document.encode()) for document in DOCUMENTS)
    assert found.value == found.bits / found.num_bytes
    assert found.num_tokens == num_tokens
    assert found.context == (context or CONTEXT)
    assert (found.first_token, found.num_not_given_back) == ("<s>", 0)


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - {"llama"}))
def test_other_architectures(name: str, tokenizer: Any) -> None:
    network = build(CONFIGS[name]())
    expected, _ = oracle_bits(network, DOCUMENTS, CONTEXT, [])
    found = bits_per_byte(network, tokenizer, CORPUS, Rule(context=CONTEXT))
    assert found.bits == pytest.approx(expected, rel=1e-8)  # some go through float32 on their way


def test_a_model_that_knows_nothing(tokenizer: Any) -> None:
    """All logits equal: each of 258 tokens costs log2 258 bits, and here a byte is a token."""
    network = build(CONFIGS["gpt2"]())
    for parameter in network.parameters():
        parameter.data.zero_()
    found = bits_per_byte(network, tokenizer, CORPUS)
    assert found.value == pytest.approx(math.log2(258), rel=1e-14)


def test_bits_of_documents_add_up(llama: Any, tokenizer: Any) -> None:
    """Corpus-weighted: total bits over total bytes, not the mean over documents."""
    alone = [bits_per_byte(llama, tokenizer, Corpus((d,), "")) for d in DOCUMENTS]
    together = bits_per_byte(llama, tokenizer, CORPUS)
    assert together.bits == pytest.approx(sum(m.bits for m in alone), rel=1e-12)
    assert together.value != pytest.approx(sum(m.value for m in alone) / len(alone), rel=1e-3)


def test_low_precision_is_summed_in_high(rng: torch.Generator) -> None:
    """A bfloat16 model's logits are what they are; their softmax is exact all the same."""
    logits = (8 * torch.randn(2, 5, 1000, generator=rng)).bfloat16()
    targets = torch.randint(0, 1000, (2, 5), generator=rng)
    expected = -logits.double().log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    found = bits.token_losses(logits, targets)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_logits_are_read_in_chunks(
    llama: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bits_per_byte(llama, tokenizer, CORPUS)
    monkeypatch.setattr(bits, "CHUNK_NUMBERS", 258 * 7)
    assert bits_per_byte(llama, tokenizer, CORPUS).bits == pytest.approx(whole.bits, rel=1e-14)


def test_progress_counts_the_bytes(llama: Any, tokenizer: Any) -> None:
    steps: list[int] = []
    bits_per_byte(llama, tokenizer, CORPUS, batch_tokens=20, progress=steps.append)
    assert sum(steps) == CORPUS.num_bytes
    assert len(steps) > 5


def test_first_and_closing_token(llama: Any) -> None:
    with_both = bits_per_byte(llama, byte_tokenizer(bos_token="<s>", eos_token="</s>"), CORPUS)
    same_ids = byte_tokenizer(eos_token="<s>")  # no beginning: the end stands for it, id 256
    assert bits_per_byte(llama, same_ids, CORPUS) == with_both
    with pytest.raises(ConfigError, match="needs an end-of-text token"):
        bits_per_byte(llama, byte_tokenizer(bos_token="<s>"), CORPUS, Rule(score_end=True))
    with pytest.raises(ConfigError, match=r"neither a beginning-of-text"):
        bits_per_byte(llama, byte_tokenizer(), CORPUS)


def test_no_special_tokens_slip_in(llama: Any, tokenizer: Any) -> None:
    """A tokenizer that adds tokens on its own is told not to."""
    adding = byte_tokenizer(bos_token="<s>", eos_token="</s>")
    adding.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    assert len(adding("x")["input_ids"]) == 3
    assert bits_per_byte(llama, adding, CORPUS) == bits_per_byte(llama, tokenizer, CORPUS)


def test_texts_that_are_not_given_back(llama: Any) -> None:
    words = {"<unk>": 0, "a": 1, "dog": 2, "<s>": 256}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    lossy = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", unk_token="<unk>"
    )
    found = bits_per_byte(llama, lossy, Corpus(("a dog", "a cat", "cats"), ""))
    assert (found.num_not_given_back, found.first_not_given_back) == (2, 1)


def test_context(llama: Any, tokenizer: Any) -> None:
    with pytest.raises(ConfigError, match="reads at most 16 tokens"):
        bits_per_byte(llama, tokenizer, CORPUS, Rule(context=17))
    bloom = build(CONFIGS["bloom"]())  # ALiBi: no limit of its own
    assert bits_per_byte(bloom, tokenizer, CORPUS).context == bits.UNKNOWN_CONTEXT
    limited = byte_tokenizer(bos_token="<s>")
    limited.model_max_length = 99
    assert bits_per_byte(bloom, limited, CORPUS).context == 99


def test_numbers_that_are_not_finite(tokenizer: Any) -> None:
    network = build(CONFIGS["gpt2"]())
    network.transformer.ln_f.weight.data[0] = math.nan
    with pytest.raises(IntegrityError, match="not finite"):
        bits_per_byte(network, tokenizer, CORPUS)


def test_everything_that_moves_a_measurement_is_in_its_key() -> None:
    def key(
        weights: str = "1", documents: Corpus = CORPUS, rule: Rule = PLAIN, dtype: str = "float32"
    ) -> str:
        return measurement_key({"revision": weights}, documents, rule, dtype=dtype)

    keys = {
        key(),
        key("2"),
        key(documents=Corpus(DOCUMENTS[::-1], "made up")),
        key(rule=Rule(context=8)),
        key(rule=Rule(score_end=True)),
        key(dtype="bfloat16"),
    }
    assert len(keys) == 6
    elsewhere = replace(CORPUS, source="another place")
    assert key(documents=elsewhere) in keys


# Models


def save(network: Any, folder: Path, tokenizer: Any) -> ModelSpec:
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ModelSpec(
        name=str(folder),
        label=folder.name,
        family="tiny",
        modality="language",
        backend="transformers",
    )


def test_a_model_from_its_folder(llama: Any, tokenizer: Any, tmp_path: Path) -> None:
    spec = save(llama, tmp_path / "llama", tokenizer)
    model = open_causal(spec, offline=True)
    assert model.why_none() is None
    loaded = model.load("cpu", torch.float64)
    assert bits_per_byte(loaded.network, loaded.tokenizer, CORPUS) == bits_per_byte(
        llama, tokenizer, CORPUS
    )


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (transformers.BertConfig(**LLAMA, vocab_size=258), None),  # but see below
        (
            transformers.T5Config(d_model=16, d_kv=8, d_ff=8, num_layers=1, num_heads=2),
            "an encoder-decoder model",
        ),
        (
            transformers.CLIPTextConfig(hidden_size=16, num_attention_heads=2, vocab_size=258),
            "no causal model",
        ),
        (transformers.BertConfig(**LLAMA, vocab_size=258, is_decoder=True), None),
    ],
    ids=["bert", "t5", "clip", "bert-decoder"],
)
def test_configurations_without_bits_per_byte(
    config: Any, reason: str | None, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    spec = ModelSpec(
        name=str(tmp_path), label="m", family="f", modality="language", backend="transformers"
    )
    assert open_causal(spec, offline=True).why_none() == reason


def test_a_model_without_its_head(llama: Any, tokenizer: Any, tmp_path: Path) -> None:
    spec = save(llama.model, tmp_path / "body", tokenizer)
    with pytest.raises(IntegrityError, match=r"lm_head.*Without its head"):
        open_causal(spec, offline=True).load("cpu", torch.float32)


XLNET = {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24, "initializer_range": 0.5}
READS_AHEAD = {
    "xlnet": transformers.XLNetConfig(**XLNET, **SIZE),
    "bert": transformers.BertConfig(**LLAMA | {"initializer_range": 0.02}, **SIZE),
    "roberta": transformers.RobertaConfig(**LLAMA, **SIZE),
}


@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("name", READS_AHEAD)
def test_what_reads_ahead_has_no_bits_per_byte(
    name: str, random: bool, tokenizer: Any, tmp_path: Path
) -> None:
    spec = save(build(READS_AHEAD[name]), tmp_path / name, tokenizer)
    spec = spec.model_copy(update={"random_init": random})
    loaded = open_causal(spec, offline=True).load("cpu", torch.float32)
    with pytest.raises(ReadsAheadError, match="reads what it should predict"):
        bits_per_byte(loaded.network, loaded.tokenizer, CORPUS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", [*CONFIGS, "bert-decoder", "mixtral"])
def test_a_causal_model_is_none_that_reads_ahead(
    name: str, dtype: torch.dtype, tokenizer: Any
) -> None:
    others = {
        "bert-decoder": transformers.BertConfig(**LLAMA, **SIZE, is_decoder=True),
        "mixtral": transformers.MixtralConfig(
            num_local_experts=3, num_key_value_heads=1, **LLAMA, **SIZE
        ),
    }
    network = build(others[name] if name in others else CONFIGS[name]())
    assert bits.how_far_ahead(network.to(dtype), tokenizer) is None


def test_a_lost_head_matters_only_where_it_would_predict(tokenizer: Any, tmp_path: Path) -> None:
    for name, config in {"bert": READS_AHEAD["bert"], "gpt2": CONFIGS["gpt2"]()}.items():
        config.tie_word_embeddings = False
        spec = save(transformers.AutoModel.from_config(config), tmp_path / name, tokenizer)
        if name == "bert":
            loaded = open_causal(spec, offline=True).load("cpu", torch.float32)
            assert bits.how_far_ahead(loaded.network, tokenizer)
        else:
            with pytest.raises(IntegrityError, match="Without its head"):
                open_causal(spec, offline=True).load("cpu", torch.float32)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_a_configuration_that_asks_for_other_outputs(
    name: str, tokenizer: Any, tmp_path: Path
) -> None:
    network = build(CONFIGS[name]())
    spec = save(network, tmp_path / name, tokenizer)
    file = tmp_path / name / "config.json"
    asks = {"return_dict": False, "output_attentions": True, "output_hidden_states": True}
    file.write_text(json.dumps(json.loads(file.read_text()) | asks))
    loaded = open_causal(spec, offline=True).load("cpu", torch.float64)
    found = bits_per_byte(loaded.network, loaded.tokenizer, CORPUS)
    assert found.bits == pytest.approx(bits_per_byte(network, tokenizer, CORPUS).bits, rel=1e-12)
    model = open_model(spec, offline=True)
    assert len(model.load("cpu", torch.float32).layers) == len(model.describe().layers or ()) == 3


def test_tokens_that_the_network_does_not_have_name_the_document(llama: Any) -> None:
    grown = byte_tokenizer(bos_token="<s>", eos_token="</s>")
    grown.add_tokens(["children"])
    with pytest.raises(DataError, match="document number 4 of made up the token ids 258"):
        bits_per_byte(llama, grown, CORPUS)


def test_random_weights_are_those_of_the_features(tokenizer: Any, tmp_path: Path) -> None:
    spec = save(build(CONFIGS["llama"]()), tmp_path / "llama", tokenizer)
    for seed in (0, 1):
        control = spec.model_copy(update={"random_init": True, "seed": seed})
        with_head = open_causal(control, offline=True).load("cpu", torch.float32).network
        body = Pretrained(control, offline=True).load(torch.float32)
        for name, weight in body.state_dict().items():
            assert torch.equal(weight, with_head.base_model.state_dict()[name])
    identities = [
        weights_identity(open_model(one, offline=True).identity(), one) for one in (spec, control)
    ]
    assert identities[0] != identities[1]


def test_how_a_model_is_pooled_moves_no_bits(tokenizer: Any, tmp_path: Path) -> None:
    spec = save(build(CONFIGS["llama"]()), tmp_path / "llama", tokenizer)

    def identity(**changes: Any) -> dict[str, Any]:
        changed = spec.model_copy(update=changes)
        return weights_identity(open_model(changed, offline=True).identity(), changed)

    assert identity(pool="last", layers=(0,), prompt="a {text}") == identity()
    assert identity(attention="eager") != identity()


# Corpora


def corpus(source: Path | str, **settings: Any) -> Corpus:
    return read_corpus(BitsPerByteConfig(source=str(source), **settings), offline=True)


def test_lines_and_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeffone  \r\n\n \t\ndeux é\n\x0bthree".encode())
    assert corpus(path).documents == ("one  ", "deux é", "\x0bthree")
    assert corpus(path, documents="file").documents == ("one  \n\n \t\ndeux é\n\x0bthree",)
    assert corpus(path).source == "text.txt"
    assert corpus(path).num_bytes == 5 + 7 + 6


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"limit_documents": 2}, ("aé", "日本")),
        ({"limit_bytes": 9}, ("aé", "日本")),  # exactly
        ({"limit_bytes": 8}, ("aé", "日")),  # 日 is bytes 4 to 6, 本 7 to 9
        ({"limit_bytes": 7}, ("aé", "日")),
        ({"limit_bytes": 6}, ("aé", "日")),
        ({"limit_bytes": 5}, ("aé",)),
        ({"limit_bytes": 3}, ("aé",)),
        ({"limit_bytes": 2}, ("a",)),
        ({"limit_bytes": 11, "limit_documents": 3}, ("aé", "日本", "xy")),
        ({"limit_bytes": 10}, ("aé", "日本", "x")),
        ({}, ("aé", "日本", "xyz", "last")),
    ],
)
def test_limits(limits: dict[str, int], expected: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("aé\n日本\nxyz\nlast\n", encoding="utf-8")
    assert corpus(tmp_path / "a.txt", **limits).documents == expected


def test_captions_are_documents() -> None:
    config = BitsPerByteConfig(source="captions", limit_documents=2)
    found = read_corpus(config, ["one", " ", "two", "three"])
    assert found == Corpus(("one", "two"), "captions")
    with pytest.raises(ConfigError, match="needs a dataset"):
        read_corpus(config)


def test_datasets_as_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    folder = tmp_path / "corpus"
    folder.mkdir()
    for i in range(2):
        table = pa.table({"text": [f"{i} one", None, f"{i} two"], "number": [1, 2, 3]})
        pq.write_table(table, folder / f"train-{i}.parquet")
    assert corpus(folder).documents == ("0 one", "0 two", "1 one", "1 two")
    assert corpus(folder).source == "corpus/train"
    assert corpus(folder / "train-1.parquet").documents == ("1 one", "1 two")
    with pytest.raises(ConfigError, match=r"Columns: text, number"):
        corpus(folder, text="txt")
    with pytest.raises(ConfigError, match="holds int"):
        corpus(folder, text="number")
    (folder / "train-1.parquet").write_bytes(b"broken")
    assert len(corpus(folder, limit_bytes=10).documents) == 2  # the second file is not read


def test_corpora_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ntwo\n" + b"x" * 20000 + b"\n\xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        corpus(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text(" \n\n")
    with pytest.raises(DataError, match="holds no text"):
        corpus(tmp_path / "b.txt")
    (tmp_path / "c.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(ConfigError, match="no plain text"):
        corpus(tmp_path / "c.jsonl")
    with pytest.raises(AbsentError, match="--download-only"):
        corpus("org/never-downloaded")


def test_a_corpus_is_named_by_its_documents() -> None:
    names = {Corpus(documents, "x").sha256 for documents in [("ab",), ("a", "b"), ("b", "a")]}
    assert len(names) == 3
    assert Corpus(("ab",), "y").sha256 in names


# Tables


def table(path: Path, content: str, **settings: str) -> dict[str, TableEntry]:
    path.write_text(content, encoding="utf-8")
    return read_table(TableConfig(name="hellaswag", table=str(path), **settings))


def test_table(tmp_path: Path) -> None:
    content = "model,acc,source\norg/a,0.5,a report\nb,,\nc,7,\n"
    found = table(tmp_path / "t.csv", content, value="acc")
    assert found == {"org/a": TableEntry(0.5, "a report"), "c": TableEntry(7.0, "t.csv")}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("model,values\na,1\n", "no column 'value'. Did you mean 'values'"),
        ("name,value\na,1\n", "no column 'model'"),
        ("model,value\na,1\na,2\n", "line 3: model 'a' was named before"),
        (
            "model,value\na,high\n",
            r"line 2: expected a number or a date \(2023-02-27\), found 'high'",
        ),
        (
            "model,value\na,inf\n",
            r"line 2: expected a number or a date \(2023-02-27\), found 'inf'",
        ),
        ("model,value\na,1,2\n", "line 2: expected 2 cells as in the header"),
        ("model,source,value\na,1\n", "line 2: expected 3 cells as in the header"),
        ('model,value\n"a,1\nb,2\n', "cannot be read as CSV: unexpected end of data"),
        ("model,value,value\na,1,2\n", "names the column 'value' twice"),
        (f"model,value\na,{'9' * 200_000}\n", "cannot be read as CSV: field larger"),
    ],
)
def test_broken_tables(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises((ConfigError, DataError), match=problem):
        table(tmp_path / "t.csv", content)
    with pytest.raises(AbsentError, match="no table"):
        read_table(TableConfig(name="m", table=str(tmp_path / "none.csv")))
