"""Last layer, mask, softmax and draw in one place: log-probabilities of chosen actions, and their gradient.

A policy over 1 400 actions spends its time on three products of matrices and on memory traffic in between. Here the
logits are turned into probabilities in place, right where an action is drawn or looked up, and the same buffer becomes
the gradient of the logits on the way back, so that nothing of the size [state, action] is written twice or kept beside.

States that occur several times in a batch (the initial one does in every batch) are computed once: `row` says which
state each choice was made in.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from torch import Tensor

from agent.action_blocks import ActionBlocks, BlockRows
from envs.jit import njit

_BLOCK = 64  # actions whose weights are summed up together before one of them is looked for
_PARALLEL = 1 << 16  # logits that are worth waking the threads for, which takes longer when the machine is busy
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


@njit(fastmath=_REORDER)
def _exponentiate_row(
    row: np.ndarray, bits: np.ndarray, may: np.ndarray, block_sums: np.ndarray
) -> tuple[np.float32, np.float64]:
    """One row of `_exponentiate`; returns its largest logit and its sum. Apart, for the loops to run in lanes."""
    top = np.int32(-2147483648)
    for j in range(len(row)):
        top = max(top, _ordered(bits[j]) if may[j] else np.int32(-2147483648))
    largest = _bits_as_float(_ordered(top))
    total = np.float64(0.0)
    for block in range(len(block_sums)):
        part = row[block * _BLOCK : (block + 1) * _BLOCK]
        part_may = may[block * _BLOCK : (block + 1) * _BLOCK]
        s = np.float32(0.0)
        for j in range(len(part)):
            e = _exp(part[j] - largest if part_may[j] else np.float32(-100.0))
            part[j] = e
            s += e
        block_sums[block] = s
        total += s
    return largest, total


@njit(fastmath=_REORDER)
def _exponentiate(
    logits: np.ndarray, allowed: np.ndarray, block_sums: np.ndarray, largest: np.ndarray, total: np.ndarray
) -> None:
    """Logits [row, action] become exp(logit - largest of the row), 0 where forbidden; sums a block and a row beside."""
    bits = logits.view(np.int32)
    may = allowed.view(np.uint8)
    for i in range(len(logits)):
        largest[i], total[i] = _exponentiate_row(logits[i], bits[i], may[i], block_sums[i])


@njit(parallel=True, fastmath=_REORDER)
def _exponentiate_parallel(
    logits: np.ndarray, allowed: np.ndarray, block_sums: np.ndarray, largest: np.ndarray, total: np.ndarray
) -> None:
    """`_exponentiate`, rows shared out among threads."""
    bits = logits.view(np.int32)
    may = allowed.view(np.uint8)
    for i in numba.prange(len(logits)):
        largest[i], total[i] = _exponentiate_row(logits[i], bits[i], may[i], block_sums[i])


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


@njit
def _draw_one(w: np.ndarray, sums: np.ndarray, may: np.ndarray, uniform: float) -> int:
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
    for j in range(chosen_block * _BLOCK, min((chosen_block + 1) * _BLOCK, n)):
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
def _draw(
    weights: np.ndarray,
    block_sums: np.ndarray,
    allowed: np.ndarray,
    row: np.ndarray,
    uniform: np.ndarray,
    actions: np.ndarray,
) -> None:
    """Fills in the actions that are still -1."""
    for i in range(len(row)):
        if actions[i] < 0:
            actions[i] = _draw_one(weights[row[i]], block_sums[row[i]], allowed[row[i]], uniform[i, 0])


@njit(parallel=True)
def _draw_parallel(
    weights: np.ndarray,
    block_sums: np.ndarray,
    allowed: np.ndarray,
    row: np.ndarray,
    uniform: np.ndarray,
    actions: np.ndarray,
) -> None:
    """`_draw`, members shared out among threads."""
    for i in numba.prange(len(row)):
        if actions[i] < 0:
            actions[i] = _draw_one(weights[row[i]], block_sums[row[i]], allowed[row[i]], uniform[i, 0])


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


@njit
def _gradient_of_row(
    row: np.ndarray,
    total: float,
    members: np.ndarray,
    actions: np.ndarray,
    gradient: np.ndarray,
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
def _logits_gradient(
    exponentials: np.ndarray,
    total: np.ndarray,
    first: np.ndarray,
    members: np.ndarray,
    actions: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """`_gradient_of_row` of all rows; the members of row i are `members[first[i] : first[i + 1]]`."""
    for i in range(len(exponentials)):
        _gradient_of_row(exponentials[i], total[i], members[first[i] : first[i + 1]], actions, gradient)


@njit(parallel=True)
def _logits_gradient_parallel(
    exponentials: np.ndarray,
    total: np.ndarray,
    first: np.ndarray,
    members: np.ndarray,
    actions: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """`_logits_gradient`, rows shared out among threads."""
    for i in numba.prange(len(exponentials)):
        _gradient_of_row(exponentials[i], total[i], members[first[i] : first[i + 1]], actions, gradient)


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


@dataclass(frozen=True)
class _Part:
    """Choices made at once: exponentials of the logits [row, action], their sums, and who chose what.

    With blocks, rows are in the order of `blocks` and actions are columns of their block.
    """

    exponentials: Tensor
    total: np.ndarray
    row: np.ndarray
    actions: np.ndarray
    log_p: np.ndarray
    blocks: BlockRows | None


class Choices:
    """Choices under one output layer, softmax(x @ weight.T + bias) over the allowed actions.

    They are made without gradient, in one part or several, and hold what the gradient of their log-probabilities needs:
    the exponentials of the logits, which stay in the workspace.

    Args:
        blocks: what the layer's actions fall into; None where each row may have any of them.
    """

    def __init__(self, workspace: Workspace, blocks: ActionBlocks | None = None) -> None:
        self._workspace = workspace
        self._blocks = blocks
        self._parts: list[_Part] = []

    def make(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        allowed: np.ndarray,
        row: np.ndarray,
        *,
        block: np.ndarray | None = None,
        actions: np.ndarray | None = None,
        uniform: np.ndarray | None = None,
        epsilon: float = 0.0,
        temperature: float = 1.0,
    ) -> np.ndarray:
        """Draws actions, or looks up given ones; int64 [member].

        Args:
            x: float32 [row, hidden], the network's last hidden layer.
            weight, bias: of the output layer, [action, hidden] and [action].
            allowed: bool [row, action]; at least one action of each row in which a member chooses.
            row: int64 [member], the row in which each member chooses.
            block: int64 [row], the block of each row, where there are blocks.
            actions: int64 [member], to look up; None to draw.
            uniform: [member, 2] random numbers in [0, 1) for drawing: which action, and whether to explore.
            epsilon: share of draws that are uniform over the allowed actions instead.
            temperature: other draws follow the policy's probabilities to the power of 1 / temperature.
        """
        rows = None
        if self._blocks is not None:
            assert block is not None
            rows = self._blocks.rows(block)
            allowed, row = self._blocks.allowed(allowed, rows), rows.place[row]
            actions = None if actions is None else self._blocks.columns(rows, row, actions)
        buffer = self._workspace.take(len(x), len(weight) if rows is None else rows.width)
        with torch.no_grad():
            if self._blocks is None or rows is None:
                torch.addmm(bias, x, weight.t(), out=buffer)
            else:
                self._blocks.write_logits(x, weight, bias, rows, buffer)
        logits = buffer.numpy()
        taken = _explore(allowed, row, uniform, epsilon) if actions is None else actions
        given = taken >= 0
        given_logits = _gather(logits, row, taken)
        largest = np.empty(len(x), dtype=np.float32)
        total = np.empty(len(x))
        block_sums = np.empty((len(x), -(-logits.shape[1] // _BLOCK)), dtype=np.float32)
        many = logits.size >= _PARALLEL
        (_exponentiate_parallel if many else _exponentiate)(logits, allowed, block_sums, largest, total)
        if actions is None:
            weights, sums = (logits, block_sums) if temperature == 1.0 else _tempered(logits, temperature)
            (_draw_parallel if many else _draw)(weights, sums, allowed, row, uniform, taken)
        # A drawn action has a probability that float32 can hold; a given one need not, so it keeps its logit.
        log_e = np.where(given, given_logits.astype(np.float64) - largest[row], 0.0)
        drawn = ~given
        log_e[drawn] = np.log(logits[row[drawn], taken[drawn]].astype(np.float64))
        log_p = (log_e - np.log(total[row])).astype(np.float32)
        self._parts.append(_Part(buffer, total, row, taken, log_p, rows))
        return taken if self._blocks is None or rows is None else self._blocks.actions(rows, row, taken)

    def log_probabilities(self, x: Tensor | None, weight: Tensor, bias: Tensor) -> Tensor:
        """Of all choices so far, under the policy itself, float32 [member]. The gradient can be taken once.

        Args:
            x: the rows of all parts in order, [row, hidden]; as they were when the choices were made, but part of the
                graph now. None without gradient.
            weight, bias: likewise.
        """
        if x is None or not self._parts:
            return torch.from_numpy(np.concatenate([np.empty(0, np.float32), *(part.log_p for part in self._parts)]))
        log_p: Tensor = _LogProbability.apply(x, weight, bias, self._parts, self._blocks)
        return log_p


class _LogProbability(torch.autograd.Function):
    """See `Choices.log_probabilities`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, parts: list[_Part], blocks: ActionBlocks | None
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.parts, ctx.blocks = parts, blocks
        return torch.from_numpy(np.concatenate([part.log_p for part in parts]))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        parts, ctx.parts = ctx.parts, None  # the exponentials are overwritten: a second pass has nothing to read
        g = np.ascontiguousarray(gradient.numpy(), dtype=np.float32)
        dx, dweight, dbias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros(len(weight))
        first_row = first_member = 0
        for part in parts:
            n_rows, n_members = len(part.exponentials), len(part.row)
            members = np.argsort(part.row, kind="stable")
            starts = np.searchsorted(part.row[members], np.arange(n_rows + 1))
            here = g[first_member : first_member + n_members]
            spread = _logits_gradient_parallel if part.exponentials.numel() >= _PARALLEL else _logits_gradient
            spread(part.exponentials.numpy(), part.total, starts, members, part.actions, here)
            if ctx.blocks is None:
                rows = slice(first_row, first_row + n_rows)
                torch.mm(part.exponentials, weight, out=dx[rows])
                dweight.addmm_(part.exponentials.t(), x[rows])
                dbias += part.exponentials.sum(0)
            first_row, first_member = first_row + n_rows, first_member + n_members
        if ctx.blocks is not None:
            _gradient_by_block(ctx.blocks, parts, x, weight, dx, dweight, dbias)
        return dx, dweight, dbias, None, None


