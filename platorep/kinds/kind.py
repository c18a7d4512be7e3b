"""What is particular to one kind of view: reading, decoding, comparing and changing a sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from platorep.parameters.views import Change, KindName, ObservedView


@runtime_checkable
class Reference(Protocol):
    """Where an encoded sample lies. Small and picklable, so that worker processes can read it."""

    def own_files(self) -> Sequence[Path]:
        """The files that hold this sample and nothing else, if there are any."""
        ...

    def read(self) -> bytes:
        """The encoded sample; a folder of files as one uncompressed tar.

        Raises:
            DataError: it is not there; says why.
        """
        ...


def read_reference(cells: Sequence[Any], view: ObservedView) -> bytes:
    """The encoded bytes of a sample that is a file, or a cell of a table."""
    (reference,) = cells
    encoded: bytes = reference.read()
    return encoded


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of view. The identity of a sample is the SHA-256 of what `encode` gives."""

    name: KindName
    endings: tuple[str, ...]
    """Endings of its files, without the dot."""
    in_files: bool
    """Whether a string in a cell is the name of a file; else it is the sample, or numbers are."""
    decode: Callable[[bytes], Any]
    """Encoded bytes -> a sample.

    Raises a DataError where they are none that can be used; whoever calls names the row.
    """
    same: Callable[[Any, Any], bool]
    """Whether two samples are equal: whether a change has done anything."""
    encode: Callable[[Sequence[Any], ObservedView], bytes] = read_reference
    """What the columns of a row hold -> the encoded sample. Raises a DataError."""
    changes: Mapping[type[Change], Callable[[Any, Any, int], Any]] = field(default_factory=dict)
    """What each change does to a sample. It depends on the sample, the change's parameters and a
    seed alone; the seed is made of the sample's hash and the change's own."""
    looks: Callable[[Any], int] | None = None
    """A 64-bit hash that hardly changes when a sample is encoded again, if there is one."""
    shows: Callable[[Any], Any] | None = None
    """A picture of a sample for people to see, as a `PIL.Image`, if there is one."""
    package: str = "pillow"
    """The package that decodes: what is known of checked samples holds for its version."""

    def __reduce__(self) -> tuple[Callable[[KindName], "Kind"], tuple[KindName]]:
        return _by_name, (self.name,)  # worker processes look it up


def _by_name(name: KindName) -> Kind:
    from platorep.kinds import find_kind

    return find_kind(name)
