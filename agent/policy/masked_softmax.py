"""Softmax over allowed actions, draws from it and its gradient, compiled, in place."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from oreflow.envs.arrays import Bools, Float32s, Floats, Int32s, Ints
from oreflow.envs.compiled.jit import njit

BLOCK = 64  # actions whose weights are summed up together before one of them is looked for
PARALLEL = 1 << 16  # logits that are worth waking the threads for, which takes longer when the machine is busy
_REORDER = {"reassoc", "nsz", "contract", "arcp"}  # lets sums run in several lanes; NaN and infinity keep their meaning
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(-2.12194440e-4)
_SMALLEST = np.float32(-87.0)  # exp of less is no normal float32


@intrinsic
def _bits_as_float(context: Any, bits: Any) -> Any:
    """The float32 whose bits are those of an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@njit(inline="always")
def _exp(x: np.float32) -> np.float32:
    """exp(x) for x <= 0 to 3e-7 relative, in steps that the compiler can carry out for many x at a time.

    Range reduction by powers of two and the polynomial of the Cephes library (expf, Moshier 1992). Below -87 it is 0;
    NaN stays NaN.
    """
    clamped = _SMALLEST if x < _SMALLEST else x
    whole = np.floor(clamped * _LOG2_E + np.float32(0.5))
    r = clamped - whole * _LN2_HIGH - whole * _LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * r * r + r + np.float32(1.0)
    scale = _bits_as_float((np.int32(whole) + np.int32(127)) << np.int32(23))
    return np.float32(0.0) if x < _SMALLEST else p * scale


