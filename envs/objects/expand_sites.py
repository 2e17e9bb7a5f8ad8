"""From symmetric sites to all atoms of a cell, compiled."""

import math

import numba
import numpy as np

from oreflow.envs.arrays import Floats, Int16s, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.symmetry.flat_tables import (
    BASIS,
    DOF,
    FIRST_POINT,
    IS_PRIMITIVE,
    LAST_POINT,
    MULTIPLICITY,
    N_CENTRING,
    ORIGIN,
    SHIFT,
    GroupTables,
    group_tables,
)
from oreflow.envs.symmetry.lattices import lattice_vectors
from oreflow.envs.symmetry.space_groups import DENOMINATOR


@njit(nogil=True)
def place_atoms(
    tables: GroupTables,
    group: int,
    row: int,
    parameters: Floats,
    primitive: bool,
    to_cell: Floats,
    out: Floats,
    first: int,
) -> int:
    """Writes the points of one site into out[first:], coordinates in the cell asked for from 0 to 1; returns the end.

    Args:
        to_cell: float64 [3, 3], conventional to cell coordinates: x_cell = x_conventional @ to_cell.
    """
    site, point = np.empty(3), np.empty(3)
    for i in range(3):
        site[i] = tables.row[row, ORIGIN + i] / DENOMINATOR
        for k in range(tables.row[row, DOF]):
            site[i] += tables.row[row, BASIS + 3 * i + k] * parameters[k]
    for p in range(tables.row[row, FIRST_POINT], tables.row[row, LAST_POINT]):
        if primitive and not tables.point[p, IS_PRIMITIVE]:
            continue
        for i in range(3):
            point[i] = tables.point[p, SHIFT + i] / DENOMINATOR
            for k in range(3):
                point[i] += tables.point[p, 3 * i + k] * site[k]
        for i in range(3):
            x = point[0] * to_cell[0, i] + point[1] * to_cell[1, i] + point[2] * to_cell[2, i]
            out[first, i] = x - math.floor(x)
        first += 1
    return first


@njit(nogil=True, parallel=True)
def _expand(
    tables: GroupTables,
    space_group: Int16s,
    site_offsets: Ints,
    site_row: Ints,
    atomic_number: Int16s,
    lattice: Floats,
    parameters: Floats,
    primitive: bool,
    atom_of_site: Ints,
    vectors: Floats,
    numbers: Int16s,
    fractional: Floats,
    orbit: Ints,
) -> None:
    for i in numba.prange(len(space_group)):
        group = space_group[i]
        own = np.empty((3, 3))
        lattice_vectors(lattice[i], own)
        vectors[i] = tables.primitive[group, 0] @ own if primitive else own
        to_cell = tables.primitive[group, 1] if primitive else np.eye(3)
        for s in range(site_offsets[i], site_offsets[i + 1]):
            first, last = atom_of_site[s], atom_of_site[s + 1]
            place_atoms(tables, group, site_row[s], parameters[s], primitive, to_cell, fractional, first)
            numbers[first:last] = atomic_number[s]
            orbit[first:last] = s


def expand(
    space_group: Int16s,
    site_offsets: Ints,
    site_row: Ints,
    atomic_number: Int16s,
    lattice: Floats,
    parameters: Floats,
    primitive: bool,
) -> Atoms:
    """Place all atoms of crystals with geometry; see `Crystals.atoms`.

    Args:
        space_group: int16 [crystal].
        site_offsets: int64 [crystal + 1], the sites of crystal i are site_offsets[i]:site_offsets[i + 1].
        site_row: int64 [site], each site's row in `group_tables`.
        atomic_number: int16 [site].
        lattice: float64 [crystal, 6], a, b, c in angstrom and three angles in degrees.
        parameters: float64 [site, 3], the free coordinates.
        primitive: whether in the primitive cell; in the conventional one otherwise.
    """
    tables = group_tables()
    per_site = tables.row[site_row, MULTIPLICITY]
    if primitive:
        group = np.repeat(space_group, np.diff(site_offsets))
        per_site = per_site // tables.group[group, N_CENTRING]
    atom_of_site = np.concatenate([[0], np.cumsum(per_site)])
    n_atoms = int(atom_of_site[-1])
    vectors, fractional = np.empty((len(space_group), 3, 3)), np.empty((n_atoms, 3))
    numbers, orbit = np.empty(n_atoms, dtype=np.int16), np.empty(n_atoms, dtype=np.int64)
    _expand(
        tables,
        space_group,
        site_offsets,
        site_row,
        atomic_number,
        lattice,
        parameters,
        primitive,
        atom_of_site,
        vectors,
        numbers,
        fractional,
        orbit,
    )
    return Atoms(vectors, atom_of_site[site_offsets], numbers, fractional, orbit)
