"""Random moves and Metropolis-Hastings, against all paths enumerated."""

import math
from collections import defaultdict

import numpy as np
import pytest

from oreflow.agent.evaluation.exact import perfect_sampler_floor, total_variation
from oreflow.agent.search.metropolis_hastings import MetropolisHastings
from oreflow.agent.search.random_walks import back_and_forth, random_rollout, random_unroll, uniform_actions
from oreflow.envs.errors import DeadEndError
from tests.support.paths import TINY_KERNELS, Paths, tiny_kernel

GO_ON = 0.4


def stationary(matrix: np.ndarray) -> np.ndarray:
    """The left eigenvector of eigenvalue 1."""
    a = np.concatenate([matrix.T - np.eye(len(matrix)), np.ones((1, len(matrix)))])
    return np.linalg.lstsq(a, np.append(np.zeros(len(matrix)), 1.0), rcond=None)[0]


@pytest.mark.parametrize("name", TINY_KERNELS)
def test_moves_satisfy_detailed_balance(name: str, rng: np.random.Generator) -> None:
    paths = Paths(tiny_kernel(name), GO_ON)
    log_reward = rng.normal(0.0, 2.0, len(paths.objects))
    target = np.exp(log_reward - np.logaddexp.reduce(log_reward))
    matrix = paths.transition_matrix(log_reward)
    assert np.abs(matrix.sum(axis=1) - 1).max() < 1e-12
    flow = target[:, None] * matrix
    assert np.abs(flow - flow.T).max() < 1e-14
    assert (np.abs(flow - flow.T) <= 1e-12 * flow).all()
    assert np.abs(target @ matrix - target).max() < 1e-14
    assert (np.linalg.matrix_power(matrix, 4 * len(matrix)) > 0).all()
    # The ratio matters: without it the chains settle elsewhere.
    assert total_variation(stationary(paths.transition_matrix(log_reward, hastings=False)), target) > 0.02


@pytest.mark.parametrize("go_on", [GO_ON, 1.0])
@pytest.mark.parametrize("name", TINY_KERNELS)
def test_proposals_and_ratios_are_the_enumerated_ones(name: str, go_on: float, rng: np.random.Generator) -> None:
    """Ties the batched code to the brute force: right ratios, at the right frequencies."""
    kernel = tiny_kernel(name)
    paths = Paths(kernel, go_on)
    n_objects = len(paths.objects)
    exact: dict[tuple[int, int, float], float] = defaultdict(float)
    for x in range(n_objects):
        for y, forward, reverse in paths.moves(x):
            if forward:  # with go_on = 1 the shorter walks back have probability 0
                exact[x, y, round(math.log(reverse / forward), 9)] += forward / n_objects
    assert sum(exact.values()) == pytest.approx(1.0, abs=1e-12)
    n = 60_000
    start = np.arange(n) % n_objects
    proposal, log_hastings = back_and_forth(kernel, paths.objects[start], go_on, rng)
    assert log_hastings.dtype == np.float64
    counts = dict.fromkeys(exact, 0)
    for x, y, ratio in zip(start.tolist(), paths.index_of(proposal).tolist(), log_hastings.tolist()):
        key = next((x, y, r) for r in (round(ratio + shift, 9) for shift in (0, -1e-10, 1e-10)) if (x, y, r) in exact)
        counts[key] += 1
    probability = np.array(list(exact.values()))
    frequency = np.array(list(counts.values())) / n
    assert total_variation(frequency, probability) < 1.15 * perfect_sampler_floor(probability, n, rng)


@pytest.mark.parametrize("name", TINY_KERNELS)
def test_walks_know_their_probability(name: str, rng: np.random.Generator) -> None:
    """log q is that of a walk with the same ends and length."""
    kernel = tiny_kernel(name)
    paths = Paths(kernel, GO_ON)
    start = paths.objects[np.arange(500) % len(paths.objects)]
    states, log_q, n_steps = random_unroll(kernel, start, GO_ON, rng)
    terminal, log_q_forth, n_forth = random_rollout(kernel, states, rng)
    assert not kernel.is_terminal(states).any()
    assert kernel.is_terminal(terminal).all()
    assert log_q.dtype == log_q_forth.dtype == np.float64
    for i in range(len(start)):
        junction, end = states[i].tobytes(), terminal[i].tobytes()
        back = [walk for walk in paths.back(start[i].tobytes()) if walk[-1] == junction and len(walk) - 1 == n_steps[i]]
        forth = [walk for walk in paths.forth(junction) if walk[-1] == end and len(walk) - 1 == n_forth[i]]
        assert min(abs(math.log(paths.back_probability(walk)) - log_q[i]) for walk in back) < 1e-12
        assert min(abs(math.log(paths.forth_probability(walk)) - log_q_forth[i]) for walk in forth) < 1e-12


