"""Energy of one crystal by pair potentials, and its slope along every free parameter, compiled.

A crystal is a point x of its free parameters: first the coordinates of all sites, then the shape of the cell, last the
logarithm of the volume of the primitive cell over the volume asked for. Sums run from the first atom of each orbit to
all atoms within the cutoff; the other atoms of an orbit have the same surroundings.
"""

import math
from typing import NamedTuple

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.compiled.jit import njit

CUBIC, UNIAXIAL, HEXAGONAL, ORTHORHOMBIC, MONOCLINIC, TRICLINIC = range(6)
N_SHAPE = (0, 1, 1, 2, 3, 5)
"""Shape parameters of each of these cells: logarithms of b/a and c/a, then cosines of the free angles."""
_STEP = 1e-5


class Frame(NamedTuple):
    """What a decoration fixes: see `oreflow.agent.realisation.frames`.

    Attributes:
        system: int64, one of the constants above.
        volume: float64, cubic angstrom of the primitive cell, the volume asked for.
        stiffness: float64, eV, energy per atom and squared logarithm of volume over the volume asked for.
        primitive: float64 [3, 3], primitive vectors = primitive @ conventional vectors.
        n_centring: float64, primitive cells in a conventional one.
        first: int64 [site + 1], the atoms of each site in the primitive cell.
        parameter: int64 [site + 1], the parameters of each site.
        origin: float64 [atom, 3], slope: float64 [atom, 3, 3]: fractional coordinates in the primitive cell are origin
            + slope @ p, with the parameters p of the site.
        kind: int64 [site], the place of its element among those of the decoration.
        pair: float64 [kind, kind, point, 2], potential in eV and its slope in eV/angstrom, every `spacing` angstrom
            from 0 to the cutoff.
        spacing: float64, angstrom.
    """

    system: int
    volume: float
    stiffness: float
    primitive: Floats
    n_centring: float
    first: Ints
    parameter: Ints
    origin: Floats
    slope: Floats
    kind: Ints
    pair: Floats
    spacing: float


@njit(nogil=True)
def cell_of_shape(system: int, shape: Floats, volume: float, out: Floats) -> bool:
    """Write conventional vectors [3, 3], a along x and b in the xy plane, of a shape and a volume in cubic angstrom.

    Returns:
        Whether there is such a cell: three cosines can contradict one another.
    """
    b, c, alpha, beta, gamma = 1.0, 1.0, 0.0, 0.0, 0.0
    if system in (UNIAXIAL, HEXAGONAL):
        c = math.exp(shape[0])
    elif system >= ORTHORHOMBIC:
        b, c = math.exp(shape[0]), math.exp(shape[1])
    if system == HEXAGONAL:
        gamma = -0.5
    elif system == MONOCLINIC:
        beta = shape[2]
    elif system == TRICLINIC:
        alpha, beta, gamma = shape[2], shape[3], shape[4]
    square = 1.0 - alpha * alpha - beta * beta - gamma * gamma + 2.0 * alpha * beta * gamma
    if not (square > 0.01 and abs(gamma) < 0.99 and abs(beta) < 0.99):
        return False
    a = (volume / (b * c * math.sqrt(square))) ** (1.0 / 3.0)
    sine = math.sqrt(1.0 - gamma * gamma)
    out[:] = 0.0
    out[0, 0] = a
    out[1, 0], out[1, 1] = a * b * gamma, a * b * sine
    out[2, 0], out[2, 1] = a * c * beta, a * c * (alpha - beta * gamma) / sine
    out[2, 2] = a * c * math.sqrt(square) / sine
    return True


@njit(nogil=True)
def place(frame: Frame, x: Floats, conventional: Floats, cell: Floats, at: Floats) -> bool:
    """Write conventional vectors, primitive vectors and the fractional coordinates of all atoms of a point x.

    Returns:
        Whether there is such a cell.
    """
    n_free = frame.parameter[-1]
    volume = frame.volume * frame.n_centring * math.exp(x[-1])
    if not cell_of_shape(frame.system, x[n_free:], volume, conventional):
        return False
    for i in range(3):
        for k in range(3):
            cell[i, k] = 0.0
            for m in range(3):
                cell[i, k] += frame.primitive[i, m] * conventional[m, k]
    for s in range(len(frame.kind)):
        p = frame.parameter[s]
        n = frame.parameter[s + 1] - p
        for atom in range(frame.first[s], frame.first[s + 1]):
            for i in range(3):
                value = frame.origin[atom, i]
                for k in range(n):
                    value += frame.slope[atom, i, k] * x[p + k]
                at[atom, i] = value
    return True


