"""Trajectories over any kernel, forward and backward, as flat ragged arrays without padding.

One pass of the network a time step for all members, over the states that differ; all heads share it. Where a state
leaves one action only, nothing is computed.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.policy.action_head import Choices, Workspace, choose
from oreflow.agent.policy.network import Policy
from oreflow.agent.policy.prior import Prior
from oreflow.agent.rollout.distinct_states import Nodes, only_actions
from oreflow.agent.rollout.trajectories import Trajectories
from oreflow.envs.arrays import Ints, States
from oreflow.envs.contract.protocol import TransitionKernel


def forward_rollout(
    kernel: TransitionKernel,
    policy: Policy,
    batch: int,
    rng: np.random.Generator,
    *,
    epsilon: float = 0.0,
    epsilon_first: float = 0.0,
    temperature: float = 1.0,
    condition: Tensor | None = None,
    workspace: Workspace | None = None,
    start: States | None = None,
    strata: Ints | None = None,
) -> Trajectories:
    """Builds `batch` objects. Gradients flow through the log-probabilities unless torch.no_grad() is on.

    Args:
        epsilon: with this probability an action is drawn uniformly from the allowed ones instead of from the policy.
        epsilon_first: the same for the first action, where it is larger.
        temperature: other actions are drawn from the policy's probabilities to the power of 1 / temperature.
        condition: float32 [batch, n_conditions] for a conditional policy.
        workspace: memory for the logits, cleared by the caller once the gradient is taken.
        start: states [batch, *state_shape] to start from instead of the initial one; none may be terminal.
        strata: int64 [batch], the stratum of each member, where the policy has strata; by default as the shares say.

    Raises:
        DeadEndError: if a state has no allowed action, which would be a defect of the kernel.
    """
    workspace = workspace or Workspace()
    weights = policy.weights()
    built = _build(
        kernel,
        policy,
        weights,
        _starts(kernel, policy, batch, rng, strata) if start is None else start,
        rng,
        (max(epsilon, epsilon_first), epsilon),
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
) -> States:
    """The objects that `forward_rollout` would build, [batch, *state_shape], without anything else.

    Raises:
        DeadEndError: as there.
    """
    with torch.no_grad():
        built = _build(
            kernel,
            policy,
            policy.weights(),
            _starts(kernel, policy, batch, rng),
            rng,
            (0.0, 0.0),
            1.0,
            condition,
            workspace or Workspace(),
            keeps_logits=False,
        )
    return built.terminal


def _starts(
    kernel: TransitionKernel, policy: Policy, batch: int, rng: np.random.Generator, strata: Ints | None = None
) -> States:
    """Where rollouts begin: in the initial state, or after first actions of prescribed shares."""
    if policy.strata is None:
        return kernel.initial(batch)
    return policy.strata.roots[policy.strata.draw(batch, rng) if strata is None else strata]


@dataclass
class _Built:
    """What a forward rollout made, before anything of it is part of a graph; `step` as in `Trajectories`.

    Attributes:
        row: int64 [step], the node of the state before each step.
        chosen_steps: int64 [choice], the steps at which there was something to choose, in the order of `choices`.
    """

    terminal: States
    offsets: Ints
    states: States
    actions: Ints
    row: Ints
    chosen_steps: Ints
    choices: Choices
    nodes: Nodes


@torch.no_grad()
def _build(
    kernel: TransitionKernel,
    policy: Policy,
    weights: tuple[Tensor, Tensor],
    states: States,
    rng: np.random.Generator,
    epsilon: tuple[float, float],
    temperature: float,
    condition: Tensor | None,
    workspace: Workspace,
    keeps_logits: bool,
) -> _Built:
    """Draws actions until all members are terminal, one pass of the network a time step.

    Args:
        epsilon: shares of uniform draws, of the first action and of the others.
    """
    batch = len(states)
    active = np.arange(batch)
    terminal = np.zeros((batch, *states.shape[1:]), dtype=states.dtype)
    nodes = Nodes(kernel, policy)
    choices = Choices(workspace, nodes.blocks)
    levels: list[tuple[np.ndarray, ...]] = []
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
                nodes.hidden_of_last(weights, free, keeps_logits),
                weights[1],
                policy.head_bias,
                allowed if free.all() else allowed[free],
                (np.cumsum(free) - 1)[row[chooses]],
                block=nodes.blocks_of_last(free),
                uniform=uniform[chooses],
                epsilon=epsilon[min(len(levels), 1)],
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
    terminal: States,
    offsets: Ints,
    states: States,
    actions: Ints,
    *,
    condition: Tensor | None = None,
    workspace: Workspace | None = None,
) -> Trajectories:
    """The log-probabilities of trajectories that are given, in one pass. Arguments as the fields of `Trajectories`."""
    workspace = workspace or Workspace()
    weights = policy.weights()
    nodes = Nodes(kernel, policy)
    choices = Choices(workspace, nodes.blocks)
    repeated = None
    if condition is not None:
        repeated = condition[torch.from_numpy(np.repeat(np.arange(len(terminal)), np.diff(offsets)))]
    row, _, free, allowed = nodes.add(states, repeated)
    chooses = free[row]
    x = nodes.hidden(weights, needs_forward=True)
    free_rows = nodes.free_rows(x)
    if free_rows is not None and len(free_rows):
        head = (weights[1].detach(), policy.head_bias.detach(), allowed[free], (np.cumsum(free) - 1)[row[chooses]])
        choices.make(free_rows.detach(), *head, block=nodes.blocks_of_last(free), actions=actions[chooses])
    values = choices.log_probabilities(free_rows, weights[1], policy.head_bias)
    log_pf = torch.zeros(len(actions)).index_put((torch.from_numpy(np.flatnonzero(chooses)),), values)
    log_pb, log_flow = nodes.backward_and_flow(x, offsets, actions, row, workspace)
    return Trajectories(terminal, offsets, states, actions, log_pf, log_pb, log_flow, condition)


def under_prior(prior: Prior, t: Trajectories) -> Trajectories:
    """The same trajectories with a prior's log P0 of each step in the place of log P_B.

    Every balance then asks for P_F(tau) in proportion to P0(tau) R(x) (relative trajectory balance; Venkatraman et al.
    2024, arXiv:2405.20971), so that P(x) becomes P0(x) R(x)/Z whatever P_B is. Steps that the prior knows nothing of,
    such as those of a geometry, keep log P_B.
    """
    known = prior.inclusion.actions[t.actions] >= 0
    offsets = np.concatenate([[0], np.cumsum(known)])[t.offsets]
    states = prior.inclusion.states(t.states[known])
    actions = prior.inclusion.actions[t.actions[known]]
    with torch.no_grad():
        log_p0 = evaluate(prior.kernel, prior.policy, t.terminal, offsets, states, actions).log_pf
        log_pb = t.log_pb.detach().clone()
        log_pb[torch.from_numpy(known)] = log_p0
    return replace(t, log_pb=log_pb)


def backward_rollout(
    kernel: TransitionKernel,
    policy: Policy,
    terminal: States,
    rng: np.random.Generator,
    *,
    condition: Tensor | None = None,
    workspace: Workspace | None = None,
) -> Trajectories:
    """Trajectories that end in given objects, [batch, *state_shape], drawn from P_B and then evaluated.

    Where the policy has strata they begin after the first action, as those of `forward_rollout` do.

    How a trajectory was drawn carries no gradient; the log-probabilities of both policies do.
    """
    active, states = np.arange(len(terminal)), terminal
    scratch = Workspace()
    levels: list[tuple[np.ndarray, ...]] = []
    with torch.no_grad():
        weights = policy.weights()
        while len(states):
            allowed = kernel.backward_allowed(states)
            backward, free = only_actions(allowed)
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
            going_on = kernel.backward_allowed(parents).any(axis=1)
            kept = going_on if policy.strata is not None else np.ones(len(parents), dtype=np.bool_)
            levels.append((active[kept], parents[kept], kernel.redo_action(states, backward)[kept]))
            active, states = active[going_on], parents[going_on]
    members, parents, actions = (np.concatenate(column) for column in zip(*reversed(levels)))
    order = np.argsort(members, kind="stable")  # levels are in the order of time now
    offsets = np.concatenate([[0], np.cumsum(np.bincount(members, minlength=len(terminal)))])
    return evaluate(
        kernel, policy, terminal, offsets, parents[order], actions[order], condition=condition, workspace=workspace
    )


def _no_preference(rows: int, n_actions: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs of `choose` for which all allowed actions are equally likely."""
    return torch.zeros(rows, 1), torch.zeros(n_actions, 1), torch.zeros(n_actions)
