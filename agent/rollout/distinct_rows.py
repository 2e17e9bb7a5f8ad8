"""Which rows of a batch of states are the same, compiled: networks and masks are computed once for each."""

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.compiled.jit import njit


@njit
def _distinct(rows: States) -> tuple[Ints, Ints]:
    n, width = rows.shape
    n_slots = 16
    while n_slots < 2 * n:
        n_slots *= 2
    slots = np.full(n_slots, -1, dtype=np.int64)
    first = np.empty(n, dtype=np.int64)
    index = np.empty(n, dtype=np.int64)
    n_distinct = 0
    for i in range(n):
        h = np.uint64(14695981039346656037)
        for j in range(width):
            h = (h ^ np.uint64(rows[i, j])) * np.uint64(0x9E3779B97F4A7C15)
            h ^= h >> np.uint64(29)
        slot = np.int64(h & np.uint64(n_slots - 1))
        while True:
            found = slots[slot]
            if found < 0:
                slots[slot] = n_distinct
                first[n_distinct] = i
                index[i] = n_distinct
                n_distinct += 1
                break
            same = True
            for j in range(width):
                if rows[first[found], j] != rows[i, j]:
                    same = False
                    break
            if same:
                index[i] = found
                break
            slot = (slot + 1) & (n_slots - 1)
    return first[:n_distinct], index


def distinct(states: States) -> tuple[Ints, Ints]:
    """First occurrences and, for each row, which of them it equals.

    Args:
        states: integers [batch, *state_shape].

    Returns:
        first: int64 [row], positions in the batch, in order; index: int64 [batch], `states[first][index] == states`.
    """
    return _distinct(np.ascontiguousarray(states).reshape(len(states), -1))
