"""The baselines in the training loop: propose, score, tell. They spend reward calls and learn no policy."""

import numpy as np

from oreflow.agent.learners.learner import Score, Update
from oreflow.agent.search.searcher import Searcher
from oreflow.envs.arrays import Arrays


class BaselineLearner:
    """A `Searcher` that is asked for `batch` objects a step."""

    policy = None
    optimizer = None

    def __init__(self, searcher: Searcher, batch: int, rng: np.random.Generator) -> None:
        self.searcher = searcher
        self.batch = batch
        self.rng = rng

    def step(self, step: int, score: Score) -> Update:
        """Build a batch, ask `score` for its rewards, and learn from them."""
        states = self.searcher.propose(self.batch, self.rng)
        values = score(states)
        log_reward = values.log_share if self.searcher.scores_states else values.log_reward
        figures = self.searcher.tell(np.where(values.valid, log_reward, np.nan), self.rng)
        return Update(states, values, figures=figures)

    def arrays(self) -> Arrays:
        """Give what a checkpoint holds beside weights, moments and random state, by name."""
        return self.searcher.arrays()

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self.searcher.load_arrays(arrays)

    def log_z(self) -> float | None:
        """Give the learned log Z; None for samplers that have none."""
        return None
