"""How far a partial crystal is: its pairs, and which column of the shape and which coordinate come next; compiled."""

from oreflow.envs.arrays import Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.grid.lattice import SYSTEM
from oreflow.envs.crystal.layout.world import GROUP, PAIRS, World
from oreflow.envs.symmetry.canonical import tuple_code
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, GroupTables


@njit
def n_pairs(world: World, states: States, row: int) -> int:
    """Count the pairs of position and element in a row of states."""
    n = 0
    while n < world.n_slots and states[row, PAIRS + n]:
        n += 1
    return n


@njit
def next_shape_column(world: World, states: States, row: int) -> int:
    """The free column of the shape to fill next, 5 when all are."""
    system = world.lattice_grid.cell[states[row, GROUP], SYSTEM]
    for column in range(5):
        if world.lattice_grid.is_free[system, column] and states[row, world.shape + column] == 0:
            return column
    return 5


@njit
def next_coordinate(tables: GroupTables, world: World, states: States, row: int, n: int) -> tuple[int, int]:
    """The site and the coordinate to fill next, (n, 0) when all are."""
    first_row = tables.group[states[row, GROUP], FIRST_ROW]
    for i in range(n):
        dof = tables.row[first_row + (states[row, PAIRS + i] - 1) // world.n_elements, DOF]
        for k in range(dof):
            if states[row, world.coordinate + 3 * i + k] == 0:
                return i, k
    return n, 0


@njit
def site_tuple(world: World, states: States, row: int, i: int, dof: int, out: Ints) -> int:
    """Parameters of a complete site into `out`, and their tuple code."""
    for k in range(dof):
        out[k] = states[row, world.coordinate + 3 * i + k] - 1
    return tuple_code(out, dof, world.coordinate_grid.grid)
