"""Random feasible objects, Metropolis-Hastings chains, genetic and local search: what they promise their caller."""

from collections.abc import Callable

import numpy as np
import pytest

from oreflow.agent.errors import TrainingError
from oreflow.agent.search.genetic import Genetic, crossover, first_occurrences
from oreflow.agent.search.local_search import local_search
from oreflow.agent.search.metropolis_hastings import MetropolisHastings
from oreflow.agent.search.random_walks import random_rollout, random_unroll
from oreflow.agent.search.searcher import RandomFeasible, Searcher
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.contract.protocol import TransitionKernel
from tests.support.paths import Grid, Paths, tiny_kernel
from tests.support.worlds import kernel

SEARCHERS: dict[str, Callable[[TransitionKernel], Searcher]] = {
    "random": RandomFeasible,
    "mcmc": lambda k: MetropolisHastings(k, n_chains=12, thinning=3),
    "genetic": lambda k: Genetic(k, population=12),
}


def near(k: CompositionKernel, formula_state: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """log R that falls with the distance of counts from those of one object."""
    return lambda states: -np.abs(states.astype(float) - formula_state).sum(axis=1)


def partly_invalid(states: np.ndarray) -> np.ndarray:
    """log R that is NaN for the objects with more than one atom of the first element."""
    return np.where(states[:, 0] > 1, np.nan, states.sum(axis=1, dtype=float))


def assert_objects(k: CompositionKernel, states: np.ndarray) -> None:
    assert k.is_terminal(states).all()
    assert np.array_equal(k.states_of(k.objects(states)), states)


def rounds(searcher: Searcher, sizes: list[int], rng: np.random.Generator) -> list[np.ndarray]:
    """Proposals of rounds of these sizes."""
    out = []
    for n in sizes:
        out.append(searcher.propose(n, rng))
        searcher.tell(partly_invalid(out[-1]), rng)
    return out


@pytest.mark.parametrize("world", ["off", "hard", "hard_canonical", "groups", "large"])
@pytest.mark.parametrize("name", SEARCHERS)
def test_proposals_are_objects_in_any_number(name: str, world: str, rng: np.random.Generator) -> None:
    k = kernel(world)
    searcher = SEARCHERS[name](k)
    sizes = [12, 12, 5, 12, 1, 30, 12]
    for n, states in zip(sizes, rounds(searcher, sizes, rng)):
        assert states.shape == (n, *k.state_shape)
        assert states.dtype == k.initial(1).dtype
        assert_objects(k, states)
    for n in (0, 1, 7, 50):
        drawn = searcher.draw(n, rng, partly_invalid)
        assert drawn.shape == (n, *k.state_shape)
        assert_objects(k, drawn)


@pytest.mark.parametrize("name", SEARCHERS)
def test_kernels_without_chemistry_do_as_well(name: str, rng: np.random.Generator) -> None:
    searcher = SEARCHERS[name](Grid(6))
    for n in (12, 12, 5):
        states = searcher.propose(n, rng)
        assert states.shape == (n, 2, 2)
        searcher.tell(states[:, 0].sum(axis=1).astype(float), rng)
    assert searcher.draw(9, rng, lambda states: states[:, 0].sum(axis=1).astype(float)).shape == (9, 2, 2)


@pytest.mark.parametrize("told", [1, 4])
@pytest.mark.parametrize("name", SEARCHERS)
def test_arrays_resume_exactly(name: str, told: int, rng: np.random.Generator) -> None:
    k = kernel("hard")
    searcher = SEARCHERS[name](k)
    rounds(searcher, [12, 5, 12, 12][:told], rng)
    saved, state = {key: value.copy() for key, value in searcher.arrays().items()}, rng.bit_generator.state
    expected = [*rounds(searcher, [12, 12, 5], rng), searcher.draw(40, rng, partly_invalid)]
    last = searcher.arrays()
    resumed = SEARCHERS[name](k)
    resumed.propose(3, np.random.default_rng(0))  # and left alone
    resumed.load_arrays(saved)
    rng.bit_generator.state = state
    found = [*rounds(resumed, [12, 12, 5], rng), resumed.draw(40, rng, partly_invalid)]
    assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))
    assert last.keys() == resumed.arrays().keys()
    for key, value in resumed.arrays().items():
        assert value.dtype == last[key].dtype
        assert np.array_equal(value, last[key], equal_nan=True)


def test_a_proposal_that_is_never_scored_leaves_no_trace(rng: np.random.Generator) -> None:
    for name in ("mcmc", "genetic"):
        searcher = SEARCHERS[name](kernel("off"))
        rounds(searcher, [12, 12], rng)
        before = searcher.arrays()
        searcher.propose(12, rng)
        assert all(np.array_equal(value, before[key], equal_nan=True) for key, value in searcher.arrays().items())
        searcher.load_arrays(before)
        with pytest.raises(RuntimeError, match="propose before tell"):
            searcher.tell(np.zeros(12), rng)


