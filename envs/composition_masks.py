"""Masks of the composition world, compiled: which moves of a partial composition can still be finished."""

import numba
import numpy as np

from envs.feasibility import FeasibilityTable, Rules, get_bit, may_stop, or_shifted, overlaps_shifted, set_bit


@numba.njit(cache=True)
def summarise(rules: Rules, counts: np.ndarray, charges: np.ndarray, scratch: np.ndarray) -> tuple[int, int, int, int]:
    """Elements, atoms, radical and groups of a partial composition; its possible charges as bits into `charges`."""
    k, a, divisor, groups = 0, 0, 0, 0
    charges[:] = 0
    set_bit(charges, rules.zero_charge)
    for e in range(rules.n):
        count = counts[e]
        if count == 0:
            continue
        k += 1
        a += count
        x, y = divisor, int(count)
        while y:
            x, y = y, x % y
        divisor = x
        groups |= rules.element_groups[e]
        if rules.n_charges > 1:
            scratch[:] = 0
            entry = rules.class_of[e] * rules.width + count - rules.count_min
            for d in range(rules.delta_start[entry], rules.delta_start[entry + 1]):
                or_shifted(scratch, charges, rules.deltas[d], rules.n_charges)
            charges[:] = scratch
    return k, a, rules.radical_of[divisor], groups


@numba.njit(cache=True)
def any_set_avoids(table: FeasibilityTable, cell: int, charge: int, p0: np.uint64, p1: np.uint64) -> bool:
    start = table.family_start[cell, charge]
    for i in range(start, start + table.family_size[cell, charge]):
        if ((table.family_sets[i, 0] & p0) | (table.family_sets[i, 1] & p1)) == np.uint64(0):
            return True
    return False


@numba.njit(cache=True)
def sometimes_allowed(
    rules: Rules,
    table: FeasibilityTable,
    charges: np.ndarray,
    child: int,
    first: int,
    last: int,
    p0: np.uint64,
    p1: np.uint64,
    e: int,
) -> bool:
    """Whether an addition of element e leaves elements that finish the object, where this depends on the used ones."""
    if e < 64:
        p0 |= np.uint64(1) << np.uint64(e)
    else:
        p1 |= np.uint64(1) << np.uint64(e - 64)
    for d in range(first, last):
        delta = rules.deltas[d]
        if overlaps_shifted(table.sometimes, child, charges, delta):
            for q in range(max(0, -delta), min(rules.n_charges, rules.n_charges - delta)):
                if (
                    get_bit(charges, q)
                    and get_bit(table.sometimes[child], q + delta)
                    and any_set_avoids(table, child, q + delta, p0, p1)
                ):
                    return True
    return False


@numba.njit(cache=True)
def allow_free(rules: Rules, table: FeasibilityTable, counts: np.ndarray, allowed: np.ndarray) -> None:
    """Mask of one non-terminal state under free order; `allowed` [n_actions] arrives all False."""
    n_words = (rules.n_charges + 63) >> 6
    charges = np.zeros(n_words, dtype=np.uint64)
    k, a, r, groups = summarise(rules, counts, charges, np.zeros(n_words, dtype=np.uint64))
    if may_stop(rules, k, a, r, groups) and get_bit(charges, rules.zero_charge):
        allowed[-1] = True
    if k >= rules.n_elements_max:
        return
    p0, p1 = np.uint64(0), np.uint64(0)
    for e in range(rules.n):
        if counts[e]:
            if e < 64:
                p0 |= np.uint64(1) << np.uint64(e)
            else:
                p1 |= np.uint64(1) << np.uint64(e - 64)
    for cls in range(len(rules.class_groups)):
        for count in range(rules.class_low[cls], rules.class_high[cls] + 1):
            if a + count > rules.n_atoms_max:
                break
            column = count - rules.count_min
            child = table.cell_of[k + 1, a + count, rules.next_radical[r, column], groups | rules.class_groups[cls]]
            if child < 0:
                continue
            first = rules.delta_start[cls * rules.width + column]
            last = rules.delta_start[cls * rules.width + column + 1]
            always = False
            for d in range(first, last):
                if overlaps_shifted(table.always, child, charges, rules.deltas[d]):
                    always = True
                    break
            sometimes = False
            if not always:
                for d in range(first, last):
                    if overlaps_shifted(table.sometimes, child, charges, rules.deltas[d]):
                        sometimes = True
                        break
            if not (always or sometimes):
                continue
            for m in range(rules.member_start[cls], rules.member_start[cls + 1]):
                e = rules.members[m]
                if counts[e] == 0:
                    allowed[e * rules.width + column] = always or sometimes_allowed(
                        rules, table, charges, child, first, last, p0, p1, e
                    )


@numba.njit(cache=True)
def allow_canonical(rules: Rules, table: FeasibilityTable, counts: np.ndarray, allowed: np.ndarray) -> None:
    """Mask of one non-terminal state under canonical order; `allowed` [n_actions] arrives all False."""
    n_words = (rules.n_charges + 63) >> 6
    charges = np.zeros(n_words, dtype=np.uint64)
    k, a, r, groups = summarise(rules, counts, charges, np.zeros(n_words, dtype=np.uint64))
    if may_stop(rules, k, a, r, groups) and get_bit(charges, rules.zero_charge):
        allowed[-1] = True
    if k >= rules.n_elements_max:
        return
    last = -1
    for e in range(rules.n):
        if counts[e]:
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
                    allowed[e * rules.width + column] = True


@numba.njit(cache=True)
def forward_allowed(rules: Rules, table: FeasibilityTable, states: np.ndarray) -> np.ndarray:
    allowed = np.zeros((len(states), rules.n * rules.width + 1), dtype=np.bool_)
    for i in range(len(states)):
        if states[i, -1] == 0:
            if rules.canonical:
                allow_canonical(rules, table, states[i], allowed[i])
            else:
                allow_free(rules, table, states[i], allowed[i])
    return allowed


@numba.njit(cache=True, parallel=True)
def forward_allowed_parallel(rules: Rules, table: FeasibilityTable, states: np.ndarray) -> np.ndarray:
    allowed = np.zeros((len(states), rules.n * rules.width + 1), dtype=np.bool_)
    for i in numba.prange(len(states)):
        if states[i, -1] == 0:
            if rules.canonical:
                allow_canonical(rules, table, states[i], allowed[i])
            else:
                allow_free(rules, table, states[i], allowed[i])
    return allowed


@numba.njit(cache=True)
def backward_allowed(rules: Rules, states: np.ndarray) -> np.ndarray:
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


@numba.njit(cache=True)
def are_objects(rules: Rules, states: np.ndarray) -> np.ndarray:
    out = np.zeros(len(states), dtype=np.bool_)
    n_words = (rules.n_charges + 63) >> 6
    charges, scratch = np.zeros(n_words, dtype=np.uint64), np.zeros(n_words, dtype=np.uint64)
    for i in range(len(states)):
        k, a, r, groups = summarise(rules, states[i], charges, scratch)
        out[i] = may_stop(rules, k, a, r, groups) and get_bit(charges, rules.zero_charge)
    return out
