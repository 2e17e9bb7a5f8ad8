"""Exact answers to "can this partial composition still be finished within every constraint?".

A partial composition is summed up by a *cell* (number of elements k, atoms a, radical r of the greatest common divisor
of its counts, bits of the required groups already met) and a partial charge q. What may still be added depends besides
on which elements P are used up, |P| = k. For every cell and charge the table keeps a family F of element sets with

    the state can be finished   <=>   some set of F is disjoint from P.

Families stay tiny. A new set X joins F only if some P with |P| <= k avoids X yet meets every set of F; by Bollobas'
theorem on set pairs (Acta Math. Acad. Sci. Hung. 16, 447, 1965; the "representative families" of parameterised
algorithms) at most binomial(kmax, k) sets pass this test. Where no such P is left the entry is *always* feasible, a
single bit, which is the common case with dozens of elements. Elements of a required group that is not yet met cannot be
in P and are left out of the sets.

Under `canonical` order elements are added by rising index, so P matters only through its last element: the table keeps
for each entry the largest index that the next element may have (`bound`).

Charges are kept in a window that holds every partial charge of a neutral object; a partial sum outside it cannot be
balanced by the atoms that are left, whatever they are.
"""

from typing import NamedTuple

import numpy as np

from oreflow.envs.arrays import Int16s, Int32s, Ints, UInt64s
from oreflow.envs.compiled.bitsets import get_bit, set_bit
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit
from oreflow.envs.composition.rules import Rules, may_stop

NOTHING = (0, 0, 0, 0)  # the cell of no element


class FeasibilityTable(NamedTuple):
    """The solved table; see the module's docstring. `word` axes hold bits of charge indices, 64 to a word."""

    cell_of: Int32s  # [k, a, radical, groups], -1 where no state can be
    always: UInt64s  # [cell, word], finishable whatever elements are used up
    sometimes: UInt64s  # [cell, word], finishable depending on the used elements: ask the family
    family_start: Ints  # [cell, charge]
    family_size: Int32s  # [cell, charge]
    family_sets: UInt64s  # [set, 2]
    bound: Int16s  # [cell, charge], canonical order only


@njit
def _can_meet_all(sets: UInt64s, n_sets: int, x0: np.uint64, x1: np.uint64, budget: int, stack: UInt64s) -> bool:
    """Whether at most `budget` elements outside X = (x0, x1) meet every one of the first `n_sets` sets.

    Depth-first over the first set not met yet: one of its elements must be taken. Written with a stack of rows (set,
    P before the choice, choices left), because compiled recursion does not survive numba's cache.
    """
    zero, one = np.uint64(0), np.uint64(1)
    p0, p1 = zero, zero
    depth, i = 0, 0
    while True:
        while i < n_sets and ((sets[i, 0] & p0) | (sets[i, 1] & p1)) != zero:
            i += 1
        if i == n_sets:
            return True
        if depth < budget:
            stack[depth, 0] = np.uint64(i)
            stack[depth, 1] = p0
            stack[depth, 2] = p1
            stack[depth, 3] = sets[i, 0] & ~x0
            stack[depth, 4] = sets[i, 1] & ~x1
            depth += 1
        while depth > 0 and stack[depth - 1, 3] == zero and stack[depth - 1, 4] == zero:
            depth -= 1
        if depth == 0:
            return False
        top = depth - 1
        i = np.int64(stack[top, 0])  # type: ignore[assignment]
        p0, p1 = stack[top, 1], stack[top, 2]
        word = 3 if stack[top, 3] != zero else 4
        low = stack[top, word] & (~stack[top, word] + one)
        stack[top, word] ^= low
        if word == 3:
            p0 |= low
        else:
            p1 |= low


@njit
def number_cells(rules: Rules, start: tuple[int, int, int, int]) -> tuple[Int32s, int]:
    """Numbers the cells that additions to `start` reach, charges and distinctness left aside."""
    shape = (rules.n_elements_max + 1, rules.n_atoms_max + 1, len(rules.next_radical), rules.all_groups + 1)
    cell_of = np.full(shape, -1, dtype=np.int32)
    cell_of[start] = 0
    n_cells = 1
    for k in range(start[0], rules.n_elements_max):
        for a in range(rules.n_atoms_max + 1):
            for r in range(shape[2]):
                for groups in range(shape[3]):
                    if cell_of[k, a, r, groups] < 0:
                        continue
                    for cls in range(len(rules.class_groups)):
                        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
                            if a + count > rules.n_atoms_max:
                                break
                            r2 = rules.next_radical[r, count - rules.count_min]
                            groups2 = groups | rules.class_groups[cls]
                            if cell_of[k + 1, a + count, r2, groups2] < 0:
                                cell_of[k + 1, a + count, r2, groups2] = n_cells
                                n_cells += 1
    return cell_of, n_cells


