"""Sparse matrices of PyTorch on a processor, whose products with one another and some of whose
entries are computed faster than elsewhere.

Axes: m rows, e entries.
"""

import functools
import warnings

import torch
from jaxtyping import Float, Integer
from torch import Tensor

_csr = functools.partial(torch.sparse_csr_tensor, check_invariants=False)


def sparse_rows(
    ends: Integer[Tensor, " m_and_1"],
    columns: Integer[Tensor, " e"],
    values: Float[Tensor, " e"],
    width: int,
) -> Tensor:
    """A matrix of `width` columns: the entries `ends[i]:ends[i + 1]` are those of row i."""
    _hear_out_warning()
    return _csr(ends, columns, values, size=(len(ends) - 1, width))


@functools.cache
def _hear_out_warning() -> None:
    """PyTorch says once in a process that these are young; what is used here is old enough."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        _csr(torch.tensor([0, 0]), torch.empty(0, dtype=torch.int64), torch.empty(0), (1, 1))
