"""Genetic search on any kernel: an optimiser to compare samplers with, not a sampler of R/Z."""

import numpy as np

from oreflow.agent.errors import TrainingError
from oreflow.agent.search.random_walks import back_and_forth, random_rollout, uniform_actions
from oreflow.agent.search.searcher import MAX_IDLE_ROUNDS, Score
from oreflow.envs.arrays import Arrays, Floats, Ints, States
from oreflow.envs.contract.labelings import canonical
from oreflow.envs.contract.protocol import TransitionKernel

_MAX_REPEATED_MUTATIONS = 10


class Genetic:
    """Evolves a population of distinct objects towards high rewards: (mu + lambda) selection with crossover.

    The first `population` objects are random feasible ones. After that every proposal is an offspring: of two parents
    by `crossover` with probability `crossover_share`, else of one parent by mutation, a `back_and_forth` move. Parents
    win a tournament each. An offspring that the population or its own generation has already is mutated further, as
    its reward would teach nothing. Parents and offspring together are cut to the best `population` distinct objects
    (Beyer & Schwefel 2002, Natural Computing 1, 3), so the best ones are never lost (elitism). Crossover and mutation
    on a graph of build steps follow the idea of Jensen 2019 (Chem. Sci. 10, 3567).

    Args:
        population: mu, the most objects kept. lambda is what the caller asks for at a time, and may change.
        go_on: probability of each further step back of a mutation, in [0, 1].
        crossover_share: in [0, 1].
        tournament: objects of the population, drawn with replacement, of which the best becomes a parent; 1 chooses
            parents blindly.

    Raises:
        ValueError: when an argument is out of range.
    """

    scores_states = False

    def __init__(
        self,
        kernel: TransitionKernel,
        population: int,
        go_on: float = 0.5,
        crossover_share: float = 0.5,
        tournament: int = 3,
    ) -> None:
        if population < 1 or tournament < 1:
            raise ValueError(f"expected population and tournament of at least 1, got {population} and {tournament}")
        if not (0 <= go_on <= 1 and 0 <= crossover_share <= 1):
            raise ValueError(f"expected go_on and crossover_share in [0, 1], got {go_on} and {crossover_share}")
        self.kernel = kernel
        self.population = population
        self.go_on = go_on
        self.crossover_share = crossover_share
        self.tournament = tournament
        self.states = kernel.initial(0)
        """[object, *state_shape], the population, distinct, best first; at most `population` objects."""
        self.log_reward = np.empty(0)
        """float64 [object], falling."""
        self._n_told = 0
        self._pending: np.ndarray | None = None
        self._to_draw: np.ndarray | None = None

    def propose(self, n: int, rng: np.random.Generator) -> States:
        """Random objects while the first population is being built, then offspring; [n, *state_shape]."""
        n_random = n if not len(self.states) else min(n, max(self.population - self._n_told, 0))
        random = random_rollout(self.kernel, self.kernel.initial(n_random), rng)[0]
        self._pending = canonical(self.kernel, np.concatenate([random, self._breed(n - n_random, rng)]))
        return self._pending.copy()

    def tell(self, log_reward: Floats, rng: np.random.Generator) -> dict[str, float]:
        """Selects the next population.

        Returns:
            `population`, its size; `survived`, the share of the objects just proposed that entered it;
            `best_log_reward` and `population_mean_log_reward`, NaN while nothing valid has been found.

        Raises:
            RuntimeError: when nothing was proposed.
        """
        if self._pending is None:
            raise RuntimeError("expected a call of propose before tell")
        proposed, self._pending, self._to_draw = self._pending, None, None
        n_survivors = self._select(proposed, log_reward)
        self._n_told += len(proposed)
        return {
            "population": float(len(self.states)),
            "survived": n_survivors / max(len(proposed), 1),
            "best_log_reward": float(self.log_reward[0]) if len(self.states) else float("nan"),
            "population_mean_log_reward": float(self.log_reward.mean()) if len(self.states) else float("nan"),
        }

    def arrays(self) -> Arrays:
        """Give all that is needed to go on exactly, by name."""
        return {
            "states": self.states.copy(),
            "log_reward": self.log_reward.copy(),
            "n_told": np.array([self._n_told], dtype=np.int64),
        }

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up the state that `arrays` gave."""
        self.states = np.array(arrays["states"])
        self.log_reward = np.array(arrays["log_reward"], dtype=np.float64)
        self._n_told = int(arrays["n_told"][0])
        self._pending = self._to_draw = None

    def draw(self, n: int, rng: np.random.Generator, score: Score) -> States:
        """The population in random order, without repeats; then the offspring of further generations as they come.

        This is no sampler of R/Z: how often an object comes up says nothing about its reward, and objects of the
        population are as good as the search has found. Offspring are not selected before they are drawn (those without
        a valid reward are left out), so they are worse on average. Later calls go on where the last one ended.

        Raises:
            TrainingError: when nothing valid comes up any more.
        """
        if self._to_draw is None:
            self._to_draw = rng.permutation(self.states)
        parts: list[np.ndarray] = []
        n_drawn = idle = 0
        while n_drawn < n:
            if not len(self._to_draw):
                self._to_draw = self._generation(rng, score)
                idle = 0 if len(self._to_draw) else idle + 1
                if idle == MAX_IDLE_ROUNDS:
                    raise TrainingError(
                        f"none of {idle * self.population} offspring has a valid reward; mend the reward"
                    )
            parts.append(self._to_draw[: n - n_drawn])
            self._to_draw = self._to_draw[n - n_drawn :]
            n_drawn += len(parts[-1])
        return np.concatenate(parts) if parts else self.kernel.initial(0)

    def _generation(self, rng: np.random.Generator, score: Score) -> States:
        proposed = self.propose(self.population, rng)
        self._pending = None
        log_reward = score(proposed)
        self._select(proposed, log_reward)
        self._n_told += len(proposed)
        return proposed[np.isfinite(log_reward)]

    def _select(self, proposed: States, log_reward: Floats) -> int:
        """Cuts population and proposed objects to the best distinct ones; how many of the proposed are among them."""
        valid = np.isfinite(log_reward)
        states = np.concatenate([self.states, proposed[valid]])
        rewards = np.concatenate([self.log_reward, log_reward[valid]])
        first = first_occurrences(states)
        best = first[np.argsort(-rewards[first], kind="stable")[: self.population]]  # of equals the older stays
        n_survivors = int((best >= len(self.states)).sum())
        self.states, self.log_reward = states[best], rewards[best]
        return n_survivors

    def _breed(self, n: int, rng: np.random.Generator) -> States:
        """Offspring of the population, [n, *state_shape]."""
        if not n:
            return self.kernel.initial(0)
        offspring = self._parents(n, rng)
        crossed = rng.random(n) < self.crossover_share
        others = self._parents(int(crossed.sum()), rng)
        offspring[crossed] = crossover(self.kernel, offspring[crossed], others, rng)
        offspring[~crossed] = back_and_forth(self.kernel, offspring[~crossed], self.go_on, rng)[0]
        for _ in range(_MAX_REPEATED_MUTATIONS):
            is_known = np.ones(len(self.states) + n, dtype=np.bool_)
            is_known[first_occurrences(np.concatenate([self.states, offspring]))] = False
            again = is_known[len(self.states) :]
            if not again.any():
                break
            offspring[again] = back_and_forth(self.kernel, offspring[again], self.go_on, rng)[0]
        return offspring

    def _parents(self, n: int, rng: np.random.Generator) -> States:
        # The population is sorted, so the smallest index wins the tournament.
        return self.states[rng.integers(len(self.states), size=(n, self.tournament)).min(axis=1)]


def crossover(kernel: TransitionKernel, one: States, other: States, rng: np.random.Generator) -> States:
    """One-point crossover of build paths: the first steps of `one`, then those of `other` that are still allowed.

    Both paths are random ones among those that lead to the object. At least one step of `one` is kept, and where its
    path is long enough at least one is left out besides the stop. A child that is not terminal in the end is finished
    by random allowed actions.

    Args:
        one, other: terminal states [batch, *state_shape].

    Returns:
        Terminal states [batch, *state_shape].
    """
    path = _build_steps(kernel, one, rng)
    length = (path >= 0).sum(axis=0)
    kept = np.minimum(rng.integers(1, np.maximum(length - 2, 1) + 1), length - 1)
    states = kernel.initial(len(one))
    for time, actions in enumerate(path, start=-len(path)):  # paths end together, at time 0
        takes = (actions >= 0) & (time < kept - length)
        states[takes] = kernel.step(states[takes], actions[takes])
    for actions in _build_steps(kernel, other, rng):
        allowed = kernel.forward_allowed(states)  # all False once a child has stopped
        takes = (actions >= 0) & allowed[np.arange(len(states)), actions]
        states[takes] = kernel.step(states[takes], actions[takes])
    unfinished = ~kernel.is_terminal(states)
    states[unfinished] = random_rollout(kernel, states[unfinished], rng)[0]
    return states


def _build_steps(kernel: TransitionKernel, terminal: States, rng: np.random.Generator) -> Ints:
    """Forward actions of a random path to each object, int64 [max_steps, batch], -1 ahead of shorter paths."""
    path = np.full((kernel.max_steps, len(terminal)), -1, dtype=np.int64)
    active, states = np.arange(len(terminal)), terminal
    time = kernel.max_steps
    while len(active):
        time -= 1
        backward = uniform_actions(kernel.backward_allowed(states), rng)[0]
        path[time, active] = kernel.redo_action(states, backward)
        states = kernel.unstep(states, backward)
        running = kernel.backward_allowed(states).any(axis=1)
        active, states = active[running], states[running]
    return path


def first_occurrences(states: States) -> Ints:
    """Indices of the distinct states [batch, *state_shape], each the first of its kind, ascending."""
    if not len(states):
        return np.empty(0, dtype=np.int64)
    rows = np.ascontiguousarray(states).reshape(len(states), -1)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    return np.sort(np.unique(keys, return_index=True)[1])
