"""The three designs of the ReSi benchmark (arXiv:2408.00531), on the networks of an experiment.

Layers: a layer is more alike to the next than to the one after. Kinds: networks that differ by
their seed alone are more alike than others. Outputs: networks that are more alike answer more
alike. Larger is closer throughout.

Axes: l layers, p pairs of networks, n samples, a answers.
"""

import itertools
from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from platorep.statistics import spearman

PENALTY = 0.1
"""Of the probes, in units of the mean squared length of the centred rows."""


def layer_violations(scores: Float[np.ndarray, "l l"]) -> float:
    """Share of layers i, j, k (j between i and k) of which j is the less alike to i: 0 is best.

    NaN with fewer than 3 layers, or where a score is not defined.
    """
    if np.isnan(scores[~np.eye(len(scores), dtype=bool)]).any():
        return np.nan
    num = range(len(scores))
    triples = [(i, j, k) for i, j, k in itertools.permutations(num, 3) if i < j < k or i > j > k]
    wrong = [scores[i, j] < scores[i, k] for i, j, k in triples]
    return float(np.mean(wrong)) if wrong else np.nan


def layer_correlation(scores: Float[np.ndarray, "l l"]) -> float:
    """Spearman's correlation of a layer's scores with nearness, mean over layers and directions.

    1 where nearer layers always are more alike. Fewer than 3 layers on a side say nothing; the
    authors' code counts sides of two.
    """
    found = []
    for i in range(len(scores)):
        for side in (range(i + 1, len(scores)), range(i)):
            away = np.array([-abs(j - i) for j in side], dtype=float)
            found.append(spearman(scores[i, list(side)], away).value)
    return float(np.nanmean(found)) if not np.isnan(found).all() else np.nan


def separation(scores: Float[np.ndarray, "p p"], kinds: Sequence[Hashable]) -> tuple[float, float]:
    """How well two networks of one kind are told from two of different kinds: AUC and AUPRC.

    For each kind with two networks or more its pairs against its networks' pairs with others; the
    mean over kinds. AUC: 1 is best, 1/2 is chance, and 1 - AUC is the authors' violation rate
    (where ties count half here). AUPRC: 1 is best, chance is the share of pairs within.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    labels = np.array([list(kinds).index(kind) for kind in kinds])
    aucs, precisions = [], []
    for kind in np.unique(labels):
        ours, others = np.flatnonzero(labels == kind), np.flatnonzero(labels != kind)
        within = [scores[i, j] for i, j in itertools.combinations(ours, 2)]
        across = [scores[i, j] for i in ours for j in others]
        found = np.array(within + across)
        if within and across and not np.isnan(found).any():
            truth = np.arange(len(found)) < len(within)
            aucs.append(roc_auc_score(truth, found))
            precisions.append(average_precision_score(truth, found))
    return (float(np.mean(aucs)), float(np.mean(precisions))) if aucs else (np.nan, np.nan)


def probe_outputs(
    features: Float[np.ndarray, "n d"], answers: Float[np.ndarray, "n a"]
) -> Float[np.ndarray, "m a"]:
    """What a ridge regression, fitted on the even rows, says of the odd ones."""
    mean, about = features[::2].mean(axis=0), answers[::2].mean(axis=0)
    seen = features[::2] - mean
    penalty = PENALTY * (seen**2).sum() / len(seen)
    weights = np.linalg.solve(
        seen.T @ seen + penalty * np.eye(len(seen[0])), seen.T @ (answers[::2] - about)
    )
    said: np.ndarray = (features[1::2] - mean) @ weights
    return said


def output_similarity(
    outputs: Sequence[Float[np.ndarray, "m a"]],
) -> Float[np.ndarray, "p p"]:
    """Pearson's correlation of all that two networks say, each answer about its own mean."""
    flat = [(one - one.mean(axis=0)).ravel() for one in outputs]
    correlations: np.ndarray = np.corrcoef(flat)
    return correlations


def output_correlation(
    scores: Float[np.ndarray, "p p"], outputs: Float[np.ndarray, "p p"]
) -> float:
    """Spearman's correlation, over pairs of networks, of their score and what they say alike."""
    above = np.triu_indices(len(scores), 1)
    return spearman(scores[above], outputs[above]).value