@njit(nogil=True)
def energy(
    frame: Frame, x: Floats, gradient: Floats, conventional: Floats, cell: Floats, at: Floats, with_slope: bool
) -> float:
    """Energy in eV per primitive cell of a point x, infinite where it has no cell; writes its slope into `gradient`.

    Args:
        gradient: float64 [parameter], of x; untouched unless `with_slope`.
        conventional, cell, at: float64 [3, 3], [3, 3] and [atom, 3], overwritten; see `place`.
    """
    if not place(frame, x, conventional, cell, at):
        return np.inf
    n_sites, n_free = len(frame.kind), frame.parameter[-1]
    cutoff = frame.spacing * (frame.pair.shape[2] - 1)
    inverse = _inverse(cell)
    reach = np.empty(3)
    for i in range(3):  # one over the distance between lattice planes
        reach[i] = cutoff * math.sqrt(inverse[0, i] ** 2 + inverse[1, i] ** 2 + inverse[2, i] ** 2)
        if reach[i] > 60.0:
            return np.inf
    if with_slope:
        gradient[:] = 0.0
    total = 0.0
    virial = np.zeros((3, 3))
    force, d = np.empty(3), np.empty(3)
    for s in range(n_sites):
        i = frame.first[s]
        weight = float(frame.first[s + 1] - i)
        force[:] = 0.0
        for t in range(n_sites):
            table = frame.pair[frame.kind[s], frame.kind[t]]
            for j in range(frame.first[t], frame.first[t + 1]):
                da = at[j, 0] - at[i, 0]
                db = at[j, 1] - at[i, 1]
                dc = at[j, 2] - at[i, 2]
                for na in range(math.ceil(-reach[0] - da), math.floor(reach[0] - da) + 1):
                    fa = da + na
                    for nb in range(math.ceil(-reach[1] - db), math.floor(reach[1] - db) + 1):
                        fb = db + nb
                        x0 = fa * cell[0, 0] + fb * cell[1, 0]
                        y0 = fa * cell[0, 1] + fb * cell[1, 1]
                        z0 = fa * cell[0, 2] + fb * cell[1, 2]
                        for nc in range(math.ceil(-reach[2] - dc), math.floor(reach[2] - dc) + 1):
                            fc = dc + nc
                            d[0], d[1], d[2] = x0 + fc * cell[2, 0], y0 + fc * cell[2, 1], z0 + fc * cell[2, 2]
                            squared = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
                            if squared >= cutoff * cutoff or squared < 1e-12:
                                continue
                            r = math.sqrt(squared)
                            at_grid = r / frame.spacing
                            g = int(at_grid)
                            f = at_grid - g
                            v0, s0 = table[g, 0], table[g, 1] * frame.spacing
                            v1, s1 = table[g + 1, 0], table[g + 1, 1] * frame.spacing
                            c2 = 3.0 * (v1 - v0) - 2.0 * s0 - s1
                            c3 = 2.0 * (v0 - v1) + s0 + s1
                            total += 0.5 * weight * (v0 + f * (s0 + f * (c2 + f * c3)))
                            if with_slope:
                                factor = (s0 + f * (2.0 * c2 + 3.0 * f * c3)) / (frame.spacing * r)
                                for m in range(3):
                                    force[m] -= factor * d[m]
                                    for k in range(3):
                                        virial[m, k] += 0.5 * weight * factor * d[m] * d[k]
        if with_slope:
            for k in range(frame.parameter[s + 1] - frame.parameter[s]):
                for m in range(3):
                    moved = 0.0
                    for n in range(3):
                        moved += frame.slope[i, n, k] * cell[n, m]
                    gradient[frame.parameter[s] + k] += weight * force[m] * moved
    n_atoms = frame.first[-1]
    total += n_atoms * frame.stiffness * x[-1] ** 2
    if with_slope:
        gradient[-1] = (virial[0, 0] + virial[1, 1] + virial[2, 2]) / 3.0
        gradient[-1] += 2.0 * n_atoms * frame.stiffness * x[-1]
        if len(x) > n_free + 1:
            _shape_slopes(frame, x, virial, conventional, gradient)
    return total


@njit(nogil=True)
def _shape_slopes(frame: Frame, x: Floats, virial: Floats, conventional: Floats, gradient: Floats) -> None:
    n_free = frame.parameter[-1]
    inverse = _inverse(conventional)
    volume = abs(conventional[0, 0] * conventional[1, 1] * conventional[2, 2])
    more, less = np.empty((3, 3)), np.empty((3, 3))
    shape = x[n_free:-1].copy()
    for m in range(len(shape)):
        shape[m] += _STEP
        above = cell_of_shape(frame.system, shape, volume, more)
        shape[m] -= 2.0 * _STEP
        below = cell_of_shape(frame.system, shape, volume, less)
        shape[m] += _STEP
        if not (above and below):
            continue
        for i in range(3):
            for k in range(3):
                strain = 0.0
                for n in range(3):
                    strain += inverse[i, n] * (more[n, k] - less[n, k]) / (2.0 * _STEP)
                gradient[n_free + m] += strain * virial[i, k]


@njit(nogil=True)
def _inverse(a: Floats) -> Floats:
    out = np.empty((3, 3))
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        for m in range(3):
            n, o = (m + 1) % 3, (m + 2) % 3
            out[m, i] = a[j, n] * a[k, o] - a[j, o] * a[k, n]
    scale = 1.0 / (a[0, 0] * out[0, 0] + a[0, 1] * out[1, 0] + a[0, 2] * out[2, 0])
    return out * scale
