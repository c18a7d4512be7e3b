"""The hub as the paper's experiments find it, in small: names, files and formats of the real
repositories, the architecture classes they name, and small random weights.

What follows a real repository: the fields of config.json and of the tokenizer's files as their
authors wrote them (years before this version of transformers), which weight files there are and
how their tensors are called, which repositories are gated, how the datasets are cut into files.
What is small: the widths, the depths, the vocabularies, the data. Vision networks have their true
size, since timm knows it from the name.
"""

import io
import json
import random
import tempfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sentencepiece
import timm
import tokenizers
import torch
import transformers
from hub_server import Hub
from PIL import Image
from safetensors.torch import load_file, save
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

Files = dict[str, bytes]
Tensors = dict[str, torch.Tensor]

NUM_PAIRS = 24
GATED = ("google/gemma-2b", "google/gemma-7b")
TOKEN = "hf_of_a_reader_who_was_let_in"
VISION = (
    "vit_tiny_patch16_224.augreg_in21k",
    "vit_small_patch16_224.augreg_in21k",
    "vit_small_patch14_dinov2.lvd142m",
)
NOT_NEEDED = b"nobody here needs this file"
BESIDE = {".gitattributes": NOT_NEEDED, "README.md": NOT_NEEDED, "generation_config.json": b"{}"}
VOCABULARY, ROWS_OF_EMBEDDING = 504, 512  # which is rounded up, as in all of them
_NO_LIMIT = 1000000000000000019884624838656
_OLD_LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.28.0.dev0",
    "use_cache": True,
    "vocab_size": ROWS_OF_EMBEDDING,
}
_MISTRAL = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.34.0.dev0",
    "use_cache": True,
    "vocab_size": ROWS_OF_EMBEDDING,
}


@dataclass(frozen=True, kw_only=True)
class Language:
    """One repository of a language model."""

    config: dict[str, Any]
    """As its config.json, sizes aside."""
    tokenizer: Callable[[], Files]
    parts: int = 1
    """Weight files."""
    pickled: bool = False
    """`.bin` files and no other."""
    rename: Callable[[Tensors], Tensors] = lambda tensors: tensors
    """From the names of this version of transformers to those in the repository."""
    beside: Files = field(default_factory=dict)


def fill(hub: Hub, vision: Sequence[str] = VISION) -> None:
    """Everything that prh-val, prh-test and prh-laptop ask for, up to ViT-S."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    for name, about in LANGUAGE.items():
        hub.commit(name, "main", language_files(about))
    for name in vision:
        hub.commit(f"timm/{name}", "main", vision_files(name))
    hub.gated |= set(GATED)
    hub.tokens.add(TOKEN)
    hub.commit("minhuh/prh", "main", {"README.md": b"The data is in the branches."})
    hub.commit("minhuh/prh", "wit_1024", pairs_files())
    hub.commit("Skylion007/openwebtext", "main", corpus_files())


def network_of(about: Language) -> Any:
    """The very network of a repository, which was never saved; with its precision, in float32."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(about.config))
        config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(zlib.crc32(json.dumps(about.config).encode()))
    network = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in network.parameters():
        parameter.data = parameter.data.to(precision(about)).float()
    return network


def precision(about: Language) -> torch.dtype:
    """Of the weights as they are stored."""
    return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[
        about.config["torch_dtype"]
    ]


def language_files(about: Language) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        network_of(about).save_pretrained(folder)  # in the names of the checkpoint's time
        saved = load_file(Path(folder) / "model.safetensors")
        tensors = about.rename({key: t.to(precision(about)) for key, t in saved.items()})
    files = {"config.json": json.dumps(about.config, indent=2).encode()} | about.tokenizer()
    return files | cut(tensors, about.parts, pickled=about.pickled) | BESIDE | about.beside


