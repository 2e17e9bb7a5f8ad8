"""The order of candidates: by log R as far as it means anything, and a first page that is not all of one chemistry."""

from collections.abc import Sequence

import numpy as np

from oreflow.agent.tables.people import LOG_REWARD_DECIMALS
from oreflow.envs.arrays import Bools, Floats, Ints

PAGE_ROWS = 30
"""Rows of the first page."""
MOST_OF_ONE_ANION = 5
MOST_RARE_EARTH_MIXTURES = 3
WITHIN_NATS = 1.0
"""How far below the last row of a page by rank alone a row may be that is on it for the sake of variety."""
PAGE_IS_DRAWN_FROM = 1000
"""Best rows that are looked at for the first page."""
_ENERGY_DECIMALS = 3
_UNCERTAIN_NATS = 0.1


def meaningful_decimals(log_reward_std: Floats) -> int:
    """Say how many decimals of log R mean something: one where models are not sure of a tenth, else two.

    Args:
        log_reward_std: float64 [row], how far one standard deviation of the models moves log R, in nats; the median
            counts. Empty, or NaN, where no model says how sure it is.
    """
    known = log_reward_std[np.isfinite(log_reward_std)]
    uncertain = bool(len(known)) and float(np.median(known)) >= _UNCERTAIN_NATS
    return LOG_REWARD_DECIMALS - 1 if uncertain else LOG_REWARD_DECIMALS


def ranked(merit: Floats, decimals: int, energy_above_hull: Floats, std: Floats, sizes: Sequence[Ints]) -> Ints:
    """Order rows by merit, the largest first, and what is equal in it by what else is known.

    Args:
        merit: float64 [row], nats; compared as rounded to `decimals`. Ties go to the smaller distance above the hull,
            then to the smaller standard deviation, both float64 [row] in eV/atom and compared to 0.001, NaN last; then
            to the smaller ones of `sizes`, int64 [row] each: the number of elements, that of atoms. Exact merit comes
            last of all, and rows that are equal in everything stay in their order.

    Returns:
        int64 [row], the rows, best first.
    """
    keys = [-np.round(merit, decimals), np.round(energy_above_hull, _ENERGY_DECIMALS), np.round(std, _ENERGY_DECIMALS)]
    return np.lexsort([-merit, *reversed([*keys, *sizes])])


def first_page(merit: Floats, chemistries: Sequence[str], mixtures: Bools) -> Ints:
    """Choose the rows of the first page, so that it shows more than one chemistry.

    Rows are taken by rank, but not more than MOST_OF_ONE_ANION of one anion chemistry and MOST_RARE_EARTH_MIXTURES with
    two rare earths or more, and none that is more than WITHIN_NATS below the last row that a page by rank alone would
    have. What is passed over fills the page, by rank, where that leaves room: there are no others that are as good.

    Args:
        merit: float64 [row] of the best rows, in order of rank.
        chemistries, mixtures: of the same rows, [row].

    Returns:
        int64 [at most PAGE_ROWS], rows in order of rank.
    """
    n = min(PAGE_ROWS, len(merit))
    if n == len(merit):
        return np.arange(n)
    lowest = merit[n - 1] - WITHIN_NATS
    taken: list[int] = []
    n_of: dict[str, int] = {}
    n_mixtures = 0
    for row in range(len(merit)):
        if len(taken) == n:
            break
        chemistry, is_mixture = chemistries[row], bool(mixtures[row])
        full = n_of.get(chemistry, 0) == MOST_OF_ONE_ANION or (is_mixture and n_mixtures == MOST_RARE_EARTH_MIXTURES)
        if full or merit[row] < lowest:
            continue
        taken.append(row)
        n_of[chemistry] = n_of.get(chemistry, 0) + 1
        n_mixtures += is_mixture
    rest = np.setdiff1d(np.arange(len(merit)), taken)[: n - len(taken)]
    return np.sort(np.concatenate([np.array(taken, dtype=np.int64), rest]))
