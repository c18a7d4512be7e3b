"""The tiny architectures, untrained: residual networks, vision transformers, Llamas."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from platorep.parameters.toyworld import ToyNetwork
from platorep.toyworld.captions import vocabulary
from platorep.toyworld.films import NUM_FRAMES
from platorep.toyworld.inputs import SOUND_SHAPE

START, PADDING, UNKNOWN = "<s>", "<pad>", "<unk>"
PADDING_ID = 1  # the place of PADDING in the vocabulary
MAX_TOKENS = 64  # the longest caption has 21 words
HEAD_WIDTH = 8


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generator starts at `seed` inside, and is put back after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def num_heads(width: int) -> int:
    """One head per 8 dimensions, as far as the width can be divided evenly."""
    return width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else 1


def timm_arguments(network: ToyNetwork, image_size: int) -> tuple[str, dict[str, Any]]:
    """timm's architecture name and the arguments that make it tiny; all of them fit in JSON."""
    if network.kind == "vit":
        return "vit_tiny_patch16_224", {
            "img_size": image_size,
            "patch_size": image_size // 8,
            "embed_dim": network.width,
            "depth": network.depth,
            "num_heads": num_heads(network.width),
        }
    width = network.width
    channels, _, _ = input_shape(network, image_size)
    return "resnet18", {
        "stem_type": "deep",  # three 3 x 3 convolutions; the plain stem has 64 channels, always
        "stem_width": width,
        "avg_down": True,  # with it and silu SimCLR learns several times faster at 32 x 32
        "act_layer": "silu",
        "channels": [width, 2 * width, 4 * width, 8 * width],
        "layers": [network.depth] * 4,
        **({} if channels == 3 else {"in_chans": channels}),
    }


def input_shape(network: ToyNetwork, image_size: int) -> tuple[int, int, int]:
    """Channels, height and width of what a network of timm's takes."""
    if network.kind == "sound":
        return SOUND_SHAPE
    channels = 3 * NUM_FRAMES if network.kind == "film" else 3
    return channels, image_size, image_size


def build_timm(network: ToyNetwork, image_size: int, seed: int) -> nn.Module:
    """A timm network without a classifier, with random weights."""
    architecture, arguments = timm_arguments(network, image_size)
    with seeded(seed):
        model: nn.Module = timm.create_model(
            architecture, pretrained=False, num_classes=0, **arguments
        )
    return model


def build_language(network: ToyNetwork, seed: int) -> LlamaForCausalLM:
    """A Llama with tied embeddings and random weights."""
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=network.width,
        intermediate_size=3 * network.width,
        num_hidden_layers=network.depth,
        num_attention_heads=num_heads(network.width),
        num_key_value_heads=num_heads(network.width),
        max_position_embeddings=MAX_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with seeded(seed):
        return LlamaForCausalLM(config)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word of the captions; `<s>` begins and ends a text, as GPT-2's token does."""
    words = (START, PADDING, UNKNOWN, *vocabulary())
    model = WordLevel({word: number for number, word in enumerate(words)}, unk_token=UNKNOWN)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=START,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        model_max_length=MAX_TOKENS,
        clean_up_tokenization_spaces=False,
    )
