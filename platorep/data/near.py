"""Samples that look alike: perceptual hashes within a few bits of an earlier one.

Axes: m hashes that are looked at together, p parts of a hash.
"""

import numpy as np
from jaxtyping import Bool, Int64, UInt64

HASH_BITS = 64
NEAR_BITS = 2
"""Samples whose hashes differ in so few bits are near copies (arXiv:2604.18572)."""
AT_ONCE = 512
"""Hashes that are compared with each other all by all; no influence on the result."""
LONG = 1024
"""Hashes of one chain from which on it gets an index of its own."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # odd: its products' high bits depend on all bits
_NONE, _OWN_INDEX = -1, -2


class NearHashes:
    """Hashes, numbered as they come, and which of them is within a few bits of others.

    Of `bits + 1` parts of a hash one at least has no bit that differs, so only hashes that agree
    in a whole part are compared. A part takes every third bit (for 2 bits), because the frequencies
    that stand beside each other in a hash go together. For each part, hashes that agree in it are a
    chain, from the last to the first; where a chain gets long, the same is done with the bits that
    are left. Takes 20 bytes per hash.

    No two of the hashes may be within `bits` of each other.
    """

    def __init__(self, bits: int, among: int = (1 << HASH_BITS) - 1) -> None:
        self._bits = bits
        places = [i for i in range(HASH_BITS) if among >> i & 1]
        masks = [sum(1 << i for i in places[p :: bits + 1]) for p in range(bits + 1)]
        self._among, self._masks = among, np.array(masks, dtype=np.uint64)
        self._values = np.empty(0, dtype=np.uint64)
        self._before = np.empty((0, len(masks)), dtype=np.int32)  # the next of the chain, by part
        self._count = 0
        self._empty(6)

    def __len__(self) -> int:
        return self._count

    def extend(self, values: UInt64[np.ndarray, " m"]) -> None:
        numbers = np.arange(self._count, self._count + len(values))
        self._count += len(values)
        if self._count > len(self._values):
            room = self._count + self._count // 2
            self._values = np.resize(self._values, room)
            self._before = np.resize(self._before, (room, len(self._masks)))
        self._values[numbers] = values
        largest = max(int(mask).bit_count() for mask in self._masks)
        if self._count >> self._slot_bits and self._slot_bits < largest:
            self._empty(min(self._count.bit_length() + 1, largest))
            numbers = np.arange(self._count)
        for part in range(len(self._masks)):
            self._link(part, numbers)

    def find(self, values: UInt64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """For each, the number of the earliest hash that is near enough; -1: none is."""
        first = np.full(len(values), self._count)
        num_parts = len(self._masks)
        slots = np.concatenate([self._slots(part, values) for part in range(num_parts)])
        of = np.tile(np.arange(len(values)), num_parts)
        part = np.repeat(np.arange(num_parts), len(values))
        at = self._last[slots]
        own = [slots[at == _OWN_INDEX]]
        for _ in range(LONG):
            on = at >= 0
            of, part, at, slots = of[on], part[on], at[on], slots[on]
            if not len(at):
                break
            near = np.bitwise_count(self._values[at] ^ values[of]) <= self._bits
            np.minimum.at(first, of[near], at[near])
            at = self._before[at, part]
        own.append(slots[at >= 0])
        for slot in np.unique(np.concatenate(own)).tolist():
            self._ask(slot, values, first)
        return np.where(first < self._count, first, _NONE)

    def _empty(self, slot_bits: int) -> None:
        self._slot_bits = slot_bits
        self._last = np.full(len(self._masks) << slot_bits, _NONE, dtype=np.int32)
        self._own: dict[int, tuple[NearHashes, list[int]]] = {}

    def _slots(self, part: int, values: UInt64[np.ndarray, " m"]) -> Int64[np.ndarray, " m"]:
        """Where the last one of a chain stands."""
        spread = (values & self._masks[part]) * _SPREAD >> np.uint64(HASH_BITS - self._slot_bits)
        slots: Int64[np.ndarray, " m"] = spread.astype(np.int64) + (part << self._slot_bits)
        return slots

    def _link(self, part: int, numbers: Int64[np.ndarray, " m"]) -> None:
        slots = self._slots(part, self._values[numbers])
        own = self._last[slots] == _OWN_INDEX
        for slot in np.unique(slots[own]).tolist():
            self._pass_on(slot, numbers[slots == slot])
        slots, numbers = slots[~own], numbers[~own]
        order = np.argsort(slots, kind="stable")
        slots, numbers = slots[order], numbers[order]
        begins = np.concatenate([[True], slots[1:] != slots[:-1]])[: len(slots)]
        before = np.where(begins, self._last[slots], np.roll(numbers, 1))
        self._before[numbers, part] = before
        ends = np.roll(begins, -1)
        self._last[slots[ends]] = numbers[ends]

    def _pass_on(self, slot: int, numbers: Int64[np.ndarray, " m"]) -> None:
        index, known = self._own[slot]
        index.extend(self._values[numbers])
        known += numbers.tolist()

    def _ask(
        self, slot: int, values: UInt64[np.ndarray, " m"], first: Int64[np.ndarray, " m"]
    ) -> None:
        """Look among those of a long chain, by the bits that do not make them a chain."""
        part = slot >> self._slot_bits
        if slot not in self._own:
            chain, at = [], int(self._last[slot])
            while at >= 0:
                chain.append(at)
                at = int(self._before[at, part])
            self._own[slot] = NearHashes(self._bits, self._among & ~int(self._masks[part])), []
            self._last[slot] = _OWN_INDEX
            self._pass_on(slot, np.array(chain[::-1]))
        index, known = self._own[slot]
        asked = np.flatnonzero(self._slots(part, values) == slot)
        found = index.find(values[asked])
        there = found >= 0
        numbers = np.array(known)[found[there]]
        first[asked[there]] = np.minimum(first[asked[there]], numbers)


class Newcomers:
    """Hashes that are looked at in their order, each beside those that were kept before it."""

    def __init__(self, kept: NearHashes, values: UInt64[np.ndarray, " m"]) -> None:
        self._kept, self._values = kept, values
        self._start = 0
        self._begin()

    def first_near(self, place: int) -> int | None:
        """The number, among all that were kept, of the earliest that is near enough, or None.

        Args:
            place: Not less than at the last call.
        """
        while place >= self._start + AT_ONCE:
            self.finish()
        if (earlier := self._earlier[place - self._start]) >= 0:
            return int(earlier)
        row = self._rows[place - self._start]
        if not self._has_near[row] or not self._chosen:
            return None
        near = np.flatnonzero(self._near[row, self._chosen])
        return len(self._kept) + int(near[0]) if len(near) else None

    def keep(self, place: int) -> None:
        """The one that was just looked at, and is near to none."""
        self._chosen.append(int(self._rows[place - self._start]))

    def finish(self) -> None:
        """Add those that were kept to the others."""
        self._kept.extend(self._alone[self._chosen])
        self._start += AT_ONCE
        self._begin()

    def _begin(self) -> None:
        """Compare the next ones with what was kept, and those that are near to none with each
        other."""
        values = self._values[self._start : self._start + AT_ONCE]
        self._earlier = self._kept.find(values)
        self._alone = values[self._earlier < 0]
        self._rows = np.cumsum(self._earlier < 0) - 1
        apart = np.bitwise_count(self._alone[:, None] ^ self._alone)
        self._near: Bool[np.ndarray, "m m"] = apart <= NEAR_BITS
        self._has_near = self._near.sum(axis=1) > 1  # itself apart
        self._chosen: list[int] = []
