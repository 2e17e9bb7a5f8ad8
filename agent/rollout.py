"""Trajectories over any kernel, forward and backward, as flat ragged arrays without padding.

One pass of the network a time step for all members, over the states that differ; all heads share it. Where a state
leaves one action only, nothing is computed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.action_head import Workspace, choose
from agent.distinct import distinct
from agent.policy import Policy
from envs.errors import DeadEndError
from envs.jit import njit
from envs.protocol import TransitionKernel


@dataclass(frozen=True)
class Trajectories:
    """A batch of complete trajectories. `step` axes run over the steps of the first member, then of the second, ...

    Attributes:
        terminal: [batch, *state_shape], the objects built.
        offsets: int64 [batch + 1]; the steps of member m are `offsets[m]` to `offsets[m + 1]`, the last one stops.
        states: [step, *state_shape], before the action.
        actions: int64 [step].
        log_pf: float32 [step], log P_F of the action under the policy (not under the exploring behaviour).
        log_pb: float32 [step], log P_B of undoing it; 0 for stop.
        log_flow: float64 [step], log F of the state before the action; None where the policy has no head for it.
        condition: float32 [batch, n_conditions], what each member was built for; None without conditions.
    """

    terminal: np.ndarray
    offsets: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    log_pf: Tensor
    log_pb: Tensor
    log_flow: Tensor | None = None
    condition: Tensor | None = None

    def __len__(self) -> int:
        return len(self.terminal)

    @property
    def member(self) -> np.ndarray:
        """int64 [step], which trajectory a step belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def total(self, per_step: Tensor) -> Tensor:
        """Sums [step] within each trajectory, float64 [batch]."""
        out = torch.zeros(len(self), dtype=torch.float64)
        return out.index_add(0, torch.from_numpy(self.member), per_step.double())

    def select(self, keep: np.ndarray) -> "Trajectories":
        """The members where `keep`, bool [batch], is true."""
        if keep.all():
            return self
        steps = keep[self.member]
        mask = torch.from_numpy(steps)
        return Trajectories(
            self.terminal[keep],
            np.concatenate([[0], np.cumsum(np.diff(self.offsets)[keep])]),
            self.states[steps],
            self.actions[steps],
            self.log_pf[mask],
            self.log_pb[mask],
            None if self.log_flow is None else self.log_flow[mask],
            None if self.condition is None else self.condition[torch.from_numpy(keep)],
        )


