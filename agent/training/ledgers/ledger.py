"""Scores what a training builds and keeps account of it: how many objects, how many without a value, and why."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from oreflow.agent.config.target import TargetConfig
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.agent.training.target import log_measure
from oreflow.envs.arrays import Arrays, States
from oreflow.envs.contract.labelings import log_labelings
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.rewards import Reward, RewardValues
from oreflow.rewards.errors import RewardBudgetError

_INVALID_GRACE = 1000  # objects seen before the share of invalid rewards is held against the budget


class RewardLedger:
    """Calls the reward for terminal states.

    Attributes:
        n_objects, n_invalid, n_bounded: objects scored; those without a valid reward; those whose log R its bounds cut.
        scoring: True while the reward is being asked, when an interruption finds the sampler untouched.
        stopping: says whether the training is to stop, so that nothing is waited for.
    """

    def __init__(
        self,
        kernel: TransitionKernel,
        reward: Reward,
        failures: RewardFailures,
        budget: float,
        target: TargetConfig | None = None,
    ) -> None:
        self._kernel, self._reward, self._failures, self._budget = kernel, reward, failures, budget
        self._target = target
        self.n_objects = self.n_invalid = self.n_bounded = 0
        self.scoring = False
        self.stopping: Callable[[], bool] = lambda: False
        self._reasons: dict[str, int] = {}

    def begin(self, step: int) -> None:
        """Take note of which step the next calls belong to."""

    def __call__(self, states: States) -> RewardValues:
        """The rewards of terminal states.

        Raises:
            RewardBudgetError: when the share of objects without a valid reward exceeds the budget.
        """
        objects = self._kernel.objects(states)
        self.scoring = True
        share = log_labelings(self._kernel, states) + log_measure(self._kernel, states, self._target)
        values = replace(self._reward(objects), log_labelings=share)
        self.scoring = False
        self._failures.record(objects, values)
        self.n_objects += len(states)
        self.n_invalid += int((~values.valid).sum())
        self.n_bounded += int(values.bounded.sum())
        for reason in values.reasons().values():
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        if self.n_objects >= _INVALID_GRACE:
            self.check()
        return values

    @property
    def over_budget(self) -> bool:
        """Whether more objects than allowed had no valid reward."""
        return self.n_invalid > self._budget * self.n_objects

    def check(self) -> None:
        """Holds the share of invalid rewards against the budget, however few objects there were.

        Raises:
            RewardBudgetError: when it is exceeded.
        """
        if not self.over_budget:
            return
        common = max(self._reasons, key=lambda reason: self._reasons[reason]) if self._reasons else "unknown"
        raise RewardBudgetError(
            f"{self.n_invalid} of {self.n_objects} objects have no valid reward, more than reward.invalid_budget = "
            f"{self._budget:g} allows; most often: {common}. Mend the reward, narrow the world, or raise the budget"
            + (f"; tracebacks are in {self._failures.path}" if self._failures.n_saved else "")
        )

    def state(self) -> dict[str, Any]:
        """Counters for a checkpoint."""
        return {"n_objects": self.n_objects, "n_invalid": self.n_invalid, "n_bounded": self.n_bounded}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up the counts that `state` gave."""
        self.n_objects, self.n_invalid, self.n_bounded = state["n_objects"], state["n_invalid"], state["n_bounded"]

    def arrays(self) -> Arrays:
        """What a checkpoint holds beside the counters."""
        return {}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""

    def figures(self) -> dict[str, float]:
        """Further figures for a line of the log, since the line before."""
        return {}
