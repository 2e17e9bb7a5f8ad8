"""A crystal world as numbers and arrays: tables, rules, layout of states and actions.

Columns of a state (int16): space group, pending letter + 1, closed flag, pair codes, bins + 1 of the shape, of the free
coordinates (three a site) and of the volume, stopped flag; 0 means not yet. Actions in order: space group by its place
in the world's list, letter, element, close, then the bins of b/a, c/a, angles, coordinates and volume, then stop.
Without geometry there is neither close nor any bin.
"""

from functools import lru_cache

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.compiled.records import Record
from oreflow.envs.composition.rules import Rules
from oreflow.envs.crystal.feasibility.search import can_finish
from oreflow.envs.crystal.feasibility.sums import search_memory
from oreflow.envs.crystal.feasibility.tables import Inventory, SiteTables, inventory, solve_sites
from oreflow.envs.crystal.grid.coordinates import N_VALID, CoordinateGrid, coordinate_grid
from oreflow.envs.crystal.grid.lattice import LatticeGrid, lattice_grid
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.symmetry.flat_tables import (
    DOF,
    FIRST_ROW,
    MULTIPLICITY,
    N_CENTRING,
    N_LETTERS,
    GroupTables,
    group_tables,
)

MOST_LETTERS = 27
GROUP, PENDING, CLOSED, PAIRS = 0, 1, 2, 3  # columns of a state
SIZE, STRIDE = 0, 1  # columns of `position`


class World(Record):
    """See the module's docstring. First columns and first actions are called after what they hold."""

    sites: SiteTables
    coordinate_grid: CoordinateGrid
    lattice_grid: LatticeGrid
    groups: Ints  # int64 [group of the world], numbers
    place: Ints  # int64 [231], place of each number in `groups`, -1
    can_host: Bools  # bool [group of the world], whether any crystal of the world has it
    # int64 [row, 2], atoms in the cell that is counted (SIZE), and what taking the position adds to the inventory state
    # (STRIDE, 0 with freedom)
    position: Ints
    atomic_numbers: Ints  # int64 [element]
    radii: Floats  # float64 [119]
    min_distance: float
    min_contact: float
    geometry: bool
    n_elements: int
    n_slots: int
    n_actions: int
    shape: int  # first columns
    coordinate: int
    volume: int
    stopped: int
    first_letter: int  # first actions
    first_element: int
    close: int
    first_ratio: int
    first_angle: int
    first_coordinate: int
    first_volume: int


@lru_cache(maxsize=4)  # a start builds the same two worlds several times: its own, and that of a prior
def make_world(space: WyckoffSpace) -> tuple[GroupTables, World, Rules]:
    """The tables of all groups, the arrays of a space, and its element rules.

    Raises:
        EmptyWorldError: when a required element has no oxidation state under a hard constraint.
        ValueError: for a grid too coarse for the number of atoms.
    """
    tables = group_tables()
    rules, amounts, role_bits = space.rules()
    n_letters = tables.group[1:, N_LETTERS]
    group_of_row = np.repeat(np.arange(1, 231), n_letters)
    dof = tables.row[:, DOF]
    size = tables.row[:, MULTIPLICITY].copy()
    if space.cell == "primitive":
        size //= tables.group[group_of_row, N_CENTRING]
    position = np.stack([size, np.zeros_like(size)], axis=1)
    inventories: dict[int, Inventory] = {}
    groups = np.array(space.space_groups, dtype=np.int64)
    for number in groups.tolist():
        first = tables.group[number, FIRST_ROW]
        rows = np.arange(first, first + tables.group[number, N_LETTERS])
        inventories[number] = inventory(size[rows], dof[rows], rules.n_atoms_max)
        strides = inventories[number].strides
        for row in rows[dof[rows] == 0].tolist():
            position[row, STRIDE] = strides.get(int(size[row]), 0)
    sites = solve_sites(rules, inventories, amounts, role_bits)
    place = np.full(231, -1, dtype=np.int64)
    place[groups] = np.arange(len(groups))
    work, nothing = search_memory(sites), np.zeros(0, dtype=np.int64)
    verdicts = [can_finish(sites, kind, 0, nothing, nothing, 0, work) for kind in range(len(sites.kind))]
    can_host = np.array(verdicts, dtype=np.bool_)[sites.inventory_of[groups]]

    usable = np.isin(group_of_row, groups[can_host]) & (size <= rules.n_atoms_max)
    free = np.flatnonzero(usable & (dof > 0)) if space.geometry else np.zeros(0, dtype=np.int64)
    coordinates = coordinate_grid(tables, space.grid, free, group_of_row[free])
    room = coordinates.table[coordinates.table_of[free, 0], N_VALID]
    tight = room < rules.n_atoms_max // size[free]
    if tight.any():
        number = group_of_row[free[tight][0]]
        raise ValueError(
            f"expected a grid fine enough for n_atoms, got {space.grid}: a position of space group {number} has room "
            f"for {room[tight][0]} sites; raise grid or lower n_atoms"
        )
    lattice = lattice_grid(space)
    n_slots = max(_most_sites(inventories[n], rules.n_atoms_max) for n in groups.tolist())
    n_bins = [2 * lattice.n_ratios, len(lattice.angles), space.grid, lattice.n_volumes + 1]
    if not space.geometry:
        n_bins = [0, 0, 0, 0]
    first_element = len(groups) + MOST_LETTERS
    close = first_element + rules.n
    starts = (close + int(space.geometry) + np.concatenate([[0], np.cumsum(n_bins)])).tolist()
    shape = PAIRS + n_slots
    world = World(
        sites=sites,
        coordinate_grid=coordinates,
        lattice_grid=lattice,
        groups=groups,
        place=place,
        can_host=can_host,
        position=position,
        atomic_numbers=space.compositions.atomic_numbers.astype(np.int64),
        radii=covalent_radii(),
        min_distance=space.min_distance_a,
        min_contact=space.min_contact,
        geometry=space.geometry,
        n_elements=rules.n,
        n_slots=n_slots,
        n_actions=starts[4] + 1,
        shape=shape,
        coordinate=shape + 5,
        volume=shape + 5 + 3 * n_slots,
        stopped=shape + (5 + 3 * n_slots + 1 if space.geometry else 0),
        first_letter=len(groups),
        first_element=first_element,
        close=close,
        first_ratio=starts[0],
        first_angle=starts[1],
        first_coordinate=starts[2],
        first_volume=starts[3],
    )
    return tables, world, rules


def _most_sites(kind: Inventory, n_atoms_max: int) -> int:
    """The largest number of positions that can be occupied with so many atoms."""
    sizes = [size for size, number in kind.fixed for _ in range(number)]
    sizes += [size for size in kind.free for _ in range(n_atoms_max // size)]
    return int(np.searchsorted(np.cumsum(sorted(sizes)), n_atoms_max, side="right"))