def concatenate(parts: list[Trajectories]) -> Trajectories:
    """Several batches of one policy as one."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    flows = [part.log_flow for part in parts if part.log_flow is not None]
    conditions = [part.condition for part in parts if part.condition is not None]
    return Trajectories(
        np.concatenate([part.terminal for part in parts]),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.concatenate([part.states for part in parts]),
        np.concatenate([part.actions for part in parts]),
        torch.cat([part.log_pf for part in parts]),
        torch.cat([part.log_pb for part in parts]),
        torch.cat(flows) if flows else None,
        torch.cat(conditions) if conditions else None,
    )


def forward_rollout(
    kernel: TransitionKernel,
    policy: Policy,
    batch: int,
    rng: np.random.Generator,
    *,
    epsilon: float = 0.0,
    temperature: float = 1.0,
    condition: Tensor | None = None,
    workspace: Workspace | None = None,
    start: np.ndarray | None = None,
) -> Trajectories:
    """Builds `batch` objects. Gradients flow through the log-probabilities unless torch.no_grad() is on.

    Args:
        epsilon: with this probability an action is drawn uniformly from the allowed ones instead of from the policy.
        temperature: other actions are drawn from the policy's probabilities to the power of 1 / temperature.
        condition: float32 [batch, n_conditions] for a conditional policy.
        workspace: memory for the logits, cleared by the caller once the gradient is taken.
        start: states [batch, *state_shape] to start from instead of the initial one; none may be terminal.

    Raises:
        DeadEndError: if a state has no allowed action, which would be a defect of the kernel.
    """
    workspace = workspace or Workspace()
    keeps_logits = torch.is_grad_enabled()
    weights = policy.weights()
    active, states = np.arange(batch), kernel.initial(batch) if start is None else start
    terminal = np.zeros((batch, *states.shape[1:]), dtype=states.dtype)
    nodes = _Nodes(kernel, policy, weights)
    levels = []
    while len(states):
        here = None if condition is None else condition[torch.from_numpy(active)]
        row, row_states, allowed = nodes.add(states, here)
        actions, free = _only_actions(allowed)
        if (actions < 0).any():
            raise DeadEndError(f"no action is allowed in state {kernel.describe(row_states[actions < 0])[0]!r}")
        x = nodes.hidden(free)
        actions, chooses = actions[row], free[row]
        uniform = rng.random((len(states), 2))
        log_pf = None
        if x is not None:
            if not keeps_logits:
                workspace.clear()
            log_pf, actions[chooses] = choose(
                x,
                weights[1],
                policy.head_bias,
                allowed[free],
                (np.cumsum(free) - 1)[row[chooses]],
                workspace,
                uniform=uniform[chooses],
                epsilon=epsilon,
                temperature=temperature,
            )
        levels.append((active, states, actions, nodes.first_of_last + row, chooses, log_pf))
        after = kernel.step(states, actions)
        done = kernel.is_terminal(after)
        terminal[active[done]] = after[done]
        active, states = active[~done], after[~done]

    # From the order of time to the order of members
    members, states_in_time, actions_in_time, rows, chose, log_pfs = zip(*levels)
    member = np.concatenate(members)
    time = np.repeat(np.arange(len(levels)), [len(m) for m in members])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(member, minlength=batch))])
    position = offsets[member] + time
    order = np.empty_like(position)
    order[position] = np.arange(len(position))
    log_pf = torch.zeros(len(order))
    pieces = [piece for piece in log_pfs if piece is not None]
    if pieces:
        where = torch.from_numpy(position[np.concatenate(chose)])
        log_pf = log_pf.index_put((where,), torch.cat(pieces))
    actions = np.concatenate(actions_in_time)[order]
    log_pb, log_flow = nodes.backward_and_flow(offsets, actions, np.concatenate(rows)[order], workspace)
    states = np.concatenate(states_in_time)[order]
    return Trajectories(terminal, offsets, states, actions, log_pf, log_pb, log_flow, condition)


def evaluate(
    kernel: TransitionKernel,
    policy: Policy,
    terminal: np.ndarray,
    offsets: np.ndarray,
    states: np.ndarray,
    actions: np.ndarray,
    *,
    condition: Tensor | None = None,
    workspace: Workspace | None = None,
) -> Trajectories:
    """The log-probabilities of trajectories that are given, in one pass. Arguments as the fields of `Trajectories`."""
    workspace = workspace or Workspace()
    weights = policy.weights()
    nodes = _Nodes(kernel, policy, weights)
    repeated = None
    if condition is not None:
        repeated = condition[torch.from_numpy(np.repeat(np.arange(len(terminal)), np.diff(offsets)))]
    row, _, allowed = nodes.add(states, repeated)
    _, free = _only_actions(allowed)
    x = nodes.hidden(free)
    chooses = free[row]
    log_pf = torch.zeros(len(actions))
    if x is not None:
        values, _ = choose(
            x,
            weights[1],
            policy.head_bias,
            allowed[free],
            (np.cumsum(free) - 1)[row[chooses]],
            workspace,
            actions=actions[chooses],
        )
        log_pf = log_pf.index_put((torch.from_numpy(np.flatnonzero(chooses)),), values)
    log_pb, log_flow = nodes.backward_and_flow(offsets, actions, row, workspace)
    return Trajectories(terminal, offsets, states, actions, log_pf, log_pb, log_flow, condition)


def backward_rollout(
    kernel: TransitionKernel,
    policy: Policy,
    terminal: np.ndarray,
    rng: np.random.Generator,
    *,
    condition: Tensor | None = None,
    workspace: Workspace | None = None,
) -> Trajectories:
    """Trajectories that end in given objects, [batch, *state_shape], drawn from P_B and then evaluated.

    How a trajectory was drawn carries no gradient; the log-probabilities of both policies do.
    """
    active, states = np.arange(len(terminal)), terminal
    scratch = Workspace()
    levels = []
    with torch.no_grad():
        weights = policy.weights()
        while len(states):
            allowed = kernel.backward_allowed(states)
            backward, free = _only_actions(allowed)
            uniform = rng.random((len(states), 2))
            if free.any():
                if policy.backward_head is None:
                    x, weight, bias = _no_preference(int(free.sum()), allowed.shape[1])
                else:
                    here = None if condition is None else condition[torch.from_numpy(active[free])]
                    x = policy.trunk(torch.from_numpy(kernel.encode(states[free])), weights, here)
                    weight, bias = policy.backward_head.weight, policy.backward_head.bias
                scratch.clear()
                rows = np.arange(int(free.sum()))
                _, backward[free] = choose(x, weight, bias, allowed[free], rows, scratch, uniform=uniform[free])
            parents = kernel.unstep(states, backward)
            levels.append((active, parents, kernel.redo_action(states, backward)))
            going_on = kernel.backward_allowed(parents).any(axis=1)
            active, states = active[going_on], parents[going_on]
    members, parents, actions = (np.concatenate(column) for column in zip(*reversed(levels)))
    order = np.argsort(members, kind="stable")  # levels are in the order of time now
    offsets = np.concatenate([[0], np.cumsum(np.bincount(members, minlength=len(terminal)))])
    return evaluate(
        kernel, policy, terminal, offsets, parents[order], actions[order], condition=condition, workspace=workspace
    )


class _Nodes:
    """The distinct states of trajectories, level by level, with the hidden layer where some head needs it."""

    def __init__(self, kernel: TransitionKernel, policy: Policy, weights: tuple[Tensor, Tensor]) -> None:
        self.kernel, self.policy, self.weights = kernel, policy, weights
        self.all_rows = policy.backward_head is not None or policy.flow_head is not None
        self.first_of_last = 0
        self._n = 0
        self._states: list[np.ndarray] = []
        self._hidden: list[Tensor] = []
        self._conditions: list[Tensor] = []
        self._condition: Tensor | None = None

    def add(self, states: np.ndarray, condition: Tensor | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Adds a level; returns the row of each state, the states of the rows and their allowed actions."""
        if condition is None or bool((condition == condition[:1]).all()):
            first, row = distinct(states)
            states = states[first]
            condition = None if condition is None else condition[: len(first)]
        else:
            row = np.arange(len(states))
        self._condition = condition
        self._states.append(states)
        self.first_of_last, self._n = self._n, self._n + len(states)
        return row, states, self.kernel.forward_allowed(states)

    def hidden(self, free: np.ndarray) -> Tensor | None:
        """The hidden layer of the free rows of the last level, None when there are none."""
        needed = np.ones_like(free) if self.all_rows else free
        if not needed.any():
            return None
        tokens = torch.from_numpy(self.kernel.encode(self._states[-1][needed]))
        condition = None if self._condition is None else self._condition[torch.from_numpy(needed)]
        x = self.policy.trunk(tokens, self.weights, condition)
        if self.all_rows:
            self._hidden.append(x)
            if condition is not None:
                self._conditions.append(condition)
            return x if free.all() else x[torch.from_numpy(free)] if free.any() else None
        return x

    def backward_and_flow(
        self, offsets: np.ndarray, actions: np.ndarray, row: np.ndarray, workspace: Workspace
    ) -> tuple[Tensor, Tensor | None]:
        """log P_B and log F of all steps, in the order of members; `row` [step] is the node of the state before it."""
        inner = np.ones(len(actions), dtype=np.bool_)
        inner[offsets[1:] - 1] = False  # the last step stops, and a terminal state has one parent
        came_from = np.flatnonzero(inner)
        after = row[came_from + 1]
        states = np.concatenate(self._states)
        allowed = self.kernel.backward_allowed(states)
        log_pb = torch.zeros(len(actions))
        if len(came_from):
            if self.policy.backward_head is None:
                values = torch.from_numpy(-np.log(allowed.sum(axis=1, dtype=np.float32)[after]))
            else:
                head = self.policy.backward_head
                undone = self.kernel.inverse_action(actions[came_from])
                x = torch.cat(self._hidden)
                values, _ = choose(x, head.weight, head.bias, allowed, after, workspace, actions=undone)
            log_pb = log_pb.index_put((torch.from_numpy(came_from),), values)
        if self.policy.flow_head is None:
            return log_pb, None
        conditions = torch.cat(self._conditions) if self._conditions else None
        return log_pb, self.policy.log_flow(torch.cat(self._hidden), conditions)[torch.from_numpy(row)]


@njit
def _only_actions(allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def _no_preference(rows: int, n_actions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of `choose` for which all allowed actions are equally likely."""
    return torch.zeros(rows, 1), torch.zeros(n_actions, 1), torch.zeros(n_actions)
