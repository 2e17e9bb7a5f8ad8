"""Sums of embedding rows over bags of tokens, and their gradient, compiled.

Bags of a world are as wide as its fullest state: most of their entries are padding, which torch's own embedding bag
takes along, sorts included. Here it is passed over. Each sum runs in the order of the tokens and each gradient in the
order of the bags, so that results do not depend on the number of threads.
"""

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor, nn

from oreflow.envs.arrays import Float32s, Ints
from oreflow.envs.compiled.jit import njit

_PARALLEL = 512  # bags that are worth waking the threads for
_NARROW = 16  # tokens of a bag


@njit
def _sum_of_bag(tokens: Ints, table: Float32s, out: Float32s) -> None:
    """The sum of the table's rows over the tokens of one bag; its last row is padding."""
    out[:] = 0.0
    for token in tokens:
        if token < len(table) - 1:
            part = table[token]
            for c in range(len(out)):
                out[c] += part[c]


@njit
def _sum_of_bags(tokens: Ints, table: Float32s, out: Float32s) -> None:
    for i in range(len(tokens)):
        _sum_of_bag(tokens[i], table, out[i])


@njit(parallel=True)
def _sum_of_bags_parallel(tokens: Ints, table: Float32s, out: Float32s) -> None:
    for i in numba.prange(len(tokens)):
        _sum_of_bag(tokens[i], table, out[i])


@njit
def _bags_of_tokens(tokens: Ints, padding: int) -> tuple[Ints, Ints]:
    """The bags that hold each token: those of token t are `bags[start[t] : start[t + 1]]`, ascending."""
    start = np.zeros(padding + 2, dtype=np.int64)
    for token in tokens.flat:
        if token < padding:
            start[token + 2] += 1
    for t in range(padding + 1):
        start[t + 1] += start[t]
    bags = np.empty(start[padding + 1], dtype=np.int64)
    for i in range(len(tokens)):  # start[t + 1] is where token t's next bag goes, and ends as where token t ends
        for token in tokens[i]:
            if token < padding:
                bags[start[token + 1]] = i
                start[token + 1] += 1
    return start, bags


@njit(parallel=True)
def _scatter(start: Ints, bags: Ints, gradient: Float32s, out: Float32s) -> None:
    """The gradient of the table from that of the sums; `out` has a row for each token and one for padding."""
    for token in numba.prange(len(out)):
        row = out[token]
        row[:] = 0.0
        for k in range(start[token], start[token + 1]):  # no bag counts as holding padding
            part = gradient[bags[k]]
            for c in range(len(row)):
                row[c] += part[c]


class _SumOfRows(torch.autograd.Function):
    """See `sum_of_rows`."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, tokens: Ints) -> Tensor:
        ctx.tokens, ctx.shape = tokens, table.shape
        out = table.new_empty(len(tokens), table.shape[1])
        (_sum_of_bags_parallel if len(tokens) >= _PARALLEL else _sum_of_bags)(
            tokens, table.detach().numpy(), out.numpy()
        )
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        out = gradient.new_empty(ctx.shape)
        start, bags = _bags_of_tokens(ctx.tokens, len(out) - 1)
        _scatter(start, bags, gradient.contiguous().numpy(), out.numpy())
        return out, None


def sum_of_rows(table: Tensor, tokens: Tensor) -> Tensor:
    """The sum of a table's rows over each bag of tokens, [bag, width].

    Narrow bags hold little padding; they are left to torch, whose gradient adds up in an order of its own.

    Args:
        table: float32 [n_tokens + 1, width]; the last row stands for padding and adds nothing.
        tokens: int64 [bag, token], from 0 to n_tokens.
    """
    if tokens.shape[1] <= _NARROW:
        return nn.functional.embedding_bag(tokens, table, mode="sum", padding_idx=len(table) - 1)
    out: Tensor = _SumOfRows.apply(table, np.ascontiguousarray(tokens.numpy()))
    return out
