"""Exactness: analytic solutions, mass conservation, agreement with sampling, and log P of objects."""

import math

import numpy as np
import pytest
import torch

from oreflow.agent.evaluation.exact import (
    compare_exactly,
    jensen_shannon,
    perfect_sampler_floor,
    terminating_distribution,
    total_variation,
)
from oreflow.agent.objectives.balance_losses import trajectory_balance
from oreflow.agent.policy.network import Policy, masked_log_softmax
from oreflow.agent.rollout.log_probabilities import action_log_probabilities, log_terminating_probability
from oreflow.agent.rollout.rollout import forward_rollout
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.contract.protocol import EnumeratedWorld
from tests.support.worlds import SPACES, kernel

SMALL = [name for name in SPACES if name != "large"]


def untrained(k: CompositionKernel, learned_backward: bool = False) -> Policy:
    """Weights large enough that the policy is far from uniform."""
    generator = torch.Generator().manual_seed(3)
    policy = Policy(k.token_factors, k.action_factors, k.n_backward_actions, [32, 32], learned_backward, generator)
    with torch.no_grad():
        for parameter in policy.head.parameters():
            parameter.mul_(30)
    return policy


def analytic_log_pf(k: CompositionKernel, world: EnumeratedWorld, log_reward: np.ndarray) -> np.ndarray:
    """The exact trajectory-balance solution for uniform P_B: flows summed back from the objects.

    F(s) = R(s) + sum over children c of F(c) P_B(s | c),
    P_F(c | s) = F(c) P_B(s | c) / F(s), P_F(stop | s) = R(s) / F(s).
    """
    flow = np.zeros(len(world.states))
    flow[world.can_stop] = np.exp(log_reward)
    n_parents = np.maximum(k.backward_allowed(world.states).sum(axis=1), 1)
    for edge in range(len(world.parent) - 1, -1, -1):  # edges are ordered by parent, so children come first backwards
        flow[world.parent[edge]] += flow[world.child[edge]] / n_parents[world.child[edge]]
    probability = np.zeros((len(world.states), k.n_actions))
    probability[world.parent, world.action] = flow[world.child] / n_parents[world.child] / flow[world.parent]
    stop_flow = np.zeros(len(world.states))
    stop_flow[world.can_stop] = np.exp(log_reward)
    probability[:, -1] = stop_flow / flow
    with np.errstate(divide="ignore"):
        return np.log(probability)


@pytest.mark.parametrize("name", SMALL)
def test_analytic_solution_reaches_r_over_z(name: str, rng: np.random.Generator) -> None:
    """Ties enumeration, backward masks and mass pushing together: any slip in one of them breaks proportionality."""
    k = kernel(name)
    world = k.enumerate()
    log_reward = rng.normal(0.0, 2.0, world.n_objects)
    log_pf = analytic_log_pf(k, world, log_reward)
    assert np.allclose(np.exp(log_pf).sum(axis=1), 1.0, atol=1e-12)
    assert np.array_equal(np.isfinite(log_pf), k.forward_allowed(world.states))
    learned = terminating_distribution(world, log_pf)
    target = np.exp(log_reward - np.logaddexp.reduce(log_reward))
    assert learned.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.abs(learned - target).max() < 1e-12


def test_trajectory_balance_is_zero_at_the_analytic_solution_and_only_there(rng: np.random.Generator) -> None:
    k = kernel("hard")
    world = k.enumerate()
    log_reward = rng.normal(0.0, 1.0, world.n_objects)
    log_pf = analytic_log_pf(k, world, log_reward)
    index = {row.tobytes(): i for i, row in enumerate(world.states)}
    reward_of = dict(zip(np.flatnonzero(world.can_stop).tolist(), log_reward))
    trajectories = forward_rollout(k, untrained(k), 64, rng)
    rows = np.array([index[row.tobytes()] for row in trajectories.states])
    pf = trajectories.total(torch.from_numpy(log_pf[rows, trajectories.actions]))
    pb = trajectories.total(trajectories.log_pb)
    before_stop = trajectories.terminal.copy()
    before_stop[:, -1] = 0
    log_r = torch.tensor([reward_of[index[row.tobytes()]] for row in before_stop])
    log_z = torch.tensor(float(np.logaddexp.reduce(log_reward)), dtype=torch.float64)
    assert trajectory_balance(log_z, pf, pb, log_r).item() < 1e-10
    assert trajectory_balance(log_z + 0.1, pf, pb, log_r).item() == pytest.approx(0.01, rel=1e-3)
    assert trajectory_balance(log_z, trajectories.total(trajectories.log_pf).detach(), pb, log_r).item() > 0.1


