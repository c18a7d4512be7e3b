"""Which model pairs have no finished scores: asked before any are worked out."""

from collections.abc import Mapping

from platorep.align.groups import groups_of_rows
from platorep.align.models import Aligned, model_pairs
from platorep.align.pieces import Pieces
from platorep.features import Cell
from platorep.reporting import Reporter
from platorep.run import Run


def open_pieces(run: Run, n: int) -> tuple[Pieces, list[str] | None]:
    """The finished pieces of an experiment that scores `n` rows, and the group of each row.

    Raises:
        AbsentError, DataError: the file of groups is not there, or lacks a row.
    """
    within = run.config.align.null.within
    groups = None if within is None else groups_of_rows(within, "align.null.within", run.results)
    groups = None if groups is None else groups[:n]
    return Pieces(run.results, run.config, groups), groups


def num_unscored(run: Run, cells: Mapping[str, Cell], num_rows: int) -> int:
    """How many model pairs are to score.

    Args:
        cells: Label -> cell, of the models whose features are complete.
    """
    pairs = model_pairs(run.config, run.specs)
    specs = {spec.label: spec for spec in run.specs}
    ready = [
        (Aligned(specs[x], cells[x]), Aligned(specs[y], cells[y]))
        for x, y in pairs
        if x in cells and y in cells
    ]
    if not ready:
        return len(pairs)
    pieces, _ = open_pieces(run, run.config.align.scored_rows(num_rows))
    return len(pairs) - len(pieces.read(ready, Reporter(-2)))
