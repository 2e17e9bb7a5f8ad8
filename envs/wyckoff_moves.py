"""Moves of the crystal world, compiled: steps and their way back, between canonical labelings."""

import numpy as np

from envs.canonical import canonicalise, insert_sorted, labelings, stabiliser
from envs.decoration_masks import CODES, FOUND, SCRATCH, Memory, first_equivalent, memory
from envs.jit import njit
from envs.wyckoff_arrays import (
    DOF,
    FIRST_MAP,
    FIRST_RELABELING,
    FIRST_ROW,
    IS_POLAR,
    LAST_MAP,
    LAST_RELABELING,
    N_NORMALIZER,
    GroupTables,
)
from envs.wyckoff_progress import n_pairs, next_coordinate, next_shape_column, site_tuple
from envs.wyckoff_world import CLOSED, GROUP, PAIRS, PENDING, World


@njit
def step_rows(tables: GroupTables, world: World, states: np.ndarray, actions: np.ndarray) -> None:
    """Carries out actions [batch] in place; -1 does nothing."""
    work = memory(tables, world)
    for row in range(len(states)):
        if actions[row] >= 0:
            _step(tables, world, states, row, actions[row], work)


@njit
def _step(tables: GroupTables, world: World, states: np.ndarray, row: int, action: int, work: Memory) -> None:
    if action == world.n_actions - 1:
        states[row, world.stopped] = 1
    elif action < world.first_letter:
        states[row, GROUP] = world.groups[action]
    elif action < world.first_element:
        states[row, PENDING] = action - world.first_letter + 1
    elif action < world.close:
        _occupy(tables, world, states, row, action - world.first_element, work)
    elif action == world.close:
        states[row, CLOSED] = 1
    elif action < world.first_coordinate:
        column = next_shape_column(world, states, row)
        first = world.first_ratio + column * world.n_ratios if column < 2 else world.first_angle
        states[row, world.shape + column] = action - first + 1
    elif action < world.first_volume:
        site, k = next_coordinate(tables, world, states, row, n_pairs(world, states, row))
        states[row, world.coordinate + 3 * site + k] = action - world.first_coordinate + 1
    else:
        states[row, world.volume] = action - world.first_volume + 1


@njit
def _occupy(tables: GroupTables, world: World, states: np.ndarray, row: int, element: int, work: Memory) -> None:
    """Gives the pending letter its element and brings the result into canonical form; the codes stay in CODES."""
    n = n_pairs(world, states, row)
    for i in range(n):
        work.lists[CODES, i] = states[row, PAIRS + i]
    work.lists[CODES, n] = (states[row, PENDING] - 1) * world.n_elements + element + 1
    canonicalise(tables, states[row, GROUP], world.n_elements, work.lists[CODES], n + 1, -1, work.lists[SCRATCH])
    for i in range(n + 1):
        states[row, PAIRS + i] = work.lists[CODES, i]
    states[row, PENDING] = 0


@njit
def unstep_rows(tables: GroupTables, world: World, states: np.ndarray, backward: np.ndarray) -> None:
    """Carries out backward actions [batch] in place."""
    work = memory(tables, world)
    for row in range(len(states)):
        if backward[row] == world.n_slots + 1:
            states[row, world.stopped] = 0
        elif backward[row] < world.n_slots:
            _vacate(tables, world, states, row, backward[row], work)
        else:
            _undo(world, states, row)


@njit
def _vacate(tables: GroupTables, world: World, states: np.ndarray, row: int, slot: int, work: Memory) -> None:
    """Takes the element of one slot away, which leaves its letter pending; the result in canonical form."""
    n, kept = n_pairs(world, states, row), 0
    for i in range(n):
        if i != slot:
            work.lists[CODES, kept] = states[row, PAIRS + i]
            kept += 1
    letter = (states[row, PAIRS + slot] - 1) // world.n_elements
    letter = canonicalise(
        tables, states[row, GROUP], world.n_elements, work.lists[CODES], kept, letter, work.lists[SCRATCH]
    )
    for i in range(n):
        states[row, PAIRS + i] = work.lists[CODES, i] if i < kept else 0
    states[row, PENDING] = letter + 1


