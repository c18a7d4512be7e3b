"""What checks shapes in all other tests, checks them."""

from collections.abc import Callable
from typing import Any

import pytest
from jaxtyping import Int, TypeCheckError, jaxtyped
from signatures import checked
from torch import Tensor, arange


def nested(number: Any, *, default: bool) -> Callable[..., Any]:
    if default:

        @jaxtyped(typechecker=checked)
        def inner(x: Int[Tensor, "n"], y: number = None) -> Int[Tensor, "n"]:
            return x if y is None else x[:y]

    else:

        @jaxtyped(typechecker=checked)
        def inner(x: Int[Tensor, "n"], y: number) -> Int[Tensor, "n"]:
            return x[:y]

    return inner


def test_every_copy_of_a_nested_function_is_checked() -> None:
    for _ in range(2):
        whole, part = nested(int, default=True), nested(int, default=False)
        assert whole(arange(3)).tolist() == [0, 1, 2]
        assert part(arange(3), 3).tolist() == [0, 1, 2]
        for inner in (whole, part):
            with pytest.raises(TypeCheckError, match="return value"):
                inner(arange(3), 2)
            with pytest.raises(TypeCheckError, match="parameters"):
                inner(arange(4).reshape(2, 2), 2)
            with pytest.raises(TypeCheckError, match="parameters"):
                inner(arange(3), "2")


def test_two_of_one_name_are_told_apart() -> None:
    assert nested(int, default=False)(arange(3), 3).tolist() == [0, 1, 2]
    with pytest.raises(TypeCheckError):
        nested(str, default=False)(arange(3), 3)


def test_the_package_is_checked() -> None:
    from platorep.metrics.neighbors import neighbor_lists

    with pytest.raises(TypeCheckError, match="parameters"):
        neighbor_lists(arange(3), 1)
