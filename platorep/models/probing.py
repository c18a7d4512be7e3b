"""What a model is asked before its numbers are trusted.

A feature must depend on its row alone: not on the texts or images that share its batch. A model
that is measured as a language model must not read what it predicts. No list of architectures
decides either; the model is run on a few tokens, or on noise, and its answers are compared.

Axes: b samples of a batch, t tokens, d features, v vocabulary.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from platorep.models.memory import Batching, refuse_other_width

SHORT, LONG = 4, 12
"""Tokens of the texts that a language model is asked with."""

TINY = torch.finfo(torch.float32).tiny

Sample = TypeVar("Sample")


@dataclass(frozen=True, kw_only=True)
class BatchProbe:
    """What came of running a sample alone and beside another."""

    batching: Batching
    difference: float = 0.0
    """How far the features moved in a batch, relative to their length, in the worst layer."""
    repeats: bool = True
    """Whether the same sample alone gives the same features twice."""

    def notes(self, samples: str) -> tuple[str, ...]:
        """What a user should know, of `samples` such as `texts`."""
        if self.batching is Batching.ANY:
            return ()
        if not self.repeats:
            return (
                f"the same sample gives other features each time (by {self.difference:.2g} of "
                "their length): the network draws random numbers while it runs",
            )
        how = "batched by equal length" if self.batching is Batching.EQUAL_LENGTH else "run alone"
        return (
            f"features depend on what else is in the batch (by {self.difference:.2g} of their "
            f"length), so {samples} were {how}: no number depends on the batch size",
        )


def tolerance(dtype: torch.dtype) -> float:
    """Largest relative difference that the rounding of `dtype` explains: half of its digits.

    Nine architectures of 4 and 24 layers, small and large random weights, on a CPU: a text alone
    and in a padded batch differ by up to 1e-5 in float32 (3.5e-4 is allowed) and 5e-3 in float16
    (.031; bfloat16 .088) where padding is masked, and by .015 to 1.3 where it is not.
    """
    return math.sqrt(torch.finfo(dtype).eps)


def probe_batches(
    features: Callable[[Sequence[Sample]], Sequence[Float[Tensor, "b _"]]],
    sample: Sample,
    equal: Sample,
    longer: Sample | None,
    dtype: torch.dtype,
) -> BatchProbe:
    """How a network's samples may be batched, from `sample` alone and beside another.

    Args:
        features: Pooled features of every layer, as they are extracted.
        equal: Of the length of `sample`.
        longer: Longer than `sample`; None where all samples have one length, as images.
        dtype: What the network computes in.
    """
    alone = [layer[:1] for layer in features([sample])]
    if not all(bool(layer.isfinite().all()) for layer in alone):
        return BatchProbe(batching=Batching.ANY)  # no shard of such features is ever written
    beside = equal if longer is None else longer
    moved = difference(features([sample, beside]), alone)
    if moved <= tolerance(dtype):
        return BatchProbe(batching=Batching.ANY, difference=moved)
    batching = Batching.ONE_BY_ONE
    if longer is not None and difference(features([sample, equal]), alone) <= tolerance(dtype):
        batching = Batching.EQUAL_LENGTH
    again = difference(features([sample]), alone)
    return BatchProbe(batching=batching, difference=moved, repeats=again <= tolerance(dtype))


def difference(
    found: Sequence[Float[Tensor, "b _"]], expected: Sequence[Float[Tensor, "1 _"]]
) -> float:
    """Distance of the first sample's features from `expected`, in lengths of these; worst layer."""
    for layer, other in zip(found, expected, strict=True):
        refuse_other_width(layer, other)
    distances = [
        relative_changes(layer[:1], other) for layer, other in zip(found, expected, strict=True)
    ]
    return float(torch.stack(distances).max())  # NaN if one is


def relative_changes(
    found: Float[Tensor, "n d"], expected: Float[Tensor, "n d"]
) -> Float[Tensor, " n"]:
    """Distance of each sample's features from what is expected, in lengths of the latter."""
    distances = (found - expected).norm(dim=-1)
    moved: Tensor = distances / expected.norm(dim=-1).clamp_min(TINY)
    return moved


@torch.inference_mode()
def reads_ahead(
    logits: Callable[[Int[Tensor, "1 t"]], Float[Tensor, "1 t v"]],
    num_tokens: int,
    longest: int | None,
) -> float | None:
    """How far earlier logits move when only the last token changes; None if they do not.

    In lengths of the logits at a place, at the place where it is most. Shapes stay the same, so
    that a causal network gives the very same numbers; only where experts share a product do they
    round otherwise (up to 3e-6 in float32, 8e-4 in float16). BERT, RoBERTa and XLNet with small
    random weights of 1 to 6 layers move by .0015 to .06. Allowed are 1e-5 and 4 roundings.

    Args:
        num_tokens: Size of the vocabulary.
        longest: Most tokens that the network takes; with one there is nothing earlier.
    """
    text, *_ = probe_texts(num_tokens, longest=longest)
    if len(text) < 2:
        return None
    changed = [*text[:-1], (text[-1] + 1) % num_tokens]
    one, two = (logits(torch.tensor([tokens]))[:, :-1] for tokens in (text, changed))
    distances = (one.float() - two.float()).norm(dim=-1)
    moved = float((distances / one.float().norm(dim=-1).clamp_min(TINY)).max())
    return moved if moved > max(1e-5, 4 * torch.finfo(one.dtype).eps) else None


def probe_texts(
    num_tokens: int, *, longest: int | None, special: Collection[int] = ()
) -> tuple[list[int], list[int], list[int]]:
    """A short text of token ids, another of its length, and a longer one if that is possible.

    Args:
        num_tokens: Size of the vocabulary.
        longest: Most tokens that the network takes; None: any number.
        special: Ids to avoid, if others are left.
    """
    plain = sorted(set(range(num_tokens)) - set(special)) or list(range(num_tokens))
    long = min(LONG, longest or LONG)
    short = min(SHORT, (long + 2) // 2)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(plain), (2 * short + long,), generator=generator).tolist()
    ids = [plain[i] for i in drawn]
    return ids[:short], ids[short : 2 * short], ids[2 * short :]
