"""Compiled: which ligands of an atom are corners that it shares with exactly one other atom of its element."""

import math

import numpy as np
from numba import prange

from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.objects.distances import nearest_image, reduce_cell

_CORNERS = 6
_MOST = 24  # neighbours listed of an atom; more are no octahedron
_SAME_A = 0.3  # two images closer than this, in angstrom, are one atom


@njit(nogil=True)
def _list_images(cell: Floats, difference: Floats, near: Floats, reach: float, out: Floats, n: int) -> int:
    """Append the images of an atom that lie within reach of a point.

    Args:
        cell: float64 [3, 3], lower triangular.
        difference: float64 [3], fractional, from the point of reference to the atom.
        near: float64 [3], the point, in angstrom from that of reference.
        out: float64 [most, 3], receives the images, in angstrom from the point of reference, behind the first `n`.

    Returns:
        How many stand in `out` now; `_MOST` and more where it is full.
    """
    z_low, z_high = (near[2] - reach) / cell[2, 2], (near[2] + reach) / cell[2, 2]
    for k in range(math.ceil(z_low - difference[2]), math.floor(z_high - difference[2]) + 1):
        fz = difference[2] + k
        y = near[1] - fz * cell[2, 1]
        for j in range(
            math.ceil((y - reach) / cell[1, 1] - difference[1]),
            math.floor((y + reach) / cell[1, 1] - difference[1]) + 1,
        ):
            fy = difference[1] + j
            x = near[0] - fz * cell[2, 0] - fy * cell[1, 0]
            for i in range(
                math.ceil((x - reach) / cell[0, 0] - difference[0]),
                math.floor((x + reach) / cell[0, 0] - difference[0]) + 1,
            ):
                fx = difference[0] + i
                at_x = fx * cell[0, 0] + fy * cell[1, 0] + fz * cell[2, 0]
                at_y, at_z = fy * cell[1, 1] + fz * cell[2, 1], fz * cell[2, 2]
                if (at_x - near[0]) ** 2 + (at_y - near[1]) ** 2 + (at_z - near[2]) ** 2 > reach * reach:
                    continue
                if n < _MOST:
                    out[n, 0], out[n, 1], out[n, 2] = at_x, at_y, at_z
                n += 1
    return n


@njit(nogil=True)
def _corners(
    cell: Floats, at: Floats, numbers: Ints, i: int, ligand: int, tolerance: float, ligands: Floats, others: Floats
) -> float:
    """Shared corners of atom i over the number of its neighbours, or over six where it has fewer."""
    nearest = np.sqrt((cell**2).sum(axis=1)).sum()  # no two atoms of a crystal are farther apart
    for j in range(len(at)):
        if numbers[j] == ligand:
            nearest = nearest_image(cell, at[j, 0] - at[i, 0], at[j, 1] - at[i, 1], at[j, 2] - at[i, 2], nearest)
    reach = tolerance * nearest
    n = 0
    for j in range(len(at)):
        if numbers[j] == ligand:
            n = _list_images(cell, at[j] - at[i], np.zeros(3), reach, ligands, n)
    if n > _MOST:
        return 0.0
    shared = np.zeros((n, 3))
    is_corner = np.zeros(n, dtype=np.bool_)
    for k in range(n):
        m = 0
        for j in range(len(at)):
            if numbers[j] == numbers[i]:
                m = _list_images(cell, at[j] - at[i], ligands[k], reach, others, m)
        if m != 2:  # itself and one more
            continue
        is_corner[k] = True
        for other in range(2):
            if others[other, 0] ** 2 + others[other, 1] ** 2 + others[other, 2] ** 2 > _SAME_A**2:
                shared[k] = others[other]
    total = 0
    for k in range(n):
        alone = is_corner[k]
        for other in range(n):
            if other != k and is_corner[other]:
                alone = alone and ((shared[k] - shared[other]) ** 2).sum() > _SAME_A**2
        total += alone
    return total / max(n, _CORNERS)


@njit(nogil=True, parallel=True)
def shared_corners(
    vectors: Floats,
    offsets: Ints,
    numbers: Ints,
    fractional: Floats,
    orbit: Ints,
    usable: Bools,
    ligand: Ints,
    tolerance: float,
) -> Floats:
    """Share of the corners of every atom's coordination that lead to one more atom of its element, each to another.

    Args:
        vectors, offsets, numbers, fractional, orbit: as `oreflow.envs.objects.atoms.Atoms` has them.
        usable: bool [batch].
        ligand: int64 [batch], atomic number of the element at the corners.
        tolerance: ligands are nearer than so many times the distance to the nearest one.

    Returns:
        float64 [atom], from 0 to 1; 0 for the ligands themselves, NaN in rows that are not usable.
    """
    out = np.full(len(numbers), np.nan)
    for row in prange(len(vectors)):
        first, last = offsets[row], offsets[row + 1]
        if not usable[row]:
            continue
        cell, at = reduce_cell(vectors[row], fractional[first:last])
        if math.isnan(cell[0, 0]):
            continue
        ligands, others = np.empty((_MOST, 3)), np.empty((_MOST, 3))
        own = numbers[first:last]
        for i in range(last - first):
            if i > 0 and orbit[first + i] == orbit[first + i - 1]:
                out[first + i] = out[first + i - 1]
            elif own[i] == ligand[row]:
                out[first + i] = 0.0
            else:
                out[first + i] = _corners(cell, at, own, i, ligand[row], tolerance, ligands, others)
    return out
