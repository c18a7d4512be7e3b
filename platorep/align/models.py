"""Which models are scored against each other, and their checked cells."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from platorep.config import ExperimentConfig, ModelSpec, SelectorConfig
from platorep.config.models import hashes_column
from platorep.errors import (
    AbsentError,
    ConfigError,
    DamagedError,
    DataError,
    IntegrityError,
    PlatorepError,
    UnreadableError,
)
from platorep.experiment_rows import ExperimentRows, open_rows
from platorep.failures import earlier_failure
from platorep.features import Cell
from platorep.files import digest
from platorep.identities import other_block
from platorep.reporting import Reporter
from platorep.results import Results, cell_settings
from platorep.run import Run


@dataclass(frozen=True)
class Aligned:
    """A model of the experiment with its complete cell."""

    spec: ModelSpec
    cell: Cell

    @property
    def label(self) -> str:
        return self.spec.label

    @cached_property
    def key(self) -> str:
        return digest(self.cell.meta["key"])


def model_pairs(config: ExperimentConfig, specs: Sequence[ModelSpec]) -> list[tuple[str, str]]:
    """Labels of the models to score against each other: each pair once, no model with itself.

    A pair is on the sides (x, y) on which the first entry of `align.pairs` puts it. A copy on a
    changed view is held against what its original is, of trained models as they are: two changes
    at once, or a change of random weights, would control for nothing. Neither would a baseline and
    random weights. What reads another observation of the same meets nobody.
    """
    pairs: dict[frozenset[str], tuple[str, str]] = {}
    for wanted in config.align.pairs:
        for x in specs:
            for y in specs:
                if _may_meet(x, y) and _selects(wanted.x, x) and _selects(wanted.y, y):
                    pairs.setdefault(frozenset((x.label, y.label)), (x.label, y.label))
    return list(pairs.values())


def asked_pairs(run: Run) -> list[tuple[str, str]]:
    """`model_pairs` of the models that a command works on.

    Raises:
        ConfigError: there is none.
    """
    pairs = model_pairs(run.config, run.specs)
    if not pairs:
        modalities = ", ".join(dict.fromkeys(spec.modality for spec in run.specs))
        raise ConfigError(
            "align.pairs: no two of the models make a pair; they are of modality "
            f"{modalities or '(none)'}. Ask for models of both sides (--models), or change "
            "align.pairs."
        )
    return pairs


def _may_meet(x: ModelSpec, y: ModelSpec) -> bool:
    if x.repeat_of or y.repeat_of:
        return False
    if (x.is_baseline and y.random_init) or (y.is_baseline and x.random_init):
        return False
    if x.changed_of or y.changed_of:
        copy, other = (x, y) if x.changed_of else (y, x)
        return not other.is_control and other.label != copy.changed_of
    return x.label != y.label


def find_cell(run: Run, spec: ModelSpec) -> Aligned:
    """A model's cell, after checking that it is whole and holds the experiment's rows.

    Raises:
        AbsentError: it was not extracted with these settings, or not to the end; where `extract`
            said why, its error.
        IntegrityError: its rows are others, or in another order.
    """
    results = run.results
    known = results.read_json(results.cells, "extract").get("cells", {})
    if spec.label not in known:
        raise _not_extracted(
            spec.label,
            results,
            f"{spec.label} is not in {results.cells}. Run `platorep extract` with this experiment.",
        )
    now = cell_settings(run.config, spec)
    before = known[spec.label].get("settings", now)  # 0.1.0 wrote none
    if changed := [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]:
        raise _not_extracted(
            spec.label,
            results,
            f"the features of {spec.label} were extracted with other settings "
            f"({', '.join(changed)}). Run `platorep extract` with this experiment.",
        )
    cell = Cell(run.root / known[spec.label]["folder"])
    if not cell.is_complete():
        missing = len(cell.missing_shards()) if cell.exists() else "all"
        raise _not_extracted(
            spec.label,
            results,
            f"the features of {spec.label} are not complete: {missing} shards are missing in "
            f"{cell.folder}. Run `platorep extract` with this experiment: it makes the rest.",
        )
    rows, column = open_rows(results), spec.hashes_column or ""
    if column not in rows.identities:
        raise IntegrityError(
            f"{results.rows} knows nothing of the view {spec.view!r} that {spec.label} reads: "
            "dataset.views changed since. Run `platorep extract` with this experiment again."
        )
    refuse_other_rows(spec.label, column, cell, rows)
    cell.check_rows()
    return Aligned(spec, cell)


def warn_of_copies(
    pairs: Sequence[tuple[Aligned, Aligned]], rows: pd.DataFrame, report: Reporter
) -> None:
    """Say where both models of a pair see copies: they agree on these, whatever they learnt."""
    seen: dict[tuple[str | None, str | None], tuple[Aligned, Aligned]] = {}
    for x, y in pairs:
        seen.setdefault((x.spec.hashes_column, y.spec.hashes_column), (x, y))
    for (of_x, of_y), (x, y) in seen.items():
        if of_x is None or of_y is None:  # a user's own arrays
            continue
        hashes = rows.loc[(rows[of_x] != "") & (rows[of_y] != ""), list({of_x, of_y})]
        copies = hashes.duplicated(keep=False)
        if copies.any():
            first = rows.loc[copies.index[copies], "id"].iloc[0]
            report.warn(
                f"{int(copies.sum())} of {len(rows)} rows, such as {first!r}, are exact copies "
                f"of others for {x.label} and for {y.label} alike: both find them "
                "near, which raises scores (mutual_knn by up "
                f"to {copies.sum() / len(rows):.2g} / k) and makes p-values too small. "
                "`dataset.deduplicate: true` drops them"
            )


MANY_THE_SAME = 0.1
"""Share of rows above which two observations of one event being the same is told."""


def warn_of_same_observations(
    repeats: Mapping[str, Sequence[str]], rows: pd.DataFrame, report: Reporter
) -> None:
    """Say where a repeat holds what another observation holds: it tells nothing of noise."""
    for view, others in repeats.items():
        for one, other in itertools.combinations((view, *others), 2):
            first, second = (rows[hashes_column(name)] for name in (one, other))
            same = int(((first == second) & (first != "")).sum())
            if same > MANY_THE_SAME * len(rows):
                report.warn(
                    f"align.repeats: {one} and {other} are exactly the same in {same} of "
                    f"{len(rows)} rows; these are no observations anew, so that reliabilities and "
                    "ceilings come out too high, and averages gain nothing"
                )


def _not_extracted(label: str, results: Results, absent: str) -> PlatorepError:
    """That features are not there: `absent`, or what `extract` met, with the same exit code."""
    failure = earlier_failure(results.failures, "extract", label)
    if failure is None:
        return AbsentError(absent)
    error, message = failure
    kinds = (ConfigError, DamagedError, DataError, IntegrityError, UnreadableError)
    by_name = {kind.__name__: kind for kind in kinds} | {"UnknownNameError": ConfigError}
    return by_name.get(error, AbsentError)(f"{label} could not be extracted: {error}: {message}")


def _selects(selector: SelectorConfig, spec: ModelSpec) -> bool:
    found = {"modality": spec.modality, "family": spec.family, "model": spec.label}
    wanted = selector.model_dump(exclude_none=True)
    return all(found[key] == value for key, value in wanted.items())


def refuse_other_rows(label: str, column: str, cell: Cell, wanted: ExperimentRows) -> None:
    """Rows are read only where they are others, to say which."""
    expected = wanted.identities[column]
    if cell.meta["key"]["rows"] == expected.fingerprint:
        return
    found = cell.identity()
    if cell.num_rows != wanted.num_rows:
        where = f"{cell.num_rows} rows, the experiment has {wanted.num_rows}"
    elif block := other_block(found.ids, expected.ids):
        where = _first_other("id", cell.some_rows(block).ids, wanted.at([], block)["id"], block)
    else:
        block = other_block(found.hashes, expected.hashes)
        assert block is not None, "fingerprints differ"
        of_cell = cell.some_rows(block).hashes
        where = _first_other(column, of_cell, wanted.at([column], block)[column], block)
    raise IntegrityError(
        f"the cached features of {label} belong to other rows: {where} ({cell.folder}). The "
        "dataset or its settings changed since they were extracted: run `platorep extract` again."
    )


def _first_other(what: str, found: Sequence[str], expected: Iterable[str], block: range) -> str:
    for row, one, other in zip(block, found, expected, strict=False):
        if one != other:
            return f"row {row} has {what} {one!r}, the experiment has {other!r}"
    raise AssertionError("the hashes of the block differ")
