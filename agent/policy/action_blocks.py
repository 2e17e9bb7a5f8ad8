"""Blocks of actions: a state whose allowed actions all lie in one block needs the output layer's rows of that block.

A crystal is built in stages, and what a stage chooses among is a tenth of all actions. States of several blocks are put
in the order of their blocks, and each state's logits stand in the first columns of its row, in the order of its
block's actions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from oreflow.envs.arrays import Bools, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.contract.protocol import TransitionKernel


class BlockRows(NamedTuple):
    """The states of a batch in the order of their blocks.

    Attributes:
        order: int64 [row], the states.
        place: int64 [row], the inverse: where each state stands.
        block: int64 [row], ascending: the block of each row in this order.
        groups: block, first row and the row after the last, of each block that occurs.
        width: actions of the largest of them.
    """

    order: Ints
    place: Ints
    block: Ints
    groups: list[tuple[int, int, int]]
    width: int


class ActionBlocks:
    """The blocks of a kernel's actions, and the ways between an action's number and its column in its block.

    Args:
        blocks: int64, ascending action numbers of each block, see `TransitionKernel`.
        n_actions: how many actions there are in all.
    """

    def __init__(self, blocks: Sequence[Ints], n_actions: int) -> None:
        self.widths = [len(block) for block in blocks]
        self.action = np.full((len(blocks), max(self.widths)), -1, dtype=np.int64)
        self._column = np.full((len(blocks), n_actions), -1, dtype=np.int64)
        self.select: list[slice | Tensor] = []  # the actions of a block, as an index; a slice copies nothing
        for i, block in enumerate(blocks):
            self.action[i, : len(block)] = block
            self._column[i, block] = np.arange(len(block))
            in_a_row = block[-1] - block[0] + 1 == len(block)
            self.select.append(slice(int(block[0]), int(block[-1]) + 1) if in_a_row else torch.from_numpy(block))

    def rows(self, block: Ints) -> BlockRows:
        """States by their blocks, int64 [state]; the order within a block stays."""
        order = np.argsort(block, kind="stable")
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        block = block[order]
        starts = np.flatnonzero(np.diff(block, prepend=-1)).tolist()
        groups = [(int(block[a]), a, b) for a, b in zip(starts, [*starts[1:], len(block)])]
        return BlockRows(order, place, block, groups, max((self.widths[b] for b, _, _ in groups), default=0))

    def allowed(self, allowed: Bools, rows: BlockRows) -> Bools:
        """The masks [state, action] of the block's actions alone, bool [row, column]; False beyond a block's end."""
        return _columns_of(allowed, rows.order, rows.block, self.action, rows.width)

    def columns(self, rows: BlockRows, row: Ints, actions: Ints) -> Ints:
        """Columns of actions [member] taken in `row`."""
        return self._column[rows.block[row], actions]

    def actions(self, rows: BlockRows, row: Ints, columns: Ints) -> Ints:
        """The inverse of `columns`."""
        return self.action[rows.block[row], columns]

    def write_logits(self, x: Tensor, weight: Tensor, bias: Tensor, rows: BlockRows, out: Tensor) -> None:
        """x @ weight.T + bias, each row the columns of its own block alone; what lies beyond them stays as it is.

        Args:
            x: float32 [state, hidden], in the order of the states that `rows` was made of.
            weight, bias: of the whole output layer.
            out: float32 [row, column].
        """
        x = x[torch.from_numpy(rows.order)]
        for b, first, last in rows.groups:
            select = self.select[b]
            torch.addmm(bias[select], x[first:last], weight[select].t(), out=out[first:last, : self.widths[b]])


def blocks_of(kernel: TransitionKernel) -> ActionBlocks | None:
    """The blocks of a kernel; None where one block holds all actions, which needs no such care."""
    return ActionBlocks(kernel.action_blocks, kernel.n_actions) if len(kernel.action_blocks) > 1 else None


@njit
def _columns_of(allowed: Bools, order: Ints, block: Ints, action: Ints, width: int) -> Bools:
    out = np.zeros((len(order), width), dtype=np.bool_)
    for i in range(len(order)):
        may, numbers = allowed[order[i]], action[block[i]]
        for j in range(width):
            if numbers[j] < 0:
                break
            out[i, j] = may[numbers[j]]
    return out
