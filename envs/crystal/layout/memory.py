"""Scratch memory of the masks: what is known of a partial decoration while its next actions are judged."""

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.records import Record
from oreflow.envs.crystal.feasibility.sums import Search, search_memory
from oreflow.envs.crystal.layout.world import GROUP, MOST_LETTERS, PAIRS, SIZE, STRIDE, World
from oreflow.envs.symmetry.flat_tables import FIRST_RELABELING, FIRST_ROW, LAST_RELABELING, GroupTables

# Rows of `lists`.
ELEMENTS, COUNTS, CODES, LETTERS, SCRATCH, FOUND, USED, TUPLE, MOVED, VERDICTS, FITS = range(11)


class Memory(Record):
    """Working memory of masks and moves, one for each thread.

    Attributes:
        search: that of verdicts.
        lists: int64 [11, ...]: distinct elements of the partial crystal (ELEMENTS) and their atoms (COUNTS); its pair
            codes (CODES) and their letters (LETTERS); SCRATCH, whose content nobody reads later; relabelings that leave
            the decoration as it is (FOUND); tuple codes in use (USED); two tuples (TUPLE, MOVED); verdicts by class
            (VERDICTS) and by letter (FITS).
    """

    search: Search
    lists: Ints


def memory(tables: GroupTables, world: World) -> Memory:
    """Make the working memory of one thread, large enough for every state of the world."""
    groups = tables.group[world.groups]
    n_relabelings = int((groups[:, LAST_RELABELING] - groups[:, FIRST_RELABELING]).max())
    n = max(world.n_slots + 1, len(world.sites.cls), MOST_LETTERS, n_relabelings)
    return Memory(search_memory(world.sites), np.zeros((11, n), dtype=np.int64))


@njit
def read_pairs(
    tables: GroupTables, world: World, states: States, row: int, n: int, work: Memory
) -> tuple[int, int, int]:
    """Sum up n pairs: distinct elements, atoms and inventory state; elements, counts, codes and letters into `work`."""
    first_row = tables.group[states[row, GROUP], FIRST_ROW]
    k, atoms, state = 0, 0, 0
    for i in range(n):
        code = states[row, PAIRS + i]
        letter, element = (code - 1) // world.n_elements, (code - 1) % world.n_elements
        work.lists[CODES, i], work.lists[LETTERS, i] = code, letter
        position = first_row + letter
        size = world.position[position, SIZE]
        state += world.position[position, STRIDE]
        atoms += size
        j = 0
        while j < k and work.lists[ELEMENTS, j] != element:
            j += 1
        if j == k:
            work.lists[ELEMENTS, k], work.lists[COUNTS, k] = element, 0
            k += 1
        work.lists[COUNTS, j] += size
    return k, atoms, state


@njit
def first_equivalent(tables: GroupTables, world: World, work: Memory, n_keep: int, code: int) -> int:
    """The smallest pair code that symmetry makes equivalent to this one, given the relabelings FOUND."""
    best = code
    letter, element = (code - 1) // world.n_elements, (code - 1) % world.n_elements
    for p in range(n_keep):
        best = min(best, tables.relabeling[work.lists[FOUND, p], letter] * world.n_elements + element + 1)
    return best
