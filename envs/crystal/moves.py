"""Moves of the crystal world, compiled: steps and their way back, between canonical labelings."""

import numpy as np

from oreflow.envs.arrays import Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.layout.memory import CODES, FOUND, SCRATCH, Memory, first_equivalent
from oreflow.envs.crystal.layout.progress import n_pairs, next_coordinate, next_shape_column
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, PAIRS, PENDING, World
from oreflow.envs.symmetry.canonical import canonicalise, insert_sorted, stabiliser
from oreflow.envs.symmetry.flat_tables import (
    FIRST_RELABELING,
    LAST_RELABELING,
    GroupTables,
)


@njit
def step_rows(tables: GroupTables, world: World, work: Memory, states: States, actions: Ints) -> None:
    """Carries out actions [batch] in place; -1 does nothing."""
    for row in range(len(states)):
        if actions[row] >= 0:
            _step(tables, world, states, row, actions[row], work)


@njit
def _step(tables: GroupTables, world: World, states: States, row: int, action: int, work: Memory) -> None:
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
        first = world.first_ratio + column * world.lattice_grid.n_ratios if column < 2 else world.first_angle
        states[row, world.shape + column] = action - first + 1
    elif action < world.first_volume:
        site, k = next_coordinate(tables, world, states, row, n_pairs(world, states, row))
        states[row, world.coordinate + 3 * site + k] = action - world.first_coordinate + 1
    else:
        states[row, world.volume] = action - world.first_volume + 1


@njit
def _occupy(tables: GroupTables, world: World, states: States, row: int, element: int, work: Memory) -> None:
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
def unstep_rows(tables: GroupTables, world: World, work: Memory, states: States, backward: Ints) -> None:
    """Carries out backward actions [batch] in place."""
    for row in range(len(states)):
        if backward[row] == world.n_slots + 1:
            states[row, world.stopped] = 0
        elif backward[row] < world.n_slots:
            _vacate(tables, world, states, row, backward[row], work)
        else:
            _undo(world, states, row)


@njit
def _vacate(tables: GroupTables, world: World, states: States, row: int, slot: int, work: Memory) -> None:
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
def _undo(world: World, states: States, row: int) -> None:
    column = _last_column(world, states, row)
    states[row, column] = 0


@njit
def _last_column(world: World, states: States, row: int) -> int:
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
def inverse_rows(tables: GroupTables, world: World, work: Memory, states: States, actions: Ints) -> Ints:
    """The backward actions that undo forward actions taken in `states`."""
    out = np.empty(len(states), dtype=np.int64)
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
    tables: GroupTables, world: World, states: States, row: int, element: int, copy: States, work: Memory
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
def redo_rows(world: World, states: States, backward: Ints) -> Ints:
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
def _redo(world: World, states: States, row: int) -> int:
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
        return world.first_ratio + (column - world.shape) * world.lattice_grid.n_ratios + value - 1
    return world.first_angle + value - 1
