"""Masks of Wyckoff positions and their elements, compiled, and the working memory of all masks and moves."""

from typing import NamedTuple

import numpy as np

from envs.canonical import stabiliser
from envs.jit import njit
from envs.new_elements import new_elements
from envs.site_feasibility import CLASS, SiteTables
from envs.site_search import can_finish, may_close
from envs.site_sums import UNKNOWN, YES, Search, search_memory
from envs.wyckoff_arrays import DOF, FIRST_RELABELING, FIRST_ROW, LAST_RELABELING, N_LETTERS, GroupTables
from envs.wyckoff_progress import n_pairs
from envs.wyckoff_world import GROUP, MOST_LETTERS, PAIRS, PENDING, SIZE, STRIDE, World

ELEMENTS, COUNTS, CODES, SCRATCH, FOUND, USED, TUPLE, MOVED, VERDICTS, FITS = range(10)  # rows of `lists`


class Memory(NamedTuple):
    """Working memory of masks and moves, one for each thread. The first fields are those of `Search`.

    Attributes:
        lists: int64 [10, ...]: distinct elements of the partial crystal and their atoms; pair codes; scratch;
            relabelings that leave the decoration as it is; tuple codes in use; two tuples; verdicts by
            class and by letter.
    """

    steps: np.ndarray
    bits: np.ndarray
    used: np.ndarray
    sums: np.ndarray
    at: np.ndarray
    looked_up: np.ndarray
    lists: np.ndarray


@njit
def memory(tables: GroupTables, world: World) -> Memory:
    n = max(world.n_slots + 1, len(world.cls), MOST_LETTERS)
    for group in world.groups:
        n = max(n, tables.group[group, LAST_RELABELING] - tables.group[group, FIRST_RELABELING])
    search = search_memory(_sites(world))
    return Memory(
        search.steps,
        search.bits,
        search.used,
        search.sums,
        search.at,
        search.looked_up,
        np.zeros((10, n), dtype=np.int64),
    )


@njit
def summarise(
    tables: GroupTables, world: World, states: np.ndarray, row: int, n: int, work: Memory
) -> tuple[int, int, int]:
    """Distinct elements, atoms and inventory state of n pairs; elements, counts and codes into `work`."""
    first_row = tables.group[states[row, GROUP], FIRST_ROW]
    k, atoms, state = 0, 0, 0
    for i in range(n):
        code = states[row, PAIRS + i]
        work.lists[CODES, i] = code
        position, element = first_row + (code - 1) // world.n_elements, (code - 1) % world.n_elements
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
def _sites(world: World) -> SiteTables:
    """The part of a world that verdicts read: functions that take fewer arrays compile faster."""
    return SiteTables(
        world.n_atoms_min,
        world.n_atoms_max,
        world.n_elements_min,
        world.n_elements_max,
        world.all_groups,
        world.n_charges,
        world.zero_charge,
        world.width,
        world.element,
        world.cls,
        world.members,
        world.delta_start,
        world.deltas,
        world.charge_start,
        world.charges,
        world.charge_of,
        world.inventory_of,
        world.kind,
        world.reach,
        world.bounds,
        world.only_member,
        world.role,
        world.part_charges,
    )


@njit
def _search(work: Memory) -> Search:
    return Search(work.steps, work.bits, work.used, work.sums, work.at, work.looked_up)


@njit
def _finishes_with(
    sites: SiteTables, search: Search, kind: int, state: int, k: int, size: int, which: int, lists: np.ndarray
) -> bool:
    """Whether the k elements in `lists` can be finished once `size` atoms join number `which`."""
    lists[COUNTS, which] += size
    verdict = can_finish(sites, kind, state, lists[ELEMENTS], lists[COUNTS], k, search)
    lists[COUNTS, which] -= size
    return verdict


