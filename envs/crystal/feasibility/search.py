"""Depth-first search behind the masks of the crystal world: whether a partial composition can still be finished.

`tables.py` says how its two bounds prune the search, and why the answer is exact.
"""

import numpy as np

from oreflow.envs.arrays import Ints, UInt64s
from oreflow.envs.compiled.bitsets import get_bit
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.feasibility.stoichiometry import after, finishes_stoichiometry, plays_all_parts
from oreflow.envs.crystal.feasibility.sums import (
    ATOMS,
    CHOICE,
    MAYBE,
    MET,
    UNKNOWN,
    YES,
    Search,
    add_charges,
    begin,
    best_of_class,
    sum_up,
)
from oreflow.envs.crystal.feasibility.tables import (
    AMOUNT,
    CLASS,
    CLASS_GROUPS,
    FIRST_MEMBER,
    FIRST_STATE,
    GROUPS,
    LAST_MEMBER,
    POSSIBLY,
    SURELY,
    SiteTables,
)

_ONE, _ZERO = np.uint64(1), np.uint64(0)


@njit
def _meets(sites: SiteTables, bound: int, first: int, a: int, j: int, bits: UInt64s, row: int) -> bool:
    """Whether a bound holds one of the charges of a row for one of its inventory states."""
    i, states = first, bits[row, 0]
    while states != _ZERO:
        if states & _ONE:
            for word in range(1, bits.shape[1]):
                if sites.bounds[bound, i, a, j, word - 1] & bits[row, word] != _ZERO:
                    return True
        states >>= _ONE
        i += 1
    return False


@njit
def can_finish(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: Ints,
    counts: Ints,
    n: int,
    work: Search,
) -> bool:
    """Whether a partial crystal can be finished: inventory `kind` in `state`, with n elements and their counts."""
    a = 0
    for i in range(n):
        a += counts[i]
    if a > sites.n_atoms_max or n > sites.n_elements_max:
        return False
    if len(sites.role):
        return finishes_stoichiometry(sites, kind, state, elements, counts, n, a, work)
    groups = groups_met(sites, elements, n)
    if groups == sites.all_groups:
        if _as_it_is(sites, kind, state, elements, counts, n, a, work):
            return True
        verdict = _by_sums(sites, kind, state, elements, counts, n, a, work)
    else:  # required elements that are missing are summed up with the others
        those, with_counts, k = with_missing(sites, elements, counts, n, groups)
        if k > sites.n_elements_max:
            return False
        verdict = MAYBE  # sums do not tell further groups apart
        if groups_met(sites, those, k) == sites.all_groups:
            verdict = _by_sums(sites, kind, state, those, with_counts, k, a, work)
    if verdict != MAYBE:
        return verdict == YES
    return _finishes(sites, kind, state, elements, counts, n, a, groups, work)


@njit
def _by_sums(
    sites: SiteTables, kind: int, state: int, elements: Ints, counts: Ints, n: int, a: int, work: Search
) -> int:
    """The verdict on n elements that meet all required groups; those of count 0 get an atom at least."""
    if n == 0:
        return MAYBE
    # sums of all elements but the last, whose counts are tried on them
    size, cls = counts[n - 1], sites.element[elements[n - 1], CLASS]
    rest = a - size
    side = sum_up(sites, kind, state, elements, counts, n - 1, rest, sites.n_atoms_max - max(size, 1), work)
    work.looked_up[:] = UNKNOWN
    return best_of_class(sites, kind, n, cls, size, sites.n_atoms_max - rest, side, work)


@njit
def with_missing(sites: SiteTables, elements: Ints, counts: Ints, n: int, groups: int) -> tuple[Ints, Ints, int]:
    """The n elements and, with a count of 0, the required ones that are not among them; and how many these are."""
    those = np.empty(n + len(sites.only_member), dtype=np.int64)
    with_counts = np.zeros(n + len(sites.only_member), dtype=np.int64)
    copy_first(those, elements, n)
    copy_first(with_counts, counts, n)
    k = n
    for bit in range(len(sites.only_member)):
        if groups >> bit & 1 == 0 and sites.only_member[bit] >= 0:
            those[k] = sites.only_member[bit]
            groups |= sites.element[those[k], GROUPS]
            k += 1
    return those, with_counts, k


@njit
def groups_met(sites: SiteTables, elements: Ints, n: int) -> int:
    """Required groups that n elements meet."""
    groups = 0
    for i in range(n):
        groups |= sites.element[elements[i], GROUPS]
    return groups


@njit
def _as_it_is(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: Ints,
    counts: Ints,
    n: int,
    a: int,
    work: Search,
) -> bool:
    """Whether further elements surely finish it, with nothing added to those that are there: the common case."""
    begin(sites, work, state)
    for i in range(n):
        if not add_charges(sites, work.bits, i + 1, i, sites.element[elements[i], CLASS], counts[i]):
            return False
    work.bits[n, 0] = work.bits[0, 0]
    return _meets(sites, SURELY, sites.kind[kind, FIRST_STATE], a, n, work.bits, n)


@njit
def unused_element(sites: SiteTables, cls: int, elements: Ints, n: int) -> int:
    """An element of a class that is not among n elements, -1 when all are."""
    for m in range(sites.cls[cls, FIRST_MEMBER], sites.cls[cls, LAST_MEMBER]):
        element = sites.members[m]
        free = True
        for i in range(n):
            if elements[i] == element:
                free = False
                break
        if free:
            return element
    return -1


