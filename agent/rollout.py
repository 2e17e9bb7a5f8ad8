"""Trajectories over any kernel, forward and backward, as flat ragged arrays without padding.

One pass of the network a time step for all members, over the states that differ; all heads share it. Where a state
leaves one action only, nothing is computed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.action_head import Choices, Workspace, choose
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
    weights = policy.weights()
    built = _build(
        kernel,
        policy,
        weights,
        kernel.initial(batch) if start is None else start,
        rng,
        epsilon,
        temperature,
        condition,
        workspace,
        torch.is_grad_enabled(),
    )
    nodes = built.nodes
    x = nodes.hidden(weights, needs_forward=torch.is_grad_enabled())
    values = built.choices.log_probabilities(nodes.free_rows(x), weights[1], policy.head_bias)
    log_pf = torch.zeros(len(built.actions)).index_put((torch.from_numpy(built.chosen_steps),), values)
    log_pb, log_flow = nodes.backward_and_flow(x, built.offsets, built.actions, built.row, workspace)
    return Trajectories(built.terminal, built.offsets, built.states, built.actions, log_pf, log_pb, log_flow, condition)


def draw_objects(
    kernel: TransitionKernel,
    policy: Policy,
    batch: int,
    rng: np.random.Generator,
    *,
    condition: Tensor | None = None,
    workspace: Workspace | None = None,
) -> np.ndarray:
    """The objects that `forward_rollout` would build, [batch, *state_shape], without anything else.

    Raises:
        DeadEndError: as there.
    """
    with torch.no_grad():
        built = _build(
            kernel,
            policy,
            policy.weights(),
            kernel.initial(batch),
            rng,
            0.0,
            1.0,
            condition,
            workspace or Workspace(),
            keeps_logits=False,
        )
    return built.terminal


@dataclass
class _Built:
    """What a forward rollout made, before anything of it is part of a graph; `step` as in `Trajectories`.

    Attributes:
        row: int64 [step], the node of the state before each step.
        chosen_steps: int64 [choice], the steps at which there was something to choose, in the order of `choices`.
    """

    terminal: np.ndarray
    offsets: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    row: np.ndarray
    chosen_steps: np.ndarray
    choices: Choices
    nodes: "_Nodes"


@torch.no_grad()
def _build(
    kernel: TransitionKernel,
    policy: Policy,
    weights: tuple[Tensor, Tensor],
    states: np.ndarray,
    rng: np.random.Generator,
    epsilon: float,
    temperature: float,
    condition: Tensor | None,
    workspace: Workspace,
    keeps_logits: bool,
) -> _Built:
    """Draws actions until all members are terminal, one pass of the network a time step."""
    batch = len(states)
    active = np.arange(batch)
    terminal = np.zeros((batch, *states.shape[1:]), dtype=states.dtype)
    nodes, choices = _Nodes(kernel, policy), Choices(workspace)
    levels = []
    while len(states):
        here = None if condition is None else condition[torch.from_numpy(active)]
        row, actions, free, allowed = nodes.add(states, here)
        chooses = free[row]
        actions = actions[row]
        uniform = rng.random((len(states), 2))
        if free.any():
            if not keeps_logits:
                workspace.clear()
            actions[chooses] = choices.make(
                nodes.hidden_of_last(weights, free),
                weights[1],
                policy.head_bias,
                allowed if free.all() else allowed[free],
                (np.cumsum(free) - 1)[row[chooses]],
                uniform=uniform[chooses],
                epsilon=epsilon,
                temperature=temperature,
            )
        levels.append((active, states, actions, nodes.first_of_last + row, chooses))
        after = kernel.step(states, actions)
        done = kernel.is_terminal(after)
        terminal[active[done]] = after[done]
        active, states = active[~done], after[~done]

    # From the order of time to the order of members
    member, states, actions, row, chooses = (np.concatenate(column) for column in zip(*levels))
    time = np.repeat(np.arange(len(levels)), [len(level[0]) for level in levels])
    offsets = np.concatenate([[0], np.cumsum(np.bincount(member, minlength=batch))])
    position = offsets[member] + time
    order = np.empty_like(position)
    order[position] = np.arange(len(position))
    return _Built(terminal, offsets, states[order], actions[order], row[order], position[chooses], choices, nodes)


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
    nodes, choices = _Nodes(kernel, policy), Choices(workspace)
    repeated = None
    if condition is not None:
        repeated = condition[torch.from_numpy(np.repeat(np.arange(len(terminal)), np.diff(offsets)))]
    row, _, free, allowed = nodes.add(states, repeated)
    chooses = free[row]
    x = nodes.hidden(weights, needs_forward=True)
    free_rows = nodes.free_rows(x)
    if free_rows is not None and len(free_rows):
        head = (weights[1].detach(), policy.head_bias.detach(), allowed[free], (np.cumsum(free) - 1)[row[chooses]])
        choices.make(free_rows.detach(), *head, actions=actions[chooses])
    values = choices.log_probabilities(free_rows, weights[1], policy.head_bias)
    log_pf = torch.zeros(len(actions)).index_put((torch.from_numpy(np.flatnonzero(chooses)),), values)
    log_pb, log_flow = nodes.backward_and_flow(x, offsets, actions, row, workspace)
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
    """The distinct states of trajectories, level by level, and the network's hidden layer in them.

    A state is free where it leaves a choice; elsewhere the forward head has nothing to say.
    """

    def __init__(self, kernel: TransitionKernel, policy: Policy) -> None:
        self.kernel, self.policy = kernel, policy
        self.first_of_last = 0
        self._states: list[np.ndarray] = []
        self._free: list[np.ndarray] = []
        self._conditions: list[Tensor | None] = []

    def add(
        self, states: np.ndarray, condition: Tensor | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
        actions, free = _only_actions(allowed)
        if (actions < 0).any():
            raise DeadEndError(f"no action is allowed in state {self.kernel.describe(states[actions < 0])[0]!r}")
        self.first_of_last += len(self._states[-1]) if self._states else 0
        self._states.append(states)
        self._free.append(free)
        self._conditions.append(condition)
        return row, actions, free, allowed

    def hidden_of_last(self, weights: tuple[Tensor, Tensor], rows: np.ndarray) -> Tensor:
        """The hidden layer of some rows of the last level, chosen by a mask."""
        condition = self._conditions[-1]
        here = None if condition is None else condition[torch.from_numpy(rows)]
        return self.policy.trunk(torch.from_numpy(self.kernel.encode(self._states[-1][rows])), weights, here)

    def hidden(self, weights: tuple[Tensor, Tensor], needs_forward: bool) -> Tensor | None:
        """The hidden layer of all rows that some head reads, part of the graph: all of them, or the free ones where
        there is but the forward head; None where no head reads any."""
        states, condition = np.concatenate(self._states), self._condition()
        if not self._reads_all:
            free = np.concatenate(self._free)
            if not needs_forward or not free.any():
                return None
            states = states[free]
            condition = None if condition is None else condition[torch.from_numpy(free)]
        return self.policy.trunk(torch.from_numpy(self.kernel.encode(states)), weights, condition)

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
        self, x: Tensor | None, offsets: np.ndarray, actions: np.ndarray, row: np.ndarray, workspace: Workspace
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
            allowed = self.kernel.backward_allowed(np.concatenate(self._states))
            head = self.policy.backward_head
            if head is None:
                values = torch.from_numpy(-np.log(allowed.sum(axis=1, dtype=np.float32)[after]))
            else:
                assert x is not None
                undone = self.kernel.inverse_action(actions[came_from])
                values, _ = choose(x, head.weight, head.bias, allowed, after, workspace, actions=undone)
            log_pb = log_pb.index_put((torch.from_numpy(came_from),), values)
        if self.policy.flow_head is None:
            return log_pb, None
        assert x is not None
        return log_pb, self.policy.log_flow(x, self._condition())[torch.from_numpy(row)]


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