def cut(tensors: Tensors, parts: int, *, pickled: bool) -> Files:
    """The weight files, and an index where there are several."""
    stem, ending = ("pytorch_model", "bin") if pickled else ("model", "safetensors")
    if parts == 1:
        return {f"{stem}.{ending}": _pack(tensors, pickled)}
    names = list(tensors)
    files: Files = {}
    where: dict[str, str] = {}
    for part in range(parts):
        name = f"{stem}-{part + 1:05d}-of-{parts:05d}.{ending}"
        mine = names[part::parts]
        where |= dict.fromkeys(mine, name)
        files[name] = _pack({key: tensors[key] for key in mine}, pickled)
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    return files | {f"{stem}.{ending}.index.json": json.dumps(index).encode()}


def _pack(tensors: Tensors, pickled: bool) -> bytes:
    if not pickled:
        return save({key: value.contiguous() for key, value in tensors.items()}, {"format": "pt"})
    stream = io.BytesIO()
    torch.save(tensors, stream)
    return stream.getvalue()


def without_prefix(tensors: Tensors) -> Tensors:
    """BLOOM's were saved without their head, which is the embedding's transpose."""
    return {key.removeprefix("transformer."): value for key, value in tensors.items()}


def with_frequencies(tensors: Tensors) -> Tensors:
    """Llama's of 2023 hold the frequencies of their positions in every layer."""
    layers = {key.split(".")[2] for key in tensors if key.startswith("model.layers.")}
    return tensors | {
        f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(4) for i in sorted(layers)
    }


def vision_files(name: str) -> Files:
    """As timm writes them: a classifier, if there is one, is in the file."""
    with torch.device("meta"):
        network = timm.create_model(name)
    generator = torch.Generator().manual_seed(len(name))
    tensors = {
        key: torch.randn(value.shape, generator=generator) * 0.05
        for key, value in network.state_dict().items()
    }
    config = {
        "architecture": name.partition(".")[0],
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "pretrained_cfg": {
            key: value for key, value in network.pretrained_cfg.items() if key != "hf_hub_id"
        },
    }
    return {
        ".gitattributes": NOT_NEEDED,
        "README.md": NOT_NEEDED,
        "config.json": json.dumps(config, default=list).encode(),
        "model.safetensors": save(tensors),
        "pytorch_model.bin": NOT_NEEDED,
    }


# Texts and tokenizers ---------------------------------------------------------------------------


def sentences(seed: int, count: int) -> list[str]:
    """Made-up English, with letters that an ASCII tokenizer would not know."""
    rng = random.Random(seed)
    who = ("a boy", "two dogs", "the church", "a steam locomotive", "Björk", "an old map", "people")
    what = ("stands", "runs", "is seen", "was built", "plays", "burns", "waits")
    where = ("by the river", "in Kraków", "on a hill", "at night", "near the bridge", "under snow")
    return [
        f"{rng.choice(who).capitalize()} {rng.choice(what)} {rng.choice(where)}, "
        f"{rng.choice(who)} {rng.choice(what)} {rng.choice(where)} in {rng.randint(1700, 2020)}."
        for _ in range(count)
    ]


TEXT = sentences(0, 400)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=2).encode()


def _added(content: str) -> dict[str, Any]:
    """A special token as the tokenizer files of 2023 have it."""
    flags = dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
    return {"__type": "AddedToken", "content": content, "normalized": True, **flags}


def _decoder(ids: dict[str, int]) -> dict[str, Any]:
    """`added_tokens_decoder`, as tokenizer files have it since 2023."""
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    return {
        str(number): {"content": token, **flags, "special": True} for token, number in ids.items()
    }


