"""Families of rewards that one policy samples from: which member is meant is told to it as a condition.

A condition is a row of numbers, the inverse temperature or the weights of the terms. Each trajectory of a training
batch draws its own; `features` is what the policy sees of it, `log_reward` what it pays.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.config.run import Config
from oreflow.agent.errors import ConditionError
from oreflow.envs.arrays import Floats
from oreflow.envs.suggestions import nearest
from oreflow.rewards import RewardValues

_MARGIN = 0.05  # of the range of log beta, beyond either end: a fit is worst where its data end
_N_WAVES = 4  # of the temperature code; enough to bend log Z(beta), few enough to interpolate smoothly


class Family(Protocol):
    """Rewards that differ in a few numbers.

    Attributes:
        n_conditions: length of the vector that the policy sees.
    """

    @property
    def n_conditions(self) -> int:
        """Give the length of the vector that the policy sees."""
        ...

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Conditions of n trajectories, float64 [n, number]."""
        ...

    def features(self, conditions: Floats) -> Tensor:
        """What the policy sees of conditions [batch, number]: float32 [batch, n_conditions], of the order of 1."""
        ...

    def log_reward(self, values: RewardValues, conditions: Floats) -> Floats:
        """log R under conditions [batch, number], or [1, number] for all: float64 [batch], NaN where invalid."""
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

    @property
    def n_conditions(self) -> int:
        """Give the length of the vector that the policy sees."""
        return 2 + _N_WAVES

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw conditions for n trajectories, float64 [n, number]."""
        low, high = math.log(self.low), math.log(self.high)
        margin = _MARGIN * (high - low)
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

    def default(self) -> Floats:
        """Equal weights."""
        return np.full(len(self.names), 1 / len(self.names))

    def describe(self, condition: Floats) -> dict[str, Any]:
        """Put a condition, float64 [number], into plain data for records."""
        return {"weights": dict(zip(self.names, condition.tolist()))}


@dataclass(frozen=True)
class Condition:
    """The member of a family that a sampler draws for.

    Attributes:
        family: the rewards to choose from.
        numbers: float64 [number], which one.
        is_default: whether nobody chose it.
    """

    family: Temperature | Preference
    numbers: Floats
    is_default: bool

    @property
    def features(self) -> Tensor:
        """What the policy sees, float32 [n_conditions]."""
        return self.family.features(self.numbers[None])[0]

    def rewards(self, values: RewardValues) -> RewardValues:
        """The same with log R under the condition; the log-scores stay those of the config."""
        log_reward = self.family.log_reward(values, self.numbers[None])
        bounded = values.bounded
        if isinstance(self.family, Preference):
            free = replace(self.family, log_min=-math.inf, log_max=math.inf)
            bounded = values.valid & (free.log_reward(values, self.numbers[None]) != log_reward)
        return replace(values, log_reward=log_reward, bounded=bounded)

    def describe(self) -> dict[str, Any]:
        """Plain data for records."""
        kind = "temperature" if isinstance(self.family, Temperature) else "preference"
        return {"kind": kind, **self.family.describe(self.numbers), "is_default": self.is_default}


def make_family(config: Config) -> Temperature | Preference | None:
    """The family of a config; None where its sampler knows one reward only."""
    family = config.sampler.family
    match family.kind:
        case "temperature":
            return Temperature(*family.beta)
        case "preference":
            reward = config.reward
            names = tuple(term.label or term.name for term in reward.terms)
            return Preference(names, family.concentration, reward.log_min, reward.log_max)
    return None


def drawn_conditions(
    family: Family | None, n: int, rng: np.random.Generator
) -> tuple[Tensor | None, Callable[[RewardValues], Floats]]:
    """Conditions of n trajectories: what the policy sees of them [n, n_conditions], and their log R of n objects.

    log R is that of terminal states (`RewardValues.log_share`). Without a family there is nothing to see, log R is that
    of the config, and nothing is drawn.
    """
    if family is None:
        return None, lambda values: values.log_share
    conditions = family.draw(n, rng)
    return family.features(conditions), lambda values: family.log_reward(values, conditions) - values.log_labelings


def default_features(family: Family | None) -> Tensor | None:
    """What the policy sees of the default condition, float32 [n_conditions]; None without a family."""
    return None if family is None else family.features(family.default()[None])[0]


def choose(config: Config, beta: float | None = None, weights: Mapping[str, float] | None = None) -> Condition | None:
    """The condition to sample under; None for a run without a family.

    Args:
        beta: for a family of temperatures; None is its default.
        weights: for a family of preferences, by name of the term; missing ones are 0, None is its default.

    Raises:
        ConditionError: for what the run was not trained for.
    """
    family = make_family(config)
    if beta is not None and not isinstance(family, Temperature):
        raise ConditionError(_not_trained("beta", "temperature", config))
    if weights is not None and not isinstance(family, Preference):
        raise ConditionError(_not_trained("weights", "preference", config))
    if family is None:
        return None
    if isinstance(family, Temperature) and beta is not None:
        if not family.low <= beta <= family.high:
            raise ConditionError(
                f"beta: this run was trained for {family.low:g} to {family.high:g}, got {beta:g}; choose one between, "
                "or train with another sampler.family.beta"
            )
        return Condition(family, np.array([beta]), False)
    if isinstance(family, Preference) and weights is not None:
        return Condition(family, _normalised(weights, family.names), False)
    return Condition(family, family.default(), True)


def parse_weights(text: str) -> dict[str, float]:
    """Weights from text such as "formation_energy=0.7,charge_balance=0.3".

    Raises:
        ConditionError: for another form.
    """
    out: dict[str, float] = {}
    for part in text.split(","):
        name, separator, value = (piece.strip() for piece in part.partition("="))
        try:
            number = float(value)
        except ValueError:
            separator = ""
        if not (separator and name) or name in out:
            raise ConditionError(f"weights: expected TERM=NUMBER,TERM=NUMBER with each term once, got {text!r}")
        out[name] = number
    return out


def _not_trained(option: str, kind: str, config: Config) -> str:
    return (
        f"{option}: expected a run that was trained with sampler.family.kind {kind}, got kind "
        f"{config.sampler.family.kind}; leave {option} out, or train such a run"
    )


def _normalised(weights: Mapping[str, float], names: tuple[str, ...]) -> Floats:
    for name, weight in weights.items():
        if name not in names:
            raise ConditionError(f"weights: expected reward terms of this run, got {name!r}; {nearest(name, names)}")
        if not (math.isfinite(weight) and weight >= 0):
            raise ConditionError(f"weights: expected finite numbers of 0 or more, got {name}={weight:g}; change it")
    given = np.array([float(weights.get(name, 0.0)) for name in names])
    largest = given.max()
    if largest <= 0:
        raise ConditionError(f"weights: expected one above 0, got none; give some of {', '.join(names)} a weight")
    given /= largest  # first, so that the sum of very large ones stays finite
    return given / given.sum()
