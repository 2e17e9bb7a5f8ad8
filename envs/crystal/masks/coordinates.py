"""Masks of free coordinates, compiled: every site ends at a valid place of its own."""

from oreflow.envs.arrays import Bools, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.grid.coordinates import bins_with_room, highest_with_room, is_valid, last_bins_with_room
from oreflow.envs.crystal.layout.memory import MOVED, TUPLE, USED, Memory
from oreflow.envs.crystal.layout.progress import site_tuple
from oreflow.envs.crystal.layout.world import GROUP, PAIRS, World
from oreflow.envs.symmetry.canonical import canonical_tuple
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, IS_POLAR, GroupTables


@njit
def allow_coordinates(
    tables: GroupTables,
    world: World,
    states: States,
    row: int,
    n: int,
    site: int,
    k: int,
    allowed: Bools,
    work: Memory,
) -> None:
    """Allow each bin with which a valid tuple begins that remains.

    One remains that is above the one of an equal site before, not taken by a site of the same position, and with enough
    above it for the equal sites still to come.
    """
    group = states[row, GROUP]
    code = states[row, PAIRS + site]
    letter = (code - 1) // world.n_elements
    position = tables.group[group, FIRST_ROW] + letter
    dof, grid = tables.row[position, DOF], world.coordinate_grid.grid
    polar = tables.group[group, IS_POLAR] != 0
    first_of_polar = polar and site == 0
    table = world.coordinate_grid.table_of[position, 1 if first_of_polar else 0]
    n_used, low = 0, 0
    for i in range(site):
        other = states[row, PAIRS + i]
        if (other - 1) // world.n_elements != letter:
            continue
        taken = site_tuple(world, states, row, i, dof, work.lists[TUPLE])
        if polar and i == 0:  # its own code is the smallest with 0 along the polar axes
            taken = canonical_tuple(tables, position, work.lists[TUPLE], grid, work.lists[MOVED])
        elif other == code:
            low = taken + 1
        if is_valid(world.coordinate_grid, table, taken):
            work.lists[USED, n_used] = taken
            n_used += 1
    room = 0
    while site + room + 1 < n and states[row, PAIRS + site + room + 1] == code:
        room += 1
    n_codes = grid**dof
    high = n_codes
    if room and not first_of_polar:
        high = highest_with_room(world.coordinate_grid, table, n_codes, room, work.lists[USED], n_used) + 1
    prefix = 0
    for j in range(k):
        prefix = prefix * grid + states[row, world.coordinate + 3 * site + j] - 1
    out, used = allowed[row, world.first_coordinate : world.first_coordinate + grid], work.lists[USED]
    if k == dof - 1:
        last_bins_with_room(world.coordinate_grid, table, prefix, low, high, used, n_used, out)
    else:
        bins_with_room(world.coordinate_grid, table, prefix, grid ** (dof - 1 - k), low, high, used, n_used, out)
