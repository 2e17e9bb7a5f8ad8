"""Whether a value is what a shape asks for, and a table worth reading: one definition for summaries and reports."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from oreflow.envs.arrays import Bools, Floats

NO_UNIT = ("", "1", "count", "ratio", "verdict")
"""Units that nobody writes behind a number."""
_ROUNDING = 1e-9
_WORTH, _SOME = 0.5, 0.1  # shares of rows that satisfy all
_WIDE_NATS = 3.0  # spread of log R - log P from which on draws follow the reward loosely


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


def reading_verdict(
    n_rows: int, shares: Mapping[str, float | None], everything: float | None, spread: float | None = None
) -> str:
    """Say in one line whether candidates are worth reading, and what to change where they are not.

    Args:
        shares: of the rows that satisfy a term, by the term's name; None for terms without a threshold.
        everything: the share that satisfies all terms; None where none has a threshold.
        spread: standard deviation of log R - log P over the rows, nats; None where it says nothing.
    """
    if not n_rows:
        return "No candidates: nothing to read. Widen the world, or lower what is asked, and sample again."
    rows = f"{n_rows:,} candidates" if n_rows > 1 else "one candidate"
    loose = ""
    if spread is not None and spread >= _WIDE_NATS:
        how = f"spread of log R - log P {spread:.1f} nats"
        loose = f" The draws follow the reward loosely ({how}): more steps would help."
    known = {name: share for name, share in shares.items() if share is not None}
    if everything is None or not known:
        return f"{rows[0].upper()}{rows[1:]}; no term has a threshold, so read them by rank.{loose}"
    said = f"{everything:.0%} of {rows} satisfy all that was asked"
    if everything >= _WORTH:
        return f"Worth reading: {said}.{loose}"
    worst = min(known, key=lambda name: known[name])
    remedy = (
        f"{worst.replace('_', ' ')} fails most often ({known[worst]:.0%} satisfy it): train longer, give it more "
        "weight, or move its threshold"
    )
    worth = "Worth reading in part" if everything >= _SOME else "Hardly worth reading"
    return f"{worth}: {said}; {remedy}.{loose}"
