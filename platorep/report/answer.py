"""The answer in sentences, computed from the tables: who agrees most, and does it rise?

A sentence says no more than its numbers do: what is not above the null is called so, and what a
handful of models cannot tell is not told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from platorep.plots.labels import metric_text
from platorep.plots.tables import Tables, changed_of
from platorep.report.models import BASELINE, CHANGED, RANDOM, TRAINED
from platorep.report.rise import rise

SHUFFLED = "shuffled"
TIMES = "\N{MULTIPLICATION SIGN}"
MOST_NAMED = 3
"""Metrics, or pairs of modalities, that are named one by one."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the tables do not say of themselves."""

    alpha: float
    """Of the null."""
    larger_is_closer: Mapping[str, bool]
    """By metric."""
    layers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names of the layers, by model."""


def answer(tables: Tables, pairs: pd.DataFrame, rules: Rules) -> list[str]:
    """Who agrees most, whether alignment rises with performance, and what belongs beside it.

    The first metric leads, and of several pairs of modalities the first that was asked for.

    Args:
        pairs: `pairs_table(tables)`.
    """
    trained = _trained(pairs)
    if trained.empty:
        return ["There is no pair of two trained models: whatever was scored is a control."]
    lead = _leading(trained)
    metric, senses = lead.iloc[0][["metric", "senses"]]
    of_metric = trained[trained["metric"] == metric]
    others = of_metric[of_metric["senses"] != senses]
    return [
        _best(lead, str(senses), rules),
        *rise(tables, str(metric), lead.iloc[0], larger_is_closer=_larger(str(metric), rules)),
        *_controls(pairs[pairs["metric"] == metric], lead, tables, rules),
        *_other_senses(others, rules),
        *_other_metrics(trained[trained["senses"] == senses], str(metric), rules),
    ]


def best_trained(pairs: pd.DataFrame, rules: Rules) -> pd.Series | None:
    """The pair that the answer names, if it has a score."""
    trained = _trained(pairs)
    return None if trained.empty else best_of(_leading(trained), rules)


def _trained(pairs: pd.DataFrame) -> pd.DataFrame:
    trained: pd.DataFrame = pairs[pairs["kind"] == TRAINED]
    return trained.assign(senses=_senses(trained))


def _leading(trained: pd.DataFrame) -> pd.DataFrame:
    """The pairs of the first metric and modalities."""
    first = trained.iloc[0]
    same = (trained["metric"] == first["metric"]) & (trained["senses"] == first["senses"])
    leading: pd.DataFrame = trained[same]
    return leading


def _senses(pairs: pd.DataFrame) -> list[str]:
    """`language x vision`, whichever of the two is x."""
    first: dict[frozenset[str], str] = {}
    sides = zip(pairs["x_modality"], pairs["y_modality"], strict=True)
    return [first.setdefault(frozenset((x, y)), f"{x} {TIMES} {y}") for x, y in sides]


def best_of(pairs: pd.DataFrame, rules: Rules) -> pd.Series | None:
    """The closest pair that has a score, of one metric; of equal ones the first."""
    known = pairs[pairs["score"].notna()]
    if known.empty:
        return None
    larger = _larger(str(known["metric"].iloc[0]), rules)
    scores = known["score"].to_numpy(dtype=float)
    return known.iloc[int(scores.argmax() if larger else scores.argmin())]


def _larger(metric: str, rules: Rules) -> bool:
    return rules.larger_is_closer.get(metric, True)


def _best(lead: pd.DataFrame, senses: str, rules: Rules) -> str:
    count, best = len(lead), best_of(lead, rules)
    if best is None:
        why = str(lead["reason"].iloc[0] or "no reason is recorded")
        if count == 1:
            return f"The one {senses} pair of trained models has no score: {why}."
        return f"None of {count} {senses} pairs of trained models has a score; of the first: {why}."
    who = f"{best['x']} and {best['y']}"
    which = f"Of {count} {senses} pairs of trained models, {who} agree most"
    said = which if count > 1 else f"{who} are the one {senses} pair of trained models"
    said += f": {short(best['score'])}"
    if _known(best, "low", "high"):
        said += f" [{short(best['low'])}, {short(best['high'])}]"
    said += f" by {metric_text(best['metric'])}, over {int(best['n']):,} rows"
    said += _at_layers(best, rules)
    beside = [f"chance: {short(best['chance'])}"] if _known(best, "chance") else []
    if _known(best, "threshold"):
        share = f"{100 * (1 - rules.alpha):g} %"
        side = "below" if _larger(str(best["metric"]), rules) else "above"
        beside.append(f"{share} of permuted pairs stay {side} {short(best['threshold'])}")
    said += f" ({'; '.join(beside)})" if beside else ""
    return f"{said}. {_verdict(best, lead, rules)}{_ceiling(best)}"


def _at_layers(best: pd.Series, rules: Rules) -> str:
    """`, at layer 0 of 2 (embedding) and layer 3 of 5`, as far as these are known."""
    said = []
    for side in "xy":
        layer, names = int(best[f"layer_{side}"]), rules.layers.get(str(best[side]), ())
        if not 0 <= layer < len(names):
            return ""
        name = "" if names[layer] == f"layer {layer}" else f" ({names[layer]})"
        said.append(f"layer {layer} of {len(names)}{name}")
    return f", at {' and '.join(said)}"


def _verdict(best: pd.Series, lead: pd.DataFrame, rules: Rules) -> str:
    """Whether the best pair, and how many others, are above the null."""
    p = p_of(best)
    if p is None:
        return "There is no null to hold it against."
    known = [p_of(row) for _, row in lead.iterrows()]
    above = sum(found is not None and found <= rules.alpha for found in known)
    by = f"p = {p_text(p)}{', corrected over pairs' if _known(best, 'p_adjusted') else ''}"
    if p > rules.alpha:
        return f"It is not above the null ({by}){_others(above, len(lead) - 1)}."
    return f"It is above the null ({by}){_others(above - 1, len(lead) - 1)}."


def _others(above: int, count: int) -> str:
    """How many pairs beside the best are above the null."""
    if count < 2:
        return "" if not count else f"; the other pair is{'' if above else ' not'}"
    if above == count:
        return f"; so are all {count} others"
    return f"; of the {count} others, {above} {'is' if above == 1 else 'are'}"


def p_of(pair: pd.Series) -> float | None:
    """Corrected over pairs, where that was done."""
    for name in ("p_adjusted", "p"):
        if _known(pair, name):
            return float(pair[name])
    return None


def _ceiling(best: pd.Series) -> str:
    if not _known(best, "share_of_ceiling"):
        return ""
    share = f"{100 * best['share_of_ceiling']:.0f} %"
    ends = ""
    if _known(best, "share_of_ceiling_low", "share_of_ceiling_high"):
        low, high = (100 * best[f"share_of_ceiling_{end}"] for end in ("low", "high"))
        ends = f" [{low:.0f}, {high:.0f}]"
    return f" It is {share}{ends} of the way from chance to the noise ceiling."


def _controls(pairs: pd.DataFrame, lead: pd.DataFrame, tables: Tables, rules: Rules) -> list[str]:
    """What controls reach in place of the best pair, and how many are above the null too."""
    best = best_of(lead, rules)
    if best is None:
        return []
    models = tables.models.set_index("label")
    twin = models["random_of"].where(models["random"].astype(bool), changed_of(models))
    twin = twin.where(twin.fillna("") != "", models.index.to_series())
    itself = pairs["x"].eq(best["x"]) & pairs["y"].eq(best["y"])
    same = pairs["x"].map(twin).eq(best["x"]) & pairs["y"].map(twin).eq(best["y"])
    one = pairs["x"].eq(best["x"]) | pairs["y"].eq(best["y"])
    of_best = {
        RANDOM: ("with random weights", same),
        CHANGED: ("on changed views", same),
        SHUFFLED: ("with shuffled rows", itself),
        BASELINE: ("as the best baseline", one),
    }
    reached = {}
    for kind, (what, rows) in of_best.items():
        found = best_of(pairs[(pairs["kind"] == kind) & rows], rules)
        if found is not None:
            who = "" if kind == SHUFFLED else f" ({found['x']} {TIMES} {found['y']})"
            reached[f"{short(found['score'])} {what}{who}"] = float(found["score"])
    if not reached:
        return _controls_above(pairs, lead, rules)
    larger = rules.larger_is_closer.get(str(best["metric"]), True)
    nearest = (max if larger else min)(reached.values())
    return [
        f"Controls in its place reach {', '.join(reached)}; the closest of these lies "
        f"{_apart(nearest, float(best['score']))}.",
        *_controls_above(pairs, lead, rules),
    ]


def _apart(score: float, best: float) -> str:
    """Where a score lies, seen from the best pair's."""
    if score == best:
        return "where the best pair does"
    return f"{short(abs(score - best))} {'below' if score < best else 'above'} the best pair"


