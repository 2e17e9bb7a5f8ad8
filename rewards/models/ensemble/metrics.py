"""Calibration and measured errors of a property model."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.rewards.models.ensemble.predictions import Prediction, calibrated_std


class Predictor(Protocol):
    """A model of a property, whatever it reads."""

    def predict(self, objects: Any, /) -> Prediction:
        """Predict a batch of the objects that the model reads."""
        ...


# Of a normal distribution, 90 % lies within this many standard deviations.
_Z90 = 1.6448536269514722


def calibrate(mean: Floats, scale: Floats, values: Floats) -> dict[str, float]:
    """Spread weight by Laplace likelihood, then the factor by the 90 % quantile of |error| / std."""
    error = np.abs(mean.mean(axis=0) - values)
    candidates = []
    for spread_weight in (0.0, *np.geomspace(0.1, 100.0, 31).tolist()):
        std = calibrated_std(mean, scale, spread_weight=spread_weight, factor=1.0)
        # With the best common factor, the likelihood is log(mean(error / std)) + mean(log(std)) up to constants.
        candidates.append((np.log(np.mean(error / std)) + np.mean(np.log(std)), spread_weight, std))
    _, spread_weight, std = min(candidates, key=lambda c: c[0])
    return {"spread_weight": float(spread_weight), "factor": float(np.quantile(error / std, 0.9) / _Z90)}


def _ranks(values: Floats) -> Floats:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)


def significant(value: float) -> float:
    """To five significant digits, whatever the unit."""
    return float(f"{value:.5g}")


def error_metrics(model: Predictor, compositions: Any, values: Floats) -> dict[str, Any]:
    """Errors of a model on rows with known values, in its unit; rows out of its scope are counted and left out.

    `spearman_std_error` is the rank correlation of predicted standard deviation and absolute error, `coverage_90` the
    share of rows within mean ± 1.645 std. Entries are None where too few rows are in scope.
    """
    prediction = model.predict(compositions)
    rows = prediction.in_scope
    error = prediction.mean[rows] - values[rows]
    std = prediction.std[rows]
    metrics: dict[str, Any] = {"n": int(rows.sum()), "n_out_of_scope": int((~rows).sum())}
    names = ("mae", "rmse", "median_absolute_error", "mean_std", "coverage_90", "spearman_std_error")
    if len(error) < 3:
        return metrics | dict.fromkeys(names)
    numbers = (
        np.abs(error).mean(),
        np.sqrt((error**2).mean()),
        np.median(np.abs(error)),
        std.mean(),
        (np.abs(error) <= _Z90 * std).mean(),
        np.corrcoef(_ranks(std), _ranks(np.abs(error)))[0, 1],
    )
    return metrics | {name: significant(float(number)) for name, number in zip(names, numbers)}


def errors_by_distance(
    model: Predictor, compositions: Any, values: Floats, edges: Sequence[float]
) -> list[dict[str, Any]]:
    """Mean absolute error and mean std of the rows between neighbouring distances, the last without an upper end."""
    prediction = model.predict(compositions)
    error = np.abs(prediction.mean - values)
    bins = []
    for low, high in zip((-np.inf, *edges), (*edges, np.inf)):
        rows = (prediction.distance > low) & (prediction.distance <= high)
        n = int(rows.sum())
        bins.append(
            {
                "up_to": None if high == np.inf else high,
                "n": n,
                "mae": significant(float(error[rows].mean())) if n else None,
                "mean_std": significant(float(prediction.std[rows].mean())) if n else None,
            }
        )
    return bins
