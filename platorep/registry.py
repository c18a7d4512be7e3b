"""Name -> object tables. Explicit: a thing exists because one tuple lists it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)


def index_by_name(entries: tuple[T, ...]) -> Mapping[str, T]:
    """Read-only table of `entries` by `.name`; a repeated name is a programming error."""
    table = {entry.name: entry for entry in entries}
    assert len(table) == len(entries), f"repeated name in {[e.name for e in entries]}"
    return MappingProxyType(table)