@njit
def _fill_free(
    rules: Rules,
    table: FeasibilityTable,
    k: int,
    a: int,
    r: int,
    groups: int,
    q: int,
    family: UInt64s,
    hittable: UInt64s,
    stack: UInt64s,
) -> int:
    """Family of one entry, into `family`; returns its size, or -1 when the entry is always feasible."""
    size = 0
    for cls in range(len(rules.class_groups)):
        groups2 = groups | rules.class_groups[cls]
        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
            if a + count > rules.n_atoms_max:
                break
            column = count - rules.count_min
            child = table.cell_of[k + 1, a + count, rules.next_radical[r, column], groups2]
            if child < 0:
                continue
            for d in range(
                rules.delta_start[cls * rules.width + column], rules.delta_start[cls * rules.width + column + 1]
            ):
                q2 = q + rules.deltas[d]
                if q2 < 0 or q2 >= rules.n_charges:
                    continue
                free = get_bit(table.always[child], q2)
                if not free and not get_bit(table.sometimes[child], q2):
                    continue
                start = table.family_start[child, q2]
                n_rest = 1 if free else table.family_size[child, q2]
                for m in range(rules.member_start[cls], rules.member_start[cls + 1]):
                    e = rules.members[m]
                    e0 = np.uint64(1) << np.uint64(e) if e < 64 else np.uint64(0)
                    e1 = np.uint64(1) << np.uint64(e - 64) if e >= 64 else np.uint64(0)
                    for i in range(n_rest):
                        x0 = np.uint64(0) if free else table.family_sets[start + i, 0]
                        x1 = np.uint64(0) if free else table.family_sets[start + i, 1]
                        if (x0 & e0) | (x1 & e1) != np.uint64(0):
                            continue
                        x0 = (x0 | e0) & hittable[0]
                        x1 = (x1 | e1) & hittable[1]
                        if not _can_meet_all(family, size, x0, x1, k, stack):
                            continue
                        family[size, 0] = x0
                        family[size, 1] = x1
                        size += 1
                        if not _can_meet_all(family, size, np.uint64(0), np.uint64(0), k, stack):
                            return -1
    return size


@njit
def _fill_canonical(rules: Rules, table: FeasibilityTable, k: int, a: int, r: int, groups: int, q: int) -> int:
    """Largest index that the next element may have, -1 when nothing finishes."""
    best = -1
    for cls in range(len(rules.class_groups)):
        groups2 = groups | rules.class_groups[cls]
        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
            if a + count > rules.n_atoms_max:
                break
            column = count - rules.count_min
            child = table.cell_of[k + 1, a + count, rules.next_radical[r, column], groups2]
            if child < 0:
                continue
            for d in range(
                rules.delta_start[cls * rules.width + column], rules.delta_start[cls * rules.width + column + 1]
            ):
                q2 = q + rules.deltas[d]
                if q2 < 0 or q2 >= rules.n_charges:
                    continue
                limit = table.bound[child, q2]
                m = rules.member_start[cls + 1] - 1
                while m >= rules.member_start[cls] and rules.members[m] > best:
                    if rules.members[m] < limit:
                        best = rules.members[m]
                        break
                    m -= 1
    return best


@njit
def solve(rules: Rules, start: tuple[int, int, int, int]) -> FeasibilityTable:
    """Solve the table backwards, from the largest number of elements to those of the start.

    Args:
        rules: the constraints.
        start: the cell (elements, atoms, radical, groups) that all partial compositions begin in, or `NOTHING`.
    """
    cell_of, n_cells = number_cells(rules, start)
    n_words = (rules.n_charges + 63) >> 6
    capacity = 1024
    table = FeasibilityTable(
        cell_of,
        np.zeros((n_cells, n_words), dtype=np.uint64),
        np.zeros((n_cells, n_words), dtype=np.uint64),
        np.zeros((n_cells if not rules.canonical else 1, rules.n_charges), dtype=np.int64),
        np.zeros((n_cells if not rules.canonical else 1, rules.n_charges), dtype=np.int32),
        np.zeros((capacity, 2), dtype=np.uint64),
        np.full((n_cells if rules.canonical else 1, rules.n_charges), -1, dtype=np.int16),
    )
    n_sets = 0
    family = np.zeros((1024, 2), dtype=np.uint64)
    hittable = np.zeros(2, dtype=np.uint64)
    stack = np.zeros((rules.n_elements_max + 1, 5), dtype=np.uint64)
    for k in range(rules.n_elements_max, start[0] - 1, -1):
        for a in range(rules.n_atoms_max + 1):
            for r in range(cell_of.shape[2]):
                for groups in range(cell_of.shape[3]):
                    cell = cell_of[k, a, r, groups]
                    if cell < 0:
                        continue
                    hittable[:] = 0
                    for e in range(rules.n):
                        if rules.element_groups[e] & ~groups == 0:
                            set_bit(hittable, e)
                    for q in range(rules.n_charges):
                        if q == rules.zero_charge and may_stop(rules, k, a, r, groups):
                            if rules.canonical:
                                table.bound[cell, q] = rules.n
                            set_bit(table.always[cell], q)
                            continue
                        if k == rules.n_elements_max:
                            continue
                        if rules.canonical:
                            table.bound[cell, q] = _fill_canonical(rules, table, k, a, r, groups, q)
                            continue
                        size = _fill_free(rules, table, k, a, r, groups, q, family, hittable, stack)
                        if size < 0:
                            set_bit(table.always[cell], q)
                        elif size > 0:
                            set_bit(table.sometimes[cell], q)
                            if n_sets + size > capacity:
                                capacity = 2 * (n_sets + size)
                                sets = np.zeros((capacity, 2), dtype=np.uint64)
                                for i in range(n_sets):
                                    copy_first(sets[i], table.family_sets[i], 2)
                                table = FeasibilityTable(
                                    table.cell_of,
                                    table.always,
                                    table.sometimes,
                                    table.family_start,
                                    table.family_size,
                                    sets,
                                    table.bound,
                                )
                            table.family_start[cell, q] = n_sets
                            table.family_size[cell, q] = size
                            for i in range(size):
                                copy_first(table.family_sets[n_sets + i], family[i], 2)
                            n_sets += size
    return table
