"""What figures call things: one word for one thing, in all of them."""

from collections.abc import Iterable

from platorep.plots.labels import metric_text

RANDOM_WEIGHTS = "random weights"
SHUFFLED_PAIRS = "shuffled pairs"
CHANCE = "chance"
BASELINE = "baseline"
CALIBRATED = "calibrated alignment"
NOT_ABOVE_NULL = "not above the permutation null"
TIMES = "\N{MULTIPLICATION SIGN}"  # between the two models of a pair
RHO = "\N{GREEK SMALL LETTER RHO}"

PAIR_CONTROLS = {
    "pairs with a random copy": ("x", f"{RANDOM_WEIGHTS} in the pair"),
    "pairs with a baseline": ("+", f"a {BASELINE} in the pair"),
    "pairs with a copy on a changed view": ("|", "a changed view in the pair"),
}
"""Kind of a pair -> its marker, and what a legend says."""


def alignment_text(metric: str, what: str = "alignment") -> str:
    """What an axis of scores of this metric says."""
    return f"{what} ({metric_text(metric)})"


def depth_text(modality: str) -> str:
    """What an axis of relative depth says."""
    return f"relative depth in {modality} model"


def random_text(modality: str) -> str:
    """Models of this modality with random weights, in a legend."""
    return f"{modality} model, {RANDOM_WEIGHTS}"


def rows_text(numbers: Iterable[float]) -> str:
    """`n = 1,024 rows`, or from the fewest to the most; nothing where there are none."""
    known = sorted({int(number) for number in numbers if number == number})  # without NaN
    if not known:
        return ""
    ends = dict.fromkeys(f"{number:,}" for number in (known[0], known[-1]))
    return f"n = {' to '.join(ends)} rows"
