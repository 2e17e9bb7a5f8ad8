"""Which net charges a composition can carry under a table of oxidation states: compiled, exact, by bit sets.

The charges that elements 1..i can carry together are one bit set; adding an element ORs shifted copies of it. This
costs (elements x states) word operations where trying every combination costs states^elements. The sets live in two
banks of memory that all rows of a batch share: allocating them anew would take longer than the rest.
"""

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Int16s, Int32s, Ints, States, UInt64s
from oreflow.envs.compiled.jit import njit


@njit(nogil=True)
def _banks(atomic_numbers: Ints, counts: Ints, states: States, n_states: Ints) -> UInt64s:
    """Two banks, uint64 [2, word], wide enough for the net charges of every row."""
    widest = 0
    for i in range(len(atomic_numbers)):
        width = 0
        for slot in range(atomic_numbers.shape[1]):
            z = atomic_numbers[i, slot]
            if n_states[z] > 0:
                width += counts[i, slot] * (max(states[z, n_states[z] - 1], 0) - min(states[z, 0], 0))
        widest = max(widest, width)
    return np.zeros((2, (widest >> 6) + 1), dtype=np.uint64)


@njit(nogil=True)
def _or_shifted(banks: UInt64s, target: int, n_words: int, shift: int) -> None:
    """banks[target] |= banks[1 - target] << shift, where no set bit leaves the first `n_words` words."""
    source = 1 - target
    word, bit = shift >> 6, np.uint64(shift & 63)  # floors, so bit counts upwards for either sign
    for j in range(n_words):
        bits = banks[source, j]
        if bits == np.uint64(0):
            continue
        if 0 <= j + word < n_words:
            banks[target, j + word] |= bits << bit
        if bit > np.uint64(0) and 0 <= j + word + 1 < n_words:
            banks[target, j + word + 1] |= bits >> (np.uint64(64) - bit)


@njit(nogil=True)
def _admitted(z: int, side: int, states: States, n_states: Ints) -> tuple[int, int]:
    """First and one past the last state of an element that may be a cation only (1), an anion only (-1), or either."""
    first, end = 0, n_states[z]
    if side > 0:
        while first < end and states[z, first] < 0:
            first += 1
    elif side < 0:
        while first < end and states[z, end - 1] > 0:
            end -= 1
    return first, end


@njit(nogil=True)
def reachable_charges(
    zs: Ints,
    counts: Ints,
    n: int,
    n_cations: int,
    states: States,
    n_states: Ints,
    independent: Bools,
    banks: UInt64s,
) -> tuple[int, int, int]:
    """Net charges of one composition, as a bit set.

    The atoms counted are those of one formula unit: each of an `independent` element chooses its state on its own.
    `charge_range` says what a crystal of many units can carry.

    Args:
        zs, counts: [slot], of which the first `n` count.
        n_cations: that many of the first elements take states >= 0 only and all others states <= 0 only; -1 lifts this.
        states, n_states: as `oreflow.envs.chemistry.oxidation.oxidation_matrix` gives them.
        independent: bool [119], whether the atoms of an element choose their states independently.
        banks: uint64 [2, word], working memory of `_banks`.

    Returns:
        The bank that holds the set, the charge (e) that its bit 0 stands for, and the highest charge. The bank is -1 if
        an element has no state that it may take.
    """
    low, high = 0, 0
    for i in range(n):
        side = 0 if n_cations < 0 else (1 if i < n_cations else -1)
        first, end = _admitted(zs[i], side, states, n_states)
        if first == end:
            return -1, 0, 0
        low += counts[i] * min(states[zs[i], first], 0)
        high += counts[i] * max(states[zs[i], end - 1], 0)
    n_words = ((high - low) >> 6) + 1
    for j in range(n_words):
        banks[0, j] = 0
    banks[0, (-low) >> 6] = np.uint64(1) << np.uint64((-low) & 63)
    bank = 0
    for i in range(n):
        side = 0 if n_cations < 0 else (1 if i < n_cations else -1)
        first, end = _admitted(zs[i], side, states, n_states)
        repeats, factor = (counts[i], 1) if independent[zs[i]] else (1, counts[i])
        for _ in range(repeats):
            bank = 1 - bank
            for j in range(n_words):
                banks[bank, j] = 0
            for s in range(first, end):
                _or_shifted(banks, bank, n_words, states[zs[i], s] * factor)
    return bank, low, high


@njit(nogil=True)
def _holds(banks: UInt64s, bank: int, bit: int) -> bool:
    return (banks[bank, bit >> 6] >> np.uint64(bit & 63)) & np.uint64(1) != np.uint64(0)


@njit(nogil=True)
def residual_charge(
    atomic_numbers: Int16s,
    counts: Int32s,
    states: States,
    n_states: Ints,
    independent: Bools,
) -> Floats:
    """Smallest |net charge| (e) of each composition, float64 [batch]; NaN where an element has no state."""
    out = np.full(len(atomic_numbers), np.nan)
    banks = _banks(atomic_numbers, counts, states, n_states)
    zs, ns = np.zeros(atomic_numbers.shape[1], dtype=np.int64), np.zeros(atomic_numbers.shape[1], dtype=np.int64)
    for i in range(len(atomic_numbers)):
        n = 0
        while n < len(zs) and atomic_numbers[i, n] > 0:
            zs[n], ns[n] = atomic_numbers[i, n], counts[i, n]
            n += 1
        bank, low, high = reachable_charges(zs, ns, n, -1, states, n_states, independent, banks)
        if bank < 0:
            continue
        charge = 0
        while not (
            (low <= charge <= high and _holds(banks, bank, charge - low))
            or (low <= -charge <= high and _holds(banks, bank, -charge - low))
        ):
            charge += 1
        out[i] = charge
    return out