def test_chains_never_sit_on_invalid_objects(rng: np.random.Generator) -> None:
    k = kernel("off")
    searcher = MetropolisHastings(k, n_chains=40)
    figures = searcher.tell(partly_invalid(searcher.propose(40, rng)), rng)
    assert 0 < figures["chains_started"] < 40
    assert np.isnan(figures["acceptance"])
    for _ in range(30):
        figures = searcher.tell(partly_invalid(searcher.propose(40, rng)), rng)
    assert figures["chains_started"] == 40
    assert 0 < figures["share_moved"] <= figures["acceptance"] < 1
    assert np.array_equal(searcher.log_reward, partly_invalid(searcher.states))
    assert np.isfinite(partly_invalid(searcher.draw(100, rng, partly_invalid))).all()


def test_chains_take_turns_and_draw_in_order(rng: np.random.Generator) -> None:
    k = kernel("off")
    searcher = MetropolisHastings(k, n_chains=6, thinning=4)
    rounds(searcher, [6] * 10, rng)
    before = searcher.states.copy()
    rounds(searcher, [4], rng)
    assert np.array_equal(searcher.states[4:], before[4:])
    n_scored = []

    def score(states: np.ndarray) -> np.ndarray:
        n_scored.append(len(states))
        return partly_invalid(states)

    drawn = searcher.draw(8, rng, score)  # chains 4, 5, 0, 1, 2, 3, then 4, 5
    assert n_scored == [6] * 4 + [2] * 4
    assert np.array_equal(drawn[2:6], searcher.states[:4])
    assert np.array_equal(drawn[6:], searcher.states[4:])
    rounds(searcher, [9], rng)
    assert len(searcher.states) == 9


@pytest.mark.parametrize("name", ["mcmc", "genetic"])
def test_no_valid_reward_at_all(name: str, rng: np.random.Generator) -> None:
    searcher = SEARCHERS[name](kernel("off"))
    for _ in range(5):
        searcher.tell(np.full(12, np.nan), rng) if len(searcher.propose(12, rng)) else None
    with pytest.raises(TrainingError, match="mend the reward"):
        searcher.draw(5, rng, lambda states: np.full(len(states), np.nan))


def test_arguments_out_of_range() -> None:
    k = kernel("off")
    for arguments in ({"n_chains": 0}, {"n_chains": 1, "go_on": 0.0}, {"n_chains": 1, "thinning": 0}):
        with pytest.raises(ValueError, match="expected"):
            MetropolisHastings(k, **arguments)
    for arguments in ({"population": 0}, {"population": 1, "go_on": 1.5}, {"population": 1, "tournament": 0}):
        with pytest.raises(ValueError, match="expected"):
            Genetic(k, **arguments)


def calls_until(searcher: Searcher, score: Callable[[np.ndarray], np.ndarray], rng: np.random.Generator) -> int:
    """Reward calls until log R = 0 comes up, counted by object."""
    for n_before in range(0, 20_000, 16):
        log_reward = score(searcher.propose(16, rng))
        if (log_reward == 0).any():
            return n_before + int(np.argmax(log_reward == 0)) + 1
        searcher.tell(log_reward, rng)
    return 20_000


def test_genetic_search_needs_fewer_reward_calls_than_random_search() -> None:
    k = kernel("hard")
    world = k.enumerate()
    objects = world.states[world.can_stop].copy()
    objects[:, -1] = 1
    calls: dict[str, list[int]] = {"random": [], "genetic": []}
    for seed in range(15):
        rng = np.random.default_rng(seed)
        score = near(k, objects[rng.integers(len(objects))])
        for name, searcher in (("random", RandomFeasible(k)), ("genetic", Genetic(k, population=16))):
            calls[name].append(calls_until(searcher, score, rng))
    assert np.median(calls["genetic"]) < 0.5 * np.median(calls["random"])


def test_population_is_distinct_sorted_and_never_loses_its_best(rng: np.random.Generator) -> None:
    k = kernel("hard")
    searcher = Genetic(k, population=20)
    best = -np.inf
    seen: dict[bytes, float] = {}
    for _ in range(12):
        states = searcher.propose(20, rng)
        log_reward = partly_invalid(states)
        figures = searcher.tell(log_reward, rng)
        seen |= {s.tobytes(): r for s, r in zip(states, log_reward.tolist()) if r == r}
        best = max(best, figures["best_log_reward"])
        assert figures["best_log_reward"] == best == searcher.log_reward[0]
        assert len(first_occurrences(searcher.states)) == len(searcher.states) <= 20
        assert np.array_equal(searcher.log_reward, partly_invalid(searcher.states))
        assert np.array_equal(searcher.log_reward, np.sort(list(seen.values()))[::-1][: len(searcher.log_reward)])
    assert len(searcher.states) == 20


