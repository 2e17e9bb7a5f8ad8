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


# Of a normal distribution, so many per cent lie within so many standard deviations.
_Z = {50: 0.6744897501960817, 68: 0.9944578832097532, 90: 1.6448536269514722, 95: 1.959963984540054}
COVERAGES = tuple(_Z)
"""Per cent of rows that are meant to lie within the intervals whose true shares a model card tells."""


def calibrate(mean: Floats, scale: Floats, values: Floats) -> dict[str, float]:
    """Spread weight by Laplace likelihood, then the factor by the 90 % quantile of |error| / std."""
    error = np.abs(mean.mean(axis=0) - values)
    candidates = []
    for spread_weight in (0.0, *np.geomspace(0.1, 100.0, 31).tolist()):
        std = calibrated_std(mean, scale, spread_weight=spread_weight, factor=1.0)
        # With the best common factor, the likelihood is log(mean(error / std)) + mean(log(std)) up to constants.
        candidates.append((np.log(np.mean(error / std)) + np.mean(np.log(std)), spread_weight, std))
    _, spread_weight, std = min(candidates, key=lambda c: c[0])
    return {"spread_weight": float(spread_weight), "factor": float(np.quantile(error / std, 0.9) / _Z[90])}


FEWEST_MEASURED = 3
"""Rows below which no error is given."""


def _ranks(values: Floats) -> Floats:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)


def significant(value: float) -> float:
    """To five significant digits, whatever the unit."""
    return float(f"{value:.5g}")


def error_metrics(model: Predictor, compositions: Any, values: Floats) -> dict[str, Any]:
    """Errors of a model on rows with known values, in its unit; rows out of its scope are counted and left out.

    `spearman_std_error` is the rank correlation of predicted standard deviation and absolute error, `coverage_90` the
    share of rows within mean ± 1.645 std, and so on for the other `COVERAGES`. Entries are None where too few rows are
    in scope, and `r2` is None where their values are all equal.
    """
    prediction = model.predict(compositions)
    rows = prediction.in_scope
    error = prediction.mean[rows] - values[rows]
    std = prediction.std[rows]
    metrics: dict[str, Any] = {"n": int(rows.sum()), "n_out_of_scope": int((~rows).sum())}
    coverages = tuple(f"coverage_{percent}" for percent in COVERAGES)
    further = ("median_absolute_error", "mean_std", *coverages, "spearman_std_error")
    if len(error) < FEWEST_MEASURED:
        return metrics | errors_of(error, values[rows]) | dict.fromkeys(further)
    numbers = (
        np.median(np.abs(error)),
        std.mean(),
        *((np.abs(error) <= z * std).mean() for z in _Z.values()),
        np.corrcoef(_ranks(std), _ranks(np.abs(error)))[0, 1],
    )
    found = {name: significant(float(number)) for name, number in zip(further, numbers)}
    return metrics | errors_of(error, values[rows]) | found


def errors_of(error: Floats, values: Floats) -> dict[str, float | None]:
    """Give mean absolute error, root mean square error and coefficient of determination of answers.

    Args:
        error: float64 [row], answer minus value.
        values: float64 [row], whose mean is what R2 = 1 - sum(error²) / sum((value - mean)²) compares with.

    Returns:
        `mae`, `rmse` and `r2`, None for fewer than three rows; `r2` is None too where all values are equal.
    """
    if len(error) < FEWEST_MEASURED:
        return {"mae": None, "rmse": None, "r2": None}
    spread = float(np.square(values - values.mean()).sum())
    return {
        "mae": significant(float(np.abs(error).mean())),
        "rmse": significant(float(np.sqrt(np.square(error).mean()))),
        "r2": significant(1.0 - float(np.square(error).sum()) / spread) if spread > 0 else None,
    }


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