@pytest.mark.parametrize("name", SMALL)
def test_mass_sums_to_one_for_any_policy(name: str) -> None:
    k = kernel(name)
    world = k.enumerate()
    learned = terminating_distribution(world, action_log_probabilities(k, untrained(k), world.states))
    assert learned.sum() == pytest.approx(1.0, abs=1e-12)
    assert (learned >= 0).all()


def test_exact_distribution_equals_the_sampled_one(rng: np.random.Generator) -> None:
    k = kernel("hard")
    policy = untrained(k)
    world = k.enumerate()
    learned = terminating_distribution(world, action_log_probabilities(k, policy, world.states))
    n = 40_000
    with torch.no_grad():
        terminal = forward_rollout(k, policy, n, rng).terminal
    objects = world.states[world.can_stop].copy()
    objects[:, -1] = 1
    index = {row.tobytes(): i for i, row in enumerate(objects)}
    frequencies = np.bincount([index[row.tobytes()] for row in terminal], minlength=len(objects)) / n
    floor = perfect_sampler_floor(learned, n, rng)
    assert total_variation(frequencies, learned) < 1.25 * floor
    # The comparison is sharp: shifted by one object, the same samples are far off.
    assert total_variation(np.roll(frequencies, 1), learned) > 5 * floor


@pytest.mark.parametrize("name", SMALL)
def test_log_probability_of_objects_sums_all_build_orders(name: str) -> None:
    k = kernel(name)
    policy = untrained(k)
    world = k.enumerate()
    learned = terminating_distribution(world, action_log_probabilities(k, policy, world.states))
    objects = world.states[world.can_stop].copy()
    objects[:, -1] = 1
    assert np.allclose(np.exp(log_terminating_probability(k, policy, objects)), learned, atol=1e-13)


def test_always_stopping_policy_ends_in_the_smallest_objects() -> None:
    """Stop whenever allowed, else move uniformly: the first object on a path takes all its mass."""
    k = kernel("off")
    world = k.enumerate()
    allowed = k.forward_allowed(world.states)
    probability = np.where(allowed[:, -1:], 0.0, allowed / np.maximum(allowed.sum(axis=1, keepdims=True), 1))
    probability[:, -1] = allowed[:, -1]
    with np.errstate(divide="ignore"):
        learned = terminating_distribution(world, np.log(probability))
    objects = k.describe(world.states[world.can_stop])
    by_name = dict(zip((text.rstrip("…") for text in objects), learned))
    n_first = int(allowed[0].sum())
    assert by_name["Li"] == pytest.approx(1 / n_first, abs=1e-15)  # Li1, Mn1, O1 stop at once
    assert by_name["LiOMn"] == 0.0  # every order passes a one-atom object first
    assert learned.sum() == pytest.approx(1.0)


def test_comparison_sets_invalid_objects_aside() -> None:
    k = kernel("off")
    policy = untrained(k)

    def log_reward(states: np.ndarray) -> np.ndarray:
        return np.where(states[:, 0] > 0, np.nan, 1.0)

    result = compare_exactly(k, policy, log_reward)
    assert 0 < result.n_invalid < len(result.objects)
    n_valid = len(result.objects) - result.n_invalid
    assert result.log_z == pytest.approx(1.0 + math.log(n_valid))
    assert result.target[~np.isnan(log_reward(result.objects))] == pytest.approx(1 / n_valid)


def test_distances_by_hand() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    assert total_variation(p, q) == 0.5
    m = (p + q) / 2
    by_hand = 0.5 * (2 * 0.5 * math.log(0.5 / m[0])) + 0.5 * (
        2 * 0.25 * math.log(0.25 / m[0]) + 0.5 * math.log(0.5 / m[2])
    )
    assert jensen_shannon(p, q) == pytest.approx(by_hand)
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(math.log(2))


def test_noise_floor_matches_the_known_value(rng: np.random.Generator) -> None:
    """A perfect sampler of 256 equally likely states shows 0.063 at 10 000 samples."""
    assert perfect_sampler_floor(np.full(256, 1 / 256), 10_000, rng, repeats=50) == pytest.approx(0.0637, abs=0.002)


def test_masked_log_softmax_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0, 50.0], [0.0, 0.0, 0.0]])
    allowed = torch.tensor([[True, True, False], [False, True, True]])
    log_p = masked_log_softmax(logits, allowed)
    assert log_p[0, 2] == -torch.inf
    assert log_p[0, :2].exp().tolist() == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    assert log_p[1, 1:].exp().tolist() == [0.5, 0.5]
