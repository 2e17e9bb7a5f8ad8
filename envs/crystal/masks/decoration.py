"""Masks of Wyckoff positions and their elements, compiled."""

from oreflow.envs.arrays import Bools, Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.feasibility.new_elements import new_elements
from oreflow.envs.crystal.feasibility.search import can_finish, may_close
from oreflow.envs.crystal.feasibility.sums import UNKNOWN, YES, Search
from oreflow.envs.crystal.feasibility.tables import CLASS, SiteTables
from oreflow.envs.crystal.layout.memory import (
    CODES,
    COUNTS,
    ELEMENTS,
    FITS,
    FOUND,
    LETTERS,
    SCRATCH,
    VERDICTS,
    Memory,
    read_pairs,
)
from oreflow.envs.crystal.layout.progress import n_pairs
from oreflow.envs.crystal.layout.world import GROUP, PENDING, SIZE, STRIDE, World
from oreflow.envs.symmetry.canonical import stabiliser
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, N_LETTERS, GroupTables


@njit
def _finishes_with(
    sites: SiteTables, search: Search, kind: int, state: int, k: int, size: int, which: int, lists: Ints
) -> bool:
    """Whether the k elements in `lists` can be finished once `size` atoms join number `which`."""
    lists[COUNTS, which] += size
    verdict = can_finish(sites, kind, state, lists[ELEMENTS], lists[COUNTS], k, search)
    lists[COUNTS, which] -= size
    return verdict


@njit
def _some_element_fits(
    sites: SiteTables, search: Search, kind: int, state: int, k: int, size: int, lists: Ints
) -> bool:
    """Whether any element, new or not, can take `size` atoms."""
    if new_elements(sites, kind, state, lists[ELEMENTS], lists[COUNTS], k, size, True, lists[VERDICTS], search):
        return True
    for i in range(k):  # noqa: SIM110 - not all of Python compiles
        if _finishes_with(sites, search, kind, state, k, size, i, lists):
            return True
    return False


@njit
def _is_taken(letters: Ints, n: int, letter: int) -> bool:
    """Whether a letter is among the first n."""
    for i in range(n):  # noqa: SIM110 - not all of Python compiles
        if letters[i] == letter:
            return True
    return False


@njit
def _is_smallest(tables: GroupTables, relabelings: Ints, n: int, letter: int) -> bool:
    """Whether none of the first n relabelings, which keep the decoration, sends a letter to a smaller one."""
    for p in range(n):  # noqa: SIM110
        if tables.relabeling[relabelings[p], letter] < letter:
            return False
    return True


@njit
def _verdict_of_equal(world: World, first_row: int, letter: int, verdicts: Ints) -> int:
    """The verdict on a letter before with as many atoms and the same effect on the inventory; UNKNOWN without one."""
    position = first_row + letter
    for other in range(letter):
        before = first_row + other
        if (
            verdicts[other] != UNKNOWN
            and world.position[before, SIZE] == world.position[position, SIZE]
            and world.position[before, STRIDE] == world.position[position, STRIDE]
        ):
            return verdicts[other]
    return UNKNOWN


@njit
def allow_letters(tables: GroupTables, world: World, states: States, row: int, allowed: Bools, work: Memory) -> None:
    """Allow, in one row of `allowed`, positions to occupy next, and to end a complete decoration."""
    group = states[row, GROUP]
    n = n_pairs(world, states, row)
    k, atoms, state = read_pairs(tables, world, states, row, n, work)
    kind = world.sites.inventory_of[group]
    first_row = tables.group[group, FIRST_ROW]
    n_letters = tables.group[group, N_LETTERS]
    end = world.close if world.geometry else world.n_actions - 1
    sites, search = world.sites, work.search
    allowed[row, end] = may_close(sites, work.lists[ELEMENTS], work.lists[COUNTS], k, atoms, search)
    n_keep = stabiliser(tables, group, world.n_elements, work.lists[CODES], n, work.lists[SCRATCH], work.lists[FOUND])
    work.lists[FITS, :n_letters] = UNKNOWN
    for letter in range(n_letters):
        position = first_row + letter
        size, stride = world.position[position, SIZE], world.position[position, STRIDE]
        if atoms + size > world.sites.n_atoms_max:
            continue
        if tables.row[position, DOF] == 0 and _is_taken(work.lists[LETTERS], n, letter):
            continue
        if not _is_smallest(tables, work.lists[FOUND], n_keep, letter):
            continue
        verdict = _verdict_of_equal(world, first_row, letter, work.lists[FITS])
        if verdict == UNKNOWN:
            verdict = int(_some_element_fits(sites, search, kind, state + stride, k, size, work.lists))
        work.lists[FITS, letter] = verdict
        allowed[row, world.first_letter + letter] = verdict == YES


@njit
def allow_elements(tables: GroupTables, world: World, states: States, row: int, allowed: Bools, work: Memory) -> None:
    """Allow, in one row of `allowed`, the elements that may stand on the position just chosen."""
    group = states[row, GROUP]
    k, _, state = read_pairs(tables, world, states, row, n_pairs(world, states, row), work)
    kind = world.sites.inventory_of[group]
    position = tables.group[group, FIRST_ROW] + states[row, PENDING] - 1
    size, stride = world.position[position, SIZE], world.position[position, STRIDE]
    sites, search, lists = world.sites, work.search, work.lists
    if new_elements(
        sites, kind, state + stride, lists[ELEMENTS], lists[COUNTS], k, size, False, lists[VERDICTS], search
    ):
        for element in range(world.n_elements):
            allowed[row, world.first_element + element] = (
                work.lists[VERDICTS, world.sites.element[element, CLASS]] == YES
            )
    for i in range(k):
        allowed[row, world.first_element + lists[ELEMENTS, i]] = _finishes_with(
            sites, search, kind, state + stride, k, size, i, lists
        )
