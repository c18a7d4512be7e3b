"""Five trained caption models against the figures that were worked out when they were trained."""

import json
from pathlib import Path

import pytest
import torch

from platorep.config import BitsPerByteConfig, ModelSpec
from platorep.performance.bits import bits_per_byte
from platorep.performance.causal import open_causal
from platorep.performance.corpus import read_corpus
from platorep.performance.windows import Rule

MODELS = ("llama-h8-l1", "llama-h16-l2", "llama-h32-l2", "llama-h64-l3", "llama-h128-l4")


@pytest.mark.parametrize("name", MODELS)
def test_bits_per_byte_of_held_out_captions(real: Path, name: str) -> None:
    """Each of 1,000 captions is preceded by `<s>`, and the closing `<s>` is scored."""
    expected = json.loads((real / "caption_lms" / "bits_per_byte.json").read_text())
    captions = real / "flickr8k" / "other_captions.txt"
    corpus = read_corpus(BitsPerByteConfig(source=str(captions), limit_documents=1000))
    spec = ModelSpec(
        name=str(real / "caption_lms" / name),
        label=name,
        family="caption-lms",
        modality="language",
        backend="transformers",
    )
    loaded = open_causal(spec, offline=True).load("cpu", torch.float32)

    found = bits_per_byte(loaded.network, loaded.tokenizer, corpus, Rule(score_end=True))

    assert found.value == pytest.approx(expected[name]["bpb_captions"], abs=5e-5)
    assert (found.num_documents, found.num_not_given_back) == (1000, 0)
