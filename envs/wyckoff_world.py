"""A crystal world as numbers and arrays: tables, rules, layout of states and actions.

Columns of a state (int16): space group, pending letter + 1, closed flag, pair codes, bins + 1 of the shape, of the free
coordinates (three a site) and of the volume, stopped flag; 0 means not yet. Actions in order: space group by its place
in the world's list, letter, element, close, then the bins of b/a, c/a, angles, coordinates and volume, then stop. Without
geometry there is neither close nor any bin.
"""

from typing import NamedTuple

import numpy as np

from envs.canonical import Relabelings, relabelings
from envs.coordinate_grid import CoordinateGrid, coordinate_grid
from envs.feasibility import Rules
from envs.lattice_grid import LatticeGrid, lattice_grid
from envs.radii import covalent_radii
from envs.site_feasibility import SiteTables, can_finish, inventory, search_memory, solve_sites
from envs.wyckoff_arrays import WyckoffArrays, wyckoff_arrays
from envs.wyckoff_space import WyckoffSpace

N_LETTERS = 27
GROUP, PENDING, CLOSED, PAIRS = 0, 1, 2, 3  # columns


class World(NamedTuple):
    """See the module's docstring. First columns and first actions are called after what they hold."""

    arrays: WyckoffArrays
    relabelings: Relabelings
    rules: Rules
    sites: SiteTables
    coordinates: CoordinateGrid
    lattice: LatticeGrid
    groups: np.ndarray  # int64 [group of the world], numbers
    place: np.ndarray  # int64 [231], place of each number in `groups`, -1
    can_host: np.ndarray  # bool [group of the world], whether any crystal of the world has it
    size: np.ndarray  # int64 [row], atoms in the cell that is counted
    stride: np.ndarray  # int64 [row], what taking the position adds to the inventory state; 0 with freedom
    atomic_numbers: np.ndarray  # int64 [element]
    radii: np.ndarray  # float64 [119]
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


def make_world(space: WyckoffSpace) -> World:
    """The arrays of a space.

    Raises:
        EmptyWorldError: when a required element has no oxidation state under a hard constraint.
        ValueError: for a grid too coarse for the number of atoms.
    """
    arrays = wyckoff_arrays()
    rules, amounts, role_bits = space.rules()
    group_of_row = np.repeat(np.arange(1, 231), np.diff(arrays.first_row[1:]))
    divisor = arrays.n_centring[group_of_row] if space.cell == "primitive" else 1
    size = arrays.multiplicity // divisor
    inventories = {}
    stride = np.zeros(len(size), dtype=np.int64)
    groups = np.array(space.space_groups, dtype=np.int64)
    for number in space.space_groups:
        rows = slice(arrays.first_row[number], arrays.first_row[number + 1])
        inventories[number] = inventory(size[rows], arrays.dof[rows], rules.n_atoms_max)
        strides = inventories[number].strides
        stride[rows] = [
            strides.get(s, 0) if dof == 0 else 0 for s, dof in zip(size[rows].tolist(), arrays.dof[rows].tolist())
        ]
    sites = solve_sites(rules, inventories, amounts, role_bits)
    place = np.full(231, -1, dtype=np.int64)
    place[groups] = np.arange(len(groups))
    work, nothing = search_memory(rules), np.zeros(0, dtype=np.int64)
    verdicts = [can_finish(rules, sites, kind, 0, nothing, nothing, 0, work) for kind in range(len(sites.n_states))]
    can_host = np.array(verdicts, dtype=np.bool_)[sites.inventory_of[groups]]

    usable = np.isin(group_of_row, groups[can_host]) & (size <= rules.n_atoms_max)
    free = np.flatnonzero(usable & (arrays.dof > 0)) if space.geometry else np.zeros(0, dtype=np.int64)
    coordinates = coordinate_grid(arrays, space.grid, free, group_of_row[free])
    room = coordinates.total[coordinates.table_of[free, 0]] if len(free) else np.zeros(0)
    tight = room < rules.n_atoms_max // size[free]
    if tight.any():
        number = group_of_row[free[tight][0]]
        raise ValueError(
            f"expected a grid fine enough for n_atoms, got {space.grid}: a position of space group {number} has room "
            f"for {room[tight][0]} sites; raise grid or lower n_atoms"
        )
    lattice = lattice_grid(space)
    n_slots = max(_most_sites(inventories[n], rules.n_atoms_max) for n in space.space_groups)
    n_bins = [2 * lattice.n_ratios, len(lattice.angles), space.grid, lattice.n_volumes + 1] if space.geometry else [0] * 4
    first_element = len(groups) + N_LETTERS
    close = first_element + rules.n
    first = close + int(space.geometry) + np.concatenate([[0], np.cumsum(n_bins)])
    shape = PAIRS + n_slots
    n_columns = 5 + 3 * n_slots + 1 if space.geometry else 0
    return World(
        arrays=arrays,
        relabelings=relabelings(arrays),
        rules=rules,
        sites=sites,
        coordinates=coordinates,
        lattice=lattice,
        groups=groups,
        place=place,
        can_host=can_host,
        size=size,
        stride=stride,
        atomic_numbers=space.compositions.atomic_numbers.astype(np.int64),
        radii=covalent_radii(),
        min_distance=space.min_distance_a,
        min_contact=space.min_contact,
        geometry=space.geometry,
        n_elements=rules.n,
        n_slots=n_slots,
        n_actions=int(first[-1]) + 1,
        shape=shape,
        coordinate=shape + 5,
        volume=shape + 5 + 3 * n_slots,
        stopped=shape + n_columns,
        first_letter=len(groups),
        first_element=first_element,
        close=close,
        first_ratio=int(first[0]),
        first_angle=int(first[1]),
        first_coordinate=int(first[2]),
        first_volume=int(first[3]),
    )


def _most_sites(kind: tuple, n_atoms_max: int) -> int:
    """The largest number of positions that can be occupied with so many atoms."""
    sizes = sorted([size for size, number in kind[0] for _ in range(number)] + [s for s in kind[1] for _ in range(n_atoms_max // s)])
    return int(np.searchsorted(np.cumsum(sizes), n_atoms_max, side="right"))
