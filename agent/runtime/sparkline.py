"""A distribution as one line of text, for terminals."""

import sys

import numpy as np

from oreflow.envs.arrays import Floats

_BLOCKS, _PLAIN = " ▁▂▃▄▅▆▇█", " .:-=+*%#"


def sparkline(values: Floats, n_bins: int = 20, encoding: str | None = None) -> str:
    """Draw a histogram with its ends: "-4.1 ▁▃█▅▁ 0.3"; "" where no value is finite, the value where all are one.

    Bars are in proportion to the counts; a bin that holds any value is not empty.

    Args:
        values: float64 [n].
        n_bins: of the same width, between the smallest and the largest value.
        encoding: of what prints it, by default standard output's; plain characters where it has no blocks.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return ""
    low, high = float(finite.min()), float(finite.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return f"{low:.3g}"
    counts, _ = np.histogram(finite, n_bins, (low, high))
    marks = _BLOCKS if _can_print(_BLOCKS, encoding or sys.stdout.encoding or "ascii") else _PLAIN
    heights = np.ceil(counts / counts.max() * (len(marks) - 1)).astype(int)
    return f"{low:.3g} {''.join(marks[h] for h in heights)} {high:.3g}"


def _can_print(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
