"""The neutral formula with the fewest changed atoms: compiled, and exact.

From counts n to counts m, R atoms go and A come in, R = sum max(n - m, 0) and A = sum max(m - n, 0). One change takes
an atom out, brings one in, or puts one in the place of another, so max(R, A) changes are needed and enough.

Which net charges the elements from e on can carry when exactly r of their atoms go and a come in is a set of bits,
`reach[e, r, a]`. It tells for every number of changes whether a neutral formula is that near. The nearest ones are then
walked through, along choices that can be finished alone, and cut where they cannot be better than the best found.
Among equally many changes the best has the fewest new elements, then the smallest distance of element fractions, then
the fewest atoms, then more atoms of the element that comes first in the order given.
"""

import numpy as np

from oreflow.agent.repair.charges_compiled import holds_within, or_interval
from oreflow.envs.arrays import Ints, UInt64s
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit

FOUND, NONE, TOO_FAR = 0, 1, 2
_FIRST_DEPTH = 2


@njit(nogil=True)
def _fill(
    reach: UInt64s, n: Ints, least: Ints, low: Ints, high: Ints, n_choices: Ints, depth: int, zero: int, n_bits: int
) -> None:
    """Fills reach [element + 1, r, a, word] from the last element to the first."""
    k = len(n)
    work = np.zeros((2, reach.shape[3]), dtype=np.uint64)
    reach[:] = np.uint64(0)
    reach[k, 0, 0, zero >> 6] = np.uint64(1) << np.uint64(zero & 63)
    for e in range(k - 1, -1, -1):
        for m in range(max(least[e], n[e] - depth), n[e] + depth + 1):
            gone, new = max(n[e] - m, 0), max(m - n[e], 0)
            for r in range(gone, depth + 1):
                for a in range(new, depth + 1):
                    source = reach[e + 1, r - gone, a - new]
                    if not source.any():
                        continue
                    for c in range(n_choices[e] if m > 0 else 1):
                        or_interval(reach[e, r, a], source, m * low[e, c], m * high[e, c], n_bits, work)


@njit(nogil=True)
def _walk(
    reach: UInt64s,
    n: Ints,
    least: Ints,
    low: Ints,
    high: Ints,
    n_choices: Ints,
    gone: int,
    come: int,
    zero: int,
    n_bits: int,
    best: Ints,
) -> tuple[int, int]:
    """The best of the neutral counts with exactly `gone` and `come` atoms; writes `best`.

    Returns:
        The number of new elements, and the sum of (m N - n M)^2 over elements, N and M being the atoms of both.
    """
    k, total = len(n), n.sum()
    after = total - gone + come
    m, choice = np.zeros(k, dtype=np.int64), np.zeros(k, dtype=np.int64)
    r, a = np.zeros(k + 1, dtype=np.int64), np.zeros(k + 1, dtype=np.int64)
    q_low, q_high = np.zeros(k + 1, dtype=np.int64), np.zeros(k + 1, dtype=np.int64)
    new, cost = np.zeros(k + 1, dtype=np.int64), np.zeros(k + 1, dtype=np.int64)
    best_new, best_cost = np.iinfo(np.int64).max, np.iinfo(np.int64).max
    r[0], a[0] = gone, come
    e = 0
    m[0], choice[0] = n[0] + a[0], -1  # what was tried last
    while e >= 0:
        choice[e] += 1
        if choice[e] >= (n_choices[e] if m[e] > 0 else 1):
            choice[e] = 0
            m[e] -= 1
        if m[e] < max(least[e], n[e] - r[e]):
            e -= 1
            continue
        c = choice[e]
        r[e + 1] = r[e] - max(n[e] - m[e], 0)
        a[e + 1] = a[e] - max(m[e] - n[e], 0)
        q_low[e + 1], q_high[e + 1] = q_low[e] + m[e] * low[e, c], q_high[e] + m[e] * high[e, c]
        difference = m[e] * total - n[e] * after
        new[e + 1] = new[e] + (1 if n[e] == 0 and m[e] > 0 else 0)
        cost[e + 1] = cost[e] + difference * difference
        if new[e + 1] > best_new or (new[e + 1] == best_new and cost[e + 1] >= best_cost):
            continue  # counts are tried from many to few, so the first of equals is the one that is wanted
        if not holds_within(reach[e + 1, r[e + 1], a[e + 1]], zero - q_high[e + 1], zero - q_low[e + 1], n_bits):
            continue
        e += 1
        if e == k:
            copy_first(best, m, k)
            best_new, best_cost = new[k], cost[k]
            e -= 1
            continue
        m[e], choice[e] = n[e] + a[e], -1
    return best_new, best_cost


@njit(nogil=True)
def fewest_changes(
    n: Ints, least: Ints, low: Ints, high: Ints, n_choices: Ints, most_atoms: int, most_changes: int, out: Ints
) -> tuple[int, int]:
    """The nearest neutral counts of one formula, by changed atoms; writes `out`, int64 [element].

    Args:
        n: int64 [element], atoms of the formula, at least one in all; 0 for elements that may come in.
        least: int64 [element], smallest count that is allowed.
        low, high, n_choices: int64 [element, choice] and [element], the intervals of charges of one atom.
        most_atoms: of the result.
        most_changes: where the search ends.

    Returns:
        FOUND and the number of changes; NONE where no formula within `most_atoms` is neutral; TOO_FAR where there is
        none within `most_changes`, and what lies beyond is not known.
    """
    k, total = len(n), n.sum()
    beyond = max(total, most_atoms)  # all atoms out and others in
    limit = min(most_changes, beyond)
    depth = min(_FIRST_DEPTH, limit)
    lowest, highest = 0, 0
    for e in range(k):
        lowest, highest = min(lowest, low[e, 0]), max(highest, high[e, n_choices[e] - 1])
    while True:
        zero = -depth * lowest
        top = depth * highest
        for e in range(k):
            zero -= n[e] * min(low[e, 0], 0)
            top += n[e] * max(high[e, n_choices[e] - 1], 0)
        n_bits = zero + top + 1
        reach = np.empty((k + 1, depth + 1, depth + 1, (n_bits >> 6) + 1), dtype=np.uint64)
        _fill(reach, n, least, low, high, n_choices, depth, zero, n_bits)
        for d in range(depth + 1):
            found, found_new, found_cost, found_atoms = False, 0, 0, 1
            for r in range(d + 1):
                for a in range(d + 1) if r == d else range(d, d + 1):
                    after = total - r + a
                    if after < 1 or after > most_atoms:
                        continue
                    if not holds_within(reach[0, r, a], zero, zero, n_bits):
                        continue
                    best = np.empty(k, dtype=np.int64)
                    new, cost = _walk(reach, n, least, low, high, n_choices, r, a, zero, n_bits, best)
                    # cost / atoms^2, compared without division; equal ones: fewer atoms
                    left, right = cost * found_atoms * found_atoms, found_cost * after * after
                    if (
                        not found
                        or new < found_new
                        or (new == found_new and (left < right or (left == right and after < found_atoms)))
                    ):
                        found, found_new, found_cost, found_atoms = True, new, cost, after
                        copy_first(out, best, k)
            if found:
                return FOUND, d
        if depth == limit:
            return (NONE if limit == beyond else TOO_FAR), 0
        depth = min(2 * depth, limit)
