"""What a model reads of a text, and which of its tokens are pooled, against forward passes by hand.

Axes: t tokens, d features.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from test_language import Texts, extract, make_spec, make_tokenizer, save
from tokenizers import processors
from torch import Tensor

from platorep.errors import ConfigError, DataError
from platorep.models import open_model
from platorep.models.tokens import special_ids

READ = ("two children play", "snow", "the dog </s> runs")
PIECES = [2, 1, 4]  # words of each; `</s>` in a text is read as the end of one


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer adds `<s>` before a text and `</s>` after it."""
    folder = save(tmp_path_factory.mktemp("framed"))
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def by_hand(folder: Path, text: str, pool: str) -> list[Tensor]:
    """Every hidden state of `<s> text </s>`, pooled over the words."""
    words = [make_tokenizer().convert_tokens_to_ids(word) for word in text.split()]
    network = transformers.AutoModel.from_pretrained(folder).eval()
    tokens = torch.tensor([[0, *words, 2]])
    with torch.no_grad():
        states = network(input_ids=tokens, output_hidden_states=True).hidden_states
    kept = [i for i, word in enumerate(tokens[0].tolist()) if word > 2]
    return [state[0, kept].mean(0) if pool == "mean" else state[0, kept[-1]] for state in states]


@pytest.mark.parametrize("pool", ["mean", "last"])
def test_special_tokens_are_read_and_left_out(framed: Path, pool: str) -> None:
    found = extract(framed, Texts(READ), special_tokens="drop", pool=pool)
    for row, text in enumerate(READ):
        for layer, expected in zip(found, by_hand(framed, text, pool), strict=True):
            torch.testing.assert_close(layer[row], expected, rtol=2e-5, atol=2e-5)
    kept = extract(framed, Texts(READ), pool=pool)
    assert not torch.allclose(kept[-1], found[-1], rtol=0.1)


def test_dropping_is_named_and_keeping_is_what_it_was(framed: Path) -> None:
    def identity(**settings: Any) -> dict[str, Any]:
        return open_model(make_spec(framed, **settings), offline=True).identity()

    assert identity()["special_tokens"] == "as the tokenizer adds them"
    assert identity(special_tokens="keep") == identity()
    assert identity(special_tokens="drop") != identity()
    with pytest.raises(ConfigError, match="`pool: cls` is the first token"):
        identity(special_tokens="drop", pool="cls")


@pytest.mark.parametrize("text", ["", "</s> <s>"])
def test_a_text_of_special_tokens_only_names_the_row(framed: Path, text: str) -> None:
    texts = Texts(["snow", text], ["a", "b"])
    assert extract(framed, texts)[0].isfinite().all()
    with pytest.raises(DataError, match=r"row 'b' is nothing but special tokens"):
        extract(framed, texts, special_tokens="drop")


def test_an_unknown_word_is_a_word() -> None:
    tokenizer = make_tokenizer()
    assert special_ids(tokenizer) == {0, 1, 2}  # and not <unk>, 3
    tokenizer.unk_token = "</s>"  # GPT-2 has one token for all three
    assert 2 in special_ids(tokenizer)


def test_tokens_that_the_network_does_not_have(tmp_path: Path) -> None:
    folder = save(tmp_path)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["new", "newer"])
    tokenizer.save_pretrained(folder)
    texts = Texts(["snow", "a new dog newer new", "newer"], ["first", "second", "third"])
    beyond = len(tokenizer) - 2
    with pytest.raises(DataError) as error:
        extract(folder, texts)
    for part in ("row 'second'", f"token ids {beyond}, {beyond + 1}", f"for 0 to {beyond - 1}"):
        assert part in str(error.value)
