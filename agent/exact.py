"""Exact terminating distributions: probability mass pushed through the DAG, compared with R/Z.

P_T(x) is the probability that the sampler ends in x, summed over all build orders. On worlds that can be enumerated
nothing is estimated: every state's action probabilities are computed, and the mass of each state flows to its children.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.learner import learned_log_z
from agent.policy import Policy, masked_log_softmax
from envs.protocol import EnumeratedWorld, TransitionKernel

_CHUNK = 4096


@dataclass(frozen=True)
class ExactComparison:
    """Learned against target distribution over the objects of an enumerated world.

    Attributes:
        objects: terminal states [object, *state_shape].
        learned: float64 [object], P_T of the sampler; sums to 1.
        target: float64 [object], R/Z; 0 where the reward is invalid.
        log_z: log of the sum of R, natural logarithm.
        log_z_error: learned minus exact log Z.
        total_variation: half the L1 distance of learned and target, in [0, 1].
        jensen_shannon: Jensen-Shannon divergence in nats, in [0, log 2].
        n_invalid: objects without a valid reward.
    """

    objects: np.ndarray
    learned: np.ndarray
    target: np.ndarray
    log_z: float
    log_z_error: float
    total_variation: float
    jensen_shannon: float
    n_invalid: int


def action_log_probabilities(
    kernel: TransitionKernel, policy: Policy, states: np.ndarray, condition: Tensor | None = None
) -> np.ndarray:
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
    return np.concatenate(parts)


def terminating_distribution(world: EnumeratedWorld, log_pf: np.ndarray) -> np.ndarray:
    """P_T over the world's objects (states that can stop, in order), float64 [object].

    Args:
        log_pf: [state, n_actions], as `action_log_probabilities(kernel, policy, world.states)` gives it.
    """
    probability = np.exp(log_pf)
    mass = np.zeros(len(world.states))
    mass[0] = 1.0
    # Edges come level by level; the smallest child still to come is the first state of the next level, so the states
    # below it have received all their mass.
    first = 0
    while first < len(world.parent):
        last = int(np.searchsorted(world.parent, world.child[first:].min()))
        parent, child, action = world.parent[first:last], world.child[first:last], world.action[first:last]
        np.add.at(mass, child, mass[parent] * probability[parent, action])
        first = last
    return (mass * probability[:, -1])[world.can_stop]


def compare_exactly(
    kernel: TransitionKernel,
    policy: Policy,
    log_reward: Callable[[np.ndarray], np.ndarray],
    condition: Tensor | None = None,
) -> ExactComparison:
    """Enumerates the world and compares the sampler's terminating distribution with R/Z.

    Args:
        log_reward: log R of terminal states, NaN where invalid.
        condition: float32 [n_conditions] for a conditional policy; `log_reward` is the one it stands for.

    Raises:
        ValueError: when the world is too large to enumerate.
    """
    world = kernel.enumerate()
    learned = terminating_distribution(world, action_log_probabilities(kernel, policy, world.states, condition))
    objects = world.states[world.can_stop]
    objects = kernel.step(objects, np.full(len(objects), kernel.n_actions - 1))
    log_r = log_reward(objects)
    valid = ~np.isnan(log_r)
    log_z = float(np.logaddexp.reduce(log_r[valid]))
    target = np.where(valid, np.exp(np.where(valid, log_r, 0.0) - log_z), 0.0)
    return ExactComparison(
        objects,
        learned,
        target,
        log_z,
        learned_log_z(policy, torch.from_numpy(kernel.encode(kernel.initial(1))), condition) - log_z,
        total_variation(learned, target),
        jensen_shannon(learned, target),
        int((~valid).sum()),
    )


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Half the L1 distance of two distributions."""
    return float(0.5 * np.abs(p - q).sum())


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence in nats; 0 log 0 = 0."""
    m = 0.5 * (p + q)
    return float(0.5 * (_kullback_leibler(p, m) + _kullback_leibler(q, m)))


def _kullback_leibler(p: np.ndarray, q: np.ndarray) -> float:
    positive = p > 0
    return float((p[positive] * np.log(p[positive] / q[positive])).sum())


def perfect_sampler_floor(target: np.ndarray, n_samples: int, rng: np.random.Generator, repeats: int = 20) -> float:
    """Mean total variation that `n_samples` draws from the target itself show against it: the noise of a sampled TV."""
    draws = rng.multinomial(n_samples, target / target.sum(), size=repeats)
    return float(np.mean([total_variation(d / n_samples, target) for d in draws]))


def log_terminating_probability(
    kernel: TransitionKernel, policy: Policy, terminal: np.ndarray, condition: Tensor | None = None
) -> np.ndarray:
    """log P_T of given objects, float64 [object], exact in worlds of any size.

    Only the states from which an object is reachable and that lie on its build orders matter: for a formula of k
    elements these are its 2^k parts. All build orders are summed.

    Args:
        condition: float32 [n_conditions] for a conditional policy.
    """
    out = np.empty(len(terminal))
    for i in range(0, len(terminal), _CHUNK // 16):
        out[i : i + _CHUNK // 16] = _log_terminating_chunk(kernel, policy, terminal[i : i + _CHUNK // 16], condition)
    return out


def _log_terminating_chunk(
    kernel: TransitionKernel, policy: Policy, terminal: np.ndarray, condition: Tensor | None
) -> np.ndarray:
    # Walk back level by level; a node is (object, state). Edges point from a level's nodes to the next level's.
    owner, states = np.arange(len(terminal)), terminal
    levels, edges = [(owner, states)], []
    while True:
        row, backward = np.nonzero(kernel.backward_allowed(states))
        if not len(row):
            break
        parents = kernel.unstep(states[row], backward)
        forward = kernel.redo_action(states[row], backward)
        keyed = np.concatenate([owner[row][:, None], parents.reshape(len(parents), -1)], axis=1)
        unique, inverse = np.unique(keyed, axis=0, return_inverse=True)
        edges.append((row, inverse.reshape(-1), forward))
        owner = unique[:, 0]
        states = unique[:, 1:].astype(terminal.dtype).reshape(-1, *kernel.state_shape)
        levels.append((owner, states))
    # The initial state is reached by all objects after as many steps as they have; gather mass from there down.
    log_mass = [np.full(len(owner), -np.inf) for owner, _ in levels]
    for (_, states), mass in zip(levels, log_mass):
        mass[~kernel.backward_allowed(states).any(axis=1)] = 0.0
    for level in range(len(levels) - 1, 0, -1):
        _, states = levels[level]
        child, parent, action = edges[level - 1]
        log_pf = action_log_probabilities(kernel, policy, states, condition)
        np.logaddexp.at(log_mass[level - 1], child, log_mass[level][parent] + log_pf[parent, action])
    return log_mass[0]
