"""Bits per byte of a causal language model; docs/performance.md is the definition.

Axes: b windows of a batch, t tokens, v vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from platorep.errors import ConfigError, IntegrityError
from platorep.models.memory import Batches
from platorep.models.probing import reads_ahead
from platorep.models.tokens import SANE_LENGTH, check_embeddings, gives_back, num_embeddings
from platorep.performance.corpus import Corpus
from platorep.performance.windows import PLAIN, Rule, Window, rolling_windows
from platorep.switches import default_switches

CPU_TOKENS, GPU_TOKENS = 2048, 16384
CPU_LOGIT_BYTES, GPU_LOGIT_BYTES = 2**28, 2**32
CHUNK_NUMBERS = 2**23
"""Logits that are turned to float32 at a time."""
UNKNOWN_CONTEXT = 2048
"""Window of a model that states no context, such as one with ALiBi; the harness's choice too."""


class ReadsAheadError(ConfigError):
    """A model reads what it should predict, so its probabilities are not those of a text."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Bits per byte and what it is made of. Lower is better; 8 says that nothing is known."""

    value: float
    bits: float
    num_bytes: int
    num_documents: int
    num_tokens: int
    """Predicted tokens, closing tokens included."""
    num_windows: int
    context: int
    first_token: str
    score_end: bool
    num_not_given_back: int
    """Documents whose tokens do not decode to the text: their bits are of something else."""
    first_not_given_back: int | None
    """Number of the first such document."""


