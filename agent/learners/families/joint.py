"""Families of several kinds at once, the family of a config, and the conditions of a batch in training."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.config.family import FamilyConfig
from oreflow.agent.config.run import Config
from oreflow.agent.learners.families.kinds import Family, Preference, Temperature
from oreflow.agent.learners.families.target import Target
from oreflow.envs.arrays import Bools, Floats
from oreflow.rewards import RewardValues


@dataclass(frozen=True)
class Joint:
    """Several kinds at once: a condition has the numbers of each, and each changes the reward that the one before left.

    The value of a property comes first, weights of the terms follow, and a power of the whole comes last, whatever the
    order of the config: log R(x | t, w, beta) = beta * n * sum_i w_i s_i(x; t).

    Args:
        parts: in that order.
    """

    parts: tuple[Family, ...]

    @property
    def kind(self) -> str:
        """Name the kinds."""
        return " and ".join(part.kind for part in self.parts)

    @property
    def n_numbers(self) -> int:
        """Give how many numbers a condition has."""
        return sum(part.n_numbers for part in self.parts)

    @property
    def n_conditions(self) -> int:
        """Give the length of the vector that the policy sees."""
        return sum(part.n_conditions for part in self.parts)

    def split(self, conditions: Floats) -> list[Floats]:
        """Cut conditions, float64 [batch, number] or [number], into those of the parts."""
        ends = np.cumsum([0, *(part.n_numbers for part in self.parts)]).tolist()
        return [conditions[..., a:b] for a, b in itertools.pairwise(ends)]

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw conditions for n trajectories, float64 [n, number], those of each part by themselves."""
        return np.concatenate([part.draw(n, rng) for part in self.parts], axis=1)

    def draw_near(self, values: RewardValues, rng: np.random.Generator) -> Floats:
        """Draw conditions that suit given objects, float64 [batch, number], in the part that can."""
        n = len(values.log_reward)
        drawn = [part.draw_near(values, rng) if isinstance(part, Target) else part.draw(n, rng) for part in self.parts]
        return np.concatenate(drawn, axis=1)

    def features(self, conditions: Floats) -> Tensor:
        """Turn conditions, float64 [batch, number], into what the policy sees, float32 [batch, n_conditions]."""
        return torch.cat([part.features(own) for part, own in zip(self.parts, self.split(conditions))], dim=1)

    def log_reward(self, values: RewardValues, conditions: Floats) -> Floats:
        """Compute log R under conditions, [batch, number] or [1, number]: float64 [batch], NaN where invalid."""
        return self.rewards(values, conditions).log_reward

    def rewards(self, values: RewardValues, conditions: Floats) -> RewardValues:
        """Put log R under conditions, [batch, number] or [1, number], into values, and what else depends on them."""
        for part, own in zip(self.parts, self.split(conditions)):
            values = part.rewards(values, own)
        return values

    def default(self) -> Floats:
        """The default of each part, float64 [number]."""
        return np.concatenate([part.default() for part in self.parts])

    def describe(self, condition: Floats) -> dict[str, Any]:
        """Put a condition, float64 [number], into plain data for records."""
        described: dict[str, Any] = {}
        for part, own in zip(self.parts, self.split(condition)):
            described |= part.describe(own)
        return described


def make_family(config: Config) -> Family | None:
    """The family of a config; None where its sampler knows one reward only."""
    family, reward = config.sampler.family, config.reward
    parts: list[Family] = []
    if "target" in family.kinds:
        assert family.term is not None
        assert family.range is not None
        shape = config.target_shape()
        bounds = reward.beta, reward.log_min, reward.log_max
        parts.append(Target(family.term, *family.range, shape["value"], shape["width"], *bounds))
    if "preference" in family.kinds:
        names = tuple(term.label or term.name for term in reward.terms)
        parts.append(Preference(names, family.concentration, reward.log_min, reward.log_max))
    if "temperature" in family.kinds:
        parts.append(Temperature(*family.beta))
    if len(parts) > 1:
        return Joint(tuple(parts))
    return parts[0] if parts else None


def parts_of(family: Family | None) -> tuple[Family, ...]:
    """The kinds that a family is made of, itself where it is of one; none without a family."""
    if family is None:
        return ()
    return family.parts if isinstance(family, Joint) else (family,)


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


def conditions_in_hindsight(
    config: FamilyConfig, family: Family | None, values: RewardValues, rng: np.random.Generator
) -> tuple[Bools, Tensor, Floats] | None:
    """Other conditions for objects that were built, under which they are what is asked for.

    A balance holds on every trajectory under every condition, and what is rare under the one that it was drawn for may
    be all that is asked for under another (Andrychowicz et al. 2017, arXiv:1707.01495: hindsight experience replay).

    Returns:
        Which of the objects, bool [batch]; what the policy sees of their conditions, float32 [n, n_conditions]; and
        their log R of terminal states under these, float64 [n]. None where nothing is to be learned so, and then
        nothing is drawn.
    """
    if not config.hindsight or not isinstance(family, Target | Joint) or "target" not in config.kinds:
        return None
    which = values.valid & (rng.random(len(values.valid)) < config.hindsight)
    conditions = family.draw_near(values, rng)
    log_reward = family.log_reward(values, conditions) - values.log_labelings
    return which, family.features(conditions[which]), log_reward[which]


def default_features(family: Family | None) -> Tensor | None:
    """What the policy sees of the default condition, float32 [n_conditions]; None without a family."""
    return None if family is None else family.features(family.default()[None])[0]
