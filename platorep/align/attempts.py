"""A failure has the size of what failed: what cannot be done together is tried one by one."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from platorep.failures import Errors

Part = TypeVar("Part")
Key = TypeVar("Key")
Value = TypeVar("Value")


def attempt(
    work: Callable[[Sequence[Part]], dict[Key, Value]],
    parts: Sequence[Part],
    name: Callable[[Part], str],
    errors: Errors,
) -> dict[Key, Value]:
    """`work(parts)`; if that fails, what can be had of each part alone, and a failure by the name
    of each of the others."""
    if len(parts) > 1:
        with suppress(Exception):  # it is met again, with its name, one by one
            return work(parts)
    done: dict[Key, Value] = {}
    for part in parts:
        with errors.catch(name(part)):
            done |= work([part])
    return done