def _gradient_by_block(
    blocks: ActionBlocks, parts: list[_Part], x: Tensor, weight: Tensor, dx: Tensor, dweight: Tensor, dbias: Tensor
) -> None:
    """From the gradient of the logits, which the parts hold now, to that of the layer: one product a block."""
    pieces: list[list[Tensor]] = [[] for _ in blocks.widths]
    rows_of: list[list[np.ndarray]] = [[] for _ in blocks.widths]
    first_row = 0
    for part in parts:
        assert part.blocks is not None
        for b, first, last in part.blocks.groups:
            pieces[b].append(part.exponentials[first:last, : blocks.widths[b]])
            rows_of[b].append(part.blocks.order[first:last] + first_row)
        first_row += len(part.exponentials)
    for found, numbers, select in zip(pieces, rows_of, blocks.select):
        if found:
            rows, dlogits = torch.from_numpy(np.concatenate(numbers)), torch.cat(found)
            dx[rows] = dlogits @ weight[select]
            dweight[select] += dlogits.t() @ x[rows]
            dbias[select] += dlogits.sum(0)


def choose(
    x: Tensor, weight: Tensor, bias: Tensor, allowed: np.ndarray, row: np.ndarray, workspace: Workspace, **options: Any
) -> tuple[Tensor, np.ndarray]:
    """Log-probabilities, with gradient, and actions of choices made at once; arguments as for `Choices.make`."""
    choices = Choices(workspace)
    actions = choices.make(x, weight, bias, allowed, row, **options)
    return choices.log_probabilities(x, weight, bias), actions