@njit(nogil=True)
def charge_range(
    zs: Ints, counts: Ints, n: int, n_cations: int, states: States, n_states: Ints
) -> tuple[bool, int, int]:
    """Lowest and highest charge per formula unit where atoms of one element may differ in state.

    A crystal holds many formula units. In k of them the atoms of an element share out any two of its states in any
    ratio of whole numbers, so the mean state of an element is any fraction between its lowest and its highest, and the
    mean charge of a formula unit any fraction between the sums of these.

    Args:
        zs, counts, n, n_cations, states, n_states: as `reachable_charges` takes them.

    Returns:
        Whether every element has a state that it may take, and the two sums (e).
    """
    low, high = 0, 0
    for i in range(n):
        side = 0 if n_cations < 0 else (1 if i < n_cations else -1)
        first, end = _admitted(zs[i], side, states, n_states)
        if first == end:
            return False, 0, 0
        low += counts[i] * states[zs[i], first]
        high += counts[i] * states[zs[i], end - 1]
    return True, low, high


@njit(nogil=True)
def mixed_residual_charge(atomic_numbers: Int16s, counts: Int32s, states: States, n_states: Ints) -> Floats:
    """Smallest |mean charge| (e) per formula unit where atoms of one element may differ, as `charge_range` says.

    float64 [batch]; NaN where an element has no state.
    """
    out = np.full(len(atomic_numbers), np.nan)
    for i in range(len(atomic_numbers)):
        n = 0
        while n < atomic_numbers.shape[1] and atomic_numbers[i, n] > 0:
            n += 1
        known, low, high = charge_range(atomic_numbers[i], counts[i], n, -1, states, n_states)
        if known:
            out[i] = max(low, -high, 0)
    return out


@njit(nogil=True)
def _sort_by_electronegativity(zs: Ints, ns: Ints, row_zs: Ints, row_counts: Ints, i: int, chi: Floats) -> int:
    """Fills `zs` and `ns` with row i, ascending in electronegativity; returns how many, or -1 if one is unknown."""
    n = 0
    while n < len(zs) and row_zs[i, n] > 0:
        z, count = row_zs[i, n], row_counts[i, n]
        if np.isnan(chi[z]):
            return -1
        j = n
        while j > 0 and chi[zs[j - 1]] > chi[z]:
            zs[j], ns[j] = zs[j - 1], ns[j - 1]
            j -= 1
        zs[j], ns[j] = z, count
        n += 1
    return n


@njit(nogil=True)
def pauling_ordered(
    atomic_numbers: Int16s,
    counts: Int32s,
    states: States,
    n_states: Ints,
    independent: Bools,
    chi: Floats,
    mixed: bool = False,
) -> Floats:
    """Highest electronegativity of a cation for which a neutral, Pauling-ordered choice of states exists.

    A choice is ordered when every cation is strictly less electronegative than every anion, SMACT's `pauling_test`.
    Such choices give states >= 0 to all elements up to some electronegativity and states <= 0 to all above it, so it is
    enough to try a limit between each two neighbours in electronegativity. The one in the widest gap that works is
    returned, of equally wide gaps the lower one. Where no gap exists (one element, or equal values), the only ordered
    and neutral choice is state 0 for all.

    Args:
        atomic_numbers, counts: [batch, slot], padded with 0.
        states, n_states, independent: as `reachable_charges` takes them.
        chi: float64 [119], electronegativity by atomic number.
        mixed: whether atoms of one element may differ across formula units, as `charge_range` says; `independent` is
            then of no influence.

    Returns:
        float64 [batch]: the limit; NaN where there is none, or an electronegativity or all states are unknown.
    """
    out = np.full(len(atomic_numbers), np.nan)
    banks = _banks(atomic_numbers, counts, states, n_states)
    width = atomic_numbers.shape[1]
    zs, ns = np.zeros(width, dtype=np.int64), np.zeros(width, dtype=np.int64)
    for i in range(len(atomic_numbers)):
        n = _sort_by_electronegativity(zs, ns, atomic_numbers, counts, i, chi)
        if n < 0:
            continue
        previous, last = np.inf, 0
        while True:
            # The next cut: the widest gap not yet tried, in order of (gap descending, position ascending).
            widest, cut = 0.0, 0
            for c in range(1, n):
                gap = chi[zs[c]] - chi[zs[c - 1]]
                if (gap < previous or (gap == previous and c > last)) and gap > widest:
                    widest, cut = gap, c
            if cut == 0:
                if previous < np.inf:
                    break
                cut = n  # no gap at all
            if mixed:
                known, low, high = charge_range(zs, ns, n, cut, states, n_states)
                neutral = known and low <= 0 <= high
            else:
                bank, low, high = reachable_charges(zs, ns, n, cut, states, n_states, independent, banks)
                neutral = bank >= 0 and _holds(banks, bank, -low)
            if neutral:
                out[i] = chi[zs[cut - 1]] if n > 0 else -np.inf
                break
            if cut == n:
                break
            previous, last = widest, cut
    return out
