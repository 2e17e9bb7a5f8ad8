"""Masks of the crystal world, compiled: which moves of a partial crystal can still be finished."""

import numpy as np

from oreflow.envs.arrays import Bools, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.grid.lattice import shape_allowed
from oreflow.envs.crystal.layout.decode import lowest_volume_bin
from oreflow.envs.crystal.layout.memory import CODES, FOUND, SCRATCH, Memory, first_equivalent
from oreflow.envs.crystal.layout.progress import n_pairs, next_coordinate, next_shape_column
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, PAIRS, PENDING, World
from oreflow.envs.crystal.masks.coordinates import allow_coordinates
from oreflow.envs.crystal.masks.decoration import allow_elements, allow_letters
from oreflow.envs.symmetry.canonical import stabiliser
from oreflow.envs.symmetry.flat_tables import GroupTables


@njit
def _allow_row(tables: GroupTables, world: World, states: States, row: int, allowed: Bools, work: Memory) -> None:
    allowed[row] = False
    if states[row, world.stopped]:
        return
    if states[row, GROUP] == 0:
        for g in range(len(world.groups)):
            allowed[row, g] = world.can_host[g]
        return
    if states[row, CLOSED] == 0:
        if states[row, PENDING]:
            allow_elements(tables, world, states, row, allowed, work)
        else:
            allow_letters(tables, world, states, row, allowed, work)
        return
    column = next_shape_column(world, states, row)
    if column < 5:
        shape = states[row, world.shape : world.coordinate]
        n_bins = world.lattice_grid.n_ratios if column < 2 else len(world.lattice_grid.angles)
        first = world.first_ratio + column * n_bins if column < 2 else world.first_angle
        for b in range(n_bins):
            allowed[row, first + b] = shape_allowed(world.lattice_grid, states[row, GROUP], shape, column, b)
        return
    n = n_pairs(world, states, row)
    site, k = next_coordinate(tables, world, states, row, n)
    if site < n:
        allow_coordinates(tables, world, states, row, n, site, k, allowed, work)
    elif states[row, world.volume] == 0:
        lowest = lowest_volume_bin(tables, world, states, row, n)
        last = world.first_volume + world.lattice_grid.n_volumes
        if lowest >= world.lattice_grid.n_volumes:
            allowed[row, last] = True
        else:
            allowed[row, world.first_volume + lowest : last] = True
    else:
        allowed[row, world.n_actions - 1] = True


@njit(nogil=True)
def allow_rows(
    tables: GroupTables, world: World, work: Memory, states: States, allowed: Bools, first: int, last: int
) -> None:
    """Masks of the states [first, last), into all of these rows of `allowed`."""
    for row in range(first, last):
        _allow_row(tables, world, states, row, allowed, work)


@njit
def backward_allowed(tables: GroupTables, world: World, work: Memory, states: States) -> Bools:
    """Slots whose element may go, then undo, then un-stop; of slots that symmetry makes equivalent the first."""
    allowed = np.zeros((len(states), world.n_slots + 2), dtype=np.bool_)
    for row in range(len(states)):
        if states[row, world.stopped]:
            allowed[row, world.n_slots + 1] = True
        elif states[row, GROUP] == 0:
            continue
        elif states[row, CLOSED] or states[row, PENDING] or states[row, PAIRS] == 0:
            allowed[row, world.n_slots] = True
        else:
            n = n_pairs(world, states, row)
            for i in range(n):
                work.lists[CODES, i] = states[row, PAIRS + i]
            group = states[row, GROUP]
            n_keep = stabiliser(
                tables, group, world.n_elements, work.lists[CODES], n, work.lists[SCRATCH], work.lists[FOUND]
            )
            for i in range(n):
                if i > 0 and work.lists[CODES, i - 1] == work.lists[CODES, i]:
                    continue
                allowed[row, i] = (
                    first_equivalent(tables, world, work, n_keep, work.lists[CODES, i]) == work.lists[CODES, i]
                )
    return allowed