def _controls_above(pairs: pd.DataFrame, lead: pd.DataFrame, rules: Rules) -> list[str]:
    """How many pairs with a copy with random weights, of the same senses, are above their null."""
    sides = {lead.iloc[0]["x_modality"], lead.iloc[0]["y_modality"]}
    copies = pairs[pairs["kind"] == RANDOM]
    senses = zip(copies["x_modality"], copies["y_modality"], strict=True)
    copies = copies[[{*both} == sides for both in senses]]
    known = [p for _, row in copies.iterrows() if (p := p_of(row)) is not None]
    if not known:
        return []
    above, count = sum(p <= rules.alpha for p in known), len(known)
    if count == 1:
        return [f"The one pair with random weights is {'' if above else 'not '}above its null."]
    if above == count:
        return [f"All {count} pairs with random weights are above their null."]
    which = f"{above} are above their" if above > 1 else f"{above or 'none'} is above its"
    return [f"Of {count} pairs with random weights, {which} null."]


def _other_senses(others: pd.DataFrame, rules: Rules) -> list[str]:
    said = []
    for senses, rows in others.groupby("senses", sort=False):
        best = best_of(rows, rules)
        if best is not None:
            p = p_of(best)
            null = "" if p is None or p <= rules.alpha else ", not above the null"
            said.append(f"{senses} {short(best['score'])} ({best['x']}, {best['y']}{null})")
    if not said:
        return []
    more = f"; and {len(said) - MOST_NAMED} more" if len(said) > MOST_NAMED else ""
    return [f"The best of other modalities: {'; '.join(said[:MOST_NAMED])}{more}."]


