"""Masks of the composition world, compiled: which moves of a partial composition can still be finished.

Elements of one class differ only in which of them are used, so an addition is judged once for each class and count, and
within a count once for each charge added. The verdicts are then spread over the elements of each class.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from oreflow.envs.arrays import Bools, Int8s, Ints, States, UInt64s
from oreflow.envs.compiled.bitsets import get_bit, or_shifted, overlaps_shifted, set_bit
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.row_blocks import in_blocks
from oreflow.envs.composition.feasibility import FeasibilityTable
from oreflow.envs.composition.rules import Rules, may_stop

# Verdicts on an addition. SOMETIMES: it can be finished with some elements of the class, not with others.
UNKNOWN, NEVER, SOMETIMES, ALWAYS = -1, 0, 1, 2

_ROWS_PER_BLOCK = 64  # at least: handing fewer to another thread takes longer than their masks


class Workspace(NamedTuple):
    """Working memory of a mask, reused from row to row."""

    charges: UInt64s  # [word], charges that the partial composition can carry
    scratch: UInt64s  # [word]
    elements: Ints  # [n_elements_max], those of the partial composition
    used: UInt64s  # [2], the same as bits
    verdicts: Int8s  # [class, width], on adding so many atoms of an element of the class
    barred: UInt64s  # [class, width, 2], where the verdict is SOMETIMES: the elements that it forbids
    by_charge: Int8s  # [2 n_charges - 1], verdicts on one count by the charge (e) that it adds
    barred_by_charge: UInt64s  # [2 n_charges - 1, 2]
    empty_row: Ints  # [1], a row of the masks whose state is the initial one, -1 before there is one


@njit
def workspace(rules: Rules) -> Workspace:
    """Allocate the working memory of masks under `rules`; one for each thread."""
    n_words = (rules.n_charges + 63) >> 6
    return Workspace(
        np.zeros(n_words, dtype=np.uint64),
        np.zeros(n_words, dtype=np.uint64),
        np.zeros(rules.n_elements_max, dtype=np.int64),
        np.zeros(2, dtype=np.uint64),
        np.zeros((len(rules.class_groups), rules.width), dtype=np.int8),
        np.zeros((len(rules.class_groups), rules.width, 2), dtype=np.uint64),
        np.zeros(2 * rules.n_charges - 1, dtype=np.int8),
        np.zeros((2 * rules.n_charges - 1, 2), dtype=np.uint64),
        np.full(1, -1, dtype=np.int64),
    )


@njit(inline="always")
def read_state(rules: Rules, states: States, row: int, work: Workspace) -> tuple[int, int, int, int]:
    """Elements, atoms, radical and groups of a partial composition; its possible charges as bits into `work.charges`.

    A composition with too many elements or a count outside its range gets more atoms than allowed: nothing may follow.
    """
    k, a, r, groups = 0, 0, 0, 0
    charges, scratch = work.charges, work.scratch
    work.used[:] = 0
    charges[:] = 0
    set_bit(charges, rules.zero_charge)
    for e in range(rules.n):
        count = states[row, e]
        if count == 0:
            continue
        cls = rules.class_of[e]
        if k == rules.n_elements_max or count < rules.class_low[cls] or count > rules.class_high[cls]:
            return rules.n_elements_max, rules.n_atoms_max + 1, 0, 0
        work.elements[k] = e
        set_bit(work.used, e)
        k += 1
        a += count
        column = count - rules.count_min
        r = rules.next_radical[r, column]
        groups |= rules.element_groups[e]
        entry = cls * rules.width + column
        if rules.delta_start[entry] == rules.delta_start[entry + 1]:  # no charge: a count that is barred
            return rules.n_elements_max, rules.n_atoms_max + 1, 0, 0
        if rules.n_charges > 1:
            scratch[:] = 0
            for d in range(rules.delta_start[entry], rules.delta_start[entry + 1]):
                or_shifted(scratch, charges, rules.deltas[d], rules.n_charges)
            copy_first(charges, scratch, len(charges))
    return k, a, r, groups


@njit
def judge_by_sets(table: FeasibilityTable, child: int, delta: int, work: Workspace) -> int:
    """Verdict on an addition that leads to cell `child` by the charge `delta`, where families of sets decide.

    Barred are the elements in every family set that avoids the used ones: adding one of them leaves no set.
    """
    charges, used = work.charges, work.used
    zero, one = np.uint64(0), np.uint64(1)
    b0, b1 = ~zero, ~zero
    found = False
    for i in range(len(charges)):
        word, q = charges[i], (i << 6) + delta
        while word != zero:
            if word & one and 0 <= q < table.family_size.shape[1] and table.family_size[child, q] > 0:
                start = table.family_start[child, q]
                for x in range(start, start + table.family_size[child, q]):
                    x0, x1 = table.family_sets[x, 0], table.family_sets[x, 1]
                    if (x0 & used[0]) | (x1 & used[1]) == zero:
                        found = True
                        b0 &= x0
                        b1 &= x1
                        if b0 | b1 == zero:
                            return ALWAYS
            word >>= one
            q += 1
    slot = delta + len(work.by_charge) // 2
    work.barred_by_charge[slot, 0] = b0
    work.barred_by_charge[slot, 1] = b1
    return SOMETIMES if found else NEVER


@njit(inline="always")
def judge_additions(
    rules: Rules, table: FeasibilityTable, k: int, a: int, r: int, groups: int, work: Workspace
) -> bool:
    """Fills `work.verdicts` and `work.barred` under free order; whether any verdict is SOMETIMES."""
    any_sometimes = False
    charges, verdicts, by_charge, barred = work.charges, work.verdicts, work.by_charge, work.barred
    verdicts[:] = NEVER
    for column in range(rules.width):
        count = column + rules.count_min
        if a + count > rules.n_atoms_max:
            break
        r2 = rules.next_radical[r, column]
        judged = -1  # the child that `by_charge` is about
        for cls in range(len(rules.class_groups)):
            if count < rules.class_low[cls] or count > rules.class_high[cls]:
                continue
            child = table.cell_of[k + 1, a + count, r2, groups | rules.class_groups[cls]]
            if child < 0:
                continue
            entry = cls * rules.width + column
            if rules.n_charges == 1 and rules.delta_start[entry] == rules.delta_start[entry + 1]:
                continue  # a class without oxidation states
            if rules.n_charges == 1 and table.always[child, 0] & charges[0] != np.uint64(0):  # nothing to shift
                verdicts[cls, column] = ALWAYS
                continue
            if child != judged:
                for i in range(len(by_charge)):
                    by_charge[i] = UNKNOWN
                judged = child
            best = NEVER
            for d in range(rules.delta_start[entry], rules.delta_start[entry + 1]):
                slot = rules.deltas[d] + rules.n_charges - 1
                verdict = by_charge[slot]
                if verdict == UNKNOWN:
                    if overlaps_shifted(table.always, child, charges, rules.deltas[d]):
                        verdict = ALWAYS
                    elif overlaps_shifted(table.sometimes, child, charges, rules.deltas[d]):
                        verdict = judge_by_sets(table, child, rules.deltas[d], work)
                    else:
                        verdict = NEVER
                    by_charge[slot] = verdict
                if verdict == ALWAYS:
                    best = ALWAYS
                    break
                if verdict == SOMETIMES:
                    for word in range(2):
                        before = barred[cls, column, word] if best == SOMETIMES else ~np.uint64(0)
                        barred[cls, column, word] = before & work.barred_by_charge[slot, word]
                    best = SOMETIMES
            verdicts[cls, column] = best
            any_sometimes |= best == SOMETIMES
    return any_sometimes


@njit(inline="always")
def allow_free(
    rules: Rules, table: FeasibilityTable, states: States, row: int, allowed: Bools, work: Workspace
) -> None:
    """Mask of one non-terminal state under free order, into all of `allowed[row]`."""
    k, a, r, groups = read_state(rules, states, row, work)
    if k == 0:  # states that were just reset are many, and all alike
        if work.empty_row[0] >= 0:
            copy_first(allowed[row], allowed[work.empty_row[0]], allowed.shape[1])
            return
        work.empty_row[0] = row
    allowed[row, rules.n * rules.width] = may_stop(rules, k, a, r, groups) and get_bit(work.charges, rules.zero_charge)
    if k >= rules.n_elements_max:
        allowed[row, :-1] = False
        return
    any_sometimes = judge_additions(rules, table, k, a, r, groups, work)
    spread(rules.member_start, rules.members, rules.width, work.verdicts, row, allowed)
    if any_sometimes:
        allow_unless_barred(rules, row, allowed, work)
    width = np.uint64(rules.width)
    for i in range(k):
        first = np.uint64(work.elements[i]) * width
        for column in range(width):
            allowed[row, first + np.uint64(column)] = False


@njit
def spread(member_start: Ints, members: Ints, columns: int, verdicts: Int8s, row: int, allowed: Bools) -> None:
    """Gives every member of a class the verdicts ALWAYS on the class, whether it is used already or not."""
    width = np.uint64(columns)  # unsigned indices need no test for being negative, and the loops become vectors
    for cls in range(len(verdicts)):
        begin, end = member_start[cls], member_start[cls + 1]
        first = np.uint64(members[begin]) * width
        for column in range(width):
            allowed[row, first + np.uint64(column)] = verdicts[cls, column] == ALWAYS
        if members[end - 1] - members[begin] == end - 1 - begin:
            # Neighbours: what is filled is copied behind itself and doubles, so that copies are long.
            done, total = width, np.uint64(end - begin) * width
            while done < total:
                n = min(done, total - done)
                for j in range(n):
                    allowed[row, first + done + np.uint64(j)] = allowed[row, first + np.uint64(j)]
                done += n
        else:
            for m in range(begin + 1, end):
                other = np.uint64(members[m]) * width
                for column in range(width):
                    allowed[row, other + np.uint64(column)] = verdicts[cls, column] == ALWAYS


@njit
def allow_unless_barred(rules: Rules, row: int, allowed: Bools, work: Workspace) -> None:
    """Settles the additions whose verdict is SOMETIMES, element by element."""
    for e in range(rules.n):
        cls = rules.class_of[e]
        for column in range(rules.width):
            if work.verdicts[cls, column] == SOMETIMES:
                word = work.barred[cls, column, e >> 6] >> np.uint64(e & 63)
                allowed[row, e * rules.width + column] = word & np.uint64(1) == np.uint64(0)


@njit(inline="always")
def allow_canonical(
    rules: Rules, table: FeasibilityTable, states: States, row: int, allowed: Bools, work: Workspace
) -> None:
    """Mask of one non-terminal state under canonical order, into all of `allowed[row]`."""
    k, a, r, groups = read_state(rules, states, row, work)
    charges = work.charges
    allowed[row, :-1] = False
    allowed[row, -1] = may_stop(rules, k, a, r, groups) and get_bit(charges, rules.zero_charge)
    if k >= rules.n_elements_max:
        return
    last = -1
    for e in range(rules.n):
        if states[row, e]:
            last = e
    for cls in range(len(rules.class_groups)):
        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
            if a + count > rules.n_atoms_max:
                break
            column = count - rules.count_min
            child = table.cell_of[k + 1, a + count, rules.next_radical[r, column], groups | rules.class_groups[cls]]
            if child < 0:
                continue
            limit = -1  # members below it can be finished with larger elements
            entry = cls * rules.width + column
            for d in range(rules.delta_start[entry], rules.delta_start[entry + 1]):
                for q in range(rules.n_charges):
                    q2 = q + rules.deltas[d]
                    if 0 <= q2 < rules.n_charges and table.bound[child, q2] > limit and get_bit(charges, q):
                        limit = table.bound[child, q2]
            for m in range(rules.member_start[cls], rules.member_start[cls + 1]):
                e = rules.members[m]
                if last < e < limit:
                    allowed[row, e * rules.width + column] = True


@njit(nogil=True)
def _allow_free_rows(
    rules: Rules, table: FeasibilityTable, states: States, rows: Ints, allowed: Bools, first: int, last: int
) -> None:
    work = workspace(rules)
    for i in range(first, last):
        if states[rows[i], -1]:
            allowed[rows[i]] = False
        else:
            allow_free(rules, table, states, rows[i], allowed, work)


@njit(nogil=True)
def _allow_canonical_rows(
    rules: Rules, table: FeasibilityTable, states: States, rows: Ints, allowed: Bools, first: int, last: int
) -> None:
    work = workspace(rules)
    for i in range(first, last):
        if states[rows[i], -1]:
            allowed[rows[i]] = False
        else:
            allow_canonical(rules, table, states, rows[i], allowed, work)


def allow_rows(rules: Rules, table: FeasibilityTable, states: States, rows: Ints, allowed: Bools) -> None:
    """Find the allowed forward actions of some states, on as many threads as numba may use.

    The two orders are compiled apart: most runs need one of them.

    Args:
        states: integer [batch, n + 1].
        rows: int64 [row], which of the states.
        allowed: bool [batch, n_actions]; all of these rows are written.
    """
    compiled = _allow_canonical_rows if rules.canonical else _allow_free_rows
    in_blocks(partial(compiled, rules, table, states, rows, allowed), len(rows), _ROWS_PER_BLOCK)


def forward_allowed(rules: Rules, table: FeasibilityTable, states: States, out: Bools | None = None) -> Bools:
    """Find the allowed forward actions of states, integer [batch, n + 1]: bool [batch, n_actions], written to `out`."""
    if out is None:
        out = np.empty((len(states), rules.n * rules.width + 1), dtype=np.bool_)
    allow_rows(rules, table, states, np.arange(len(states)), out)
    return out


@njit
def backward_allowed(rules: Rules, states: States) -> Bools:
    """Find what can be taken out of states, integer [batch, n + 1]: bool [batch, n + 1], the stop last."""
    allowed = np.zeros((len(states), rules.n + 1), dtype=np.bool_)
    for i in range(len(states)):
        if states[i, -1]:
            allowed[i, rules.n] = True
            continue
        last = -1
        for e in range(rules.n):
            if states[i, e]:
                last = e
                allowed[i, e] = not rules.canonical
        if last >= 0:
            allowed[i, last] = True
    return allowed


@njit
def are_objects(rules: Rules, states: States) -> Bools:
    """Tell which states, integer [batch, n + 1], satisfy every constraint of a terminal object, bool [batch]."""
    out = np.zeros(len(states), dtype=np.bool_)
    work = workspace(rules)
    for row in range(len(states)):
        k, a, r, groups = read_state(rules, states, row, work)
        out[row] = may_stop(rules, k, a, r, groups) and get_bit(work.charges, rules.zero_charge)
    return out
