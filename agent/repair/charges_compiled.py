"""Sets of net charges as bits, for the exact searches of this room.

What one element contributes is a choice among intervals of charges. Without mixed valence each oxidation state s is an
interval of one number, and m atoms carry m s. With mixed valence there is one interval, from the lowest to the highest
state, and m atoms carry any whole number from m times the one to m times the other: a crystal of many formula units is
neutral if 0 is among the sums, as `oreflow.rewards.chemistry.oxidation_balance.charge_range` explains.
"""

import numpy as np

from oreflow.envs.arrays import UInt64s
from oreflow.envs.compiled.bitsets import or_shifted
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit


@njit(nogil=True)
def or_interval(target: UInt64s, source: UInt64s, low: int, high: int, n_bits: int, work: UInt64s) -> None:
    """target |= source << c for every c from `low` to `high`; sets are uint64 [word], `work` is [2, word].

    What leaves bits [0, n_bits) is lost.
    """
    if low == high:
        or_shifted(target, source, low, n_bits)
        return
    smeared, copy = work[0], work[1]
    smeared[:] = np.uint64(0)
    or_shifted(smeared, source, low, n_bits)
    covered = 1
    while covered <= high - low:  # each round doubles the width of the interval
        step = min(covered, high - low + 1 - covered)
        copy_first(copy, smeared, len(smeared))
        or_shifted(smeared, copy, step, n_bits)
        covered += step
    for i in range(len(target)):
        target[i] |= smeared[i]


@njit(nogil=True)
def holds_within(words: UInt64s, low: int, high: int, n_bits: int) -> bool:
    """Whether any bit from `low` to `high`, both included, is set in `words`, uint64 [word]."""
    low, high = max(low, 0), min(high, n_bits - 1)
    if low > high:
        return False
    every = ~np.uint64(0)
    for i in range(low >> 6, (high >> 6) + 1):
        mask = every
        if i == low >> 6:
            mask &= every << np.uint64(low & 63)
        if i == high >> 6:
            mask &= every >> np.uint64(63 - (high & 63))
        if words[i] & mask:
            return True
    return False
