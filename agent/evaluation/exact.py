"""Exact terminating distributions: probability mass pushed through the DAG, compared with R/Z.

P_T(x) is the probability that the sampler ends in x, summed over all build orders. On worlds that can be enumerated
nothing is estimated: every state's action probabilities are computed, and the mass of each state flows to its children.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.evaluation.statistics import jensen_shannon
from oreflow.agent.learners.geometry import log_normaliser
from oreflow.agent.policy.network import Policy, learned_log_z, learned_log_z_of_strata
from oreflow.agent.policy.prior import Prior
from oreflow.agent.rollout.log_probabilities import action_log_probabilities, log_first, log_prior
from oreflow.envs.arrays import Floats, States
from oreflow.envs.contract.labelings import HasLabelings
from oreflow.envs.contract.protocol import BuildsGeometry, EnumeratedWorld, TransitionKernel


@dataclass(frozen=True)
class StratumComparison:
    """The same within one stratum, whose share is prescribed.

    Attributes:
        name: of the stratum, such as the number of a space group.
        share: p(g), of the target and of the sampler alike.
        exact_share: what it would be by the exact Z_g, where shares are a power of Z_g as the run has learned it;
            elsewhere the same.
        n_objects: with a valid reward.
        log_z: log of the sum of R within the stratum.
        log_z_error: learned minus exact.
        total_variation: half the L1 distance of the two distributions within the stratum.
    """

    name: str
    share: float
    exact_share: float
    n_objects: int
    log_z: float
    log_z_error: float
    total_variation: float


@dataclass(frozen=True)
class ExactComparison:
    """Learned against target distribution over the objects of an enumerated world.

    Attributes:
        objects: terminal states [object, *state_shape].
        learned: float64 [object], P_T of the sampler; sums to 1.
        target: float64 [object], R/Z, or p(g) R/Z_g under prescribed shares; 0 where the reward is invalid.
        log_z: log of the sum of R, natural logarithm.
        log_z_error: learned minus exact log Z.
        total_variation: half the L1 distance of learned and target, in [0, 1].
        jensen_shannon: Jensen-Shannon divergence in nats, in [0, log 2].
        n_invalid: objects without a valid reward.
        strata: each stratum by itself, where shares are prescribed; those without a valid object are left out, and the
            others share what they had.
    """

    objects: States
    learned: Floats
    target: Floats
    log_z: float
    log_z_error: float
    total_variation: float
    jensen_shannon: float
    n_invalid: int
    strata: tuple[StratumComparison, ...] = ()

    @property
    def shares_total_variation(self) -> float:
        """Half the L1 distance of the shares of the strata from those by the exact Z_g: 0 where shares are given."""
        return float(0.5 * sum(abs(stratum.share - stratum.exact_share) for stratum in self.strata))


def terminating_distribution(world: EnumeratedWorld, log_pf: Floats) -> Floats:
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
    log_reward: Callable[[States], Floats],
    condition: Tensor | None = None,
    prior: Prior | None = None,
    tau: float = 1.0,
    log_decoration: Callable[[States], Floats] | None = None,
) -> ExactComparison:
    """Enumerates the world and compares the sampler's terminating distribution with R/Z.

    Args:
        log_reward: log R of terminal states, an object's R shared out among the states that it is; NaN where invalid.
        condition: float32 [n_conditions] for a conditional policy; `log_reward` is the one it stands for.
        prior: whose law P0 the target is multiplied by, P0(x) R(x)^(1/tau)/Z.
        tau: with a prior.
        log_decoration: the part of log R that reads no geometry, where geometries have a normaliser of their own.

    Raises:
        ValueError: when the world is too large to enumerate.
    """
    world = kernel.enumerate()
    learned = terminating_distribution(world, action_log_probabilities(kernel, policy, world.states, condition))
    objects = world.states[world.can_stop]
    objects = kernel.step(objects, np.full(len(objects), kernel.n_actions - 1))
    log_r = log_reward(objects) / tau
    if log_decoration is not None:
        log_r = log_r - _log_geometries(kernel, objects, log_r - log_decoration(objects) / tau)
    if prior is not None:
        log_r = log_r + log_prior(kernel, prior, objects)
    if isinstance(kernel, HasLabelings):
        objects, learned, log_r = _by_object(kernel, objects, learned, log_r)
    valid = ~np.isnan(log_r)
    log_z = float(np.logaddexp.reduce(log_r[valid]))
    target = np.where(valid, np.exp(np.where(valid, log_r, 0.0) - log_z), 0.0)
    strata: tuple[StratumComparison, ...] = ()
    if policy.strata is not None:
        target, strata = _within_strata(kernel, policy, objects, learned, log_r, prior)
    return ExactComparison(
        objects,
        learned,
        target,
        log_z,
        learned_log_z(policy, torch.from_numpy(kernel.encode(kernel.initial(1))), condition) - log_z,
        total_variation(learned, target),
        jensen_shannon(learned, target),
        int((~valid).sum()),
        strata,
    )


def _within_strata(
    kernel: TransitionKernel, policy: Policy, objects: States, learned: Floats, log_r: Floats, prior: Prior | None
) -> tuple[Floats, tuple[StratumComparison, ...]]:
    """The target p(g) R/Z_g of all objects, and each stratum's comparison."""
    assert policy.strata is not None
    index = policy.strata.of_objects(kernel, objects)
    valid = ~np.isnan(log_r) & (index >= 0)
    learned_log_z = log_z_of_strata(kernel, policy, prior)
    present = np.unique(index[valid]).tolist()
    log_zs = [float(np.logaddexp.reduce(log_r[(index == g) & valid])) for g in present]
    shares = exact = _normalised(policy.strata.log_share[present])
    if policy.strata.power is not None:
        exact = _normalised(policy.strata.power * np.array(log_zs))
    target, found = np.zeros(len(objects)), []
    for g, log_z, share, exact_share in zip(present, log_zs, shares.tolist(), exact.tolist()):
        here = (index == g) & valid
        within = np.exp(log_r[here] - log_z)
        target[here] = share * within
        mass = float(learned[index == g].sum())
        wrong = float(learned[(index == g) & ~valid].sum()) / mass
        distance = 0.5 * (float(np.abs(learned[here] / mass - within).sum()) + wrong)
        error = float(learned_log_z[g]) - log_z
        found.append(
            StratumComparison(policy.strata.names[g], share, exact_share, int(here.sum()), log_z, error, distance)
        )
    return target, tuple(found)


