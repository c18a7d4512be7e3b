"""What checks shapes in all other tests, checks them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from jaxtyping import Int, TypeCheckError, jaxtyped
from signatures import checked
from torch import Tensor, arange, ones, zeros


def nested(number: Any, *, default: bool) -> Callable[..., Any]:
    if default:

        @jaxtyped(typechecker=checked)
        def inner(x: Int[Tensor, "n"], y: number = None) -> Int[Tensor, "n"]:
            return x if y is None else x[:y]

    else:

        @jaxtyped(typechecker=checked)
        def inner(x: Int[Tensor, "n"], y: number) -> Int[Tensor, "n"]:  # type: ignore[misc]
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


def test_the_package_is_checked_where_it_says_shapes() -> None:
    from platorep import Features
    from platorep.models.token_batches import pool_tokens, tokens_per_batch

    with pytest.raises(TypeCheckError, match="parameters"):
        pool_tokens(zeros(2, 3, 4), ones(2, 2, dtype=torch.bool), "mean")
    with pytest.raises(TypeCheckError):
        Features([zeros(2)], ["one"], ("a", "b"))
    assert not hasattr(tokens_per_batch, "__wrapped__")