@njit(inline="always")
def _ordered(bits: np.int32) -> np.int32:
    """Integers in the order of the floats whose bits they are, and back: their maximum needs no rule for NaN."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@njit(fastmath=_REORDER)
def _exponentiate_row(
    row: Float32s, bits: Int32s, may: NDArray[Any], block_sums: Float32s
) -> tuple[np.float32, np.float64]:
    """One row of `exponentiate`; returns its largest logit and its sum. Apart, for the loops to run in lanes."""
    top = np.int32(-2147483648)
    for j in range(len(row)):
        top = max(top, _ordered(bits[j]) if may[j] else np.int32(-2147483648))
    largest = _bits_as_float(_ordered(top))
    total = np.float64(0.0)
    for block in range(len(block_sums)):
        part = row[block * BLOCK : (block + 1) * BLOCK]
        part_may = may[block * BLOCK : (block + 1) * BLOCK]
        s = np.float32(0.0)
        for j in range(len(part)):
            e = _exp(part[j] - largest if part_may[j] else np.float32(-100.0))
            part[j] = e
            s += e
        block_sums[block] = s
        total += s
    return largest, total


@njit(fastmath=_REORDER)
def exponentiate(logits: Float32s, allowed: Bools, block_sums: Float32s, largest: Float32s, total: Floats) -> None:
    """Logits [row, action] become exp(logit - largest of the row), 0 where forbidden; sums a block and a row beside."""
    bits = logits.view(np.int32)
    may = allowed.view(np.uint8)
    for i in range(len(logits)):
        largest[i], total[i] = _exponentiate_row(logits[i], bits[i], may[i], block_sums[i])


@njit(parallel=True, fastmath=_REORDER)
def exponentiate_parallel(
    logits: Float32s, allowed: Bools, block_sums: Float32s, largest: Float32s, total: Floats
) -> None:
    """`exponentiate`, rows shared out among threads."""
    bits = logits.view(np.int32)
    may = allowed.view(np.uint8)
    for i in numba.prange(len(logits)):
        largest[i], total[i] = _exponentiate_row(logits[i], bits[i], may[i], block_sums[i])


@njit
def explore(allowed: Bools, row: Ints, uniform: Floats, epsilon: float) -> Ints:
    """A uniform choice among the allowed actions for the share epsilon of the members, -1 for the others."""
    out = np.full(len(row), -1, dtype=np.int64)
    for i in range(len(row)):
        if uniform[i, 1] >= epsilon:
            continue
        may = allowed[row[i]]
        left = int(uniform[i, 0] * np.sum(may))
        for j in range(len(may)):
            if may[j]:
                if left == 0:
                    out[i] = j
                    break
                left -= 1
    return out


@njit
def gather(logits: Float32s, row: Ints, actions: Ints) -> Float32s:
    """Pick the logit of each draw's action, float32 [draw]; 0 where the action is -1.

    Args:
        logits: float32 [row, action].
        row: int64 [draw], the row of `logits` that a draw is made from.
        actions: int64 [draw].
    """
    out = np.zeros(len(row), dtype=np.float32)
    for i in range(len(row)):
        if actions[i] >= 0:
            out[i] = logits[row[i], actions[i]]
    return out


@njit
def _draw_one(w: Float32s, sums: Float32s, may: Bools, uniform: float) -> int:
    """An action of one row, with probability proportional to its weight.

    Where weights are NaN the first allowed action is taken: its log-probability is NaN, and the loss tells.
    """
    n = len(w)
    total = 0.0
    for block in range(len(sums)):
        total += sums[block]
    target = uniform * total
    running = 0.0
    chosen_block = 0
    for block in range(len(sums)):
        if sums[block] > 0.0:
            chosen_block = block  # also the answer when rounding leaves the sum just below the target
            if running + sums[block] > target:
                break
            running += sums[block]
    action = -1
    for j in range(chosen_block * BLOCK, min((chosen_block + 1) * BLOCK, n)):
        if w[j] > 0.0:
            running += w[j]
            action = j
            if running > target:
                break
    if action < 0:
        for j in range(n):
            if may[j]:
                return j
    return action


@njit
def draw(
    weights: Float32s,
    block_sums: Float32s,
    allowed: Bools,
    row: Ints,
    uniform: Floats,
    actions: Ints,
) -> None:
    """Fills in the actions that are still -1."""
    for i in range(len(row)):
        if actions[i] < 0:
            actions[i] = _draw_one(weights[row[i]], block_sums[row[i]], allowed[row[i]], uniform[i, 0])


@njit(parallel=True)
def draw_parallel(
    weights: Float32s,
    block_sums: Float32s,
    allowed: Bools,
    row: Ints,
    uniform: Floats,
    actions: Ints,
) -> None:
    """`draw`, members shared out among threads."""
    for i in numba.prange(len(row)):
        if actions[i] < 0:
            actions[i] = _draw_one(weights[row[i]], block_sums[row[i]], allowed[row[i]], uniform[i, 0])


@njit
def tempered(weights: Float32s, temperature: float) -> tuple[Float32s, Float32s]:
    """weights ** (1 / temperature) and their sums by block."""
    out = np.power(weights, np.float32(1.0 / temperature))
    n_blocks = (weights.shape[1] + BLOCK - 1) // BLOCK
    sums = np.zeros((len(weights), n_blocks), dtype=np.float32)
    for i in range(len(weights)):
        for j in range(weights.shape[1]):
            sums[i, j // BLOCK] += out[i, j]
    return out, sums


@njit
def _gradient_of_row(
    row: Float32s,
    total: float,
    members: Ints,
    actions: Ints,
    gradient: Float32s,
) -> None:
    """In place: d loss / d logits = sum over a row's members of g * (one-hot(action) - probabilities)."""
    if len(members) == 0:
        row[:] = 0.0
        return
    g = 0.0
    for k in members:
        g += gradient[k]
    scale = np.float32(-g / total)
    for j in range(len(row)):
        row[j] *= scale
    for k in members:
        row[actions[k]] += gradient[k]


@njit
def logits_gradient(
    exponentials: Float32s,
    total: Floats,
    first: Ints,
    members: Ints,
    actions: Ints,
    gradient: Float32s,
) -> None:
    """`_gradient_of_row` of all rows; the members of row i are `members[first[i] : first[i + 1]]`."""
    for i in range(len(exponentials)):
        _gradient_of_row(exponentials[i], total[i], members[first[i] : first[i + 1]], actions, gradient)


@njit(parallel=True)
def logits_gradient_parallel(
    exponentials: Float32s,
    total: Float32s,
    first: Ints,
    members: Ints,
    actions: Ints,
    gradient: Float32s,
) -> None:
    """`logits_gradient`, rows shared out among threads."""
    for i in numba.prange(len(exponentials)):
        _gradient_of_row(exponentials[i], total[i], members[first[i] : first[i + 1]], actions, gradient)