@default_switches()
@torch.inference_mode()
def bits_per_byte(
    network: nn.Module,
    tokenizer: Any,
    corpus: Corpus,
    rule: Rule = PLAIN,
    *,
    batch_tokens: int | None = None,
    progress: Callable[[int], None] = lambda finished: None,
) -> Measurement:
    """Measure a causal transformers model in memory, where and in what precision it is.

    Args:
        batch_tokens: Tokens per forward pass, padding included; None: by device and vocabulary.
            Moves the result in the last digits only.
        progress: Called with the number of bytes just done, in proportion to their tokens.

    Raises:
        ConfigError: the tokenizer has no token to begin (or end) a document with, or the context
            is longer than the model's own.
        ReadsAheadError: the model reads what it predicts.
        DataError: a document has a token that the model has no embedding for.
        IntegrityError: the model gives no finite number.
        AbsentError: memory runs out with a single window.
    """
    if moved := how_far_ahead(network, tokenizer):
        raise ReadsAheadError(
            "it reads what it should predict: another last token moves the logits before it by "
            f"{moved:.2g} of their length"
        )
    first, length = first_token(tokenizer), _context(network, tokenizer, rule.context)
    closing = [_end_token(tokenizer)] if rule.score_end else []
    documents, lost = _tokenize(tokenizer, corpus.documents)
    table_size = num_embeddings(network)
    for number, tokens in enumerate(documents):
        where = f"document number {number} of {corpus.source}"
        check_embeddings([first, *tokens, *closing], table_size, "the tokenizer", where)
    windows = [
        window
        for tokens in documents
        for window in rolling_windows(tokens + closing, first, length)
    ]
    num_tokens = sum(window.num_scored for window in windows)

    def tell(before: int, done: int) -> None:
        progress(corpus.num_bytes * done // num_tokens - corpus.num_bytes * before // num_tokens)

    bits = _score_all(network, windows, batch_tokens or _batch_tokens(network), tell) / math.log(2)
    if not math.isfinite(bits):
        raise IntegrityError(
            "the model gives logits that are not finite numbers. If it runs in float16, use "
            "dtype: bfloat16 or float32."
        )
    return Measurement(
        value=bits / corpus.num_bytes,
        bits=bits,
        num_bytes=corpus.num_bytes,
        num_documents=len(corpus.documents),
        num_tokens=num_tokens,
        num_windows=len(windows),
        context=length,
        first_token=str(tokenizer.convert_ids_to_tokens(first)),
        score_end=rule.score_end,
        num_not_given_back=len(lost),
        first_not_given_back=lost[0] if lost else None,
    )


def _score_all(
    network: nn.Module, windows: Sequence[Window], budget: int, tell: Callable[[int, int], None]
) -> float:
    """Nats of all windows, the longest first.

    Args:
        budget: Tokens per forward pass.
        tell: Called with the number of predicted tokens before and after each pass.
    """
    order = sorted(windows, key=lambda window: -len(window.tokens))
    nats: list[float] = []
    done = 0

    def step(start: int, stop: int) -> None:
        nonlocal done
        batch = order[start:stop]
        nats.extend(score_windows(network, batch).tolist())
        before, done = done, done + sum(window.num_scored for window in batch)
        tell(before, done)

    Batches(budget).run([len(window.tokens) - 1 for window in order], step, "tokens")
    return math.fsum(nats)  # whose result does not depend on the order


def score_windows(network: nn.Module, windows: Sequence[Window]) -> Float[Tensor, " b"]:
    """Negative log-likelihood of each window's predicted tokens, in nats (float64, on the CPU).

    Padded on the right: under a causal mask the real tokens never see the padding.
    """
    longest = max(len(window.tokens) for window in windows)
    tokens = torch.zeros(len(windows), longest, dtype=torch.long)
    read, scored = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    for row, window in enumerate(windows):
        num_read = len(window.tokens) - 1
        tokens[row, : num_read + 1] = torch.tensor(window.tokens)
        read[row, :num_read] = 1
        scored[row, num_read - window.num_scored : num_read] = True
    logits = _logits(network, tokens[:, :-1], read[:, :-1])
    losses = token_losses(logits, tokens[:, 1:].to(logits.device))
    return losses.cpu().masked_fill(~scored[:, :-1], 0.0).sum(dim=1)


def how_far_ahead(network: nn.Module, tokenizer: Any) -> float | None:
    """How far a model's logits depend on tokens that come later; None if they do not."""
    num_tokens = min(size for size in (num_embeddings(network), len(tokenizer)) if size)
    return reads_ahead(
        lambda tokens: _logits(network, tokens, torch.ones_like(tokens)),
        num_tokens,
        own_context(network, tokenizer),
    )


def token_losses(
    logits: Float[Tensor, "b t v"], targets: Int[Tensor, "b t"]
) -> Float[Tensor, "b t"]:
    """-log softmax at the targets, in nats and float64; computed in float32 or better.

    A few rows at a time, so that no second copy of the logits is needed.
    """
    num_rows = max(1, CHUNK_NUMBERS // logits.shape[-1])
    dtype = torch.promote_types(logits.dtype, torch.float32)
    rows, target = logits.flatten(0, 1), targets.flatten()
    losses = [
        nn.functional.cross_entropy(
            rows[start : start + num_rows].to(dtype),
            target[start : start + num_rows],
            reduction="none",
        )
        for start in range(0, len(rows), num_rows)
    ]
    return torch.cat(losses).double().view_as(targets)


def first_token(tokenizer: Any) -> int:
    """What stands before every document: the beginning-of-text token, else that of its end.

    Raises:
        ConfigError: the tokenizer has neither.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise ConfigError(
        "bits per byte need a token before each document, and the tokenizer has neither a "
        "beginning-of-text (bos_token) nor an end-of-text token (eos_token)."
    )


def own_context(network: nn.Module, tokenizer: Any) -> int:
    """Most tokens that the model reads at once, by its configuration, else by its tokenizer."""
    config: Any = network.config
    for name in ("n_positions", "max_position_embeddings", "n_ctx", "max_seq_len", "seq_length"):
        found = getattr(config.get_text_config(), name, None)
        if isinstance(found, int) and found > 0:
            return found
    limit: int = int(tokenizer.model_max_length)
    return limit if 0 < limit < SANE_LENGTH else UNKNOWN_CONTEXT


def _context(network: nn.Module, tokenizer: Any, asked: int | None) -> int:
    own = own_context(network, tokenizer)
    if asked is not None and asked > own:
        raise ConfigError(
            f"context: {asked} asked for, but the model reads at most {own} tokens. "
            f"Set context: {own} or less."
        )
    return asked or own


def _end_token(tokenizer: Any) -> int:
    if tokenizer.eos_token_id is None:
        raise ConfigError(
            "score_end: true needs an end-of-text token, and the tokenizer has no eos_token."
        )
    return int(tokenizer.eos_token_id)


def _tokenize(tokenizer: Any, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
    """Tokens of each text, none added, and the numbers of the texts that they do not give back."""
    documents: list[list[int]] = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )["input_ids"]
    lost = [
        number
        for number, (tokens, text) in enumerate(zip(documents, texts, strict=True))
        if not gives_back(tokenizer, tokens, text)
    ]
    return documents, lost


def _logits(
    network: nn.Module, tokens: Int[Tensor, "b t"], read: Int[Tensor, "b t"]
) -> Float[Tensor, "b t v"]:
    device = _input_device(network)
    logits: Tensor = network(
        input_ids=tokens.to(device),
        attention_mask=read.to(device),
        use_cache=False,
        return_dict=True,
    ).logits
    return logits


def _batch_tokens(network: nn.Module) -> int:
    """So many that the logits stay small."""
    head: Any = network
    vocabulary = head.config.get_text_config().vocab_size
    on_cpu = _input_device(network).type == "cpu"
    logit_bytes = CPU_LOGIT_BYTES if on_cpu else GPU_LOGIT_BYTES
    fitting: int = logit_bytes // (vocabulary * head.dtype.itemsize)
    return max(1, min(CPU_TOKENS if on_cpu else GPU_TOKENS, fitting))


def _input_device(network: nn.Module) -> torch.device:
    """Where the tokens go; a model that is spread over several devices begins at one."""
    model: Any = network
    device: torch.device = model.get_input_embeddings().weight.device
    return device
