"""Which net charges a composition can carry under a table of oxidation states: compiled, exact, by bit sets.

The charges that elements 1..i can carry together are one bit set; adding an element ORs shifted copies of it. This
costs (elements x states) word operations where trying every combination costs states^elements.
"""

import numba
import numpy as np

from envs.feasibility import get_bit, or_shifted


@numba.njit(cache=True)
def reachable_charges(
    zs: np.ndarray,
    counts: np.ndarray,
    states: np.ndarray,
    n_states: np.ndarray,
    mixed: bool,
    cation_below: float,
    chi: np.ndarray,
) -> tuple[np.ndarray, int]:
    """Net charges of one composition.

    Args:
        zs, counts: [slot], padded with 0.
        states, n_states: as `envs.oxidation.oxidation_matrix` gives them.
        mixed: whether atoms of one element choose their states independently.
        cation_below: with a finite value, elements of electronegativity up to it take states >= 0 only and all others
            states <= 0 only; NaN lifts this.
        chi: electronegativity by atomic number.

    Returns:
        The set as bits, and the charge (e) that bit 0 stands for. The set is empty if an element has no state.
    """
    low, high = 0, 0
    for slot in range(len(zs)):
        z, count = zs[slot], counts[slot]
        if z == 0:
            break
        if n_states[z] == 0:
            return np.zeros(1, dtype=np.uint64), 0
        low += count * min(states[z, 0], 0)
        high += count * max(states[z, n_states[z] - 1], 0)
    n_bits = high - low + 1
    current = np.zeros((n_bits + 63) >> 6, dtype=np.uint64)
    following = np.zeros_like(current)
    current[(-low) >> 6] = np.uint64(1) << np.uint64((-low) & 63)
    for slot in range(len(zs)):
        z, count = zs[slot], counts[slot]
        if z == 0:
            break
        repeats, factor = (count, 1) if mixed else (1, count)
        for _ in range(repeats):
            following[:] = 0
            for s in range(n_states[z]):
                state = states[z, s]
                if not np.isnan(cation_below) and (
                    (chi[z] <= cation_below and state < 0) or (chi[z] > cation_below and state > 0)
                ):
                    continue
                or_shifted(following, current, state * factor, n_bits)
            current, following = following, current
    return current, low


@numba.njit(cache=True)
def residual_charge(
    atomic_numbers: np.ndarray,
    counts: np.ndarray,
    states: np.ndarray,
    n_states: np.ndarray,
    mixed: bool,
    chi: np.ndarray,
) -> np.ndarray:
    """Smallest |net charge| (e) of each composition, float64 [batch]; NaN where an element has no state."""
    out = np.full(len(atomic_numbers), np.nan)
    for i in range(len(atomic_numbers)):
        charges, low = reachable_charges(atomic_numbers[i], counts[i], states, n_states, mixed, np.nan, chi)
        best = -1
        for bit in range(64 * len(charges)):
            if get_bit(charges, bit) and (best < 0 or abs(bit + low) < best):
                best = abs(bit + low)
        if best >= 0:
            out[i] = best
    return out


@numba.njit(cache=True)
def _neutral(charges: np.ndarray, low: int) -> bool:
    return 0 <= -low < 64 * len(charges) and get_bit(charges, -low)


@numba.njit(cache=True)
def pauling_ordered(
    atomic_numbers: np.ndarray,
    counts: np.ndarray,
    states: np.ndarray,
    n_states: np.ndarray,
    mixed: bool,
    chi: np.ndarray,
) -> np.ndarray:
    """Highest electronegativity of a cation for which a neutral, Pauling-ordered choice of states exists.

    A choice is ordered when every cation is strictly less electronegative than every anion, SMACT's `pauling_test`.
    Ordered choices are those that give states >= 0 to all elements up to some electronegativity and states <= 0 to all
    above it, so it is enough to try each element's value (and -inf) as that limit. Of several limits the one before the
    widest gap is returned.

    Returns:
        float64 [batch]: the limit; NaN where there is none, or an electronegativity is unknown.
    """
    out = np.full(len(atomic_numbers), np.nan)
    for i in range(len(atomic_numbers)):
        known = True
        for z in atomic_numbers[i]:
            known &= z == 0 or not np.isnan(chi[z])
        if not known:
            continue
        widest = -1.0
        for slot in range(-1, len(atomic_numbers[i])):
            z = atomic_numbers[i, slot] if slot >= 0 else 0
            if slot >= 0 and z == 0:
                break
            limit = chi[z] if slot >= 0 else -np.inf
            above = np.inf
            for other in atomic_numbers[i]:
                if other and chi[other] > limit:
                    above = min(above, chi[other])
            gap = above - limit if np.isfinite(above) and np.isfinite(limit) else 0.0
            if gap <= widest:
                continue
            charges, low = reachable_charges(atomic_numbers[i], counts[i], states, n_states, mixed, limit, chi)
            if _neutral(charges, low):
                widest = gap
                out[i] = limit
    return out
