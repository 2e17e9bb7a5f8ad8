"""The distinct states of a batch of trajectories, and what the network's heads say about them."""

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.policy.action_blocks import blocks_of
from oreflow.agent.policy.action_head import Workspace, choose
from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout.distinct_rows import distinct
from oreflow.envs.arrays import Bools, Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.errors import DeadEndError


class Nodes:
    """The distinct states of trajectories, level by level, and the network's hidden layer in them.

    A state is free where it leaves a choice; elsewhere the forward head has nothing to say.
    """

    def __init__(self, kernel: TransitionKernel, policy: Policy) -> None:
        self.kernel, self.policy = kernel, policy
        self.blocks = blocks_of(kernel)
        self.first_of_last = 0
        self._states: list[np.ndarray] = []
        self._free: list[np.ndarray] = []
        self._conditions: list[Tensor | None] = []
        self._tokens: list[np.ndarray] = []  # of the free rows, level by level, as far as they were asked for

    def add(self, states: States, condition: Tensor | None) -> tuple[Ints, Ints, Bools, Bools]:
        """Adds a level.

        Returns:
            The row of each state, int64 [state]; and of each row its first allowed action, whether it is free, and its
            allowed actions.

        Raises:
            DeadEndError: if a state has no allowed action.
        """
        if condition is None or bool((condition == condition[:1]).all()):
            first, row = distinct(states)
            states = states[first]
            condition = None if condition is None else condition[: len(first)]
        else:
            row = np.arange(len(states))
        allowed = self.kernel.forward_allowed(states)
        actions, free = only_actions(allowed)
        if (actions < 0).any():
            raise DeadEndError(f"no action is allowed in state {self.kernel.describe(states[actions < 0])[0]!r}")
        self.first_of_last += len(self._states[-1]) if self._states else 0
        self._states.append(states)
        self._free.append(free)
        self._conditions.append(condition)
        return row, actions, free, allowed

    def blocks_of_last(self, rows: Bools) -> Ints | None:
        """The action blocks of some rows of the last level, chosen by a mask; None where there is but one."""
        return None if self.blocks is None else self.kernel.action_block(self._states[-1][rows])

    def hidden_of_last(self, weights: tuple[Tensor, Tensor], rows: Bools, keeps_tokens: bool) -> Tensor:
        """The hidden layer of some rows of the last level, chosen by a mask.

        Args:
            keeps_tokens: whether `hidden` will be asked for, where the rows are the free ones of every level.
        """
        condition = self._conditions[-1]
        here = None if condition is None else condition[torch.from_numpy(rows)]
        tokens = self.kernel.encode(self._states[-1][rows])
        if keeps_tokens:
            self._tokens.append(tokens)
        return self.policy.trunk(torch.from_numpy(tokens), weights, here)

    def hidden(self, weights: tuple[Tensor, Tensor], needs_forward: bool) -> Tensor | None:
        """Compute the hidden layer of all rows that some head reads, as part of the graph.

        These are all rows, or the free ones where there is but the forward head; None where no head reads any.
        """
        condition = self._condition()
        if self._reads_all:
            tokens = self.kernel.encode(np.concatenate(self._states))
        else:
            free = np.concatenate(self._free)
            if not needs_forward or not free.any():
                return None
            condition = None if condition is None else condition[torch.from_numpy(free)]
            if self._tokens:
                tokens = np.concatenate(self._tokens)
            else:
                tokens = self.kernel.encode(np.concatenate(self._states)[free])
        return self.policy.trunk(torch.from_numpy(tokens), weights, condition)

    def free_rows(self, x: Tensor | None) -> Tensor | None:
        """Of what `hidden` gave, the free rows."""
        if x is None or not self._reads_all:
            return x
        free = np.concatenate(self._free)
        return x if free.all() else x[torch.from_numpy(free)]

    @property
    def _reads_all(self) -> bool:
        return self.policy.backward_head is not None or self.policy.flow_head is not None

    def _condition(self) -> Tensor | None:
        found = [condition for condition in self._conditions if condition is not None]
        return torch.cat(found) if found else None

    def backward_and_flow(
        self, x: Tensor | None, offsets: Ints, actions: Ints, row: Ints, workspace: Workspace
    ) -> tuple[Tensor, Tensor | None]:
        """log P_B and log F of all steps.

        Args:
            x: what `hidden` gave.
            offsets, actions: of the trajectories.
            row: int64 [step], the row of the state before each step.
        """
        inner = np.ones(len(actions), dtype=np.bool_)
        inner[offsets[1:] - 1] = False  # the last step stops, and a terminal state has one parent
        came_from = np.flatnonzero(inner)
        after = row[came_from + 1]
        log_pb = torch.zeros(len(actions))
        if len(came_from):
            states = np.concatenate(self._states)
            allowed = self.kernel.backward_allowed(states)
            head = self.policy.backward_head
            if head is None:
                values = torch.from_numpy(-np.log(allowed.sum(axis=1, dtype=np.float32)[after]))
            else:
                assert x is not None
                undone = self.kernel.inverse_action(states[row[came_from]], actions[came_from])
                values, _ = choose(x, head.weight, head.bias, allowed, after, workspace, actions=undone)
            log_pb = log_pb.index_put((torch.from_numpy(came_from),), values)
        if self.policy.flow_head is None:
            return log_pb, None
        assert x is not None
        return log_pb, self.policy.log_flow(x, self._condition())[torch.from_numpy(row)]


@njit
def only_actions(allowed: Bools) -> tuple[Ints, Bools]:
    """The first allowed action of each row, -1 where there is none, and whether there are others."""
    first = np.full(len(allowed), -1, dtype=np.int64)
    several = np.zeros(len(allowed), dtype=np.bool_)
    for i in range(len(allowed)):
        for j in range(allowed.shape[1]):
            if allowed[i, j]:
                if first[i] >= 0:
                    several[i] = True
                    break
                first[i] = j
    return first, several
