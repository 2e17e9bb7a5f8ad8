"""What a search has in common whatever its moves, and random choices as the simplest one."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from oreflow.agent.search.random_walks import random_rollout
from oreflow.envs.arrays import Arrays, Floats, States
from oreflow.envs.contract.protocol import TransitionKernel

Score = Callable[[States], Floats]


MAX_IDLE_ROUNDS = 10


class Searcher(Protocol):
    """A search without learned parameters.

    `propose` and `tell` alternate. Between the two, `arrays` still gives the state before the proposal: a run that is
    resumed from there proposes anew.

    Attributes:
        scores_states: whether it asks for log R of terminal states, shared out among those that are one object, as a
            sampler of R/Z does; or for log R of the object, as an optimiser does.
    """

    scores_states: bool

    def propose(self, n: int, rng: np.random.Generator) -> States:
        """Terminal states whose reward is wanted next, [n, *state_shape]."""
        ...

    def tell(self, log_reward: Floats, rng: np.random.Generator) -> dict[str, float]:
        """Takes log R [n] of the states just proposed, NaN where invalid; returns figures for the log."""
        ...

    def arrays(self) -> Arrays:
        """Everything that is needed to go on exactly, given the state of the random generator too."""
        ...

    def load_arrays(self, arrays: Arrays) -> None:
        """Takes up the state that `arrays` gave."""
        ...

    def draw(self, n: int, rng: np.random.Generator, score: Score) -> States:
        """The outcome of the search, terminal states [n, *state_shape]."""
        ...


class RandomFeasible:
    """Uniformly random allowed actions from the initial state.

    Uniform over the choices of each step, not over objects: objects with many build orders, or early stops among few
    alternatives, come up more often. `CompositionKernel.sample_uniform` is uniform over objects. The reward plays no
    part.
    """

    scores_states = False

    def __init__(self, kernel: TransitionKernel) -> None:
        self.kernel = kernel

    def propose(self, n: int, rng: np.random.Generator) -> States:
        """Propose terminal states whose reward is wanted next, [n, *state_shape]."""
        return random_rollout(self.kernel, self.kernel.initial(n), rng)[0]

    def tell(self, log_reward: Floats, rng: np.random.Generator) -> dict[str, float]:
        """Take log R, float64 [n], of the states just proposed, NaN where invalid; return figures for the log."""
        return {}

    def arrays(self) -> Arrays:
        """Give all that is needed to go on exactly, by name."""
        return {}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up the state that `arrays` gave."""
        pass

    def draw(self, n: int, rng: np.random.Generator, score: Score) -> States:
        """Fresh random objects, whether their reward is valid or not; `score` is not called."""
        return self.propose(n, rng)