def test_go_on_sets_how_far_a_walk_goes_back(rng: np.random.Generator) -> None:
    kernel = tiny_kernel("free")
    objects = Paths(kernel, GO_ON).objects
    states, log_q, n_steps = random_unroll(kernel, objects, 0.0, rng)
    assert (n_steps == 1).all()
    assert (log_q == 0.0).all()
    assert np.array_equal(states[:, :-1], objects[:, :-1])
    states, _, n_steps = random_unroll(kernel, objects, 1.0, rng)
    assert np.array_equal(states, kernel.initial(len(objects)))
    assert np.array_equal(n_steps, 1 + (objects[:, :-1] > 0).sum(axis=1))
    proposal, log_hastings = back_and_forth(kernel, objects, 0.0, rng)
    grown = (proposal != objects).any(axis=1)
    assert grown.any()
    assert (log_hastings[grown] == -np.inf).all()  # one step never leads back
    assert (log_hastings[~grown] == 0.0).all()


def test_empty_batches_and_dead_ends(rng: np.random.Generator) -> None:
    kernel = tiny_kernel("free")
    none = kernel.initial(0)
    assert back_and_forth(kernel, none, GO_ON, rng)[0].shape == none.shape
    assert random_rollout(kernel, none, rng)[1].shape == (0,)
    with pytest.raises(DeadEndError, match="no action is allowed"):
        random_rollout(kernel, Paths(kernel, GO_ON).objects, rng)
    with pytest.raises(DeadEndError, match="no action is allowed"):
        random_unroll(kernel, kernel.initial(1), GO_ON, rng)


def test_uniform_actions_are_uniform(rng: np.random.Generator) -> None:
    allowed = np.tile(np.array([[True, False, True, True], [False, True, False, False]]), (20_000, 1))
    actions, n_choices = uniform_actions(allowed, rng)
    assert n_choices[:2].tolist() == [3, 1]
    assert (actions[1::2] == 1).all()
    counts = np.bincount(actions[::2], minlength=4)
    assert counts[1] == 0
    assert np.abs(counts[[0, 2, 3]] / 20_000 - 1 / 3).max() < 0.015


@pytest.mark.parametrize("name", ["hard", "grid"])
def test_long_chains_reach_r_over_z(name: str, rng: np.random.Generator) -> None:
    """Within the noise of correlated samples, which the exact transition matrix predicts.

    For a function f with mean 0 under pi, the asymptotic variance of its average along a chain is
    <f, (2 Z - I) f>_pi with the fundamental matrix Z = (I - K + 1 pi^T)^-1 (Kemeny & Snell 1960, chapter 4).
    """
    kernel = tiny_kernel(name)
    paths = Paths(kernel, 0.5)
    log_reward = rng.normal(0.0, 1.5, len(paths.objects))
    target = np.exp(log_reward - np.logaddexp.reduce(log_reward))
    matrix = paths.transition_matrix(log_reward)
    searcher = MetropolisHastings(kernel, n_chains=200, go_on=0.5, thinning=1)
    for _ in range(100):
        searcher.tell(log_reward[paths.index_of(searcher.propose(200, rng))], rng)
    n = 200 * 400
    drawn = searcher.draw(n, rng, lambda states: log_reward[paths.index_of(states)])
    frequency = np.bincount(paths.index_of(drawn), minlength=len(target)) / n

    identity = np.eye(len(target))
    fundamental = np.linalg.inv(identity - matrix + target[None, :])
    centred = identity - target[None, :]
    variance = np.einsum("xi,x,xy,yi->i", centred, target, 2 * fundamental - identity, centred)
    floor = 0.5 * np.sqrt(2 * variance / (math.pi * n)).sum()
    distance = total_variation(frequency, target)
    assert 0.6 * floor < distance < 1.4 * floor
    uncorrected = stationary(paths.transition_matrix(log_reward, hastings=False))
    assert total_variation(uncorrected, target) > 3 * floor