@njit
def _some_element_fits(
    sites: SiteTables, search: Search, kind: int, state: int, k: int, size: int, lists: np.ndarray
) -> bool:
    """Whether any element, new or not, can take `size` atoms."""
    if new_elements(sites, kind, state, lists[ELEMENTS], lists[COUNTS], k, size, True, lists[VERDICTS], search):
        return True
    for i in range(k):  # noqa: SIM110 - not all of Python compiles
        if _finishes_with(sites, search, kind, state, k, size, i, lists):
            return True
    return False


@njit
def allow_letters(
    tables: GroupTables, world: World, states: np.ndarray, row: int, allowed: np.ndarray, work: Memory
) -> None:
    group = states[row, GROUP]
    n = n_pairs(world, states, row)
    k, atoms, state = summarise(tables, world, states, row, n, work)
    kind = world.inventory_of[group]
    first_row = tables.group[group, FIRST_ROW]
    n_letters = tables.group[group, N_LETTERS]
    end = world.close if world.geometry else world.n_actions - 1
    sites, search = _sites(world), _search(work)
    allowed[row, end] = may_close(sites, work.lists[ELEMENTS], work.lists[COUNTS], k, atoms, search)
    n_keep = stabiliser(tables, group, world.n_elements, work.lists[CODES], n, work.lists[SCRATCH], work.lists[FOUND])
    work.lists[FITS, :n_letters] = UNKNOWN
    for letter in range(n_letters):
        position = first_row + letter
        size, stride = world.position[position, SIZE], world.position[position, STRIDE]
        if atoms + size > world.n_atoms_max:
            continue
        if tables.row[position, DOF] == 0:
            taken = False
            for i in range(n):
                if work.lists[SCRATCH, i] == letter:
                    taken = True
                    break
            if taken:
                continue
        smallest = True  # of the letters that symmetry makes equivalent here
        for p in range(n_keep):
            if tables.relabeling[work.lists[FOUND, p], letter] < letter:
                smallest = False
                break
        if not smallest:
            continue
        known = UNKNOWN
        for other in range(letter):  # equal sizes have equal verdicts
            before = first_row + other
            if (
                work.lists[FITS, other] != UNKNOWN
                and world.position[before, SIZE] == size
                and world.position[before, STRIDE] == stride
            ):
                known = work.lists[FITS, other]
                break
        if known == UNKNOWN:
            known = int(_some_element_fits(sites, search, kind, state + stride, k, size, work.lists))
        work.lists[FITS, letter] = known
        allowed[row, world.first_letter + letter] = known == YES


@njit
def allow_elements(
    tables: GroupTables, world: World, states: np.ndarray, row: int, allowed: np.ndarray, work: Memory
) -> None:
    group = states[row, GROUP]
    k, _, state = summarise(tables, world, states, row, n_pairs(world, states, row), work)
    kind = world.inventory_of[group]
    position = tables.group[group, FIRST_ROW] + states[row, PENDING] - 1
    size, stride = world.position[position, SIZE], world.position[position, STRIDE]
    sites, search, lists = _sites(world), _search(work), work.lists
    if new_elements(
        sites, kind, state + stride, lists[ELEMENTS], lists[COUNTS], k, size, False, lists[VERDICTS], search
    ):
        for element in range(world.n_elements):
            allowed[row, world.first_element + element] = work.lists[VERDICTS, world.element[element, CLASS]] == YES
    for i in range(k):
        allowed[row, world.first_element + lists[ELEMENTS, i]] = _finishes_with(
            sites, search, kind, state + stride, k, size, i, lists
        )


@njit
def first_equivalent(tables: GroupTables, world: World, work: Memory, n_keep: int, code: int) -> int:
    """The smallest pair code that symmetry makes equivalent to this one, given the relabelings FOUND."""
    best = code
    letter, element = (code - 1) // world.n_elements, (code - 1) % world.n_elements
    for p in range(n_keep):
        best = min(best, tables.relabeling[work.lists[FOUND, p], letter] * world.n_elements + element + 1)
    return best
