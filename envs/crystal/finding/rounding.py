"""Crystals with continuous geometry to bins, compiled: free coordinates and the volume, in a cell of known shape.

Rounding commutes with the symmetries that relate descriptions of one crystal, ties apart: distances between a point
and its bins are those in space, and along polar axes the origin lies where the sum of squared displacements is
smallest.
"""

import math

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Ints, States
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.grid.coordinates import is_valid
from oreflow.envs.crystal.layout.decode import lowest_volume_bin, smallest_volume
from oreflow.envs.crystal.layout.world import CLOSED, GROUP, PAIRS, World
from oreflow.envs.symmetry.arrangement import arrange
from oreflow.envs.symmetry.canonical import canonical_tuple
from oreflow.envs.symmetry.flat_tables import BASIS, DOF, FIRST_ROW, MULTIPLICITY, POLAR, POLAR_PARAMETER, GroupTables
from oreflow.envs.symmetry.lattices import lattice_vectors, metric_tensor

SETTLED, VOLUME_OUTSIDE, TOO_CLOSE, NO_ROOM = 0, 1, 2, 3  # verdicts
_REACH = 2  # bins on either side of a coordinate's own that are tried


@njit(nogil=True)
def settle(
    tables: GroupTables,
    world: World,
    groups: Ints,
    offsets: Ints,
    codes: Ints,
    lattices: Floats,
    parameters: Floats,
    shapes: Ints,
    states: States,
    verdicts: Ints,
    displacements: Floats,
    volumes: Floats,
) -> None:
    """Terminal states of crystals whose decorations are objects of the world and whose cells have shapes.

    Args:
        offsets, codes, lattices, parameters: as in `Crystals`, letters and elements as pair codes; any labeling.
        shapes: int64 [crystal, 5], bins + 1.
        states: int16 [crystal, column], zeros; receives them.
        verdicts: int64 [crystal], receives SETTLED or why a crystal is none of the world.
        displacements: float64 [crystal], receives the root mean square over atoms, angstrom.
        volumes: float64 [crystal, 2], receives volume and the smallest that keeps atoms apart, A^3 an atom.
    """
    n_max = world.n_slots + 1
    tuples, sorted_tuples = np.zeros((n_max, 3), dtype=np.int64), np.zeros((n_max, 3), dtype=np.int64)
    sorted_codes, rows = np.zeros(n_max, dtype=np.int64), np.zeros(n_max, dtype=np.int64)
    numbers = np.zeros(n_max, dtype=np.int64)
    for row in range(len(groups)):
        group, first, n = groups[row], offsets[row], offsets[row + 1] - offsets[row]
        own = codes[first : first + n]
        atoms = 0
        for i in range(n):
            rows[i] = tables.group[group, FIRST_ROW] + (own[i] - 1) // world.n_elements
            numbers[i] = world.atomic_numbers[(own[i] - 1) % world.n_elements]
            atoms += tables.row[rows[i], MULTIPLICITY]
        free = parameters[first : first + n]
        volume = math.sqrt(np.linalg.det(metric_tensor(lattices[row]))) / atoms
        smallest = smallest_volume(
            tables,
            group,
            lattices[row],
            rows[:n],
            numbers[:n],
            free,
            world.radii,
            world.min_distance,
            world.min_contact,
        )
        volumes[row, 0], volumes[row, 1] = volume, smallest
        if smallest > volume * math.exp(0.5 * world.lattice_grid.log_step):
            verdicts[row] = TOO_CLOSE
            continue
        displacements[row] = _round_sites(tables, world, group, rows, n, lattices[row], free, tuples)
        if displacements[row] < 0.0:
            verdicts[row] = NO_ROOM
            continue
        arrange(
            tables, group, world.n_elements, world.coordinate_grid.grid, own, tuples, n, sorted_codes, sorted_tuples
        )
        state = states[row]
        state[GROUP], state[CLOSED], state[world.stopped] = group, 1, 1
        for i in range(n):
            state[PAIRS + i] = sorted_codes[i]
            position = tables.group[group, FIRST_ROW] + (sorted_codes[i] - 1) // world.n_elements
            for k in range(tables.row[position, DOF]):
                state[world.coordinate + 3 * i + k] = sorted_tuples[i, k] + 1
        for column in range(5):
            state[world.shape + column] = shapes[row, column]
        place = (math.log(volume) - world.lattice_grid.log_volume) / world.lattice_grid.log_step
        lowest = lowest_volume_bin(tables, world, states, row, n)
        top = max(world.lattice_grid.n_volumes - 1, lowest)
        if not -0.5 - 1e-6 <= place <= top + 0.5 + 1e-6:
            verdicts[row] = VOLUME_OUTSIDE
            continue
        nearest = min(round(place), world.lattice_grid.n_volumes - 1)
        state[world.volume] = 1 + min(world.lattice_grid.n_volumes, max(lowest, nearest))
        verdicts[row] = SETTLED


