"""The member of a family that is asked for: chosen, read from text, described, and put into the config."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from oreflow.agent.config.run import Config
from oreflow.agent.errors import ConditionError
from oreflow.agent.learners.families.joint import make_family, parts_of
from oreflow.agent.learners.families.kinds import Family, Preference, Temperature
from oreflow.agent.learners.families.target import Target
from oreflow.envs.arrays import Floats
from oreflow.envs.suggestions import nearest
from oreflow.rewards import Reward, RewardValues
from oreflow.rewards.registry import declared_unit


@dataclass(frozen=True)
class Condition:
    """The member of a family that a sampler draws for.

    Attributes:
        family: the rewards to choose from.
        numbers: float64 [number], which one.
        defaults: the kinds of the family of which nobody chose a number.
    """

    family: Family
    numbers: Floats
    defaults: tuple[str, ...]

    @property
    def is_default(self) -> bool:
        """Tell whether nobody chose anything."""
        return len(self.defaults) == len(parts_of(self.family))

    @property
    def features(self) -> Tensor:
        """What the policy sees, float32 [n_conditions]."""
        return self.family.features(self.numbers[None])[0]

    def rewards(self, values: RewardValues) -> RewardValues:
        """The same with log R under the condition, and the log-score of a term whose value is asked for.

        Other log-scores stay those of the config.
        """
        return self.family.rewards(values, self.numbers[None])

    def describe(self, reward: Reward) -> dict[str, Any]:
        """Plain data for records.

        Args:
            reward: knows the unit of a value that is asked for.
        """
        parts = parts_of(self.family)
        kinds = [part.kind for part in parts]
        data = {"kind": kinds if len(kinds) > 1 else kinds[0], **self.family.describe(self.numbers)}
        if "target" in data:
            units = {term.name: term.unit for term, _ in reward.terms}
            data["unit"] = units[next(iter(data["target"]))]
        data["is_default"] = self.is_default
        return data | ({"defaults": list(self.defaults)} if len(kinds) > 1 else {})


def choose(
    config: Config,
    beta: float | None = None,
    weights: Mapping[str, float] | None = None,
    target: Mapping[str, float] | None = None,
) -> Condition | None:
    """The condition to sample under; None for a run without a family.

    Args:
        beta: for a family of temperatures; None is its default.
        weights: for a family of preferences, by name of the term; missing ones are 0, None is its default.
        target: for a family of targets, the value by the name of its term; None is its default.

    Raises:
        ConditionError: for what the run was not trained for.
    """
    family = make_family(config)
    parts = {part.kind: part for part in parts_of(family)}
    for option, kind, given in (
        ("beta", "temperature", beta),
        ("weights", "preference", weights),
        ("target", "target", target),
    ):
        if given is not None and kind not in parts:
            raise ConditionError(
                f"{option}: expected a run that was trained with sampler.family.kind {kind}, got kind "
                f"{config.sampler.family.in_words}; leave {option} out, or train such a run"
            )
    if family is None:
        return None
    chosen: dict[str, Floats] = {}
    for part in parts.values():
        if isinstance(part, Temperature) and beta is not None:
            chosen[part.kind] = _within(part, beta)
        elif isinstance(part, Preference) and weights is not None:
            chosen[part.kind] = _normalised(weights, part.names)
        elif isinstance(part, Target) and target is not None:
            chosen[part.kind] = _in_range(part, target, config)
    numbers = np.concatenate([chosen.get(kind, part.default()) for kind, part in parts.items()])
    return Condition(family, numbers, tuple(kind for kind in parts if kind not in chosen))


def with_target(config: Config, target: Mapping[str, float]) -> Config:
    """The config whose reward has the value that is asked for in its term's shape, so that all that reads it sees it.

    Args:
        target: the value by the name or label of its term; what is no term of the config changes nothing.
    """
    asked = config.model_copy(deep=True)
    for term in asked.reward.terms:
        name = term.label or term.name
        if name in target and term.shape.get("kind") == "target":
            term.shape["value"] = target[name]
    return asked


def asked_config(config: Config, condition: Condition | None) -> Config:
    """The config under a condition: with the value that is asked for, where one is; otherwise itself."""
    target = None if condition is None else condition.family.describe(condition.numbers).get("target")
    return config if target is None else with_target(config, target)


def parse_weights(text: str) -> dict[str, float]:
    """Weights from text such as "formation_energy=0.7,charge_balance=0.3".

    Raises:
        ConditionError: for another form.
    """
    return _numbers_by_term(text, "weights", "TERM=NUMBER,TERM=NUMBER with each term once")


def parse_target(text: str) -> dict[str, float]:
    """The value that is asked for, from text such as "formation_energy=-1.5", in the term's unit.

    Raises:
        ConditionError: for another form.
    """
    return _numbers_by_term(text, "target", "TERM=NUMBER, the number in the term's unit and without it")


def _numbers_by_term(text: str, option: str, expected: str) -> dict[str, float]:
    out: dict[str, float] = {}
    for part in text.split(","):
        name, separator, value = (piece.strip() for piece in part.partition("="))
        try:
            number = float(value)
        except ValueError:
            separator = ""
        if not (separator and name) or name in out:
            raise ConditionError(f"{option}: expected {expected}, got {text!r}")
        out[name] = number
    return out


def _within(family: Temperature, beta: float) -> Floats:
    if not family.low <= beta <= family.high:
        raise ConditionError(
            f"beta: this run was trained for {family.low:g} to {family.high:g}, got {beta:g}; choose one between, "
            "or train with another sampler.family.beta"
        )
    return np.array([beta])


def _in_range(family: Target, target: Mapping[str, float], config: Config) -> Floats:
    names = [term.label or term.name for term in config.reward.terms]
    for name in target:
        if name not in names:
            raise ConditionError(
                f"target: expected the reward term {family.name}, whose values this run was trained for, got {name!r}; "
                f"{nearest(name, [family.name])}"
            )
    if list(target) != [family.name]:
        raise ConditionError(
            f"target: this run was trained for values of {family.name} alone, got {', '.join(target) or 'no term'}; "
            f"give {family.name}=NUMBER"
        )
    value = target[family.name]
    if not family.low <= value <= family.high:
        source = next(term.name for term in config.reward.terms if (term.label or term.name) == family.name)
        unit = declared_unit(source)
        raise ConditionError(
            f"target: this run was trained for {family.name} from {family.low:g} to {family.high:g}"
            f"{f' {unit}' if unit else ''}, got {value:g}; choose a value between, or train with another "
            "sampler.family.range"
        )
    return np.array([float(value)])


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
