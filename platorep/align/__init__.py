"""Every layer pair of every model pair: cached features in, tidy tables of scores out."""

from platorep.align.asked import asked_metrics
from platorep.align.estimate import expected_seconds, gallery_cost
from platorep.align.gallery import refuse_too_few_rows
from platorep.align.hook import ScoresHook
from platorep.align.models import Aligned, asked_pairs, find_cell, model_pairs
from platorep.align.stage import align

__all__ = [
    "Aligned",
    "ScoresHook",
    "align",
    "asked_metrics",
    "asked_pairs",
    "expected_seconds",
    "find_cell",
    "gallery_cost",
    "model_pairs",
    "refuse_too_few_rows",
]
