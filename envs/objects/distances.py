"""Distances between atoms under periodic boundaries: compiled, and exact for any cell, however skewed.

The lattice is first reduced and turned so that its matrix is lower triangular: a along x, b in the xy plane. The
images of an atom within a radius then follow from three nested intervals, of z, of y given z, and of x given both: none
is missed and few are tried in vain. The reduction only saves time: without it the intervals would be longer.

With symmetry, distances from the first atom of each orbit to all atoms are enough: every other pair is the image of one
of these.
"""

import math

import numpy as np
from numba import prange

from oreflow.envs.arrays import AnyInts, Floats, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.objects.atoms import Atoms

_MAX_REDUCTIONS = 200
_SLACK = 1e-9  # of a lattice vector: images on the edge of an interval are not lost to rounding


@njit(nogil=True)
def reduce_cell(vectors: Floats, fractional: Floats) -> tuple[Floats, Floats]:
    """The same crystal in a cell of short vectors, turned so that their matrix is lower triangular.

    Args:
        vectors: float64 [3, 3], the rows are lattice vectors in angstrom.
        fractional: float64 [atom, 3].

    Returns:
        cell: float64 [3, 3], lower triangular, positive on the diagonal; NaN in cell[0, 0] where the vectors span no
            volume, or a number is not finite.
        fractional: float64 [atom, 3] in that cell, from 0 to 1.
    """
    rows = vectors.copy()
    change = np.eye(3)  # of fractional coordinates
    for _ in range(_MAX_REDUCTIONS):
        reduced = True
        for i in range(3):
            for j in range(3):
                squared = rows[j, 0] ** 2 + rows[j, 1] ** 2 + rows[j, 2] ** 2
                overlap = rows[i, 0] * rows[j, 0] + rows[i, 1] * rows[j, 1] + rows[i, 2] * rows[j, 2]
                # Written so that NaN and zero vectors end the search.
                if i == j or not (abs(overlap) > 0.5000001 * squared and squared > 0.0 and overlap < np.inf):
                    continue
                times = np.rint(overlap / squared)
                for k in range(3):
                    rows[i, k] -= times * rows[j, k]
                    change[k, j] += times * change[k, i]
                reduced = False
        if reduced:
            break
    cell = np.zeros((3, 3))
    a, b, c = rows[0], rows[1], rows[2]
    normal_x, normal_y, normal_z = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
    area = math.sqrt(normal_x**2 + normal_y**2 + normal_z**2)
    volume = abs(normal_x * c[0] + normal_y * c[1] + normal_z * c[2])
    length = math.sqrt(a[0] ** 2 + a[1] ** 2 + a[2] ** 2)
    if not (1e-9 < length < np.inf and 1e-9 < area < np.inf and 1e-9 < volume < np.inf):
        cell[0, 0] = np.nan
        return cell, fractional.copy()
    cell[0, 0] = length
    cell[1, 0] = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) / length
    cell[1, 1] = area / length
    cell[2, 0] = (a[0] * c[0] + a[1] * c[1] + a[2] * c[2]) / length
    cell[2, 1] = (b[0] * c[0] + b[1] * c[1] + b[2] * c[2] - cell[1, 0] * cell[2, 0]) / cell[1, 1]
    cell[2, 2] = volume / area
    moved = np.empty(fractional.shape)
    for atom in range(len(fractional)):
        for k in range(3):
            x = 0.0
            for m in range(3):
                x += fractional[atom, m] * change[m, k]
            if not abs(x) < 1e9:
                cell[0, 0] = np.nan
                return cell, moved
            moved[atom, k] = x - math.floor(x)
    return cell, moved


@njit(nogil=True)
def nearest_image(cell: Floats, da: float, db: float, dc: float, bound: float) -> float:
    """Shortest length of (da + i, db + j, dc + k) over all integers i, j, k, in angstrom; `bound` if none is shorter.

    Args:
        cell: lower triangular, as `reduce_cell` gives it.
        da, db, dc: fractional coordinates of one atom seen from another, as `reduce_cell` gives them: finite.
    """
    best = bound * bound
    depth, width, length = cell[2, 2], cell[1, 1], cell[0, 0]
    radius = bound
    k = math.ceil(-radius / depth - dc - _SLACK)
    while True:
        z = (k + dc) * depth
        if not z <= radius + _SLACK * depth:  # so that NaN, too, ends the search
            break
        left = best - z * z
        if left > 0.0:
            y0 = (k + dc) * cell[2, 1]
            reach = math.sqrt(left)
            j = math.ceil((-reach - y0) / width - db - _SLACK)
            while True:
                y = (j + db) * width + y0
                if not y <= reach + _SLACK * width:
                    break
                x = (k + dc) * cell[2, 0] + (j + db) * cell[1, 0] + da * length
                x -= math.floor(x / length + 0.5) * length
                squared = x * x + y * y + z * z
                if squared < best:
                    best = squared
                    radius = math.sqrt(best)
                j += 1
        k += 1
    return math.sqrt(best)


