"""Checked rows -> those that are kept: no id twice, no copies if they are not wanted."""

import bisect
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int64

from platorep.config import DatasetConfig
from platorep.data.checks import Block
from platorep.data.events import Copies, DroppedRow
from platorep.data.near import HASH_BITS, NEAR_BITS, NearHashes, Newcomers
from platorep.data.seen import FirstSeen, Found
from platorep.errors import DataError, shown

NUM_FIRST_COPIES = 5


def shuffled(count: int, seed: int) -> Int64[np.ndarray, " n"]:
    """0 ... count-1 in an order that depends on the seed alone, not on any library's generator."""
    drawn = (hashlib.sha256(f"{seed}:{i}".encode()).digest()[:16] for i in range(count))
    words = np.frombuffer(b"".join(drawn), dtype=">u8").reshape(count, 2)
    return np.lexsort((words[:, 1], words[:, 0]))


class Selector:
    """Takes blocks of checked rows, and knows of those it kept what it takes to compare with them.

    It holds sixteen bytes for each kept row and column of hashes. The rows themselves lie in tables
    of Arrow, which may be mapped from files.
    """

    def __init__(self, config: DatasetConfig, schema: pa.Schema) -> None:
        self._config, self._schema = config, schema
        self._views = tuple(config.observed)
        self.copies = {view: Copies(0, ()) for view in self._views}
        self.num_kept = 0
        self._tables: list[pa.Table] = []
        self._starts: list[int] = []
        names = ["id", *(f"sha256:{view}" for view in self._views)]
        self._seen = {name: FirstSeen(partial(self._value, name)) for name in names}
        near = [name.partition(":")[2] for name in schema.names if name.startswith("looks:")]
        self._looks = {view: NearHashes(NEAR_BITS) for view in near}

    def take(self, block: Block) -> tuple[pa.Table, list[DroppedRow]]:
        """Those of these rows that are kept, and the others.

        Raises:
            DataError: a row cannot be used and `on_bad_row` is `error`.
        """
        ids = [
            _writable(text) if place in block.problems else text
            for place, text in enumerate(block.ids)
        ]
        block.columns["id"] = ids
        values = {name: [v or "" for v in block.columns[name]] for name in self._seen}
        found = {name: seen.find(values[name]) for name, seen in self._seen.items()}
        problems = self._compared(block, values, {name: of.first for name, of in found.items()})
        columns = block.columns | {"row": np.asarray(block.numbers, dtype=np.int64)}
        if problems:
            kept = [place for place in range(len(block)) if place not in problems]
            columns = {name: [column[i] for i in kept] for name, column in columns.items()}
            found = {name: of.at(kept) for name, of in found.items()}
            values = {name: [of[i] for i in kept] for name, of in values.items()}
        table = pa.table({name: columns[name] for name in self._schema.names}, self._schema)
        self._add(table, values, found)
        dropped = [
            DroppedRow(int(block.numbers[i]), ids[i], _writable(block.row(i).file), problems[i])
            for i in sorted(problems)
        ]
        return table, dropped

    def replay(self, table: pa.Table, copies: dict[str, Copies]) -> None:
        """Know rows that were kept by an earlier process; `copies` are those up to there."""
        for view, near in self._looks.items():
            near.extend(table.column(f"looks:{view}").to_numpy())
        values = {name: table.column(name).to_pylist() for name in self._seen}
        self._add(table, values, {name: self._seen[name].find(of) for name, of in values.items()})
        self.copies = copies

    def sealed(self, tables: int, mapped: pa.Table) -> None:
        """The last so many tables are in a file now, and need no memory."""
        del self._tables[-tables:], self._starts[-tables:]
        self._starts.append(self.num_kept - len(mapped))
        self._tables.append(mapped)

    def _add(
        self,
        table: pa.Table,
        values: Mapping[str, Sequence[str]],
        found: Mapping[str, Found],
    ) -> None:
        self._starts.append(self.num_kept)
        self._tables.append(table)
        self.num_kept += len(table)
        for name, seen in self._seen.items():
            seen.add(values[name], found[name])

    def _value(self, name: str, number: int) -> Any:
        """Of a kept row, by its number among them."""
        at = bisect.bisect_right(self._starts, number) - 1
        return self._tables[at].column(name)[number - self._starts[at]].as_py()

    def _compared(
        self,
        block: Block,
        values: Mapping[str, Sequence[str]],
        earlier: Mapping[str, Int64[np.ndarray, " n"]],
    ) -> dict[int, str]:
        """By place: why a row is dropped. Only rows are looked at that share something."""
        ids, suspects = values["id"], set(block.problems)
        for name, numbers in earlier.items():
            twice = pd.Series(values[name], dtype=object).duplicated(keep=False).to_numpy()
            suspects |= set(np.flatnonzero(twice | (numbers >= 0)).tolist())
        here: dict[str, dict[str, int]] = {name: {} for name in self._seen}
        looks = {
            view: Newcomers(near, np.array([v or 0 for v in block.columns[f"looks:{view}"]], "u8"))
            for view, near in self._looks.items()
        }
        problems: dict[int, str] = {}
        kept: list[int] = []

        def original(name: str, place: int) -> str | None:
            """The id of the first kept row with the same value."""
            if (number := int(earlier[name][place])) >= 0:
                return str(self._value("id", number))
            first = here[name].get(values[name][place])
            return None if first is None else ids[first]

        for place in sorted(suspects) if not self._looks else range(len(block)):
            problem = block.problems.get(place)
            if original("id", place) is not None:
                problem = f"the id {shown(ids[place])} is an earlier row's"
            if problem is not None and self._config.on_bad_row == "error":
                raise DataError(
                    f"{block.row(place).location}: {problem}. Mend it, or leave such rows out with "
                    "dataset.on_bad_row: drop."
                )
            if problem is None:
                firsts = {view: original(f"sha256:{view}", place) for view in self._views}
                problem = self._exact_copy(ids[place], firsts)
            if problem is None:
                problem = self._near_copy(block, place, kept, looks)
            if problem is not None:
                problems[place] = problem
                continue
            kept.append(place)
            for name, first in here.items():
                first.setdefault(values[name][place], place)
            for newcomers in looks.values():
                newcomers.keep(place)
        for newcomers in looks.values():
            newcomers.finish()
        return problems

    def _exact_copy(self, of: str, originals: Mapping[str, str | None]) -> str | None:
        """Count a row of which an earlier one has a sample; why it is dropped, if it is."""
        problem = None
        for view, original in originals.items():
            if original is not None:
                copies = self.copies[view]
                first = (*copies.first, (of, original))[:NUM_FIRST_COPIES]
                self.copies[view] = Copies(copies.count + 1, first)
                if self._config.deduplicate:
                    problem = f"its {view} is the exact copy of that of id {original!r}"
        return problem

    def _near_copy(
        self, block: Block, place: int, kept: Sequence[int], newcomers: Mapping[str, Newcomers]
    ) -> str | None:
        """Why a sample is nearly that of a kept row, or None; `kept` are places in the block."""
        for view, of_view in newcomers.items():
            looks = block.columns[f"looks:{view}"]
            number = of_view.first_near(place)
            if number is None:
                continue
            if number < self.num_kept:
                original, like = (self._value(c, number) for c in ("id", f"looks:{view}"))
            else:
                at = kept[number - self.num_kept]
                original, like = block.columns["id"][at], looks[at]
            bits = (looks[place] ^ like).bit_count()
            return (
                f"its {view} is nearly that of id {original!r}: {bits} of {HASH_BITS} bits of the "
                "perceptual hash differ"
            )
        return None


def _writable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