def byte_level(specials: Sequence[str], first: str | None = None) -> bytes:
    """tokenizer.json of the GPT-2 kind; `first` is put before every text."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    if first is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    return str(tokenizer.to_str(pretty=True)).encode()


def sentence_pieces(*, prefix: bool = True, **special: Any) -> bytes:
    """tokenizer.model of the Llama kind: BPE that falls back to bytes."""
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_writer=stream,
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        character_coverage=0.999,
        normalization_rule_name="identity",
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=False,
        minloglevel=2,
        **special,
    )
    return stream.getvalue()


def from_sentence_pieces(model: bytes, first: str, *, prefix: bool = True) -> bytes:
    """tokenizer.json that was converted from tokenizer.model."""
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    vocabulary = {pieces.id_to_piece(i): i for i in range(pieces.get_piece_size())}
    ranked = sorted(
        (number, left, piece[len(left) :])
        for piece, number in vocabulary.items()
        for left in (piece[:i] for i in range(1, len(piece)))
        if left in vocabulary and piece[len(left) :] in vocabulary
    )
    merges = [(left, right) for _, left, right in ranked]
    bpe = models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = tokenizers.Tokenizer(bpe)
    tokenizer.add_special_tokens(
        [piece for piece, i in vocabulary.items() if pieces.is_control(i) or pieces.is_unknown(i)]
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁")] * prefix + [normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        + [decoders.Strip(" ", 1, 0)] * prefix
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, vocabulary[first])]
    )
    return str(tokenizer.to_str(pretty=True)).encode()


def bloom_tokenizer() -> Files:
    specials = ("<unk>", "<s>", "</s>", "<pad>")
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), specials, strict=True))
    config = {
        **names,
        "add_prefix_space": False,
        "name_or_path": "bigscience/tokenizer",
        "special_tokens_map_file": None,
        "padding_side": "left",
        "tokenizer_class": "BloomTokenizerFast",
    }
    return {
        "tokenizer.json": byte_level(specials),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(names),
    }


def llama_tokenizer(*, converted: bool, longest: int = 2048) -> Files:
    """Without a pad token; `converted`: with a tokenizer.json beside tokenizer.model."""
    names = {"bos_token": _added("<s>"), "eos_token": _added("</s>"), "unk_token": _added("<unk>")}
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        **names,
        "clean_up_tokenization_spaces": False,
        "model_max_length": longest,
        "pad_token": None,
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
    }
    model = sentence_pieces(unk_id=0, bos_id=1, eos_id=2)
    return {
        "tokenizer.model": model,
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(names),
    } | ({"tokenizer.json": from_sentence_pieces(model, "<s>")} if converted else {})


def neox_tokenizer() -> Files:
    specials = ("<|endoftext|>", "<|padding|>")
    names = {"eos_token": specials[0], "pad_token": specials[1]}
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": _decoder({s: i for i, s in enumerate(specials)}),
        **names,
        "clean_up_tokenization_spaces": True,
        "model_max_length": _NO_LIMIT,
        "tokenizer_class": "GPTNeoXTokenizer",
    }
    return {
        "tokenizer.json": byte_level(specials),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(names),
    }


def gemma_tokenizer() -> Files:
    ids = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3}
    names = {f"{token[1:-1]}_token": token for token in ids}
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": _decoder(ids),
        **names,
        "clean_up_tokenization_spaces": False,
        "legacy": None,
        "model_max_length": _NO_LIMIT,
        "sp_model_kwargs": {},
        "spaces_between_special_tokens": False,
        "tokenizer_class": "GemmaTokenizer",
        "use_default_system_prompt": False,
    }
    pieces = {"bos_piece": "<bos>", "eos_piece": "<eos>", "user_defined_symbols": "<mask>"}
    model = sentence_pieces(prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3, **pieces)
    return {
        "tokenizer.model": model,
        "tokenizer.json": from_sentence_pieces(model, "<bos>", prefix=False),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(names),
    }


def llama_3_tokenizer() -> Files:
    specials = ("<|begin_of_text|>", "<|end_of_text|>")
    names = {"bos_token": specials[0], "eos_token": specials[1]}
    config = {
        "added_tokens_decoder": _decoder({s: i for i, s in enumerate(specials)}),
        **names,
        "clean_up_tokenization_spaces": True,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": _NO_LIMIT,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return {
        "tokenizer.json": byte_level(specials, first=specials[0]),
        "tokenizer_config.json": _json(config),
        "special_tokens_map.json": _json(names),
    }


# Repositories -----------------------------------------------------------------------------------


def bloomz(width: int, **sizes: int) -> Language:
    config = {
        "model_type": "bloom",
        "architectures": ["BloomForCausalLM"],
        "apply_residual_connection_post_layernorm": False,
        "attention_dropout": 0.0,
        "attention_softmax_in_fp32": True,
        "bias_dropout_fusion": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        "unk_token_id": 0,
        "hidden_dropout": 0.0,
        "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05,
        "masked_softmax_fusion": True,
        "offset_alibi": 100,
        "pretraining_tp": 1,
        "seq_length": 2048,
        "skip_bias_add": True,
        "skip_bias_add_qkv": False,
        "slow_but_exact": False,
        "torch_dtype": "float16",
        "transformers_version": "4.20.0",
        "use_cache": True,
        "vocab_size": ROWS_OF_EMBEDDING,
        "hidden_size": width,
        "n_layer": 2,
        **sizes,
    }
    pickled = {"pytorch_model.bin": NOT_NEEDED, "logs/main_log.txt": NOT_NEEDED}
    return Language(config=config, tokenizer=bloom_tokenizer, rename=without_prefix, beside=pickled)


def llama(width: int, *, parts: int, layers: int, open_llama: bool = False) -> Language:
    sizes = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": width // 8,
        "num_hidden_layers": layers,
    }
    beside = {} if open_llama else cut_names("pytorch_model", "bin", parts)
    return Language(
        config=_OLD_LLAMA | sizes,
        tokenizer=lambda: llama_tokenizer(converted=not open_llama),
        parts=parts,
        pickled=open_llama,
        rename=with_frequencies,
        beside=beside,
    )


def cut_names(stem: str, ending: str, parts: int) -> Files:
    names = (f"{stem}-{i + 1:05d}-of-{parts:05d}.{ending}" for i in range(parts))
    return dict.fromkeys([*names, f"{stem}.{ending}.index.json"], NOT_NEEDED)


def olmo(width: int, *, parts: int, tied: bool) -> Language:
    config = {
        "model_type": "olmo",
        "architectures": ["OlmoForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "clip_qkv": None,
        "eos_token_id": 0,
        "pad_token_id": 1,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 2048,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "torch_dtype": "float32",
        "transformers_version": "4.40.0.dev0",
        "use_cache": True,
        "vocab_size": ROWS_OF_EMBEDDING,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_hidden_layers": 2,
    }
    return Language(config=config, tokenizer=neox_tokenizer, parts=parts)


def gemma(width: int, *, parts: int, heads: int) -> Language:
    config = {
        "model_type": "gemma",
        "architectures": ["GemmaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "head_dim": 16,
        "hidden_act": "gelu",
        "hidden_activation": None,
        "initializer_range": 0.02,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 10000.0,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.38.0.dev0",
        "use_cache": True,
        "vocab_size": ROWS_OF_EMBEDDING,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": 4,
        "num_key_value_heads": heads,
        "num_hidden_layers": 2,
    }
    gguf = {"gemma.gguf": NOT_NEEDED}
    return Language(config=config, tokenizer=gemma_tokenizer, parts=parts, beside=gguf)


def mistral(kind: str, *, parts: int, **own: Any) -> Language:
    sizes = {
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
    }
    config = {"model_type": kind.lower(), "architectures": [f"{kind}ForCausalLM"], **_MISTRAL}
    return Language(
        config=config | sizes | own,
        tokenizer=lambda: llama_tokenizer(converted=True, longest=_NO_LIMIT),
        parts=parts,
        beside={"consolidated.00.pt": NOT_NEEDED},
    )


def llama_3(width: int, *, parts: int, layers: int) -> Language:
    config = {
        **_OLD_LLAMA,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "attention_bias": False,
        "max_position_embeddings": 8192,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 500000.0,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.40.0.dev0",
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_attention_heads": 4,
        "num_hidden_layers": layers,
    }
    del config["pad_token_id"]
    original = {"original/consolidated.00.pth": NOT_NEEDED, "original/tokenizer.model": NOT_NEEDED}
    return Language(config=config, tokenizer=llama_3_tokenizer, parts=parts, beside=original)


LANGUAGE: dict[str, Language] = {
    # the older of BLOOM's repositories call their sizes by other names
    "bigscience/bloomz-560m": bloomz(24, n_embed=24, num_attention_heads=4),
    "bigscience/bloomz-1b1": bloomz(32, n_head=4),
    "bigscience/bloomz-1b7": bloomz(32, n_head=8),
    "bigscience/bloomz-3b": bloomz(40, n_head=4),
    "bigscience/bloomz-7b1": bloomz(48, n_head=4),
    "openlm-research/open_llama_3b": llama(24, parts=1, layers=2, open_llama=True),
    "openlm-research/open_llama_7b": llama(32, parts=2, layers=2, open_llama=True),
    "openlm-research/open_llama_13b": llama(40, parts=3, layers=2, open_llama=True),
    "huggyllama/llama-7b": llama(32, parts=2, layers=2),
    "huggyllama/llama-13b": llama(40, parts=3, layers=2),
    "huggyllama/llama-30b": llama(48, parts=7, layers=3),
    "huggyllama/llama-65b": llama(64, parts=14, layers=4),
    "allenai/OLMo-1B-hf": olmo(32, parts=1, tied=True),
    "allenai/OLMo-7B-hf": olmo(48, parts=6, tied=False),
    "google/gemma-2b": gemma(32, parts=2, heads=1),
    "google/gemma-7b": gemma(48, parts=4, heads=4),
    "mistralai/Mistral-7B-v0.1": mistral(
        "Mistral", parts=2, sliding_window=4096, rope_theta=10000.0
    ),
    "mistralai/Mixtral-8x7B-v0.1": mistral(
        "Mixtral",
        parts=19,
        sliding_window=None,
        rope_theta=1000000.0,
        num_experts_per_tok=2,
        num_local_experts=8,
        output_router_logits=False,
        router_aux_loss_coef=0.02,
    ),
    "NousResearch/Meta-Llama-3-8B": llama_3(32, parts=4, layers=2),
    "NousResearch/Meta-Llama-3-70B": llama_3(64, parts=30, layers=4),
}


# Data -------------------------------------------------------------------------------------------


def pairs_files() -> Files:
    """As `datasets` pushes them: pictures as encoded bytes, the captions of each as a list."""
    rng = np.random.default_rng(0)
    rows = []
    captions = sentences(1, 2 * NUM_PAIRS)
    for row in range(NUM_PAIRS):
        size = (40 + 8 * (row % 4), 40)
        picture = Image.fromarray(rng.integers(0, 255, (4, 5, 3), dtype=np.uint8)).resize(size)
        stream = io.BytesIO()
        picture.save(stream, "JPEG")
        texts = captions[2 * row : 2 * row + 1 + row % 2]
        rows.append({"image": {"bytes": stream.getvalue(), "path": f"{row}.jpg"}, "text": texts})
    features = {
        "image": {"_type": "Image"},
        "text": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"},
    }
    return {
        ".gitattributes": NOT_NEEDED,
        "README.md": _card("default", "data/train-*"),
        "data/train-00000-of-00001.parquet": _parquet(rows, features),
    }


def corpus_files() -> Files:
    """A subset with a name of its own, in several files."""
    features = {"text": {"dtype": "string", "_type": "Value"}}
    parts = [
        [{"text": "\n\n".join(sentences(10 + 5 * part + i, 6))} for i in range(5)]
        for part in range(2)
    ]
    return {"README.md": _card("plain_text", "plain_text/train-*")} | {
        f"plain_text/train-{i:05d}-of-00002.parquet": _parquet(rows, features)
        for i, rows in enumerate(parts)
    }


def _card(subset: str, pattern: str) -> bytes:
    return (
        f"---\nconfigs:\n- config_name: {subset}\n  data_files:\n  - split: train\n"
        f"    path: {pattern}\n---\n"
    ).encode()


def _parquet(rows: list[dict[str, Any]], features: dict[str, Any]) -> bytes:
    table = pa.Table.from_pylist(rows)
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(about), stream)
    return stream.getvalue()
