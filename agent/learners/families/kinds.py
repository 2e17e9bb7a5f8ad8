"""Families of rewards that one policy samples from: which member is meant is told to it as a condition.

A condition is a row of numbers: the inverse temperature, the weights of the terms, the value that a property is to
have. Each trajectory of a training batch draws its own; `features` is what the policy sees of it, `rewards` what it
pays.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from oreflow.envs.arrays import Floats
from oreflow.rewards import RewardValues

MARGIN = 0.05  # of the range of conditions, beyond either end: a fit is worst where its data end
_N_WAVES = 4  # of the temperature code; enough to bend log Z(beta), few enough to interpolate smoothly


class Family(Protocol):
    """Rewards that differ in a few numbers.

    Attributes:
        kind: its name in `sampler.family.kind`.
    """

    @property
    def kind(self) -> str:
        """Give its name in `sampler.family.kind`."""
        ...

    @property
    def n_numbers(self) -> int:
        """Give how many numbers a condition has."""
        ...

    @property
    def n_conditions(self) -> int:
        """Give the length of the vector that the policy sees."""
        ...

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw conditions for n trajectories, float64 [n, number]."""
        ...

    def features(self, conditions: Floats) -> Tensor:
        """What the policy sees of conditions [batch, number]: float32 [batch, n_conditions], of the order of 1."""
        ...

    def log_reward(self, values: RewardValues, conditions: Floats) -> Floats:
        """log R under conditions [batch, number], or [1, number] for all: float64 [batch], NaN where invalid."""
        ...

    def rewards(self, values: RewardValues, conditions: Floats) -> RewardValues:
        """Put log R under conditions, [batch, number] or [1, number], into values, and what else depends on them."""
        ...

    def default(self) -> Floats:
        """The condition that is taken where none is named, float64 [number]."""
        ...

    def describe(self, condition: Floats) -> dict[str, Any]:
        """A condition [number] as plain data for records."""
        ...


@dataclass(frozen=True)
class Temperature:
    """R(x)^beta for beta in [low, high] (temperature-conditional GFlowNets: Kim et al. 2024, arXiv:2310.02823).

    beta is drawn log-uniformly, from a range somewhat wider than the one to sample from. The policy sees log beta and
    beta, both scaled to [-1, 1], and cosines of the former.
    """

    low: float
    high: float
    kind = "temperature"
    n_numbers = 1

    @property
    def n_conditions(self) -> int:
        """Give the length of the vector that the policy sees."""
        return 2 + _N_WAVES

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw conditions for n trajectories, float64 [n, number]."""
        low, high = math.log(self.low), math.log(self.high)
        margin = MARGIN * (high - low)
        return np.exp(rng.uniform(low - margin, high + margin, (n, 1)))

    def features(self, conditions: Floats) -> Tensor:
        """Turn conditions, float64 [batch, number], into what the policy sees, float32 [batch, n_conditions]."""
        done = np.log(conditions / self.low) / math.log(self.high / self.low)  # from 0 to 1
        linear = 2 * (conditions - self.low) / (self.high - self.low) - 1
        waves = np.cos(math.pi * np.arange(1, _N_WAVES + 1) * done)
        return torch.from_numpy(np.concatenate([2 * done - 1, linear, waves], axis=1)).float()

    def log_reward(self, values: RewardValues, conditions: Floats) -> Floats:
        """Compute log R under conditions, [batch, number] or [1, number]: float64 [batch], NaN where invalid."""
        return conditions[:, 0] * values.log_reward

    def rewards(self, values: RewardValues, conditions: Floats) -> RewardValues:
        """Put log R under conditions, [batch, number] or [1, number], into values."""
        return replace(values, log_reward=self.log_reward(values, conditions))

    def default(self) -> Floats:
        """beta = 1, the reward as the config has it; the geometric middle where the range leaves 1 out."""
        return np.array([1.0 if self.low <= 1 <= self.high else math.sqrt(self.low * self.high)])

    def describe(self, condition: Floats) -> dict[str, Any]:
        """Put a condition, float64 [number], into plain data for records."""
        return {"beta": float(condition[0])}


@dataclass(frozen=True)
class Preference:
    """log R = n * sum_i w_i s_i of the n terms' log-scores s, with weights w >= 0 that sum to 1.

    Equal weights are the reward as the config has it. Weights are drawn from a symmetric Dirichlet distribution
    (preference-conditional GFlowNets: Jain et al. 2023, arXiv:2210.12765). The policy sees n w - 1 and (n w - 1)^2.

    Args:
        names: the terms, in the order of the config.
        concentration: of the Dirichlet distribution.
        log_min, log_max: bounds of log R.
    """

    names: tuple[str, ...]
    concentration: float
    log_min: float
    log_max: float
    kind = "preference"

    @property
    def n_numbers(self) -> int:
        """Give how many numbers a condition has."""
        return len(self.names)

    @property
    def n_conditions(self) -> int:
        """Give the length of the vector that the policy sees."""
        return 2 * len(self.names)

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw conditions for n trajectories, float64 [n, number]."""
        return rng.dirichlet(np.full(len(self.names), self.concentration), n)

    def features(self, conditions: Floats) -> Tensor:
        """Turn conditions, float64 [batch, number], into what the policy sees, float32 [batch, n_conditions]."""
        x = len(self.names) * conditions - 1
        return torch.from_numpy(np.concatenate([x, np.square(x)], axis=1)).float()

    def log_reward(self, values: RewardValues, conditions: Floats) -> Floats:
        """Compute log R under conditions, [batch, number] or [1, number]: float64 [batch], NaN where invalid."""
        total = np.zeros(len(values.log_reward))
        for weight, score in zip(conditions.T, values.log_scores.values()):
            with np.errstate(invalid="ignore"):  # a term of weight 0 has no say, however low its log-score
                total += np.where(weight > 0, len(self.names) * weight * score, 0.0)
        return np.where(values.valid, np.clip(total, self.log_min, self.log_max), np.nan)

    def rewards(self, values: RewardValues, conditions: Floats) -> RewardValues:
        """Put log R under conditions, [batch, number] or [1, number], into values; log-scores stay without weights."""
        log_reward = self.log_reward(values, conditions)
        free = replace(self, log_min=-math.inf, log_max=math.inf)
        bounded = values.valid & (free.log_reward(values, conditions) != log_reward)
        return replace(values, log_reward=log_reward, bounded=bounded)

    def default(self) -> Floats:
        """Equal weights."""
        return np.full(len(self.names), 1 / len(self.names))

    def describe(self, condition: Floats) -> dict[str, Any]:
        """Put a condition, float64 [number], into plain data for records."""
        return {"weights": dict(zip(self.names, condition.tolist()))}
