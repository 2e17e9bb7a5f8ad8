"""Labelings of states of the crystal world: images of a row, and the tuples that stand for a crystal."""

import numpy as np

from oreflow.envs.arrays import Int16s, Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.layout.progress import n_pairs, site_tuple
from oreflow.envs.crystal.layout.world import GROUP, PAIRS, World
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_MAP, FIRST_ROW, IS_POLAR, LAST_MAP, N_NORMALIZER, GroupTables
from oreflow.envs.symmetry.images import labelings


@njit
def label_rows(tables: GroupTables, world: World, states: States, canonical: Int16s) -> Ints:
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
        out[row] = labelings(
            tables, group, world.n_elements, world.coordinate_grid.grid, codes, tuples, n, smallest, nothing
        )
        write_tuples(tables, world, canonical, row, n, smallest)
    return out


@njit
def images_of_row(tables: GroupTables, world: World, states: States, row: int) -> Ints:
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
    labelings(tables, group, world.n_elements, world.coordinate_grid.grid, codes, tuples, n, tuples.copy(), every)
    n_images = 0
    while n_images < room and every[n_images, 0] >= 0:
        every[n_images, n:] = 0
        n_images += 1
    return every[:n_images]


@njit
def write_labelings(tables: GroupTables, world: World, states: States, tuples: Ints) -> None:
    """Writes rows of tuple codes [batch, n_slots] into complete states."""
    for row in range(len(states)):
        write_tuples(tables, world, states, row, n_pairs(world, states, row), tuples[row])


@njit
def gather_tuples(tables: GroupTables, world: World, states: States, row: int, codes: Ints, tuples: Ints) -> int:
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
def write_tuples(tables: GroupTables, world: World, states: States, row: int, n: int, tuples: Ints) -> None:
    """Writes the coordinates that tuple codes stand for into a state."""
    first_row, grid = tables.group[states[row, GROUP], FIRST_ROW], world.coordinate_grid.grid
    for i in range(n):
        code = tuples[i]
        dof = tables.row[first_row + (states[row, PAIRS + i] - 1) // world.n_elements, DOF]
        for k in range(dof - 1, -1, -1):
            states[row, world.coordinate + 3 * i + k] = code % grid + 1
            code //= grid