def test_offspring_are_new_while_there_is_anything_new(rng: np.random.Generator) -> None:
    searcher = Genetic(kernel("large"), population=50)
    searcher.tell(-searcher.propose(50, rng).sum(axis=1).astype(float), rng)
    offspring = searcher.propose(50, rng)
    assert len(first_occurrences(np.concatenate([searcher.states, offspring]))) == len(searcher.states) + 50
    tiny = Genetic(tiny_kernel("free"), population=100)  # more than there are objects
    for states in rounds(tiny, [100] * 5, rng):
        assert len(states) == 100


def test_genetic_draws_the_population_and_then_offspring(rng: np.random.Generator) -> None:
    k = kernel("hard")
    searcher = Genetic(k, population=20)
    rounds(searcher, [20] * 6, rng)
    population = {state.tobytes() for state in searcher.states}
    n_scored = 0

    def score(states: np.ndarray) -> np.ndarray:
        nonlocal n_scored
        n_scored += len(states)
        return partly_invalid(states)

    first = searcher.draw(15, rng, score)
    rest = searcher.draw(5, rng, score)
    assert n_scored == 0
    assert {state.tobytes() for state in np.concatenate([first, rest])} == population
    further = searcher.draw(50, rng, score)
    assert np.isfinite(partly_invalid(further)).all()
    assert 50 <= n_scored <= 200


def test_crossover_joins_the_steps_of_two_parents(rng: np.random.Generator) -> None:
    k = kernel("large")
    one, other = (random_rollout(k, k.initial(400), rng)[0] for _ in range(2))
    child = crossover(k, one, other, rng)
    assert_objects(k, child)
    counts, a, b = (states[:, :-1] for states in (child, one, other))
    from_one, from_other = (counts > 0) & (counts == a), (counts > 0) & (counts == b)
    both = from_one.any(axis=1) & from_other.any(axis=1)
    assert both.mean() > 0.7
    foreign = (counts > 0) & ~from_one & ~from_other
    assert foreign.sum() < 0.25 * (counts > 0).sum()


def test_local_search_climbs(rng: np.random.Generator) -> None:
    k = kernel("hard")
    paths = Paths(k, 0.5)
    score = near(k, paths.objects[7])
    start = random_rollout(k, k.initial(30), rng)[0]
    log_reward = score(start)
    log_reward[:3] = np.nan
    before, rewards_before = start.copy(), log_reward.copy()
    n_scored = []

    def counted(states: np.ndarray) -> np.ndarray:
        n_scored.append(len(states))
        return np.where(states[:, 1] == 3, np.nan, score(states))

    found, reward = local_search(k, start, log_reward, counted, 1, 0.5, rng)
    assert (reward >= np.nan_to_num(log_reward, nan=-np.inf))[~np.isnan(reward)].all()
    found, reward = local_search(k, found, reward, counted, 60, 0.5, rng)
    assert np.array_equal(start, before)
    assert np.array_equal(log_reward, rewards_before, equal_nan=True)
    assert_objects(k, found)
    assert np.array_equal(reward, score(found))
    assert (found[:, 1] != 3).all() or not np.isnan(rewards_before[found[:, 1] == 3]).any()
    assert reward.mean() > np.nanmean(rewards_before) + 2
    assert all(0 < n <= 30 for n in n_scored)
    assert sum(n_scored) < 61 * 30  # unchanged objects cost nothing
    kept, same = local_search(k, start, log_reward, counted, 0, 0.5, rng)
    assert np.array_equal(kept, start)
    assert np.array_equal(same, log_reward, equal_nan=True)


def test_local_search_walks_as_it_is_told(rng: np.random.Generator) -> None:
    k = kernel("off")
    start = random_rollout(k, k.initial(20), rng)[0]
    called = []

    def unroll(kernel: TransitionKernel, terminal: np.ndarray, go_on: float, rng: np.random.Generator):
        called.append("unroll")
        return random_unroll(kernel, terminal, 0.0, rng)

    def rollout(kernel: TransitionKernel, states: np.ndarray, rng: np.random.Generator):
        called.append("rollout")
        return kernel.step(states, np.full(len(states), kernel.n_actions - 1)), np.zeros(len(states)), np.ones(1)

    found, _ = local_search(k, start, np.zeros(20), pytest.fail, 3, 0.5, rng, unroll=unroll, rollout=rollout)
    assert called == ["unroll", "rollout"] * 3
    assert np.array_equal(found, start)  # un-stopped and stopped again: nothing to score
