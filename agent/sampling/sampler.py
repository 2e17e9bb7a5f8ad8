"""What draws objects, however it was made: the contract that `oreflow sample` writes candidate sets by."""

from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from oreflow.agent.policy.action_head import Workspace
from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout.log_probabilities import log_terminating_probability
from oreflow.agent.rollout.rollout import draw_objects
from oreflow.agent.search.searcher import Score, Searcher
from oreflow.envs.arrays import Floats, States
from oreflow.envs.contract.protocol import TransitionKernel


@runtime_checkable
class Sampler(Protocol):
    """Draws terminal states of a kernel."""

    def draw(self, n: int, rng: np.random.Generator) -> States:
        """Terminal states [n, *state_shape] of the next n draws, in order."""
        ...

    def log_probability(self, terminal: States) -> Floats | None:
        """log of the probability that one draw is this object, float64 [batch]; None where it is not known."""
        ...


class BaselineSampler:
    """A search without a policy, which asks for rewards as it goes on.

    Args:
        score: log R of terminal states, NaN where invalid.
    """

    def __init__(self, searcher: Searcher, score: Score) -> None:
        self.searcher = searcher
        self.score = score

    def draw(self, n: int, rng: np.random.Generator) -> States:
        """Terminal states [n, *state_shape], as the searcher's own `draw` defines them."""
        return self.searcher.draw(n, rng, self.score)

    def log_probability(self, terminal: States) -> None:
        """Not known."""


class PolicySampler:
    """A trained policy: each draw is a rollout.

    Args:
        kernel: builds the objects.
        policy: picks the actions.
        condition: float32 [n_conditions], what a conditional policy draws for.
    """

    def __init__(self, kernel: TransitionKernel, policy: Policy, condition: Tensor | None = None) -> None:
        self.kernel = kernel
        self.policy = policy
        self.condition = condition
        self._workspace = Workspace()

    def draw(self, n: int, rng: np.random.Generator) -> States:
        """Terminal states [n, *state_shape].

        Raises:
            DeadEndError: if a state has no allowed action, which would be a defect of the kernel.
        """
        conditions = None if self.condition is None else self.condition.expand(n, -1)
        return draw_objects(self.kernel, self.policy, n, rng, condition=conditions, workspace=self._workspace)

    def log_probability(self, terminal: States) -> Floats:
        """log P_T, float64 [batch]: all build orders summed."""
        return log_terminating_probability(self.kernel, self.policy, terminal, self.condition)