def _normalised(log_weights: Floats) -> Floats:
    return np.exp(log_weights - np.logaddexp.reduce(log_weights))


def _log_geometries(kernel: TransitionKernel, objects: States, log_r: Floats) -> Floats:
    """log of the sum over all geometries of each object's decoration, float64 [object].

    Args:
        log_r: log R_c, the part of log R that reads the geometry; NaN where invalid.
    """
    assert isinstance(kernel, BuildsGeometry)
    _, decoration = np.unique(kernel.decorations(objects), axis=0, return_inverse=True)
    total = np.full(int(decoration.max()) + 1, -np.inf)
    valid = ~np.isnan(log_r)
    np.logaddexp.at(total, decoration.reshape(-1)[valid], log_r[valid])
    sums: Floats = total[decoration.reshape(-1)]
    return sums


def _by_object(kernel: HasLabelings, states: States, learned: Floats, log_r: Floats) -> tuple[States, Floats, Floats]:
    """Sums over the terminal states that are one object: the object, its probability, and its log R."""
    canonical = kernel.labelings(states)[1]
    _, first, group = np.unique(canonical, axis=0, return_index=True, return_inverse=True)
    total = np.full(len(first), -np.inf)
    np.logaddexp.at(total, group.reshape(-1), log_r)
    return canonical[first], np.bincount(group.reshape(-1), learned).astype(np.float64), total


def total_variation(p: Floats, q: Floats) -> float:
    """Half the L1 distance of two distributions."""
    return float(0.5 * np.abs(p - q).sum())


def perfect_sampler_floor(target: Floats, n_samples: int, rng: np.random.Generator, repeats: int = 20) -> float:
    """Mean total variation that `n_samples` draws from the target itself show against it: the noise of a sampled TV."""
    draws = rng.multinomial(n_samples, target / target.sum(), size=repeats)
    return float(np.mean([total_variation(d / n_samples, target) for d in draws]))


def log_z_of_strata(kernel: TransitionKernel, policy: Policy, prior: Prior | None = None) -> Floats:
    """The learned log of the sum of the target's weights over each stratum, float64 [stratum].

    A policy of prescribed shares learns from what follows the first action; with a prior the sum of P0(x) R(x)^(1/tau)
    has the prior's probability of that action as a further factor.
    """
    assert policy.strata is not None
    learned = learned_log_z_of_strata(policy, torch.from_numpy(kernel.encode(policy.strata.roots))).numpy()
    return learned if prior is None else learned + log_first(prior, policy.strata)


def log_target(
    kernel: TransitionKernel,
    policy: Policy,
    states: States,
    log_reward: Floats,
    prior: Prior | None = None,
    tau: float = 1.0,
) -> Floats:
    """log of what a sampler of terminal states is trained to be proportional to, float64 [batch].

    That is log R; with a prior log P0 + log R / tau; with prescribed shares log p(g) - log Z_g more, with the learned
    log Z_g. Where geometries have a normaliser of their own, it is less the learned log Z_D.
    """
    log_reward = log_reward / tau
    if policy.geometry_head is not None:
        with torch.no_grad():
            log_reward = log_reward - log_normaliser(kernel, policy, states).numpy()
    if prior is not None:
        log_reward = log_reward + log_prior(kernel, prior, states)
    if policy.strata is None:
        return log_reward
    index = policy.strata.of_objects(kernel, states)
    of_strata = (policy.strata.log_share - log_z_of_strata(kernel, policy, prior))[index]
    return log_reward + np.where(index < 0, -np.inf, of_strata)
