"""What answers cost nothing, beside which the errors of a fitted model are read: the mean, and the nearest formula."""

from typing import Any

import numpy as np
import torch

from oreflow.envs.arrays import Bools, Float32s, Floats, Ints
from oreflow.rewards.models.ensemble.metrics import errors_of

MEAN, NEAREST = "mean", "nearest"
_CHUNK = 256  # rows compared with all training rows at once


def baseline_errors(
    features: Float32s, values: Floats, train: Ints, parts: dict[str, Ints], in_scope: Bools
) -> dict[str, dict[str, Any]]:
    """Measure two answers that take no fit, on the rows that a model is measured on.

    `mean` answers with the mean of the training values. `nearest` answers with the value of the training formula whose
    standardised features are nearest in the Euclidean sense, as a nearest-neighbour model of one neighbour does.

    Args:
        features: float32 [row, feature], standardised.
        values: float64 [row].
        train: int64, the training rows.
        parts: int64 row indices of each part that was not fitted, by name.
        in_scope: bool [row]; of the parts, the rows that the model judges.

    Returns:
        Of each part, of each answer, `mae`, `rmse` and `r2`.
    """
    found = {}
    for name, part in parts.items():
        rows = part[in_scope[part]]
        nearest = train[nearest_rows(features[rows], features[train])] if len(rows) else rows
        answers = {MEAN: np.full(len(rows), values[train].mean()), NEAREST: values[nearest]}
        found[name] = {key: errors_of(answer - values[rows], values[rows]) for key, answer in answers.items()}
    return found


def nearest_rows(features: Float32s, known: Float32s) -> Ints:
    """Find the nearest row of `known` for each row of `features`, int64; the first one of several.

    Args:
        features: float32 [row, feature].
        known: float32 [known row, feature], at least one.
    """
    others = torch.from_numpy(known)
    halves = 0.5 * others.square().sum(dim=1)
    found = np.empty(len(features), dtype=np.int64)
    for start in range(0, len(features), _CHUNK):
        part = torch.from_numpy(features[start : start + _CHUNK])
        # |a - b|² = |a|² - 2 (a b - |b|² / 2): the nearest is where the bracket is largest.
        found[start : start + _CHUNK] = (part @ others.T - halves).argmax(dim=1).numpy()
    return found
