"""From symmetric sites to all atoms of a cell, compiled."""

import math

import numba
import numpy as np

from envs.crystals import Atoms, Crystals
from envs.jit import njit
from envs.wyckoff_arrays import (
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
from envs.wyckoff_tables import DENOMINATOR


@njit(nogil=True)
def lattice_vectors(lattice: np.ndarray, out: np.ndarray) -> None:
    """Vectors [3, 3] of a cell from lengths and angles [6]: a along x, b in the xy plane."""
    cosines = np.cos(np.radians(lattice[3:]))
    sine = math.sin(math.radians(lattice[5]))
    out[:] = 0.0
    out[0, 0] = lattice[0]
    out[1, 0] = lattice[1] * cosines[2]
    out[1, 1] = lattice[1] * sine
    out[2, 0] = lattice[2] * cosines[1]
    out[2, 1] = lattice[2] * (cosines[0] - cosines[1] * cosines[2]) / sine
    out[2, 2] = math.sqrt(max(lattice[2] ** 2 - out[2, 0] ** 2 - out[2, 1] ** 2, 0.0))


@njit(nogil=True)
def place_atoms(
    tables: GroupTables,
    group: int,
    row: int,
    parameters: np.ndarray,
    primitive: bool,
    to_cell: np.ndarray,
    out: np.ndarray,
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
    space_group: np.ndarray,
    site_offsets: np.ndarray,
    site_row: np.ndarray,
    atomic_number: np.ndarray,
    lattice: np.ndarray,
    parameters: np.ndarray,
    primitive: bool,
    atom_of_site: np.ndarray,
    vectors: np.ndarray,
    numbers: np.ndarray,
    fractional: np.ndarray,
    orbit: np.ndarray,
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


def expand(crystals: Crystals, site_row: np.ndarray, primitive: bool) -> Atoms:
    """All atoms of crystals with geometry; see `Crystals.atoms`.

    Args:
        site_row: int64 [site], each site's row in `group_tables`.
    """
    tables = group_tables()
    per_site = tables.row[site_row, MULTIPLICITY]
    if primitive:
        group = np.repeat(crystals.space_group, np.diff(crystals.site_offsets))
        per_site = per_site // tables.group[group, N_CENTRING]
    atom_of_site = np.concatenate([[0], np.cumsum(per_site)])
    n_atoms = int(atom_of_site[-1])
    vectors, fractional = np.empty((len(crystals), 3, 3)), np.empty((n_atoms, 3))
    numbers, orbit = np.empty(n_atoms, dtype=np.int16), np.empty(n_atoms, dtype=np.int64)
    _expand(
        tables,
        crystals.space_group,
        crystals.site_offsets,
        site_row,
        crystals.atomic_number,
        crystals.lattice,
        crystals.parameters,
        primitive,
        atom_of_site,
        vectors,
        numbers,
        fractional,
        orbit,
    )
    return Atoms(vectors, atom_of_site[crystals.site_offsets], numbers, fractional, orbit)
