"""Uniform random actions from masks, compiled: the baseline policy, and what throughput is measured with."""

import numba
import numpy as np

from oreflow.envs.arrays import Bools, Floats, Int8s, Ints, UInt8s
from oreflow.envs.compiled.jit import njit

_ROWS_PER_BLOCK = 64


def random_allowed_actions(allowed: Bools | Int8s, uniform: Floats) -> Ints:
    """One action a row, each allowed one equally likely, int64 [batch]; -1 where nothing is allowed.

    Args:
        allowed: bool or int8 [batch, n_actions], as `action_masks()` and `info["action_mask"]` give it.
        uniform: float64 [batch], random numbers in [0, 1). Of m allowed actions, number floor(m * uniform) is taken.
    """
    if allowed.ndim != 2 or allowed.itemsize != 1 or uniform.shape != allowed.shape[:1]:
        raise ValueError(
            f"expected a bool or int8 mask [batch, n_actions] and a random number for each row, got {allowed.dtype} "
            f"{allowed.shape} and {uniform.shape}"
        )
    out = np.empty(len(allowed), dtype=np.int64)
    if len(allowed) <= _ROWS_PER_BLOCK:  # fewer rows are done before the threads have started
        _draw(allowed.view(np.uint8), uniform, out, 0, len(allowed))
    else:
        _draw_parallel(allowed.view(np.uint8), uniform, out)
    return out


@njit
def _count(allowed: UInt8s, row: int, first: int, last: int) -> int:
    n = 0
    start = np.uint64(first)  # an unsigned index needs no test for being negative, and the loop becomes vectors
    for j in range(last - first):
        n += allowed[row, start + np.uint64(j)]
    return n


@njit
def _draw(allowed: UInt8s, uniform: Floats, out: Ints, first: int, last: int) -> None:
    """Counts, then halves: counts become vector instructions, a walk to the chosen action would not."""
    for i in range(first, last):
        low, high = 0, allowed.shape[1]
        total = _count(allowed, i, low, high)
        rank = min(int(uniform[i] * total), total - 1)
        if total == 0:
            low = -1
        else:
            while high - low > 1:
                middle = (low + high) // 2
                before = _count(allowed, i, low, middle)
                if rank < before:
                    high = middle
                else:
                    rank -= before
                    low = middle
        out[i] = low


@njit(parallel=True)
def _draw_parallel(allowed: UInt8s, uniform: Floats, out: Ints) -> None:
    n = len(allowed)
    for block in numba.prange((n + _ROWS_PER_BLOCK - 1) // _ROWS_PER_BLOCK):
        first = block * _ROWS_PER_BLOCK
        _draw(allowed, uniform, out, first, min(n, first + _ROWS_PER_BLOCK))


@njit
def rows_without_action(allowed: Bools, rows: Bools) -> Bools:
    """bool [batch]: which of the `rows` (bool [batch]) have nothing allowed."""
    stuck = np.zeros(len(rows), dtype=np.bool_)
    last = allowed.shape[1] - 1
    for i in range(len(rows)):
        if rows[i] and not allowed[i, last]:  # where little is allowed it is the stop, the last action
            j = 0
            while j < last and not allowed[i, j]:
                j += 1
            stuck[i] = j == last
    return stuck
