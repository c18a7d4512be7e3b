"""Nulls, p-values, intervals and corrections for many tests; any metric is an argument.

nulls = permutation_null(metric, groups_x, groups_y, Permutations(1000))
found = nulls[0].calibrate(alpha=0.05)         # p, threshold, calibrated score, null mean
q = benjamini_hochberg(np.array([null.calibrate().p for null in nulls]))
best_pair(scores, degenerate_x, degenerate_y)  # the best usable layers, or why there are none
"""

from platorep.statistics.best import BestPair, best_pair, closest
from platorep.statistics.calibration import Calibration, calibrate
from platorep.statistics.ceiling import (
    JACCARD,
    THRESHOLD,
    Agreement,
    Ceiling,
    Scale,
    WithChance,
    agreement,
    chance_level,
    linear_scale,
    noise_ceiling,
    reliability,
)
from platorep.statistics.consistency import FEWEST_PAIRS, Consistency, kendall_over_pairs
from platorep.statistics.corrections import (
    ALONE,
    Correction,
    benjamini_hochberg,
    corrected,
    holm,
    needed_permutations,
    warn_too_few,
    westfall_young,
)
from platorep.statistics.correlation import (
    Correlation,
    mean_spearman_within,
    partial_spearman,
    pearson,
    spearman,
    spearman_p,
)
from platorep.statistics.differences import (
    Difference,
    OnHalves,
    Rank,
    difference,
    halving,
    mean_of,
    ranks,
)
from platorep.statistics.fits import (
    Curve,
    Line,
    Sigmoid,
    aicc,
    fit_line,
    fit_sigmoid,
    r_squared,
)
from platorep.statistics.maps import ENOUGH, Layout, has_umap, lay_out, metric_mds, stress
from platorep.statistics.null import Null, NullMaxima, Scoring, null_maxima, permutation_null
from platorep.statistics.pairs import PairMean, mean_over_pairs
from platorep.statistics.permutations import Permutations, draw_order, shuffled_order
from platorep.statistics.resampling import (
    FEW_ROWS,
    HeldOut,
    Interval,
    disjoint_rows,
    held_out,
    interval_of_parts,
    interval_of_rests,
    interval_of_subsamples,
    rest_of_parts,
    subsamples,
)
from platorep.statistics.saturation import (
    Attenuation,
    Levelling,
    Power,
    fit_attenuation,
    fit_power,
)

__all__ = [
    "ALONE",
    "ENOUGH",
    "FEWEST_PAIRS",
    "FEW_ROWS",
    "JACCARD",
    "THRESHOLD",
    "Agreement",
    "Attenuation",
    "BestPair",
    "Calibration",
    "Ceiling",
    "Consistency",
    "Correction",
    "Correlation",
    "Curve",
    "Difference",
    "HeldOut",
    "Interval",
    "Layout",
    "Levelling",
    "Line",
    "Null",
    "NullMaxima",
    "OnHalves",
    "PairMean",
    "Permutations",
    "Power",
    "Rank",
    "Scale",
    "Scoring",
    "Sigmoid",
    "WithChance",
    "agreement",
    "aicc",
    "benjamini_hochberg",
    "best_pair",
    "calibrate",
    "chance_level",
    "closest",
    "corrected",
    "difference",
    "disjoint_rows",
    "draw_order",
    "fit_attenuation",
    "fit_line",
    "fit_power",
    "fit_sigmoid",
    "halving",
    "has_umap",
    "held_out",
    "holm",
    "interval_of_parts",
    "interval_of_rests",
    "interval_of_subsamples",
    "kendall_over_pairs",
    "lay_out",
    "linear_scale",
    "mean_of",
    "mean_over_pairs",
    "mean_spearman_within",
    "metric_mds",
    "needed_permutations",
    "noise_ceiling",
    "null_maxima",
    "partial_spearman",
    "pearson",
    "permutation_null",
    "r_squared",
    "ranks",
    "reliability",
    "rest_of_parts",
    "shuffled_order",
    "spearman",
    "spearman_p",
    "stress",
    "subsamples",
    "warn_too_few",
    "westfall_young",
]
