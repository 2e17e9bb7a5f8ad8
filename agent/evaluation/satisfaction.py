"""Whether a value is what a term's shape asks for: one definition for summaries and reports."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from oreflow.envs.arrays import Bools, Floats

NO_UNIT = ("", "1", "count", "ratio", "verdict")
"""Units that nobody writes behind a number."""
_ROUNDING = 1e-9


def satisfied(shape: Mapping[str, Any], values: Floats) -> Bools | None:
    """Tell which values are what a shape asks for.

    `below`, `above` and `between`: on the right side of the threshold, the threshold included. `target`: within one
    width of the value, where the log-score is -0.5 at least. `verdict`: 1, for yes. A missing value satisfies nothing.

    Args:
        shape: `kind` and its parameters, as a config holds them.
        values: float64 [batch], what the shape is applied to, in the term's unit.

    Returns:
        bool [batch]; None for `minimise`, `maximise` and `logarithm`, which ask for more without an end.
    """
    kind = shape["kind"]
    with np.errstate(invalid="ignore"):
        if kind == "below":
            return np.asarray(values <= shape["threshold"] + _ROUNDING)
        if kind == "above":
            return np.asarray(values >= shape["threshold"] - _ROUNDING)
        if kind == "between":
            return np.asarray((values >= shape["low"] - _ROUNDING) & (values <= shape["high"] + _ROUNDING))
        if kind == "target":
            return np.asarray(np.abs(values - shape["value"]) <= shape["width"] + _ROUNDING)
        if kind == "verdict":
            return np.asarray(values >= 1 - _ROUNDING)
    return None


def wish_in_words(shape: Mapping[str, Any], unit: str) -> str:
    """Say what a shape asks for, with the unit: "at most -1 eV/atom", "as low as possible"."""
    of = "" if unit in NO_UNIT else f" {unit}"
    kind = shape["kind"]
    if kind == "below":
        return f"at most {shape['threshold']:g}{of}"
    if kind == "above":
        return f"at least {shape['threshold']:g}{of}"
    if kind == "between":
        return f"from {shape['low']:g} to {shape['high']:g}{of}"
    if kind == "target":
        return f"{shape['value']:g} ± {shape['width']:g}{of}"
    if kind == "verdict":
        return "yes"
    if kind == "minimise":
        return "as low as possible"
    return "as high as possible"