@njit(nogil=True)
def shortest_lattice_vector(cell: Floats) -> float:
    """Length of the shortest lattice vector, the distance of every atom to its own next image, in angstrom."""
    best = cell[0, 0] ** 2  # the only one, up to sign, without a share of b or c
    k = 0
    while k * cell[2, 2] <= math.sqrt(best):
        z, y0 = k * cell[2, 2], k * cell[2, 1]
        reach = math.sqrt(best)
        j = 1 if k == 0 else math.ceil((-reach - y0) / cell[1, 1] - _SLACK)
        while True:
            y = j * cell[1, 1] + y0
            if y > reach + _SLACK * cell[1, 1]:
                break
            x = k * cell[2, 0] + j * cell[1, 0]
            x -= math.floor(x / cell[0, 0] + 0.5) * cell[0, 0]
            best = min(best, x * x + y * y + z * z)
            j += 1
        k += 1
    return math.sqrt(best)


@njit(nogil=True)
def images_within(
    cell: Floats, da: float, db: float, dc: float, radius: float, length: float, softness: float
) -> tuple[int, float]:
    """Images of an atom nearer than a radius: their number, and the sum of exp((length - distance) / softness).

    An image at no distance at all, the atom itself, is left out.

    Args:
        cell: lower triangular, as `reduce_cell` gives it.
        da, db, dc: fractional coordinates of one atom seen from another, as `reduce_cell` gives them: finite.
        radius, length, softness: angstrom; with softness 0 the sum is 0.
    """
    number, total = 0, 0.0
    limit = radius * radius
    k = math.ceil(-radius / cell[2, 2] - dc - _SLACK)
    while (k + dc) * cell[2, 2] <= radius:
        z, y0, x0 = (k + dc) * cell[2, 2], (k + dc) * cell[2, 1], (k + dc) * cell[2, 0]
        reach = math.sqrt(max(limit - z * z, 0.0))
        j = math.ceil((-reach - y0) / cell[1, 1] - db - _SLACK)
        while (j + db) * cell[1, 1] + y0 <= reach:
            y, x1 = (j + db) * cell[1, 1] + y0, (j + db) * cell[1, 0] + x0
            rest = math.sqrt(max(limit - z * z - y * y, 0.0))
            i = math.ceil((-rest - x1) / cell[0, 0] - da - _SLACK)
            while (i + da) * cell[0, 0] + x1 <= rest:
                x = (i + da) * cell[0, 0] + x1
                squared = x * x + y * y + z * z
                if 1e-12 < squared < limit:
                    number += 1
                    if softness > 0.0:
                        total += math.exp((length - math.sqrt(squared)) / softness)
                i += 1
            j += 1
        k += 1
    return number, total


@njit(nogil=True)
def contact(
    vectors: Floats, numbers: AnyInts, fractional: Floats, orbit: AnyInts, radii: Floats
) -> tuple[float, float]:
    """Closest approach of two atoms of a crystal, images of one atom included.

    Args:
        vectors: float64 [3, 3], the rows are lattice vectors in angstrom.
        numbers: integer [atom], atomic numbers.
        fractional: float64 [atom, 3].
        orbit: integer [atom], equal for atoms that symmetry maps onto each other, which stand together.
        radii: float64 [119] by atomic number, angstrom, NaN where unknown.

    Returns:
        min_distance: shortest distance in angstrom; NaN for a cell without volume, infinite without atoms.
        min_ratio: smallest distance in units of the two atoms' summed radii; NaN also where a radius is unknown.
    """
    n = len(numbers)
    cell, at = reduce_cell(vectors, fractional)
    if n == 0:
        return np.inf, np.inf
    if math.isnan(cell[0, 0]):
        return np.nan, np.nan
    largest, known = 0.0, True
    for i in range(n):
        known = known and not math.isnan(radii[numbers[i]])
        largest = max(largest, radii[numbers[i]]) if known else 0.0
    distance = shortest_lattice_vector(cell)
    ratio = distance / (2.0 * largest) if known else np.nan
    for i in range(n):
        if i > 0 and orbit[i] == orbit[i - 1]:
            continue
        for j in range(n):
            first = j == 0 or orbit[j] != orbit[j - 1]
            if j == i or (j < i and first):
                continue  # the pair has had its turn
            bound = distance
            if known:
                bound = max(bound, ratio * (radii[numbers[i]] + radii[numbers[j]]))
            d = nearest_image(cell, at[j, 0] - at[i, 0], at[j, 1] - at[i, 1], at[j, 2] - at[i, 2], bound)
            if d < bound:
                distance = min(distance, d)
                if known:
                    ratio = min(ratio, d / (radii[numbers[i]] + radii[numbers[j]]))
    return distance, ratio


@njit(nogil=True, parallel=True)
def _contacts(
    vectors: Floats,
    offsets: Ints,
    numbers: AnyInts,
    fractional: Floats,
    orbit: AnyInts,
    radii: Floats,
) -> tuple[Floats, Floats]:
    distances, ratios = np.empty(len(vectors)), np.empty(len(vectors))
    for i in prange(len(vectors)):
        own = slice(offsets[i], offsets[i + 1])
        distances[i], ratios[i] = contact(vectors[i], numbers[own], fractional[own], orbit[own], radii)
    return distances, ratios


def contacts(atoms: Atoms, radii: Floats) -> tuple[Floats, Floats]:
    """`contact` for every cell: shortest distances in angstrom and smallest ratios, float64 [batch] each.

    Args:
        radii: float64 [119] by atomic number, angstrom, NaN where unknown.
    """
    return _contacts(
        atoms.vectors, atoms.offsets, atoms.atomic_numbers, atoms.fractional, atoms.orbit, np.asarray(radii)
    )
