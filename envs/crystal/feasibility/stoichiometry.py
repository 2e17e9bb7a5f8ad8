"""Prescribed formula units: whether the elements of a partial crystal can still play all parts, compiled.

The parts of a formula unit, such as A, B and X3, are each played by another element. With the number of formula units
all final counts are known, so room and charge part: room depends on who plays what among the elements that are there;
which further elements play the others only matters for the charge, and is searched for with the charges in sight that
the parts still open can bring (`SiteTables.part_charges`).
"""

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.feasibility.sums import CHOICE, TAKEN, Search, add_charges, begin
from oreflow.envs.crystal.feasibility.tables import (
    AMOUNT,
    BIT,
    CLASS,
    CLASS_GROUPS,
    FIRST_MEMBER,
    FIRST_STATE,
    GROUPS,
    LAST_MEMBER,
    SiteTables,
)

_ONE, _ZERO = np.uint64(1), np.uint64(0)


@njit
def after(sites: SiteTables, kind: int, states: np.uint64, d: int) -> np.uint64:
    """Inventory states after d more atoms of one element."""
    out, first, i = _ZERO, sites.kind[kind, FIRST_STATE], 0
    while states != _ZERO:
        if states & _ONE:
            out |= sites.reach[first + i, d]
        states >>= _ONE
        i += 1
    return out


@njit
def finishes_stoichiometry(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: Ints,
    counts: Ints,
    n: int,
    a: int,
    work: Search,
) -> bool:
    """Whether n elements with their counts, a atoms in all, can become whole formula units."""
    unit = sites.role[:, AMOUNT].sum()
    if n > len(sites.role):
        return False
    for units in range(max(1, -(-max(a, sites.n_atoms_min) // unit)), sites.n_atoms_max // unit + 1):
        if plays_all_parts(sites, kind, state, elements, counts, n, units, work):
            return True
    return False


@njit
def plays_all_parts(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: Ints,
    counts: Ints,
    n: int,
    units: int,
    work: Search,
) -> bool:
    """Goes through the ways in which n elements can play n parts of `units` formula units.

    With kind -1 no site may be added: the counts are final.
    """
    n_roles = len(sites.role)
    work.steps[:, TAKEN] = -1  # by part: the element that plays it
    work.steps[:, CHOICE] = 0  # by element: the part to be tried next
    depth = 0
    while depth >= 0:
        if depth == n:
            if _others_fit(sites, kind, state, elements, counts, n, units, work):
                return True
            depth -= 1
            continue
        r = work.steps[depth, CHOICE]
        if r > 0 and work.steps[r - 1, TAKEN] == depth:  # undo the part before
            work.steps[r - 1, TAKEN] = -1
        if r == n_roles:
            work.steps[depth, CHOICE] = 0
            depth -= 1
            continue
        work.steps[depth, CHOICE] = r + 1
        more = units * sites.role[r, AMOUNT] - counts[depth]
        if work.steps[r, TAKEN] >= 0 or more < 0 or (kind < 0 and more > 0):
            continue
        if sites.element[elements[depth], GROUPS] & sites.role[r, BIT] == 0:
            continue
        work.steps[r, TAKEN] = depth
        depth += 1
    return False


@njit
def _others_fit(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: Ints,
    counts: Ints,
    n: int,
    units: int,
    work: Search,
) -> bool:
    """Whether there is room for all parts, and further elements play those that are open; by rising part."""
    n_roles, n_classes = len(sites.role), len(sites.cls)
    states, parts, groups = _ONE << np.uint64(state), 0, 0
    begin(sites, work, state)
    work.used[:] = 0
    n_rows = 0
    for r in range(n_roles):
        total, who = units * sites.role[r, AMOUNT], work.steps[r, TAKEN]
        if kind >= 0:
            states = after(sites, kind, states, total - counts[who] if who >= 0 else total)
            if states == _ZERO:
                return False
        if who < 0:
            parts |= 1 << r
            continue
        cls = sites.element[elements[who], CLASS]
        groups |= sites.element[elements[who], GROUPS]
        work.used[cls] += 1
        if not add_charges(sites, work.bits, n_rows + 1, n_rows, cls, total):
            return False
        n_rows += 1
    if not _balances(sites, units, parts, work, n_rows):
        return False
    if parts == 0:
        return groups == sites.all_groups
    # Columns of `others`: the part, the class to be tried next, parts still open, groups met
    others = np.zeros((n_roles + 1, 4), dtype=np.int64)
    others[0, 2], others[0, 3] = parts, groups
    depth = 0
    while depth >= 0:
        parts, groups, cls = others[depth, 2], others[depth, 3], others[depth, 1]
        if cls > 0 and others[depth, 0] < 0:  # undo the candidate before
            work.used[cls - 1] -= 1
            others[depth, 0] = 0
        if cls == n_classes:
            depth -= 1
            continue
        others[depth, 1] = cls + 1
        r = 0
        while parts >> r & 1 == 0:
            r += 1
        if sites.cls[cls, CLASS_GROUPS] & sites.role[r, BIT] == 0:
            continue
        if work.used[cls] >= sites.cls[cls, LAST_MEMBER] - sites.cls[cls, FIRST_MEMBER]:
            continue
        row = n_rows + depth
        if not add_charges(sites, work.bits, row + 1, row, cls, units * sites.role[r, AMOUNT]):
            continue
        left, met = parts & ~(1 << r), groups | sites.cls[cls, CLASS_GROUPS]
        if not _balances(sites, units, left, work, row + 1):
            continue
        if left == 0:
            if met == sites.all_groups:
                return True
            continue
        work.used[cls] += 1
        others[depth, 0] = -1
        depth += 1
        others[depth, 0], others[depth, 1], others[depth, 2], others[depth, 3] = 0, 0, left, met
    return False


@njit(inline="always")
def _balances(sites: SiteTables, units: int, parts: int, work: Search, row: int) -> bool:
    """Whether the open parts can bring a charge that closes one of a row's."""
    for word in range(work.bits.shape[1] - 1):
        if work.bits[row, 1 + word] & sites.part_charges[units, parts, word] != _ZERO:
            return True
    return False
