"""The type checker of the tests: beartype, once per signature.

jaxtyping decorates a function inside a function whenever the outer one is called, and beartype
writes and compiles a check each time: half of what many tests took. What jaxtyping hands over has
a signature and no content, so that two of one place and one signature are checked alike.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, get_args

import jaxtyping
from beartype import beartype

_known: dict[Any, Callable[..., Any]] = {}


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    code = function.__code__
    signature = (
        function.__module__,
        function.__qualname__,
        (code.co_varnames, code.co_argcount, code.co_posonlyargcount, code.co_flags),
        len(function.__defaults__ or ()),
        tuple(function.__kwdefaults__ or ()),
        tuple(function.__annotations__.items()),
    )
    try:
        return _known[signature]
    except KeyError:
        return _known.setdefault(signature, beartype(function))
    except TypeError:  # an annotation that cannot be hashed
        return beartype(function)


@contextmanager
def unchecked() -> Iterator[None]:
    """Look at no signature: half of what simulations of many small calls take."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


_jaxtyped = jaxtyping.jaxtyped


def _says_shapes(annotation: Any) -> bool:
    if isinstance(annotation, list):  # the arguments of a Callable
        return any(map(_says_shapes, annotation))
    if isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray):
        return True
    return isinstance(annotation, str) or any(map(_says_shapes, get_args(annotation)))


def _where_shapes_are_said(*, typechecker: Any) -> Callable[[Any], Any]:
    """For jaxtyping's hook: functions without shapes, which mypy knows all about, stay as they are.

    Looking at each of their calls took as long as much of what is tested.
    """

    def decorate(what: Any) -> Any:
        plain = isinstance(what, FunctionType)
        if plain and not any(map(_says_shapes, what.__annotations__.values())):
            return what
        return _jaxtyped(what, typechecker=typechecker)

    return decorate


jaxtyping.jaxtyped = _where_shapes_are_said  # type: ignore[assignment]
