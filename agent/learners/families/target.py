"""One policy for all values of a property: the value that a term of shape `target` asks for is the condition."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.learners.families.kinds import MARGIN
from oreflow.envs.arrays import Floats
from oreflow.rewards import RewardValues
from oreflow.rewards.composite import scored_values
from oreflow.rewards.shaping import target_log_score

_N_WAVES = 8  # of the code of the value; what can be built is not equally dense everywhere, and log Z(t) bends with it


@dataclass(frozen=True)
class Target:
    """log R(x | t) = the other terms' log-scores - (v(x) - t)^2 / (2 width^2), v the property, t in [low, high].

    With t in the place of `value` it is the reward of the config, to the last bit: bounds and the reward's beta
    included. t is drawn uniformly, from a range somewhat wider than the one to sample from. The policy sees t scaled to
    [-1, 1], its square, and cosines.

    Args:
        name: of the term in the reward.
        low, high: the range of t, in the term's unit.
        value, width: those of the term's shape, in the same unit.
        beta, log_min, log_max: those of the reward.
    """

    name: str
    low: float
    high: float
    value: float
    width: float
    beta: float
    log_min: float
    log_max: float
    kind = "target"
    n_numbers = 1

    @property
    def n_conditions(self) -> int:
        """Give the length of the vector that the policy sees."""
        return 2 + _N_WAVES

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw conditions for n trajectories, float64 [n, 1]."""
        margin = MARGIN * (self.high - self.low)
        return rng.uniform(self.low - margin, self.high + margin, (n, 1))

    def draw_near(self, values: RewardValues, rng: np.random.Generator) -> Floats:
        """Draw conditions that suit given objects, float64 [batch, 1]: about the values that they have.

        These are normal around the value with the shape's width; any condition of the range where that leads beyond it
        or the object has no value.
        """
        term = values.terms[self.name]
        anywhere = self.draw(len(term.valid), rng)
        near = scored_values(term)[:, None] + self.width * rng.standard_normal(anywhere.shape)
        margin = MARGIN * (self.high - self.low)
        with np.errstate(invalid="ignore"):
            suits = term.valid[:, None] & (near >= self.low - margin) & (near <= self.high + margin)
        return np.where(suits, near, anywhere)

    def features(self, conditions: Floats) -> Tensor:
        """Turn conditions, float64 [batch, 1], into what the policy sees, float32 [batch, n_conditions]."""
        done = (conditions - self.low) / (self.high - self.low)  # from 0 to 1
        linear = 2 * done - 1
        waves = np.cos(math.pi * np.arange(1, _N_WAVES + 1) * done)
        return torch.from_numpy(np.concatenate([linear, np.square(linear), waves], axis=1)).float()

    def log_reward(self, values: RewardValues, conditions: Floats) -> Floats:
        """Compute log R under conditions, [batch, 1] or [1, 1]: float64 [batch], NaN where invalid."""
        return self.rewards(values, conditions).log_reward

    def rewards(self, values: RewardValues, conditions: Floats) -> RewardValues:
        """Put log R and the term's log-score under conditions, [batch, 1] or [1, 1], into values."""
        term = values.terms[self.name]
        score = self.beta * target_log_score(scored_values(term), conditions[:, 0], self.width)
        log_scores = values.log_scores | {self.name: np.where(term.valid, score, np.nan)}
        total = np.zeros(len(values.log_reward))
        for one in log_scores.values():  # in the order of the reward, so that the sums round alike
            total += one
        bounded = values.valid & ((total < self.log_min) | (total > self.log_max))
        log_reward = np.where(values.valid, np.clip(total, self.log_min, self.log_max), np.nan)
        return replace(values, log_reward=log_reward, log_scores=log_scores, bounded=bounded)

    def default(self) -> Floats:
        """The value of the config, as its reward has it; the middle of the range where that leaves it out."""
        return np.array([self.value if self.low <= self.value <= self.high else 0.5 * (self.low + self.high)])

    def describe(self, condition: Floats) -> dict[str, Any]:
        """Put a condition, float64 [1], into plain data for records."""
        return {"target": {self.name: float(condition[0])}}