@njit
def _finishes(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: Ints,
    counts: Ints,
    n: int,
    a: int,
    groups: int,
    work: Search,
) -> bool:
    """Whether n elements can be finished: depth-first over how many more atoms each of them gets.

    Row i of `work.steps` and `work.bits` is what the first i elements add up to, once their counts are final. Where all
    n counts are final, `_finishes_with_others` searches on.
    """
    first = sites.kind[kind, FIRST_STATE]
    work.used[:] = 0
    for i in range(n):
        work.used[sites.element[elements[i], CLASS]] += 1
    work.steps[0, ATOMS], work.steps[0, MET], work.steps[0, CHOICE] = a, groups, 0
    begin(sites, work, state)
    if n == 0:
        return _finishes_with_others(sites, kind, 0, work)
    depth = 0
    while depth >= 0:
        a, states, more = work.steps[depth, ATOMS], work.bits[depth, 0], work.steps[depth, CHOICE]
        if a + more > sites.n_atoms_max:
            depth -= 1
            continue
        work.steps[depth, CHOICE] = more + 1
        found = after(sites, kind, states, more)
        if found == _ZERO:
            continue
        cls = sites.element[elements[depth], CLASS]
        if not add_charges(sites, work.bits, depth + 1, depth, cls, counts[depth] + more):
            continue
        work.steps[depth + 1, ATOMS], work.steps[depth + 1, MET], work.bits[depth + 1, 0] = a + more, groups, found
        if depth + 1 < n:
            depth += 1
            work.steps[depth, CHOICE] = 0
        elif _worth(sites, first, n, n, work) and _finishes_with_others(sites, kind, n, work):
            return True
    return False


@njit
def _finishes_with_others(sites: SiteTables, kind: int, n: int, work: Search) -> bool:
    """Whether n elements with final counts can be finished: depth-first over further elements by rising class.

    Starts from row n of `work.steps` and `work.bits`, writes the rows behind it, and leaves `work.used` as it is.

    A candidate is a number: class * width + atoms - 1. Behind each chosen one come candidates that are not smaller, so
    that each set of further elements is seen once.
    """
    first, n_classes, width = sites.kind[kind, FIRST_STATE], len(sites.cls), sites.n_atoms_max
    if _done(sites, first, n, n, work):
        return True
    depth = n
    work.steps[n, CHOICE] = 0
    while depth >= n:
        candidate = work.steps[depth, CHOICE]
        if depth == sites.n_elements_max or candidate >= n_classes * width:
            depth -= 1
            if depth >= n:
                work.used[(work.steps[depth, CHOICE] - 1) // width] -= 1
            continue
        a, groups, states = work.steps[depth, ATOMS], work.steps[depth, MET], work.bits[depth, 0]
        work.steps[depth, CHOICE] = candidate + 1
        cls, atoms = candidate // width, candidate % width + 1
        if (
            a + atoms > sites.n_atoms_max
            or work.used[cls] >= sites.cls[cls, LAST_MEMBER] - sites.cls[cls, FIRST_MEMBER]
        ):
            work.steps[depth, CHOICE] = (cls + 1) * width
            continue
        found = after(sites, kind, states, atoms)
        if found == _ZERO or not add_charges(sites, work.bits, depth + 1, depth, cls, atoms):
            continue
        work.steps[depth + 1, ATOMS], work.bits[depth + 1, 0] = a + atoms, found
        work.steps[depth + 1, MET] = groups | sites.cls[cls, CLASS_GROUPS]
        if not _worth(sites, first, depth + 1, depth + 1, work):
            continue
        if _done(sites, first, depth + 1, depth + 1, work):
            for chosen in range(n, depth):
                work.used[(work.steps[chosen, CHOICE] - 1) // width] -= 1
            return True
        work.used[cls] += 1
        depth += 1
        work.steps[depth, CHOICE] = candidate
    return False


@njit(inline="always")
def _worth(sites: SiteTables, first: int, n: int, depth: int, work: Search) -> bool:
    return _meets(sites, POSSIBLY, first, work.steps[depth, ATOMS], n, work.bits, depth)


@njit(inline="always")
def _done(sites: SiteTables, first: int, n: int, depth: int, work: Search) -> bool:
    """With all groups met, whether this composition is an end or surely has one."""
    return work.steps[depth, MET] == sites.all_groups and _meets(
        sites, SURELY, first, work.steps[depth, ATOMS], n, work.bits, depth
    )


@njit
def may_close(sites: SiteTables, elements: Ints, counts: Ints, n: int, a: int, work: Search) -> bool:
    """Whether n elements with their counts, a atoms in all, are a composition that every rule admits."""
    if not (sites.n_atoms_min <= a <= sites.n_atoms_max and sites.n_elements_min <= n <= sites.n_elements_max):
        return False
    if len(sites.role):
        unit = sites.role[:, AMOUNT].sum()
        return a % unit == 0 and plays_all_parts(sites, -1, 0, elements, counts, n, a // unit, work)
    groups = 0
    begin(sites, work, 0)
    for i in range(n):
        groups |= sites.element[elements[i], GROUPS]
        if not add_charges(sites, work.bits, i + 1, i, sites.element[elements[i], CLASS], counts[i]):
            return False
    return groups == sites.all_groups and get_bit(work.bits[n, 1:], sites.zero_charge)
