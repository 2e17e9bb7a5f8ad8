"""Baselines on any kernel: random feasible objects and Metropolis-Hastings; the genetic search is in `genetic.py`.

They spend the same budget of reward calls as a learned sampler: the caller asks for terminal states, scores them and
tells the outcome.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oreflow.agent.errors import TrainingError
from oreflow.agent.search.random_walks import back_and_forth, random_rollout
from oreflow.agent.search.searcher import MAX_IDLE_ROUNDS, Score
from oreflow.envs.arrays import Arrays, Bools, Floats, Ints, States
from oreflow.envs.contract.protocol import TransitionKernel

"""log R of terminal states [batch, *state_shape], float64 [batch], NaN where invalid."""


class MetropolisHastings:
    """Parallel Metropolis-Hastings chains (Hastings 1970, Biometrika 57, 97) whose moves are `back_and_forth`.

    Each chain has the stationary distribution R/Z over the objects with a finite log R; a proposal without one is
    rejected. Every object can be reached from every other over the initial state, as `go_on` is positive.

    A chain starts at a random feasible object: until one with a finite log R has come up, it proposes independent
    random objects. The rounds of propose and tell, that is the training, are the burn-in; no other one is made, so
    what `draw` gives is as close to R/Z as the chains have come by then.

    Args:
        n_chains: chains, moved in turn when fewer than `n_chains` states are asked for. Asking for more opens further
            chains.
        go_on: probability of each further step back, in (0, 1]; larger moves are bolder and accepted less often.
        thinning: moves of a chain between two objects that `draw` takes from it.

    Raises:
        ValueError: when an argument is out of range.
    """

    scores_states = True

    def __init__(self, kernel: TransitionKernel, n_chains: int, go_on: float = 0.5, thinning: int = 10) -> None:
        if not 0 < go_on <= 1:
            raise ValueError(f"expected go_on in (0, 1], got {go_on}; 0 never leaves the neighbourhood of an object")
        if n_chains < 1 or thinning < 1:
            raise ValueError(f"expected at least one chain and thinning of at least 1, got {n_chains} and {thinning}")
        self.kernel = kernel
        self.go_on = go_on
        self.thinning = thinning
        self.states = kernel.initial(n_chains)
        """[chain, *state_shape], the objects the chains are at; the initial state where a chain has none yet."""
        self.log_reward = np.full(n_chains, np.nan)
        """float64 [chain], NaN where a chain has no object yet."""
        self._next = 0
        self._pending: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    def propose(self, n: int, rng: np.random.Generator) -> States:
        """The next move of the `n` chains whose turn it is."""
        self._open(n)
        chains = (self._next + np.arange(n)) % len(self.states)
        self._pending = (chains, *self._moves(chains, rng))
        return self._pending[1].copy()

    def tell(self, log_reward: Floats, rng: np.random.Generator) -> dict[str, float]:
        """Accepts or rejects the moves just proposed.

        Returns:
            `acceptance` and `share_moved`: shares of the moves that were accepted, and accepted with another object as
            the outcome (NaN where chains only started); `chains_started`; `chains_mean_log_reward`.

        Raises:
            RuntimeError: when nothing was proposed.
        """
        if self._pending is None:
            raise RuntimeError("expected a call of propose before tell")
        chains, proposal, log_hastings = self._pending
        self._pending = None
        started = np.isfinite(self.log_reward[chains])
        before = self.states[chains]
        accepted = self._accept(chains, proposal, log_hastings, log_reward, rng)
        moved = accepted & (proposal != before).reshape(len(chains), -1).any(axis=1)
        self._next = int((self._next + len(chains)) % len(self.states))
        running = np.isfinite(self.log_reward)
        return {
            "acceptance": _mean(accepted[started]),
            "share_moved": _mean(moved[started]),
            "chains_started": float(running.sum()),
            "chains_mean_log_reward": _mean(self.log_reward[running]),
        }

    def arrays(self) -> Arrays:
        """Give all that is needed to go on exactly, by name."""
        return {
            "states": self.states.copy(),
            "log_reward": self.log_reward.copy(),
            "next": np.array([self._next], dtype=np.int64),
        }

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up the state that `arrays` gave."""
        self.states = np.array(arrays["states"])
        self.log_reward = np.array(arrays["log_reward"], dtype=np.float64)
        self._next = int(arrays["next"][0])
        self._pending = None

    def draw(self, n: int, rng: np.random.Generator, score: Score) -> States:
        """Goes on with the chains and takes an object from each after every `thinning` moves, in that order.

        Successive objects of a chain are correlated and may repeat. Each costs `thinning` reward calls.

        Raises:
            TrainingError: when no chain comes upon an object with a valid reward.
        """
        parts: list[np.ndarray] = []
        n_drawn = idle = 0
        while n_drawn < n:
            chains = (self._next + np.arange(min(n - n_drawn, len(self.states)))) % len(self.states)
            for _ in range(self.thinning):
                proposal, log_hastings = self._moves(chains, rng)
                self._accept(chains, proposal, log_hastings, score(proposal), rng)
            self._next = int((chains[-1] + 1) % len(self.states))
            parts.append(self.states[chains][np.isfinite(self.log_reward[chains])])
            n_drawn += len(parts[-1])
            idle = 0 if len(parts[-1]) else idle + 1
            if idle == MAX_IDLE_ROUNDS:
                raise TrainingError(
                    f"none of {idle * self.thinning * len(chains)} random objects has a valid reward; mend the reward"
                )
        return np.concatenate(parts) if parts else self.kernel.initial(0)

    def _open(self, n: int) -> None:
        further = n - len(self.states)
        if further > 0:
            self.states = np.concatenate([self.states, self.kernel.initial(further)])
            self.log_reward = np.concatenate([self.log_reward, np.full(further, np.nan)])

    def _moves(self, chains: Ints, rng: np.random.Generator) -> tuple[States, Floats]:
        """Proposals of chains and their log Hastings ratio, [move, *state_shape] and float64 [move]."""
        proposal, log_hastings = self.states[chains], np.zeros(len(chains))
        started = np.isfinite(self.log_reward[chains])
        if not started.all():
            proposal[~started] = random_rollout(self.kernel, self.kernel.initial(int((~started).sum())), rng)[0]
        if started.any():
            proposal[started], log_hastings[started] = back_and_forth(self.kernel, proposal[started], self.go_on, rng)
        return proposal, log_hastings

    def _accept(
        self,
        chains: Ints,
        proposal: States,
        log_hastings: Floats,
        log_reward: Floats,
        rng: np.random.Generator,
    ) -> Bools:
        """Moves the chains and says which ones accepted, bool [move]. A start is accepted whenever it is valid."""
        current = self.log_reward[chains]
        valid = np.isfinite(log_reward)
        with np.errstate(invalid="ignore"):
            log_ratio = log_reward - current + log_hastings
        log_u = np.log1p(-rng.random(len(chains)))  # 1 - u is never 0
        accepted = valid & (~np.isfinite(current) | (log_u <= log_ratio))
        self.states[chains[accepted]] = proposal[accepted]
        self.log_reward[chains[accepted]] = log_reward[accepted]
        return accepted


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")
