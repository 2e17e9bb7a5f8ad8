"""Statistics of shares, counts and ranks."""

import math

import numpy as np

from oreflow.envs.arrays import Floats

_Z_95 = 1.959963984540054  # the normal distribution's quantile of 97.5 %


def wilson(count: int, n: int) -> tuple[float, float]:
    """Compute the interval of 95 % of a share (Wilson, J. Am. Stat. Assoc. 22, 209, 1927), uncorrected for continuity.

    Args:
        count: hits, from 0 to n.
        n: trials, at least 1.
    """
    share, z2 = count / n, _Z_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def entropy_nats(counts: Floats) -> float:
    """Entropy of shares given as counts, in nats; 0 where there is nothing."""
    counts = counts[counts > 0]
    if not len(counts):
        return 0.0
    p = counts / counts.sum()
    return float(-(p * np.log(p)).sum())


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Jensen-Shannon divergence in nats; 0 log 0 = 0."""
    m = 0.5 * (p + q)
    return float(0.5 * (_kullback_leibler(p, m) + _kullback_leibler(q, m)))


def _kullback_leibler(p: Floats, q: Floats) -> float:
    positive = p > 0
    return float((p[positive] * np.log(p[positive] / q[positive])).sum())


def rank_correlation(x: Floats, y: Floats) -> float | None:
    """Compute Spearman's correlation of paired values, ties at their mean rank; in [-1, 1].

    Pairs without two finite values are left out; None where that leaves fewer than three, or all of x or y equal.
    """
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3:
        return None
    import pandas as pd  # a quarter of a second, which a training that measures nothing does not need

    ranks = [pd.Series(values[both]).rank().to_numpy() for values in (x, y)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])
