"""Predictions of an ensemble and their calibrated uncertainty."""

from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import Bools, Floats


@dataclass(frozen=True)
class Prediction:
    """Predicted values of a batch, in the unit of the model.

    Attributes:
        mean: float64 [batch]; NaN where out of scope.
        std: float64 [batch]; mean ± 1.645 std covers 90 % of the validation rows. NaN where out of scope.
        distance: float64 [batch], no unit; distance from the training data, NaN where out of scope.
        in_scope: bool [batch]: elements and their number are those the model was fitted on, however far the row is.
        reasons: why a row is out of scope, by row.
    """

    mean: Floats
    std: Floats
    distance: Floats
    in_scope: Bools
    reasons: dict[int, str]


def calibrated_std(mean: Floats, scale: Floats, *, spread_weight: float, factor: float) -> Floats:
    """factor · sqrt(spread_weight · variance between members + mean squared scale), float64 [batch].

    Args:
        mean: float64 [member, batch], the members' predictions.
        scale: float64 [member, batch], the members' guesses of their error, in the same unit.
        spread_weight: weight of the disagreement between members; fitted on validation rows.
        factor: fitted on validation rows so that mean ± 1.645 std covers 90 % of them.
    """
    return factor * np.sqrt(spread_weight * mean.var(axis=0) + (scale**2).mean(axis=0))
