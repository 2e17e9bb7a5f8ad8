"""From bins to a lattice and coordinates, compiled.

The volume comes last, and its smallest allowed bin is the one at which no two atoms are nearer than the world permits.
Where even the largest bin is too small, one further bin stands for the smallest volume that is large enough: every
shape with any coordinates is thus a crystal, and none has atoms that overlap.
"""

import math

import numpy as np

from oreflow.envs.arrays import Floats, Int8s, Int16s, Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.grid.lattice import unit_cell
from oreflow.envs.crystal.layout.world import GROUP, PAIRS, World
from oreflow.envs.objects.distances import contact
from oreflow.envs.objects.expand_sites import place_atoms
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, MULTIPLICITY, N_CENTRING, GroupTables
from oreflow.envs.symmetry.lattices import lattice_vectors

_SLACK = 1.000001  # rounding in a cell's lengths brings no two atoms below the bound


@njit(nogil=True)
def smallest_volume(
    tables: GroupTables,
    group: int,
    cell: Floats,
    rows: Ints,
    numbers: Ints,
    parameters: Floats,
    radii: Floats,
    min_distance: float,
    min_contact: float,
) -> float:
    """Smallest volume, cubic angstrom an atom, at which the closest atoms are as far apart as they must be.

    Args:
        cell: float64 [6], conventional cell of any size.
        rows: int64 [site], positions as rows of `tables`.
        numbers: int64 [site], atomic numbers.
        parameters: float64 [site, 3], free coordinates.
    """
    own = np.empty((3, 3))
    lattice_vectors(cell, own)
    vectors = tables.primitive[group, 0] @ own
    inverse = tables.primitive[group, 1]
    n_atoms = 0
    for row in rows:
        n_atoms += tables.row[row, MULTIPLICITY] // tables.group[group, N_CENTRING]
    fractional = np.empty((n_atoms, 3))
    atoms, orbit = np.empty(n_atoms, dtype=np.int64), np.empty(n_atoms, dtype=np.int64)
    end = 0
    for i in range(len(rows)):
        first = end
        end = place_atoms(tables, group, rows[i], parameters[i], True, inverse, fractional, first)
        atoms[first:end] = numbers[i]
        orbit[first:end] = i
    distance, ratio = contact(vectors, atoms, fractional, orbit, radii)
    volume = abs(np.linalg.det(vectors)) / n_atoms
    scale = min_distance / distance
    if min_contact > 0.0 and not math.isnan(ratio):
        scale = max(scale, min_contact / ratio)
    return volume * (scale * _SLACK) ** 3


@njit(nogil=True)
def _smallest_volume_of(tables: GroupTables, world: World, states: States, row: int, n: int, cell: Floats) -> float:
    """The same for a state with shape and coordinates, whose cell of volume 1 goes into `cell`."""
    group = states[row, GROUP]
    unit_cell(world.lattice_grid, group, states[row, world.shape : world.coordinate], cell)
    rows, numbers = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    parameters = np.zeros((n, 3))
    for i in range(n):
        code = states[row, PAIRS + i] - 1
        rows[i] = tables.group[group, FIRST_ROW] + code // world.n_elements
        numbers[i] = world.atomic_numbers[code % world.n_elements]
        for k in range(tables.row[rows[i], DOF]):
            parameters[i, k] = (states[row, world.coordinate + 3 * i + k] - 1) / world.coordinate_grid.grid
    return smallest_volume(
        tables, group, cell, rows, numbers, parameters, world.radii, world.min_distance, world.min_contact
    )


@njit(nogil=True)
def lowest_volume_bin(tables: GroupTables, world: World, states: States, row: int, n: int) -> int:
    """The lowest bin of the volume that keeps atoms apart; may lie beyond the last one."""
    smallest = _smallest_volume_of(tables, world, states, row, n, np.empty(6))
    steps = (math.log(smallest) - world.lattice_grid.log_volume) / world.lattice_grid.log_step
    return max(0, math.ceil(min(steps, 1e6)))


@njit(nogil=True)
def decode_rows(
    tables: GroupTables,
    world: World,
    states: States,
    first_site: Ints,
    letter: Int8s,
    atomic_number: Int16s,
    lattice: Floats,
    parameters: Floats,
    first: int,
    last: int,
) -> None:
    """Sites and lattices of the states [first, last) into the arrays of `Crystals`; NaN where bins are not set."""
    for row in range(first, last):
        group, n = states[row, GROUP], first_site[row + 1] - first_site[row]
        complete = world.geometry and states[row, world.volume] > 0
        atoms = 0
        for i in range(n):
            code, site = states[row, PAIRS + i] - 1, first_site[row] + i
            letter[site] = code // world.n_elements
            atomic_number[site] = world.atomic_numbers[code % world.n_elements]
            position = tables.group[group, FIRST_ROW] + letter[site]
            atoms += tables.row[position, MULTIPLICITY]
            for k in range(3):
                parameters[site, k] = 0.0 if complete else np.nan
                if complete and k < tables.row[position, DOF]:
                    parameters[site, k] = (states[row, world.coordinate + 3 * i + k] - 1) / world.coordinate_grid.grid
        if not complete:
            lattice[row] = np.nan
            continue
        index = states[row, world.volume] - 1
        if index < world.lattice_grid.n_volumes:
            unit_cell(world.lattice_grid, group, states[row, world.shape : world.coordinate], lattice[row])
            volume = math.exp(world.lattice_grid.log_volume + index * world.lattice_grid.log_step)
        else:
            volume = _smallest_volume_of(tables, world, states, row, n, lattice[row])
        for k in range(3):
            lattice[row, k] *= (volume * atoms) ** (1.0 / 3.0)
