"""Units that are each other's best match, how sure that is, and cliques of them.

Axes: u and v units of the networks x and y, m matches.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from platorep.units.correlation import moments
from platorep.units.maps import Maps

Unit = tuple[str, int]
"""A network and the number of one of its units."""


@dataclass(frozen=True, kw_only=True)
class Buddies:
    """Units of x and y that are each other's best match on some samples."""

    x: Int[np.ndarray, "m"]
    y: Int[np.ndarray, "m"]
    strength: Float[np.ndarray, "m"]
    """Correlation on these samples."""
    elsewhere: Float[np.ndarray, "m"]
    """Correlation of the same two units on the other samples, which did not choose them."""
    again: Bool[np.ndarray, "m"]
    """Whether they are each other's best match there, too."""


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The units of two networks held against each other."""

    whole: Buddies
    """On all samples; `elsewhere` is the lesser of the two halves, `again`: in both."""
    halves: tuple[Buddies, Buddies]
    null: tuple[Float[np.ndarray, "_"], ...]
    """Strengths of the best buddies when the samples of y are in a random order."""


@dataclass(frozen=True)
class Clique:
    """Units of several networks, every two of which are best buddies."""

    units: tuple[Unit, ...]
    """In the order of the networks' names."""
    strength: float
    """The least correlation of two of them."""


def best_buddies(
    r: Float[np.ndarray, "u v"],
) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """Pairs whose correlation is the largest of its row and of its column, and above 0.

    Signed, as in arXiv:2306.09346: a unit and its negative are no match. Of equal ones the first.
    """
    of_x, of_y = r.argmax(axis=1), r.argmax(axis=0)
    x = np.arange(len(r))
    mutual = (of_y[of_x] == x) & (r[x, of_x] > 0)
    return x[mutual], of_x[mutual]


def match_units(
    x: Maps,
    y: Maps,
    *,
    permutations: int,
    seed: int,
    device: torch.device | None = None,
    progress: Callable[[], None] = lambda: None,
) -> Matched:
    """Best buddies on all samples, on each half of them, and in the null.

    The halves are drawn at random, and so are the orders of the null: the same positions of other
    samples, so that what two units share by position alone is in the null, too.

    Args:
        progress: Called after each product; there are `permutations` + 2 of them.
    """
    num = len(x.at)
    generator = np.random.default_rng(seed)
    parts = np.array_split(generator.permutation(num), 2)
    sums = []
    for part in map(np.sort, parts):
        sums.append(moments(x, y, part, part, device))
        progress()
    on_halves = [part.correlation() for part in sums]
    halves = tuple(_found(on_halves[i], on_halves[1 - i]) for i in (0, 1))
    null = []
    for _ in range(permutations):
        r = moments(x, y, np.arange(num), generator.permutation(num), device).correlation()
        null.append(r[best_buddies(r)])
        progress()
    whole = (sums[0] + sums[1]).correlation()
    of_x, of_y = best_buddies(whole)
    found = Buddies(
        x=of_x,
        y=of_y,
        strength=whole[of_x, of_y],
        elsewhere=np.minimum(*(r[of_x, of_y] for r in on_halves)),
        again=_are_buddies(on_halves[0], of_x, of_y) & _are_buddies(on_halves[1], of_x, of_y),
    )
    return Matched(whole=found, halves=(halves[0], halves[1]), null=tuple(null))


def _found(here: Float[np.ndarray, "u v"], there: Float[np.ndarray, "u v"]) -> Buddies:
    x, y = best_buddies(here)
    again = _are_buddies(there, x, y)
    return Buddies(x=x, y=y, strength=here[x, y], elsewhere=there[x, y], again=again)


def _are_buddies(
    r: Float[np.ndarray, "u v"], x: Int[np.ndarray, "m"], y: Int[np.ndarray, "m"]
) -> Bool[np.ndarray, "m"]:
    found: np.ndarray = (r.argmax(1)[x] == y) & (r.argmax(0)[y] == x) & (r[x, y] > 0)
    return found


def false_shares(
    strength: Float[np.ndarray, "m"], null: Sequence[Float[np.ndarray, "_"]]
) -> Float[np.ndarray, "m"]:
    """q of each match: the share of false ones among all that are at least as strong (FDR).

    The number of false ones is that of the null's matches of this strength or more, on average
    over its orders, among which the one found counts as one more, so that no q is 0: with K orders
    a single match has no q below 1/(K+1). The least such share over all thresholds that would let
    the match in (Storey 2002; Tusher, Tibshirani, Chu 2001, with the one added).
    """
    order = np.argsort(-strength, kind="stable")
    at = strength[order]
    pooled = np.sort(np.concatenate([np.zeros(0), *null]))
    false = (1 + len(pooled) - np.searchsorted(pooled, at, side="left")) / (len(null) + 1)
    found = np.searchsorted(-at, -at, side="right")  # of equal ones all are in
    least = np.minimum.accumulate((false / found)[::-1])[::-1] if len(at) else false
    q = np.empty(len(at))
    q[order] = np.minimum(least, 1)
    return q


def cliques(buddies: Mapping[tuple[str, str], Mapping[tuple[int, int], float]]) -> list[Clique]:
    """Units of three networks and more, every two of which are best buddies; strongest first.

    Only those that no larger one holds. Among as strong ones, that of more networks first.

    Args:
        buddies: Of each pair of networks, the units that match, with their correlation.
    """
    linked: dict[Unit, dict[Unit, float]] = {}
    for (x, y), pairs in buddies.items():
        for (u, v), r in pairs.items():
            linked.setdefault((x, u), {})[y, v] = r
            linked.setdefault((y, v), {})[x, u] = r
    found = []
    for units in _largest((), set(linked), set(), linked):
        if len(units) > 2:
            ordered = tuple(sorted(units))
            strength = min(linked[a][b] for a, b in itertools.combinations(ordered, 2))
            found.append(Clique(ordered, strength))
    return sorted(found, key=lambda clique: (-clique.strength, -len(clique.units), clique.units))


def _largest(
    inside: tuple[Unit, ...],
    open_: set[Unit],
    done: set[Unit],
    linked: Mapping[Unit, Mapping[Unit, float]],
) -> Iterator[tuple[Unit, ...]]:
    """Bron and Kerbosch 1973: a unit has at most one neighbor in each other network."""
    if not open_ and not done:
        yield inside
    for unit in sorted(open_):
        near = set(linked[unit])
        yield from _largest((*inside, unit), open_ & near, done & near, linked)
        open_, done = open_ - {unit}, done | {unit}
