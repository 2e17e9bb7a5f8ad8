"""From a physical value to a log-score: the only place where units meet preferences.

Every shape is a function of the value alone; the log-scores of all terms add up to log R.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.rewards.errors import RewardParameterError

Shape = Callable[[Floats], Floats]


def minimise(beta: float) -> Shape:
    """log-score = -beta * value: a Boltzmann factor; beta in 1/unit."""
    _positive("beta", beta)
    return lambda values: -beta * values


def maximise(beta: float) -> Shape:
    """log-score = beta * value; beta in 1/unit."""
    _positive("beta", beta)
    return lambda values: beta * values


def target(value: float, width: float) -> Shape:
    """log-score = -(v - value)^2 / (2 width^2): a Gaussian around `value`, both in the term's unit."""
    _number("value", value)
    _positive("width", width)
    return lambda values: target_log_score(values, value, width)


def target_log_score(values: Floats, value: float | Floats, width: float) -> Floats:
    """log-score of the shape `target`, float64 [batch], around one value or one of each row."""
    score: Floats = -0.5 * ((values - value) / width) ** 2
    return score


def below(threshold: float, width: float) -> Shape:
    """log-score = log sigmoid((threshold - v) / width): about 0 below the threshold, falling above it."""
    _number("threshold", threshold)
    _positive("width", width)
    return lambda values: -np.logaddexp(0.0, (values - threshold) / width)


def above(threshold: float, width: float) -> Shape:
    """log-score = log sigmoid((v - threshold) / width): about 0 above the threshold, falling below it."""
    _number("threshold", threshold)
    _positive("width", width)
    return lambda values: -np.logaddexp(0.0, (threshold - values) / width)


def between(low: float, high: float, width: float) -> Shape:
    """log-score = that of `above` low plus that of `below` high: about 0 between the two, falling linearly outside."""
    over, under = above(low, width), below(high, width)
    if low >= high:
        raise RewardParameterError(f"expected low < high, got {low!r} and {high!r}")
    return lambda values: over(values) + under(values)


def verdict(log_penalty: float) -> Shape:
    """log-score = 0 where the value is 1, -log_penalty where it is 0, linear between."""
    _positive("log_penalty", log_penalty)
    return lambda values: -log_penalty * (1.0 - values)


def logarithm(exponent: float) -> Shape:
    """log-score = exponent * log(value): the value is itself a reward, 0 or more; 0 ends at the floor of log R."""
    _positive("exponent", exponent)

    def shape(values: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return exponent * np.log(values)

    return shape


def _number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RewardParameterError(f"expected {name} to be a finite number, got {value!r}")


def _positive(name: str, value: Any) -> None:
    _number(name, value)
    if value <= 0:
        raise RewardParameterError(f"expected {name} to be a positive number, got {value!r}")


SHAPES: dict[str, Callable[..., Shape]] = {
    "minimise": minimise,
    "maximise": maximise,
    "target": target,
    "below": below,
    "above": above,
    "between": between,
    "verdict": verdict,
    "logarithm": logarithm,
}
BOUNDED_SHAPES = ("target", "below", "above", "between", "verdict")
"""Those whose log-score is never above 0."""
