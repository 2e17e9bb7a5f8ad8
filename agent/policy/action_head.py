"""Last layer, mask, softmax and draw in one place: log-probabilities of chosen actions, and their gradient.

A policy over 1 400 actions spends its time on three products of matrices and on memory traffic in between. Here the
logits are turned into probabilities in place, right where an action is drawn or looked up, and the same buffer becomes
the gradient of the logits on the way back, so that nothing of the size [state, action] is written twice or kept beside.

States that occur several times in a batch (the initial one does in every batch) are computed once: `row` says which
state each choice was made in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.policy.action_blocks import ActionBlocks, BlockRows
from oreflow.agent.policy.masked_softmax import (
    BLOCK,
    PARALLEL,
    draw,
    draw_parallel,
    explore,
    exponentiate,
    exponentiate_parallel,
    gather,
    logits_gradient,
    logits_gradient_parallel,
    tempered,
)
from oreflow.envs.arrays import Bools, Float32s, Floats, Ints


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
    total: Floats
    row: Ints
    actions: Ints
    log_p: Float32s
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
        allowed: Bools,
        row: Ints,
        *,
        block: Ints | None = None,
        actions: Ints | None = None,
        uniform: Floats | None = None,
        epsilon: float = 0.0,
        temperature: float = 1.0,
    ) -> Ints:
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
        taken = explore(allowed, row, uniform, epsilon) if actions is None else actions
        given = taken >= 0
        given_logits = gather(logits, row, taken)
        largest = np.empty(len(x), dtype=np.float32)
        total = np.empty(len(x))
        block_sums = np.empty((len(x), -(-logits.shape[1] // BLOCK)), dtype=np.float32)
        many = logits.size >= PARALLEL
        (exponentiate_parallel if many else exponentiate)(logits, allowed, block_sums, largest, total)
        if actions is None:
            weights, sums = (logits, block_sums) if temperature == 1.0 else tempered(logits, temperature)
            (draw_parallel if many else draw)(weights, sums, allowed, row, uniform, taken)
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
            spread = logits_gradient_parallel if part.exponentials.numel() >= PARALLEL else logits_gradient
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
    x: Tensor, weight: Tensor, bias: Tensor, allowed: Bools, row: Ints, workspace: Workspace, **options: Any
) -> tuple[Tensor, Ints]:
    """Log-probabilities, with gradient, and actions of choices made at once; arguments as for `Choices.make`."""
    choices = Choices(workspace)
    actions = choices.make(x, weight, bias, allowed, row, **options)
    return choices.log_probabilities(x, weight, bias), actions
