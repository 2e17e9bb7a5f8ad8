"""Last layer, mask, softmax and draw in one place: log-probabilities of chosen actions, and their gradient.

A policy over 1 400 actions spends its time on three products of matrices and on memory traffic in between. Here the
logits are turned into probabilities in place, right where an action is drawn or looked up, and the same buffer becomes
the gradient of the logits on the way back, so that nothing of the size [state, action] is written twice or kept beside.

States that occur several times in a batch (the initial one does in every batch) are computed once: `row` says which
state each choice was made in.
"""

from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor

from envs.jit import njit

_BLOCK = 64  # actions whose weights are summed up together before one of them is looked for
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
    """exp(x) for x <= 0 to 2e-7 relative, in steps that the compiler can carry out for many x at a time.

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


@njit(parallel=True, fastmath=_REORDER)
def _exponentiate(
    logits: np.ndarray, allowed: np.ndarray, block_sums: np.ndarray, largest: np.ndarray, total: np.ndarray
) -> None:
    """Logits [row, action] become exp(logit - largest of the row), 0 where forbidden; sums a block and a row beside."""
    bits = logits.view(np.int32)
    may = allowed.view(np.uint8)
    n = logits.shape[1]
    for i in numba.prange(len(logits)):
        row, row_bits, row_may = logits[i], bits[i], may[i]
        top = np.int32(-2147483648)
        for j in range(n):
            top = max(top, _ordered(row_bits[j]) if row_may[j] else np.int32(-2147483648))
        m = _bits_as_float(_ordered(top))
        largest[i] = m
        sum_of_row = np.float64(0.0)
        for block in range(block_sums.shape[1]):
            s = np.float32(0.0)
            for j in range(block * _BLOCK, min((block + 1) * _BLOCK, n)):
                e = _exp(row[j] - m if row_may[j] else np.float32(-100.0))
                row[j] = e
                s += e
            block_sums[i, block] = s
            sum_of_row += s
        total[i] = sum_of_row


@njit
def _explore(allowed: np.ndarray, row: np.ndarray, uniform: np.ndarray, epsilon: float) -> np.ndarray:
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
def _gather(logits: np.ndarray, row: np.ndarray, actions: np.ndarray) -> np.ndarray:
    out = np.zeros(len(row), dtype=np.float32)
    for i in range(len(row)):
        if actions[i] >= 0:
            out[i] = logits[row[i], actions[i]]
    return out


@njit(parallel=True)
def _draw(
    weights: np.ndarray,
    block_sums: np.ndarray,
    allowed: np.ndarray,
    row: np.ndarray,
    uniform: np.ndarray,
    actions: np.ndarray,
) -> None:
    """Fills in the actions that are still -1, each with probability proportional to its weight in its row.

    Where weights are NaN the first allowed action is taken: its log-probability is NaN, and the loss tells.
    """
    n = weights.shape[1]
    for i in numba.prange(len(row)):
        if actions[i] >= 0:
            continue
        sums, w = block_sums[row[i]], weights[row[i]]
        total = 0.0
        for block in range(len(sums)):
            total += sums[block]
        target = uniform[i, 0] * total
        running = 0.0
        chosen_block = 0
        for block in range(len(sums)):
            if sums[block] > 0.0:
                chosen_block = block  # also the answer when rounding leaves the sum just below the target
                if running + sums[block] > target:
                    break
                running += sums[block]
        for j in range(chosen_block * _BLOCK, min((chosen_block + 1) * _BLOCK, n)):
            if w[j] > 0.0:
                running += w[j]
                actions[i] = j
                if running > target:
                    break
        if actions[i] < 0:
            for j in range(n):
                if allowed[row[i], j]:
                    actions[i] = j
                    break


@njit
def _tempered(weights: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """weights ** (1 / temperature) and their sums by block."""
    out = np.power(weights, np.float32(1.0 / temperature))
    n_blocks = (weights.shape[1] + _BLOCK - 1) // _BLOCK
    sums = np.zeros((len(weights), n_blocks), dtype=np.float32)
    for i in range(len(weights)):
        for j in range(weights.shape[1]):
            sums[i, j // _BLOCK] += out[i, j]
    return out, sums


@njit(parallel=True)
def _logits_gradient(
    exponentials: np.ndarray,
    total: np.ndarray,
    first: np.ndarray,
    members: np.ndarray,
    actions: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """In place: d loss / d logits = sum over a row's members of g * (one-hot(action) - probabilities)."""
    for i in numba.prange(len(exponentials)):
        row = exponentials[i]
        if first[i] == first[i + 1]:
            row[:] = 0.0
            continue
        g = 0.0
        for k in range(first[i], first[i + 1]):
            g += gradient[members[k]]
        scale = np.float32(-g / total[i])
        for j in range(len(row)):
            row[j] *= scale
        for k in range(first[i], first[i + 1]):
            row[actions[members[k]]] += gradient[members[k]]


