"""What may be added to a part of an alloy so that it can still be finished: exact, by counting in classes.

Elements of one class are interchangeable. A choice of how many further elements each class gives, j_c of the u_c that
are left, can make up every remainder from sum(j_c * low_c) to sum(j_c * high_c), and no other: concentrations are whole
steps. Adding an element of class d with c steps to a part that lacks R can therefore be finished if and only if R - c
lies in the interval of one such choice that takes every required element left and keeps the number of elements in its
range. For each class all choices are walked through once, and each allows an interval of c.
"""

import numpy as np

from oreflow.envs.alloy.space import AlloyRules
from oreflow.envs.arrays import Bools, Ints, States
from oreflow.envs.compiled.jit import njit


@njit
def _mark_intervals(rules: AlloyRules, left: Ints, k: int, lacking: int, cls: int, chosen: Ints, marks: Bools) -> None:
    """Marks every number of steps of an element of class `cls` after which the alloy can be finished.

    Args:
        left: int64 [class], elements not used yet, the one to be added included.
        k: elements used.
        lacking: steps that are not given out yet.
        chosen: int64 [class], scratch memory.
        marks: bool [width + 1], output, by number of steps; set to False before.
    """
    n_classes = len(left)
    low, high = rules.class_low[cls], min(rules.class_high[cls], lacking)
    # The least choice: of required classes all that are left, of others none; then count up like an odometer.
    number, low_sum, high_sum = k + 1, 0, 0
    for c in range(n_classes):
        chosen[c] = left[c] - (c == cls) if rules.class_required[c] else 0
        number += chosen[c]
        low_sum += chosen[c] * rules.class_low[c]
        high_sum += chosen[c] * rules.class_high[c]
    while True:
        if rules.n_elements_min <= number <= rules.n_elements_max:
            for steps in range(max(low, lacking - high_sum), min(high, lacking - low_sum) + 1):
                marks[steps] = True
        c = 0
        while c < n_classes:
            most = left[c] - (c == cls)
            if not rules.class_required[c] and chosen[c] < most and number < rules.n_elements_max:
                chosen[c] += 1
                number += 1
                low_sum += rules.class_low[c]
                high_sum += rules.class_high[c]
                break
            if not rules.class_required[c]:
                number -= chosen[c]
                low_sum -= chosen[c] * rules.class_low[c]
                high_sum -= chosen[c] * rules.class_high[c]
                chosen[c] = 0
            c += 1
        if c == n_classes:
            return


@njit
def _allow_row(rules: AlloyRules, state: States, out: Bools, left: Ints, chosen: Ints, marks: Bools) -> None:
    out[:] = False
    if state[rules.n]:
        return
    left[:] = 0
    k, lacking, required_left = 0, rules.n_steps, 0
    for e in range(rules.n):
        if state[e]:
            k += 1
            lacking -= state[e]
        elif rules.class_of[e] >= 0:
            left[rules.class_of[e]] += 1
            required_left += rules.class_required[rules.class_of[e]]
    if lacking == 0:
        out[-1] = rules.n_elements_min <= k <= rules.n_elements_max and required_left == 0
        return
    for cls in range(len(left)):
        if left[cls] == 0:
            continue
        marks[:] = False
        _mark_intervals(rules, left, k, lacking, cls, chosen, marks)
        for e in range(rules.n):
            if rules.class_of[e] == cls and state[e] == 0:
                for steps in range(1, rules.width + 1):
                    out[e * rules.width + steps - 1] = marks[steps]


@njit(nogil=True)
def allow_rows(rules: AlloyRules, states: States, out: Bools, first: int, last: int) -> None:
    """Allowed forward actions of states first to last, into `out`, bool [batch, n_actions]."""
    n_classes = len(rules.class_low)
    left, chosen = np.zeros(n_classes, dtype=np.int64), np.zeros(n_classes, dtype=np.int64)
    marks = np.zeros(rules.width + 1, dtype=np.bool_)
    for i in range(first, last):
        _allow_row(rules, states[i], out[i], left, chosen, marks)


@njit
def backward_allowed(rules: AlloyRules, states: States) -> Bools:
    """Each element that is there may go; of a finished alloy only the stop may be undone. bool [batch, n + 1]."""
    out = np.zeros(states.shape, dtype=np.bool_)
    for i in range(len(states)):
        if states[i, rules.n]:
            out[i, rules.n] = True
        else:
            for e in range(rules.n):
                out[i, e] = states[i, e] > 0
    return out
