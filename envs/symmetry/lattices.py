"""Lattices as numbers: vectors, metric tensor, cell parameters, and the lattice that a symmetry allows."""

import math
from collections.abc import Sequence

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.compiled.jit import njit


@njit(nogil=True)
def lattice_vectors(lattice: Floats, out: Floats) -> None:
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
def metric_tensor(lattice: Floats) -> Floats:
    """float64 [3, 3] from lengths and angles [6]."""
    vectors = np.empty((3, 3))
    lattice_vectors(lattice, vectors)
    return vectors @ vectors.T


def cell_of(metric: Floats) -> Floats:
    """float64 [6], lengths and angles in degrees of a metric tensor."""
    lengths = np.sqrt(np.diag(metric))
    cosines = metric[[1, 0, 0], [2, 2, 1]] / lengths[[1, 0, 0]] / lengths[[2, 2, 1]]
    return np.concatenate([lengths, np.degrees(np.arccos(cosines))])


SIGNIFICANT_DIGITS = 10  # beyond them is noise of the arithmetic


def symmetrised_lattice(vectors: Floats, crystal_system: str) -> list[float]:
    """a, b, c in angstrom and alpha, beta, gamma in degrees, exactly as the crystal system wants them.

    Args:
        vectors: float64 [3, 3], rows, of a conventional cell in standard setting that has the symmetry up to rounding.
        crystal_system: as `SpaceGroup.crystal_system`; trigonal cells have hexagonal axes.
    """
    a, b, c = np.linalg.norm(vectors, axis=1).round(SIGNIFICANT_DIGITS).tolist()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.clip([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]], -1, 1)
    alpha, beta, gamma = np.degrees(np.arccos(cosines)).round(SIGNIFICANT_DIGITS).tolist()
    if crystal_system == "triclinic":
        return [a, b, c, alpha, beta, gamma]
    if crystal_system == "monoclinic":
        return [a, b, c, 90.0, beta, 90.0]
    if crystal_system == "orthorhombic":
        return [a, b, c, 90.0, 90.0, 90.0]
    if crystal_system == "cubic":
        mean = round((a + b + c) / 3, SIGNIFICANT_DIGITS)
        return [mean, mean, mean, 90.0, 90.0, 90.0]
    mean = round((a + b) / 2, SIGNIFICANT_DIGITS)
    return [mean, mean, c, 90.0, 90.0, 90.0 if crystal_system == "tetragonal" else 120.0]


def metric_of_cell(lattice: Sequence[float]) -> Floats:
    """Compute the metric tensor, float64 [3, 3] in square angstrom, of a, b, c, alpha, beta and gamma."""
    lengths = np.array(lattice[:3])
    cosines = np.cos(np.radians(lattice[3:]))
    angles = np.eye(3)
    angles[1, 2] = angles[2, 1] = cosines[0]
    angles[0, 2] = angles[2, 0] = cosines[1]
    angles[0, 1] = angles[1, 0] = cosines[2]
    return angles * np.outer(lengths, lengths)
