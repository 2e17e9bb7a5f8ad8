"""The sum of rows of their own and rows shared along factors, and its gradient, compiled into one pass over memory."""

from typing import Any

import numba
import torch
from torch import Tensor

from oreflow.envs.arrays import Float32s, Ints
from oreflow.envs.compiled.jit import njit


@njit(parallel=True)
def _add_shared(ids: Ints, shared: Float32s, out: Float32s) -> None:
    """Adds `shared[ids[row]]` to each row; rows beyond the ids share nothing."""
    for row in numba.prange(len(ids)):
        part, total = shared[ids[row]], out[row]
        for c in range(len(total)):
            total[c] += part[c]


@njit
def _sum_by_id(ids: Ints, gradient: Float32s, out: Float32s) -> None:
    """Adds each row's gradient to that of the row it shares, in order."""
    for row in range(len(ids)):
        part, total = gradient[row], out[ids[row]]
        for c in range(len(total)):
            total[c] += part[c]


class _FactorSum(torch.autograd.Function):
    """See `factor_sum`."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, own: Tensor, *shared: Tensor) -> Tensor:
        ctx.ids, ctx.lengths = ids, [len(table) for table in shared]
        out = own.detach().clone()
        for column, table in zip(ids, shared):
            _add_shared(column.numpy(), table.detach().numpy(), out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        gradient = gradient.contiguous()
        tables = []
        for column, length in zip(ctx.ids, ctx.lengths):
            tables.append(gradient.new_zeros(length, gradient.shape[1]))
            _sum_by_id(column.numpy(), gradient.numpy(), tables[-1].numpy())
        return None, gradient, *tables


def factor_sum(ids: Tensor, own: Tensor, shared: list[Tensor]) -> Tensor:
    """`own[i] + shared[0][ids[0, i]] + shared[1][ids[1, i]] + ...`, [row, width].

    Args:
        ids: int64 [factor, n]; rows from n on share nothing.
        own: float32 [row, width], row >= n.
        shared: of each factor, float32 [id, width].
    """
    out: Tensor = _FactorSum.apply(ids, own, *shared)
    return out