class Workspace:
    """Memory for logits that is used again in each training step: fresh pages cost as much as the softmax itself.

    What `take` hands out stays valid until `clear`.
    """

    def __init__(self) -> None:
        self._blocks: list[Tensor] = []
        self._next = 0

    def clear(self) -> None:
        """Everything handed out may be used again."""
        self._next = 0

    def take(self, rows: int, columns: int) -> Tensor:
        """An uninitialised float32 tensor [rows, columns]."""
        size = rows * columns
        if self._next == len(self._blocks):
            self._blocks.append(torch.empty(size))
        elif self._blocks[self._next].numel() < size:
            self._blocks[self._next] = torch.empty(size)
        self._next += 1
        return self._blocks[self._next - 1][:size].view(rows, columns)


class _ChosenLogProbability(torch.autograd.Function):
    """See `choose`. Differentiable once."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        allowed: np.ndarray,
        row: np.ndarray,
        actions: np.ndarray | None,
        uniform: np.ndarray | None,
        epsilon: float,
        temperature: float,
        workspace: Workspace,
    ) -> tuple[Tensor, Tensor]:
        buffer = workspace.take(len(x), len(weight))
        torch.addmm(bias, x, weight.t(), out=buffer)
        logits = buffer.numpy()
        given = actions if actions is not None else _explore(allowed, row, uniform, epsilon)
        given_logits = _gather(logits, row, given)
        largest = np.empty(len(x), dtype=np.float32)
        total = np.empty(len(x))
        block_sums = np.empty((len(x), -(-len(weight) // _BLOCK)), dtype=np.float32)
        _exponentiate(logits, allowed, block_sums, largest, total)
        was_given = given >= 0
        taken = given
        if actions is None:
            taken = given.copy()
            weights, sums = (logits, block_sums) if temperature == 1.0 else _tempered(logits, temperature)
            _draw(weights, sums, allowed, row, uniform, taken)
        # A drawn action has a probability that float32 can hold; a given one need not, so it keeps its logit.
        log_e = np.where(was_given, given_logits.astype(np.float64) - largest[row], 0.0)
        drawn = ~was_given
        log_e[drawn] = np.log(logits[row[drawn], taken[drawn]].astype(np.float64))
        ctx.save_for_backward(x, weight)
        ctx.rest = (buffer, total, row, taken)
        log_p = torch.from_numpy((log_e - np.log(total[row])).astype(np.float32))
        chosen = torch.from_numpy(taken)
        ctx.mark_non_differentiable(chosen)
        return log_p, chosen

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> Any:
        x, weight = ctx.saved_tensors
        buffer, total, row, actions = ctx.rest
        ctx.rest = None  # the buffer is overwritten: a second pass has nothing to read
        members = np.argsort(row, kind="stable")
        first = np.searchsorted(row[members], np.arange(len(x) + 1))
        g = np.ascontiguousarray(gradient.numpy(), dtype=np.float32)
        _logits_gradient(buffer.numpy(), total, first, members, actions, g)
        return buffer @ weight, buffer.t() @ x, buffer.sum(0), None, None, None, None, None, None, None


def choose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    allowed: np.ndarray,
    row: np.ndarray,
    workspace: Workspace,
    *,
    actions: np.ndarray | None = None,
    uniform: np.ndarray | None = None,
    epsilon: float = 0.0,
    temperature: float = 1.0,
) -> tuple[Tensor, np.ndarray]:
    """Log-probabilities of actions that are given, or drawn here, under softmax(x @ weight.T + bias) over `allowed`.

    Args:
        x: float32 [row, hidden], the network's last hidden layer.
        weight, bias: of the output layer, [action, hidden] and [action].
        allowed: bool [row, action]; at least one action of each row in which a member chooses.
        row: int64 [member], the row in which each member chooses.
        workspace: holds the logits until the gradient has been taken.
        actions: int64 [member], to look up; None to draw.
        uniform: [member, 2] random numbers in [0, 1) for drawing: which action, and whether to explore.
        epsilon: share of draws that are uniform over the allowed actions instead.
        temperature: other draws follow the policy's probabilities to the power of 1 / temperature.

    Returns:
        log-probabilities float32 [member] under the policy itself, and the actions int64 [member].
    """
    log_p, chosen = _ChosenLogProbability.apply(
        x, weight, bias, allowed, row, actions, uniform, epsilon, temperature, workspace
    )
    return log_p, chosen.numpy()
