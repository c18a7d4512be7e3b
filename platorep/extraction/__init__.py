"""Dataset rows -> model -> features in the cache: the stage, its units of work, who writes."""

from platorep.extraction.making import complete, forward_flops
from platorep.extraction.stage import adopt, complete_cell, extract, open_work, rows_for
from platorep.extraction.work import ModelCell, Work

__all__ = [
    "ModelCell",
    "Work",
    "adopt",
    "complete",
    "complete_cell",
    "extract",
    "forward_flops",
    "open_work",
    "rows_for",
]