@njit(nogil=True)
def _round_sites(
    tables: GroupTables,
    world: World,
    group: int,
    rows: Ints,
    n: int,
    lattice: Floats,
    parameters: Floats,
    tuples: Ints,
) -> float:
    """Free coordinates to tuples of bins that are valid and distinct, the nearest first.

    Returns:
        Root mean square displacement of atoms in angstrom, -1 where some site finds no room.
    """
    vectors = np.empty((3, 3))
    lattice_vectors(lattice, vectors)
    places = np.zeros((n, 3))  # in bins
    for i in range(n):
        for k in range(tables.row[rows[i], DOF]):
            places[i, k] = (parameters[i, k] - math.floor(parameters[i, k])) * world.coordinate_grid.grid
    for axis in range(3):
        if tables.group[group, POLAR + axis]:
            shift = _best_shift(tables, rows, n, axis, places)
            for i in range(n):
                places[i, tables.row[rows[i], POLAR_PARAMETER + axis]] -= shift
    used = np.full(n, -1, dtype=np.int64)
    squared, trial = np.full(n, -1.0), np.empty(3, dtype=np.int64)
    for i in range(n):
        squared[i] = _nearest(tables, world, rows, n, i, vectors, places[i], used, trial)
    total, atoms = 0.0, 0
    for i in np.argsort(squared):  # sites that lie well keep their place, others give way
        distance = _nearest(tables, world, rows, n, i, vectors, places[i], used, tuples[i])
        if distance == np.inf:
            return -1.0
        used[i] = canonical_tuple(tables, rows[i], tuples[i], world.coordinate_grid.grid, trial)
        total += distance * tables.row[rows[i], MULTIPLICITY]
        atoms += tables.row[rows[i], MULTIPLICITY]
    return math.sqrt(total / atoms)


@njit(nogil=True)
def _best_shift(tables: GroupTables, rows: Ints, n: int, axis: int, places: Ints) -> float:
    """The shift along a polar axis, in bins, after which atoms lie nearest to bins.

    It is exact, as some gap between the remainders is the one that no displacement crosses.
    """
    remainder, weight = np.empty(n), np.empty(n)
    for i in range(n):
        place = places[i, tables.row[rows[i], POLAR_PARAMETER + axis]]
        remainder[i] = place - math.floor(place)
        weight[i] = tables.row[rows[i], MULTIPLICITY]
    best, shift = np.inf, 0.0
    for cut in range(n):
        mean, square = 0.0, 0.0
        for i in range(n):
            x = remainder[i] + (1.0 if remainder[i] < remainder[cut] else 0.0)
            mean += weight[i] * x
            square += weight[i] * x * x
        mean /= weight.sum()
        cost = square - weight.sum() * mean * mean
        if cost < best - 1e-9:
            best, shift = cost, mean
    return shift


@njit(nogil=True)
def _nearest(
    tables: GroupTables,
    world: World,
    rows: Ints,
    n: int,
    i: int,
    vectors: Floats,
    place: Ints,
    used: Bools,
    out: Ints,
) -> float:
    """The nearest valid tuple that no other site of the position has, into `out`; its squared distance in angstrom.

    Args:
        place: coordinates in bins.
        used: canonical tuple codes of sites, -1 where not yet placed.
    """
    row = rows[i]
    dof, grid = tables.row[row, DOF], world.coordinate_grid.grid
    table = world.coordinate_grid.table_of[row, 0]
    out[:] = 0
    if dof == 0:
        return 0.0
    trial, scratch, centre = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for k in range(dof):
        centre[k] = round(place[k])
    step = np.zeros((3, 3))  # how a bin of each parameter moves the atom, angstrom
    for k in range(dof):
        for m in range(3):
            for j in range(3):
                step[k, m] += tables.row[row, BASIS + 3 * j + k] * vectors[j, m] / grid
    span, best = 2 * _REACH + 1, np.inf
    for index in range(span**dof):
        rest = index
        for k in range(dof):
            trial[k] = centre[k] + rest % span - _REACH
            rest //= span
        distance = 0.0
        for m in range(3):
            along = 0.0
            for k in range(dof):
                along += (trial[k] - place[k]) * step[k, m]
            distance += along * along
        if distance >= best - 1e-12:
            continue
        for k in range(dof):
            trial[k] %= grid
        code = canonical_tuple(tables, row, trial, grid, scratch)
        if not is_valid(world.coordinate_grid, table, code):
            continue
        taken = False
        for j in range(n):
            taken = taken or (j != i and rows[j] == row and used[j] == code)
        if not taken:
            best = distance
            out[:dof] = trial[:dof]
    return best
