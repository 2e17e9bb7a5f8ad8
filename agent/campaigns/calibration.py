"""What a surrogate learns from a referee: its error as a Gaussian process over what is known of each decoration.

The referee's energy above the hull is the surrogate's plus an error. Its kernel is a constant, which learns the mean
error, a linear one of a few numbers and a linear one of the shares of the elements, and noise: ridge regression with a
standard deviation (Rasmussen, Williams, Gaussian Processes for Machine Learning, 2006, eq. 2.25 and 2.26). The weights
of the parts are those under which each known decoration is predicted best from the others (ibid., eq. 5.10 to 5.12).
"""

import itertools
from dataclasses import dataclass

import numpy as np

from oreflow.agent.evaluation.statistics import rank_correlation
from oreflow.envs.arrays import Floats, Ints

PRIOR_ERROR_EV_PER_ATOM = 0.1
"""What a surrogate errs by in a referee's eyes before anything was relaxed; it counts as much as one relaxation."""
_PRIOR_WEIGHT = 1.0
_CONSTANT = 10.0  # of the noise's variance: the mean error is found at once
_WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)
_LARGEST = 3.0  # standard deviations; features beyond are taken as this far


@dataclass(frozen=True)
class Inputs:
    """What is known of decorations before they are relaxed; all arrays are [row].

    Attributes:
        predicted: float64, the surrogate's energy above the hull, eV/atom.
        std: float64, its own standard deviation.
        features: float64 [row, feature], in any units.
        fractions: float64 [row, 119], share of the atoms by atomic number.
    """

    predicted: Floats
    std: Floats
    features: Floats
    fractions: Floats

    def rows(self, index: Ints) -> "Inputs":
        """Those of some rows."""
        return Inputs(self.predicted[index], self.std[index], self.features[index], self.fractions[index])


@dataclass(frozen=True)
class Estimate:
    """A prediction of the referee's energy above the hull, float64 [row], eV/atom."""

    mean: Floats
    std: Floats


class Uncalibrated:
    """The surrogate as it is, with what it errs by at first."""

    def predict(self, inputs: Inputs) -> Estimate:
        """Estimate of every row."""
        return Estimate(inputs.predicted, np.hypot(inputs.std, PRIOR_ERROR_EV_PER_ATOM))

    def figures(self) -> dict[str, float | int | None]:
        """Nothing was learned."""
        return {"n_learned": 0}


class Calibration:
    """The surrogate corrected by what came out.

    Args:
        inputs: of what was relaxed, at least one row.
        referee: float64 [row], its energies above the hull, eV/atom.
    """

    def __init__(self, inputs: Inputs, referee: Floats) -> None:
        self._inputs, self._referee = inputs, referee
        self._mean = inputs.features.mean(axis=0)
        spread = inputs.features.std(axis=0)
        self._spread = np.where(spread > 1e-9, spread, np.inf)  # what never varied says nothing
        self._scaled = self._scale(inputs.features)
        error = referee - inputs.predicted
        best = -np.inf
        for weights in itertools.product(_WEIGHTS, _WEIGHTS):
            kernel = self._kernel(self._scaled, inputs.fractions, weights) + np.eye(len(error))
            inverse = np.linalg.inv(kernel)
            alpha, variance = inverse @ error, 1 / np.diag(inverse)
            left = alpha * variance  # of each row, predicted from the others
            square = (_PRIOR_WEIGHT * PRIOR_ERROR_EV_PER_ATOM**2 + (left**2 / variance).sum()) / (
                _PRIOR_WEIGHT + len(error)
            )
            density = -0.5 * (np.log(square * variance) + left**2 / (square * variance)).sum()
            if density > best:
                best = density
                self.weights, self._inverse, self._alpha, self._square, self._left = (
                    weights,
                    inverse,
                    alpha,
                    square,
                    left,
                )

    def _scale(self, features: Floats) -> Floats:
        return np.clip((features - self._mean) / self._spread, -_LARGEST, _LARGEST)

    def _kernel(self, scaled: Floats, fractions: Floats, weights: tuple[float, float]) -> Floats:
        """Covariance with the known rows over that of the noise, float64 [row, known]."""
        numbers = scaled @ self._scaled.T / max(self._scaled.shape[1], 1)
        elements = fractions @ self._inputs.fractions.T
        return _CONSTANT + weights[0] * numbers + weights[1] * elements

    def predict(self, inputs: Inputs) -> Estimate:
        """Estimate of every row."""
        scaled = self._scale(inputs.features)
        kernel = self._kernel(scaled, inputs.fractions, self.weights)
        own = (
            _CONSTANT + self.weights[0] * (scaled**2).mean(axis=1) + self.weights[1] * (inputs.fractions**2).sum(axis=1)
        )
        variance = 1 + own - ((kernel @ self._inverse) * kernel).sum(axis=1)
        return Estimate(inputs.predicted + kernel @ self._alpha, np.sqrt(self._square * np.maximum(variance, 1e-12)))

    def figures(self) -> dict[str, float | int | None]:
        """How well the known are predicted, each from the others, beside the surrogate as it is."""
        estimate = self._referee - self._left
        return {
            "n_learned": len(self._referee),
            "weight_of_features": self.weights[0],
            "weight_of_elements": self.weights[1],
            "mean_error_ev_per_atom": float((self._referee - self._inputs.predicted).mean()),
            "error_before_ev_per_atom": float(np.abs(self._referee - self._inputs.predicted).mean()),
            "error_held_out_ev_per_atom": float(np.abs(self._left).mean()),
            "rank_correlation_before": rank_correlation(self._inputs.predicted, self._referee),
            "rank_correlation_held_out": rank_correlation(estimate, self._referee),
        }
