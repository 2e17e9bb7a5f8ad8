"""Net valence: how far amounts of elements are from neutrality, in e per atom."""

from collections.abc import Mapping, Sequence

import numpy as np

from oreflow.envs.arrays import Floats


def net_valence(
    weights: Mapping[int, float], states: Mapping[int, Sequence[int]], mixed_valence: bool = False
) -> float:
    """Compute the smallest |sum x s| over all choices of oxidation states s, x being the element fractions, in e/atom.

    This is what Sawada, Morikawa and Fujii (arXiv:1910.11499) drive to zero. It is the residual charge of
    `charge_balance` divided by the atoms of the formula, and has a value for fractions, too.

    Args:
        weights: amounts by atomic number, in any unit; whole ones give 0 exactly where a choice is neutral.
        states: by atomic number, at least one of each element.
        mixed_valence: whether atoms of one element may differ, as `charge_balance` means it.
    """
    total = sum(weights.values())
    parts = [np.array(states[z], dtype=np.float64) * weight for z, weight in weights.items()]
    if mixed_valence:
        low, high = sum(part.min() for part in parts), sum(part.max() for part in parts)
        return float(max(low, -high, 0.0) / total)
    # All sums of either half of the elements; each of the first meets the nearest opposite one of the second.
    first, second = _sums(parts[::2]), np.sort(_sums(parts[1::2]))
    place = np.searchsorted(second, -first)
    below, above = second[np.maximum(place - 1, 0)], second[np.minimum(place, len(second) - 1)]
    return float(min(np.abs(first + below).min(), np.abs(first + above).min()) / total)


def _sums(parts: Sequence[Floats]) -> Floats:
    sums = np.zeros(1)
    for part in parts:
        sums = np.unique(np.add.outer(sums, part))
    return sums
