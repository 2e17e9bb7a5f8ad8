"""What the reward terms of fitted properties share."""

import math
from pathlib import Path

import numpy as np

from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.models.composition.model import EnergyModel


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class PredictionTerm(Term):
    """mean + std_weight · std of a property model, with its columns.

    Subclasses set `name`. Columns, each named after the term: `_std`; `_distance` from the training data;
    `_extrapolates`, whether that distance is beyond the model's threshold or the row is out of scope; and `_mean` where
    `std_weight` is not 0, because the values are then something else.
    """

    name: str
    path_params = ("model",)
    model_type: type[EnergyModel] = EnergyModel

    def __init__(self, model: str | Path, std_weight: float, max_distance: float | None) -> None:
        if not _is_finite_number(std_weight):
            raise RewardParameterError(
                f"{self.name}: expected std_weight to be a finite number, got {std_weight!r}; take 0 for the mean alone"
            )
        if max_distance is not None and not (_is_finite_number(max_distance) and max_distance > 0):
            raise RewardParameterError(
                f"{self.name}: expected max_distance to be a positive number, got {max_distance!r}; leave it out "
                "(None) for no limit"
            )
        self.model = self.model_type.load(model)
        self.std_weight = float(std_weight)
        self.max_distance = None if max_distance is None else float(max_distance)
        self.version = f"{self.model.directory.name}-{self.model.card['weights_sha256'][:12]}"
        self.citations: tuple[str, ...] = tuple(self.model.card["citations"])

    def __call__(self, batch: Compositions) -> TermValues:
        """Values of every row, NaN where invalid, with the columns named above.

        Raises:
            EnergyModelError: when the weights are missing, damaged, or do not belong to the description.
        """
        prediction = self.model.predict(batch)
        valid, reasons, distance = prediction.in_scope, dict(prediction.reasons), prediction.distance
        if self.max_distance is not None:
            far = valid & (distance > self.max_distance)
            for row in np.flatnonzero(far).tolist():
                reasons[row] = (
                    f"distance {distance[row]:.4g} from the training data, more than {self.max_distance:.4g}; "
                    "raise max_distance, or leave it out, to have it judged"
                )
            valid = valid & ~far
        values = prediction.mean + self.std_weight * prediction.std
        columns = {
            f"{self.name}_std": prediction.std,
            f"{self.name}_distance": distance,
            # A distance that is not known is not a small one.
            f"{self.name}_extrapolates": ~(distance <= self.model.distance_threshold),
        }
        if self.std_weight != 0.0:
            columns[f"{self.name}_mean"] = prediction.mean
        return TermValues(np.where(valid, values, np.nan), valid, columns, reasons)