def _other_metrics(trained: pd.DataFrame, first: str, rules: Rules) -> list[str]:
    """Metrics by which another pair is the best."""
    lead = best_of(trained[trained["metric"] == first], rules)
    others = list(dict.fromkeys(trained["metric"][trained["metric"] != first]))
    if lead is None or not others:
        return []
    said = []
    for metric in others:
        best = best_of(trained[trained["metric"] == metric], rules)
        if best is not None and (best["x"], best["y"]) != (lead["x"], lead["y"]):
            said.append(f"{metric_text(metric)} {short(best['score'])} ({best['x']}, {best['y']})")
    if not said:
        number = (
            f"The other {len(others)} metrics name" if len(others) > 1 else "The other metric names"
        )
        return [f"{number} the same pair."]
    more = f"; and {len(said) - MOST_NAMED} more" if len(said) > MOST_NAMED else ""
    return [f"By other metrics another pair is the best: {'; '.join(said[:MOST_NAMED])}{more}."]


def _known(row: pd.Series, *names: str) -> bool:
    return all(name in row and pd.notna(row[name]) for name in names)


def short(value: float) -> str:
    """Three significant digits, zeros among them, so that numbers side by side are alike."""
    return f"{float(value):#.3g}".removesuffix(".").replace("-", "\N{MINUS SIGN}")


def p_text(p: float) -> str:
    """Three significant digits, without zeros at the end."""
    return f"{float(p):.3g}".replace("-", "\N{MINUS SIGN}")
