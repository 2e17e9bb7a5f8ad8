"""The neutral formula whose element fractions are nearest to given ones: compiled, and exact.

Fractions are w / W with whole w, so that distances are compared without rounding: for M atoms m, the squared Euclidean
distance is the sum of (m W - M w)^2 over elements, divided by (M W)^2.

For every number of atoms up to the largest allowed one, counts are walked through from the nearest to the farthest,
along choices that can still end neutral (`reach`, as in `changes_compiled`), and cut where no better one can follow:
deviations sum to zero, so what is left owes at least the square of the sum so far divided by the elements left.
"""

import numpy as np

from oreflow.agent.repair.charges_compiled import holds_within, or_interval
from oreflow.envs.arrays import Ints, UInt64s
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit


@njit(nogil=True)
def _fill(
    reach: UInt64s, least: Ints, low: Ints, high: Ints, n_choices: Ints, most_atoms: int, zero: int, n_bits: int
) -> None:
    """Fills reach [element + 1, atoms, word]: charges of the elements from e on with exactly so many atoms."""
    k = len(least)
    work = np.zeros((2, reach.shape[2]), dtype=np.uint64)
    reach[:] = np.uint64(0)
    reach[k, 0, zero >> 6] = np.uint64(1) << np.uint64(zero & 63)
    for e in range(k - 1, -1, -1):
        for m in range(least[e], most_atoms + 1):
            for atoms in range(m, most_atoms + 1):
                source = reach[e + 1, atoms - m]
                if not source.any():
                    continue
                for c in range(n_choices[e] if m > 0 else 1):
                    or_interval(reach[e, atoms], source, m * low[e, c], m * high[e, c], n_bits, work)


@njit(nogil=True)
def _walk(
    reach: UInt64s,
    w: Ints,
    whole: int,
    least: Ints,
    low: Ints,
    high: Ints,
    n_choices: Ints,
    atoms: int,
    zero: int,
    n_bits: int,
    bound: float,
    out: Ints,
) -> tuple[bool, np.int64]:
    """The nearest neutral counts of exactly `atoms` atoms with a cost below `bound`; writes `out`."""
    k = len(w)
    step, choice = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)  # 0, 1, 2, ... from the nearest count
    left, m = np.zeros(k + 1, dtype=np.int64), np.zeros(k, dtype=np.int64)
    q_low, q_high = np.zeros(k + 1, dtype=np.int64), np.zeros(k + 1, dtype=np.int64)
    cost, owed = np.zeros(k + 1, dtype=np.int64), np.zeros(k + 1, dtype=np.int64)
    found, best_cost = False, np.int64(0)
    left[0], choice[0] = atoms, -1
    e = 0
    while e >= 0:
        choice[e] += 1
        if choice[e] >= (n_choices[e] if step[e] == 0 or m[e] > 0 else 1):
            choice[e] = 0
            step[e] += 1
        floor = (atoms * w[e]) // whole
        if 2 * (atoms * w[e] - floor * whole) <= whole:  # nearest below: then one up, one down, two up, ...
            m[e] = floor + (step[e] + 1) // 2 * (1 if step[e] % 2 else -1)
        else:
            m[e] = floor + 1 + (step[e] + 1) // 2 * (-1 if step[e] % 2 else 1)
        if m[e] <= 0 and choice[e] > 0:
            choice[e] = n_choices[e]
            continue
        deviation = m[e] * whole - atoms * w[e]
        cost[e + 1] = cost[e] + deviation * deviation
        owed[e + 1] = owed[e] + deviation
        if float(cost[e + 1]) > bound or (found and cost[e + 1] > best_cost):
            e -= 1  # the next counts are farther
            continue
        if m[e] < least[e] or m[e] > left[e]:
            choice[e] = n_choices[e]
            continue
        if e + 1 < k:
            debt = float(owed[e + 1]) * float(owed[e + 1]) / (k - e - 1)
            limit = bound if not found else min(bound, float(best_cost))
            if float(cost[e + 1]) + debt * (1.0 - 1e-12) > limit:
                continue
        c = choice[e]
        left[e + 1] = left[e] - m[e]
        q_low[e + 1], q_high[e + 1] = q_low[e] + m[e] * low[e, c], q_high[e] + m[e] * high[e, c]
        if not holds_within(reach[e + 1, left[e + 1]], zero - q_high[e + 1], zero - q_low[e + 1], n_bits):
            continue
        e += 1
        if e == k:
            better = not found or cost[k] < best_cost
            if not better and cost[k] == best_cost:
                for i in range(k):
                    if m[i] != out[i]:
                        better = m[i] > out[i]
                        break
            if better:
                found, best_cost = True, cost[k]
                copy_first(out, m, k)
            e -= 1
            continue
        step[e], choice[e] = 0, -1
    return found, best_cost


@njit(nogil=True)
def nearest_fractions(w: Ints, least: Ints, low: Ints, high: Ints, n_choices: Ints, most_atoms: int, out: Ints) -> bool:
    """The nearest neutral counts of one composition, by element fractions; writes `out`, int64 [element].

    Of equal distances the fewest atoms count, then more atoms of the element that comes first in the order given.

    Args:
        w: int64 [element], weights of the fractions, at most 2e5 in all; 0 for elements that may come in.
        least, low, high, n_choices: as `changes_compiled.fewest_changes` takes them.
        most_atoms: of the result, at most 100: squares then stay whole in 64 bits.

    Returns:
        Whether there is a neutral formula within `most_atoms`.
    """
    k, whole = len(w), w.sum()
    lowest, highest = 0, 0
    for e in range(k):
        lowest, highest = min(lowest, low[e, 0]), max(highest, high[e, n_choices[e] - 1])
    zero = -most_atoms * lowest
    n_bits = zero + most_atoms * highest + 1
    reach = np.empty((k + 1, most_atoms + 1, (n_bits >> 6) + 1), dtype=np.uint64)
    _fill(reach, least, low, high, n_choices, most_atoms, zero, n_bits)
    found, found_cost, found_atoms = False, np.int64(0), 1
    here = np.empty(k, dtype=np.int64)
    for atoms in range(1, most_atoms + 1):
        if not holds_within(reach[0, atoms], zero, zero, n_bits):
            continue
        bound = np.inf
        if found:  # cost / atoms^2 has to be smaller; a little slack, as the comparison below is the one that counts
            bound = float(found_cost) * (atoms / found_atoms) ** 2 * (1.0 + 1e-9)
        better, cost = _walk(reach, w, whole, least, low, high, n_choices, atoms, zero, n_bits, bound, here)
        if not better:
            continue
        if not found or cost * found_atoms * found_atoms < found_cost * atoms * atoms:
            found, found_cost, found_atoms = True, cost, atoms
            copy_first(out, here, k)
    return found
