"""Slow definitions of the metrics: loops, sets, numpy in float64. Imports nothing from platorep."""

import itertools
import math

import numpy as np

DIGITS = 12  # two similarities that agree to so many digits are equal


def similarity(x: np.ndarray, i: int, j: int, kind: str) -> float:
    a, b = x[i], x[j]
    if kind == "inner_product":
        return round(math.fsum(a * b), DIGITS)
    if kind == "euclidean":
        return -round(math.sqrt(math.fsum((a - b) ** 2)), DIGITS)
    lengths = math.sqrt(math.fsum(a * a)) * math.sqrt(math.fsum(b * b))
    return round(math.fsum(a * b) / lengths, DIGITS) if lengths else 0.0


def shares(x: np.ndarray, k: int, kind: str = "cosine", center: bool = False) -> np.ndarray:
    """How likely j is among the k nearest of i, equal candidates in random order (n n)."""
    x = x - x.mean(axis=0) if center else x
    n = len(x)
    found = np.zeros((n, n))
    for i in range(n):
        values = {j: similarity(x, i, j, kind) for j in range(n) if j != i}
        for j, value in values.items():
            above = sum(other > value for other in values.values())
            equal = sum(other == value for other in values.values())
            found[i, j] = min(1.0, max(0.0, (k - above) / equal))
    return found


def shares_by_enumeration(x: np.ndarray, k: int) -> np.ndarray:
    """The same, by really trying every order of the samples; for a handful of samples."""
    n = len(x)
    found = np.zeros((n, n))
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        for i in range(n):
            candidates = [j for j in order if j != i]
            candidates.sort(key=lambda j: similarity(x, i, j, "cosine"), reverse=True)
            for j in candidates[:k]:
                found[i, j] += 1 / len(orders)
    return found


def lists(x: np.ndarray, k: int, kind: str = "cosine") -> list[list[int]]:
    """The k nearest of every sample in order, of equal ones the lower number first."""
    n = len(x)
    return [
        sorted((j for j in range(n) if j != i), key=lambda j: (-similarity(x, i, j, kind), j))[:k]
        for i in range(n)
    ]


def mutual_knn(
    x: np.ndarray, y: np.ndarray, k: int, kind: str = "cosine", center: bool = False
) -> float:
    overlap = shares(x, k, kind, center) * shares(y, k, kind, center)
    return float(overlap.sum() / (len(x) * k))