@njit
def _undo(world: World, states: np.ndarray, row: int) -> None:
    column = _last_column(world, states, row)
    states[row, column] = 0


@njit
def _last_column(world: World, states: np.ndarray, row: int) -> int:
    """The column that the last step of a fixed order has filled."""
    if states[row, PENDING]:
        return PENDING
    if not states[row, CLOSED]:
        return GROUP
    if states[row, world.volume]:
        return world.volume
    last = CLOSED
    for column in range(world.shape, world.volume):
        if states[row, column]:
            last = column
    return last


@njit
def inverse_rows(tables: GroupTables, world: World, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The backward actions that undo forward actions taken in `states`."""
    out = np.empty(len(states), dtype=np.int64)
    work = memory(tables, world)
    copy = np.empty((1, states.shape[1]), dtype=states.dtype)
    for row in range(len(states)):
        action = actions[row]
        if action == world.n_actions - 1:
            out[row] = world.n_slots + 1
        elif action < world.first_element or action >= world.close:
            out[row] = world.n_slots
        else:
            out[row] = _new_slot(tables, world, states, row, action - world.first_element, copy, work)
    return out


@njit
def _new_slot(
    tables: GroupTables, world: World, states: np.ndarray, row: int, element: int, copy: np.ndarray, work: Memory
) -> int:
    """The slot that stands for the new pair in the canonical form of the result."""
    copy[0] = states[row]
    group, n = states[row, GROUP], n_pairs(world, states, row)
    new = (states[row, PENDING] - 1) * world.n_elements + element + 1
    _occupy(tables, world, copy, 0, element, work)
    first, last = tables.group[group, FIRST_RELABELING], tables.group[group, LAST_RELABELING]
    for p in range(first, last):  # some relabeling leads to the canonical form: follow the new pair along it
        letters = tables.relabeling[p]
        for i in range(n):
            code = states[row, PAIRS + i]
            moved = letters[(code - 1) // world.n_elements] * world.n_elements + (code - 1) % world.n_elements + 1
            insert_sorted(work.lists[SCRATCH], i, moved)
        moved = letters[(new - 1) // world.n_elements] * world.n_elements + element + 1
        insert_sorted(work.lists[SCRATCH], n, moved)
        same = True
        for i in range(n + 1):
            if work.lists[SCRATCH, i] != work.lists[CODES, i]:
                same = False
                break
        if same:
            n_keep = stabiliser(
                tables, group, world.n_elements, work.lists[CODES], n + 1, work.lists[SCRATCH], work.lists[FOUND]
            )
            code = first_equivalent(tables, world, work, n_keep, moved)
            for i in range(n + 1):
                if work.lists[CODES, i] == code:
                    return i
    return -1


@njit
def redo_rows(world: World, states: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """The forward actions that lead back to `states` after backward actions."""
    out = np.empty(len(states), dtype=np.int64)
    for row in range(len(states)):
        if backward[row] == world.n_slots + 1:
            out[row] = world.n_actions - 1
        elif backward[row] < world.n_slots:
            out[row] = world.first_element + (states[row, PAIRS + backward[row]] - 1) % world.n_elements
        else:
            out[row] = _redo(world, states, row)
    return out


@njit
def _redo(world: World, states: np.ndarray, row: int) -> int:
    column = _last_column(world, states, row)
    value = states[row, column]
    if column == GROUP:
        return world.place[value]
    if column == PENDING:
        return world.first_letter + value - 1
    if column == CLOSED:
        return world.close
    if column == world.volume:
        return world.first_volume + value - 1
    if column >= world.coordinate:
        return world.first_coordinate + value - 1
    if column < world.shape + 2:
        return world.first_ratio + (column - world.shape) * world.n_ratios + value - 1
    return world.first_angle + value - 1


@njit
def label_rows(tables: GroupTables, world: World, states: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """Numbers of labelings [batch] of complete crystals, and their canonical labelings into `canonical`."""
    out = np.ones(len(states), dtype=np.int64)
    canonical[:] = states
    codes, tuples = np.zeros(world.n_slots, dtype=np.int64), np.zeros(world.n_slots, dtype=np.int64)
    smallest, nothing = np.zeros(world.n_slots, dtype=np.int64), np.zeros((0, world.n_slots), dtype=np.int64)
    for row in range(len(states)):
        n = gather_tuples(tables, world, states, row, codes, tuples)
        if n < 0:
            continue
        group = states[row, GROUP]
        out[row] = labelings(tables, group, world.n_elements, world.grid, codes, tuples, n, smallest, nothing)
        write_tuples(tables, world, canonical, row, n, smallest)
    return out


@njit
def images_of_row(tables: GroupTables, world: World, states: np.ndarray, row: int) -> np.ndarray:
    """Tuple codes of all labelings of one complete crystal, int64 [image, n_slots], with repetitions."""
    codes, tuples = np.zeros(world.n_slots, dtype=np.int64), np.zeros(world.n_slots, dtype=np.int64)
    n = gather_tuples(tables, world, states, row, codes, tuples)
    if n < 0:
        return np.zeros((1, world.n_slots), dtype=np.int64)
    group = states[row, GROUP]
    room = tables.group[group, N_NORMALIZER]
    if tables.group[group, IS_POLAR]:  # any site of the first kind may stand at the origin, by any of its maps
        first = tables.group[group, FIRST_ROW] + (codes[0] - 1) // world.n_elements
        room *= n * (tables.row[first, LAST_MAP] - tables.row[first, FIRST_MAP])
    every = np.full((room, world.n_slots), -1, dtype=np.int64)
    labelings(tables, group, world.n_elements, world.grid, codes, tuples, n, tuples.copy(), every)
    n_images = 0
    while n_images < room and every[n_images, 0] >= 0:
        every[n_images, n:] = 0
        n_images += 1
    return every[:n_images]


@njit
def write_labelings(tables: GroupTables, world: World, states: np.ndarray, tuples: np.ndarray) -> None:
    """Writes rows of tuple codes [batch, n_slots] into complete states."""
    for row in range(len(states)):
        write_tuples(tables, world, states, row, n_pairs(world, states, row), tuples[row])


@njit
def gather_tuples(
    tables: GroupTables, world: World, states: np.ndarray, row: int, codes: np.ndarray, tuples: np.ndarray
) -> int:
    """Pair and tuple codes of a state, and the number of its pairs; -1 where there is no coordinate to label."""
    first_row = tables.group[states[row, GROUP], FIRST_ROW]
    n, free = n_pairs(world, states, row), False
    out = np.zeros(3, dtype=np.int64)
    for i in range(n):
        codes[i] = states[row, PAIRS + i]
        dof = tables.row[first_row + (codes[i] - 1) // world.n_elements, DOF]
        free = free or dof > 0
        tuples[i] = site_tuple(world, states, row, i, dof, out)
    return n if free else -1


@njit
def write_tuples(tables: GroupTables, world: World, states: np.ndarray, row: int, n: int, tuples: np.ndarray) -> None:
    """Writes the coordinates that tuple codes stand for into a state."""
    first_row, grid = tables.group[states[row, GROUP], FIRST_ROW], world.grid
    for i in range(n):
        code = tuples[i]
        dof = tables.row[first_row + (states[row, PAIRS + i] - 1) // world.n_elements, DOF]
        for k in range(dof - 1, -1, -1):
            states[row, world.coordinate + 3 * i + k] = code % grid + 1
            code //= grid
