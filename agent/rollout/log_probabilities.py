"""log P of actions and of objects under a policy or a prior: exact in worlds of any size, all build orders summed."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from oreflow.agent.policy.action_blocks import blocks_of
from oreflow.agent.policy.network import Policy, masked_log_softmax
from oreflow.agent.policy.prior import Prior
from oreflow.agent.policy.strata import Strata, impose_shares
from oreflow.agent.rollout.distinct_rows import distinct
from oreflow.envs.arrays import Floats, Ints, States
from oreflow.envs.contract.labelings import every_labeling, n_parts
from oreflow.envs.contract.protocol import TransitionKernel

_CHUNK = 4096
_STATES = 1024
_MOST_PARTS = 1024
_Edges = Callable[[States, Ints, Ints], Floats]  # of states, the row of each edge's state, and its action


def action_log_probabilities(
    kernel: TransitionKernel, policy: Policy, states: States, condition: Tensor | None = None
) -> Floats:
    """log P_F of all actions, float64 [batch, n_actions], -inf where forbidden.

    Args:
        condition: float32 [n_conditions] for a conditional policy.
    """
    parts = []
    with torch.no_grad():
        for i in range(0, len(states), _CHUNK):
            chunk = states[i : i + _CHUNK]
            conditions = None if condition is None else condition.expand(len(chunk), -1)
            logits, _ = policy(torch.from_numpy(kernel.encode(chunk)), condition=conditions)
            allowed = torch.from_numpy(kernel.forward_allowed(chunk))
            parts.append(masked_log_softmax(logits.double(), allowed).numpy())
    log_p = np.concatenate(parts)
    if policy.strata is not None:
        impose_shares(policy.strata, kernel, states, log_p)
    return log_p


def log_terminating_probability(
    kernel: TransitionKernel, policy: Policy, terminal: States, condition: Tensor | None = None
) -> Floats:
    """log P_T of given objects, float64 [object], exact in worlds of any size; NaN where it would take too long.

    Only the states on an object's build orders matter: for a formula of k elements these are its 2^k parts. The
    probability of reaching a state does not depend on which object it becomes, so objects share them. Where an object
    is several terminal states, their probabilities are summed up. An object of more than 1024 parts (ten different
    sites of a crystal) is left out.

    Args:
        condition: float32 [n_conditions] for a conditional policy.
    """
    parts = n_parts(kernel, terminal)
    short = np.ones(len(terminal), dtype=np.bool_) if parts is None else parts <= _MOST_PARTS
    states, row = every_labeling(kernel, terminal[short])
    edges = partial(_log_probabilities_of_edges, kernel, policy, policy.weights(), condition=condition)
    log_p = _log_terminating(kernel, states, None if parts is None else parts[short][row], edges)
    out = np.full(len(terminal), np.nan)
    summed = np.full(int(short.sum()), -np.inf)
    np.logaddexp.at(summed, row, log_p)
    out[short] = summed
    return out


def _log_terminating(
    kernel: TransitionKernel, terminal: States, n_parts_of: Floats | None, log_probabilities: _Edges
) -> Floats:
    """log P_T of terminal states, float64 [batch].

    Args:
        n_parts_of: float64 [batch], from how many parts each can be built, where that may be many.
        log_probabilities: of actions [edge] taken in states of the kernel.
    """
    log_p = np.full(len(terminal), -np.inf)
    first = 0
    while first < len(terminal):
        last = first + _CHUNK
        if n_parts_of is not None:  # few objects of many parts at once
            sizes = np.cumsum(n_parts_of[first:last])
            last = first + max(1, int(np.searchsorted(sizes, 16 * _CHUNK, side="right")))
        log_p[first:last] = _log_terminating_chunk(kernel, terminal[first:last], log_probabilities)
        first = last
    return log_p


def _log_terminating_chunk(kernel: TransitionKernel, terminal: States, log_probabilities: _Edges) -> Floats:
    # Walk back level by level, each with the distinct parents of the one before and the edges that lead there.
    states, levels = terminal, []
    while True:
        allowed = kernel.backward_allowed(states)
        is_initial = ~allowed.any(axis=1)
        child, backward = np.nonzero(allowed)
        if not len(child):
            break
        parents = kernel.unstep(states[child], backward)
        forward = kernel.redo_action(states[child], backward)
        first, parent = distinct(parents)
        states = parents[first]
        levels.append((is_initial, child, parent, forward, states))
    # Gather mass on the way to the objects; the last states of the walk are initial ones.
    log_mass = np.zeros(len(states))
    with torch.no_grad():
        for is_initial, child, parent, forward, states in reversed(levels):
            through = log_probabilities(states, parent, forward) + log_mass[parent]
            log_mass = np.where(is_initial, 0.0, -np.inf)
            np.logaddexp.at(log_mass, child, through)
    return log_mass


def _log_probabilities_of_edges(
    kernel: TransitionKernel,
    policy: Policy,
    weights: tuple[Tensor, Tensor],
    states: States,
    row: Ints,
    actions: Ints,
    condition: Tensor | None = None,
) -> Floats:
    """log P_F of actions [edge] taken in `states[row]`, float64 [edge]; a few states at a time, as logits are large."""
    order = np.argsort(row, kind="stable")
    bounds = np.searchsorted(row[order], np.arange(0, len(states) + _STATES, _STATES))
    out = np.empty(len(row))
    blocks = blocks_of(kernel)
    for k, i in enumerate(range(0, len(states), _STATES)):
        edges, part = order[bounds[k] : bounds[k + 1]], states[i : i + _STATES]
        conditions = None if condition is None else condition.expand(len(part), -1)
        x, allowed = (
            policy.trunk(torch.from_numpy(kernel.encode(part)), weights, conditions),
            kernel.forward_allowed(part),
        )
        here, taken = row[edges] - i, actions[edges]
        if blocks is None:
            logits = nn.functional.linear(x, weights[1], policy.head_bias)
        else:
            rows = blocks.rows(kernel.action_block(part))
            logits, allowed, here = x.new_zeros(len(part), rows.width), blocks.allowed(allowed, rows), rows.place[here]
            blocks.write_logits(x, weights[1], policy.head_bias, rows, logits)
            taken = blocks.columns(rows, here, taken)
        log_p = masked_log_softmax(logits.double(), torch.from_numpy(allowed))
        out[edges] = log_p[torch.from_numpy(here), torch.from_numpy(taken)].numpy()
    if policy.strata is not None:
        first = (states == kernel.initial(1)).all(axis=tuple(range(1, states.ndim)))[row]
        out[first] = policy.strata.log_probabilities(kernel.n_actions)[actions[first]]
    return out


def log_prior(kernel: TransitionKernel, prior: Prior, states: States) -> Floats:
    """log P0 of terminal states of a world within the prior's, float64 [batch].

    That is P0 of the decoration alone where the prior knows no geometry. In a world whose objects are begun with given
    parts the prior begins there, too, as it does along the trajectories that are trained on. NaN where it would take
    too long, as `log_terminating_probability` says.
    """
    if not getattr(kernel, "begins_with_parts", False):
        return log_terminating_probability(prior.kernel, prior.policy, prior.inclusion.states(states))

    def edges(before: States, row: Ints, actions: Ints) -> Floats:
        theirs, out = prior.inclusion.actions[actions], np.zeros(len(actions))
        known = theirs >= 0
        if known.any():
            of_prior = prior.inclusion.states(before)
            out[known] = _log_probabilities_of_edges(
                prior.kernel, prior.policy, weights, of_prior, row[known], theirs[known]
            )
        return out

    weights = prior.policy.weights()
    parts = n_parts(kernel, states)
    short = np.ones(len(states), dtype=np.bool_) if parts is None else parts <= _MOST_PARTS
    out = np.full(len(states), np.nan)
    out[short] = _log_terminating(kernel, states[short], None if parts is None else parts[short], edges)
    return out


def log_first(prior: Prior, strata: Strata) -> Floats:
    """log of the probability that a prior begins with the first action of each stratum, float64 [stratum].

    0 for an action that leaves the prior where it begins, such as the choice of the number of elements.
    """
    initial = prior.kernel.initial(1)
    log_p = action_log_probabilities(prior.kernel, prior.policy, initial)[0]
    roots = prior.inclusion.states(strata.roots)
    begun = (roots != initial).reshape(len(roots), -1).any(axis=1)
    return np.where(begun, log_p[prior.inclusion.actions[strata.actions]], 0.0)
