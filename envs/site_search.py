"""Depth-first search behind the masks of the crystal world: whether a partial composition can still be finished.

`site_feasibility.py` says how its two bounds prune the search, and why the answer is exact.
"""

from typing import NamedTuple

import numpy as np

from envs.feasibility import get_bit, or_shifted, set_bit
from envs.jit import njit
from envs.site_feasibility import (
    AMOUNT,
    BIT,
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

# Columns of a search's `steps`
ATOMS, MET, CHOICE, MARK, TAKEN = 0, 1, 2, 3, 4


class Search(NamedTuple):
    """Working memory of a search, one for each thread: a row for each element of the final composition.

    Attributes:
        steps: int64 [depth + 1, 5]: atoms so far, groups met, the candidate looked at, whether that is counted in
            `used` or TAKEN; by element of the partial composition, not by depth: whether it plays a part (TAKEN).
        bits: uint64 [depth + 1, 1 + word], the set of inventory states, then the charges.
        used: int64 [class], elements taken of each class.
    """

    steps: np.ndarray
    bits: np.ndarray
    used: np.ndarray


@njit
def search_memory(sites: SiteTables) -> Search:
    depth = 2 * sites.n_elements_max + 2
    return Search(
        np.zeros((depth + 1, 5), dtype=np.int64),
        np.zeros((depth + 1, 1 + ((sites.n_charges + 63) >> 6)), dtype=np.uint64),
        np.zeros(len(sites.cls), dtype=np.int64),
    )


@njit(inline="always")
def add_charges(sites: SiteTables, bits: np.ndarray, target: int, source: int, cls: int, count: int) -> bool:
    """Charges of row `target` = those of row `source` + what `count` atoms of the class carry; whether any is left."""
    charges = bits[target, 1:]
    charges[:] = _ZERO
    entry = cls * sites.width + count - 1
    for d in range(sites.delta_start[entry], sites.delta_start[entry + 1]):
        or_shifted(charges, bits[source, 1:], sites.deltas[d], sites.n_charges)
    found = _ZERO
    for word in charges:
        found |= word
    return found != _ZERO


@njit
def _meets(sites: SiteTables, bound: int, first: int, a: int, j: int, bits: np.ndarray, row: int) -> bool:
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
def _after(sites: SiteTables, kind: int, states: np.uint64, d: int) -> np.uint64:
    """Inventory states after d more atoms of one element."""
    out, first, i = _ZERO, sites.kind[kind, FIRST_STATE], 0
    while states != _ZERO:
        if states & _ONE:
            out |= sites.reach[first + i, d]
        states >>= _ONE
        i += 1
    return out


@njit
def can_finish(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
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
        return _finishes_stoichiometry(sites, kind, state, elements, counts, n, a, work)
    return _finishes(sites, kind, state, elements, counts, n, a, work)


@njit
def _finishes(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    a: int,
    work: Search,
) -> bool:
    """Depth-first over how many more atoms each element gets, then over further elements by rising class."""
    first, n_classes, width = sites.kind[kind, FIRST_STATE], len(sites.cls), sites.n_atoms_max
    work.used[:] = 0
    groups = 0
    for i in range(n):
        work.used[sites.element[elements[i], CLASS]] += 1
        groups |= sites.element[elements[i], GROUPS]
    work.steps[0, ATOMS], work.steps[0, MET] = a, groups
    _begin(sites, work, state)
    # A first look with nothing added to the elements that are there: the common case.
    depth = 0
    for i in range(n):
        if not add_charges(sites, work.bits, i + 1, i, sites.element[elements[i], CLASS], counts[i]):
            break
        depth = i + 1
    if depth == n and groups == sites.all_groups:
        work.bits[n, 0] = work.bits[0, 0]
        if _meets(sites, SURELY, first, a, n, work.bits, n):
            return True
    depth = 0
    work.steps[0, CHOICE] = 0
    while depth >= 0:
        a, groups, states = work.steps[depth, ATOMS], work.steps[depth, MET], work.bits[depth, 0]
        x = work.steps[depth, CHOICE]
        if depth < n:  # x more atoms of element `depth`
            if a + x > sites.n_atoms_max:
                depth -= 1
                continue
            work.steps[depth, CHOICE] = x + 1
            after = _after(sites, kind, states, x)
            if after == _ZERO:
                continue
            cls = sites.element[elements[depth], CLASS]
            if not add_charges(sites, work.bits, depth + 1, depth, cls, counts[depth] + x):
                continue
            work.steps[depth + 1, ATOMS], work.steps[depth + 1, MET], work.bits[depth + 1, 0] = a + x, groups, after
            if depth + 1 == n and not _worth(sites, first, n, depth + 1, work):
                continue
            depth += 1
            work.steps[depth, CHOICE] = 0
            if depth == n and _done(sites, first, n, depth, work):
                return True
            continue
        if depth == 0 and x == 0 and n == 0 and _done(sites, first, 0, 0, work):
            return True
        # x: a further element, its class * width + atoms - 1; not before the one chosen last, to see each set once
        if depth == sites.n_elements_max or x >= n_classes * width:
            depth -= 1
            if depth >= n:
                work.used[(work.steps[depth, CHOICE] - 1) // width] -= 1
            continue
        work.steps[depth, CHOICE] = x + 1
        cls, more = x // width, x % width + 1
        if a + more > sites.n_atoms_max:
            work.steps[depth, CHOICE] = (cls + 1) * width
            continue
        if work.used[cls] >= sites.cls[cls, LAST_MEMBER] - sites.cls[cls, FIRST_MEMBER]:
            work.steps[depth, CHOICE] = (cls + 1) * width
            continue
        after = _after(sites, kind, states, more)
        if after == _ZERO or not add_charges(sites, work.bits, depth + 1, depth, cls, more):
            continue
        work.steps[depth + 1, ATOMS], work.bits[depth + 1, 0] = a + more, after
        work.steps[depth + 1, MET] = groups | sites.cls[cls, CLASS_GROUPS]
        if not _worth(sites, first, depth + 1, depth + 1, work):
            continue
        if _done(sites, first, depth + 1, depth + 1, work):
            return True
        work.used[cls] += 1
        depth += 1
        work.steps[depth, CHOICE] = x
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
def may_close(sites: SiteTables, elements: np.ndarray, counts: np.ndarray, n: int, a: int, work: Search) -> bool:
    """Whether n elements with their counts, a atoms in all, are a composition that every rule admits."""
    if not (sites.n_atoms_min <= a <= sites.n_atoms_max and sites.n_elements_min <= n <= sites.n_elements_max):
        return False
    if len(sites.role):
        unit = sites.role[:, AMOUNT].sum()
        return a % unit == 0 and _plays_all_parts(sites, -1, 0, elements, counts, n, a // unit, work)
    groups = 0
    _begin(sites, work, 0)
    for i in range(n):
        groups |= sites.element[elements[i], GROUPS]
        if not add_charges(sites, work.bits, i + 1, i, sites.element[elements[i], CLASS], counts[i]):
            return False
    return groups == sites.all_groups and get_bit(work.bits[n, 1:], sites.zero_charge)


@njit(inline="always")
def _begin(sites: SiteTables, work: Search, state: int) -> None:
    """The first row: one inventory state, no charge."""
    work.bits[0, :] = _ZERO
    work.bits[0, 0] = _ONE << np.uint64(state)
    set_bit(work.bits[0, 1:], sites.zero_charge)


@njit
def _finishes_stoichiometry(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    a: int,
    work: Search,
) -> bool:
    unit = sites.role[:, AMOUNT].sum()
    if n > len(sites.role):
        return False
    for units in range(max(1, -(-max(a, sites.n_atoms_min) // unit)), sites.n_atoms_max // unit + 1):
        if _plays_all_parts(sites, kind, state, elements, counts, n, units, work):
            return True
    return False


@njit
def _plays_all_parts(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    units: int,
    work: Search,
) -> bool:
    """Depth-first over which element plays which part of the stoichiometry, in `units` formula units.

    With kind -1 no site may be added: the counts are final.
    """
    n_roles, n_classes = len(sites.role), len(sites.cls)
    work.used[:] = 0
    for i in range(n):
        work.used[sites.element[elements[i], CLASS]] += 1
    work.steps[:, TAKEN] = 0
    work.steps[:, MARK] = 0
    work.steps[0, MET], work.steps[0, CHOICE] = 0, 0
    _begin(sites, work, state)
    depth = 0
    while depth >= 0:
        x = work.steps[depth, CHOICE]
        if work.steps[depth, MARK]:  # undo the candidate before
            work.steps[depth, MARK] = 0
            if x - 1 < n:
                work.steps[x - 1, TAKEN] = 0
            else:
                work.used[x - 1 - n] -= 1
        if x >= n + n_classes:
            depth -= 1
            continue
        work.steps[depth, CHOICE] = x + 1
        total = units * sites.role[depth, AMOUNT]
        cls = sites.element[elements[x], CLASS] if x < n else x - n
        if sites.cls[cls, CLASS_GROUPS] & sites.role[depth, BIT] == 0:
            continue
        if x < n:
            more = total - counts[x]
            if work.steps[x, TAKEN] or more < 0:
                continue
            work.steps[x, TAKEN] = 1
        else:
            more = total
            if work.used[cls] >= sites.cls[cls, LAST_MEMBER] - sites.cls[cls, FIRST_MEMBER]:
                continue
            work.used[cls] += 1
        work.steps[depth, MARK] = 1
        if kind < 0 and more > 0:
            continue
        after = work.bits[depth, 0] if kind < 0 else _after(sites, kind, work.bits[depth, 0], more)
        if after == _ZERO or not add_charges(sites, work.bits, depth + 1, depth, cls, total):
            continue
        work.bits[depth + 1, 0] = after
        work.steps[depth + 1, MET] = work.steps[depth, MET] | sites.cls[cls, CLASS_GROUPS]
        if depth + 1 < n_roles:
            depth += 1
            work.steps[depth, CHOICE] = 0
            continue
        n_taken = 0
        for i in range(n):
            n_taken += work.steps[i, TAKEN]
        complete = n_taken == n and work.steps[n_roles, MET] == sites.all_groups
        if complete and get_bit(work.bits[n_roles, 1:], sites.zero_charge):
            return True
    return False
