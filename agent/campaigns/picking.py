"""Which of the drawn decorations are relaxed next."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from oreflow.agent.campaigns.calibration import Estimate
from oreflow.envs.arrays import Bools, Floats

BEST, EXPLORED = "best", "explored"


class Pick(NamedTuple):
    """A row of the pool, and why it was picked: `best`, or `explored`."""

    row: int
    because: str


def probability_below(threshold: float, estimate: Estimate) -> Floats:
    """Probability that each energy above the hull is at most a threshold, float64 [row]."""
    z = (threshold - estimate.mean) / estimate.std
    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z.tolist()])


def pick(
    estimate: Estimate,
    eligible: Bools,
    formulas: Sequence[str],
    tried: set[str],
    n: int,
    *,
    threshold: float,
    explore: float,
    rng: np.random.Generator,
) -> list[Pick]:
    """Pick the likeliest to be stable, and beside them some by a draw from the estimate's error (Thompson sampling).

    No formula is picked twice; those that were tried in earlier rounds come after all others.

    Args:
        estimate: of each row's energy above the hull.
        eligible: bool [row].
        formulas: reduced, of each row.
        tried: formulas picked in earlier rounds.
        n: how many, at most.
        threshold: eV/atom above the hull, at most, of a stable one.
        explore: share of the picks that goes by a draw.
    """
    rows = np.flatnonzero(eligible)
    # The order of the probabilities, which far from the threshold are all 0 or 1.
    safest = rows[np.argsort(((estimate.mean - threshold) / estimate.std)[rows], kind="stable")]
    drawn = estimate.mean + estimate.std * rng.standard_normal(len(estimate.mean))
    luckiest = rows[np.argsort(drawn[rows], kind="stable")]
    n_best = n - round(explore * n)
    picks: list[Pick] = []
    taken: set[str] = set()
    for also_tried in (False, True):
        for order, because, limit in ((safest, BEST, n_best), (luckiest, EXPLORED, n)):
            for row in order.tolist():
                if len(picks) >= limit:
                    break
                if formulas[row] not in taken and (also_tried or formulas[row] not in tried):
                    picks.append(Pick(row, because))
                    taken.add(formulas[row])
    return picks
