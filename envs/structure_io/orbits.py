"""Compiled search: which atoms are one orbit, which Wyckoff position holds it, how far rebuilt atoms lie from given.

Coordinates are fractional, of the conventional cell; `metric` is its metric tensor, float64 [3, 3], square angstrom.
"""

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.compiled.jit import njit


@njit
def square_distance(metric: Floats, x: Floats, y: Floats) -> float:
    """Between points of the crystal; exact for neighbours, too large for far ones in skew cells."""
    d = np.empty(3)
    for k in range(3):
        d[k] = x[k] - y[k]
        d[k] -= np.rint(d[k])
    total = 0.0
    for i in range(3):
        for j in range(3):
            total += d[i] * metric[i, j] * d[j]
    return total


@njit
def find_orbits(
    positions: Floats,
    numbers: Ints,
    metric: Floats,
    rotations: Floats,
    translations: Floats,
    tolerance: float,
) -> Ints:
    """int64 [atom], the orbit of each atom in order of first atoms; empty where an operation leads to no atom.

    Args:
        positions: float64 [atom, 3].
        numbers: int64 [atom], atomic numbers.
        rotations, translations: float64 [operation, 3, 3] and [operation, 3].
        tolerance: angstrom.
    """
    n = len(positions)
    orbit = np.full(n, -1, dtype=np.int64)
    image = np.empty(3)
    n_orbits = 0
    for first in range(n):
        if orbit[first] >= 0:
            continue
        for op in range(len(rotations)):
            for i in range(3):
                image[i] = translations[op, i]
                for j in range(3):
                    image[i] += rotations[op, i, j] * positions[first, j]
            found = -1
            nearest = tolerance * tolerance
            for atom in range(n):
                if numbers[atom] == numbers[first]:
                    square = square_distance(metric, image, positions[atom])
                    if square <= nearest:
                        found, nearest = atom, square
            if found < 0 or orbit[found] not in (-1, n_orbits):
                return np.empty(0, dtype=np.int64)
            orbit[found] = n_orbits
        n_orbits += 1
    return orbit


@njit
def fit(
    point: Floats,
    basis: Floats,
    origin: Floats,
    inverse: Floats,
    least_squares: Floats,
    metric: Floats,
    parameters: Floats,
) -> float:
    """Distance in angstrom of a point from a position's representative subspace, modulo lattice translations.

    Args:
        inverse: float64 [3, 3], integers; takes basis @ p to p.
        least_squares: float64 [3, 3], the pseudo-inverse of basis.
        parameters: float64 [3], written: those of the nearest point of the subspace, in [0, 1).
    """
    parameters[:] = inverse @ (point - origin)
    off = point - origin - basis @ parameters
    for k in range(3):
        off[k] -= np.rint(off[k])
    parameters += least_squares @ off
    for k in range(3):
        parameters[k] -= np.floor(parameters[k])
        if parameters[k] > 1 - 1e-9:
            parameters[k] = 0.0
    return np.sqrt(square_distance(metric, point, basis @ parameters + origin))


@njit
def find_position(
    points: Floats,
    basis: Floats,
    origin: Floats,
    inverses: Floats,
    least_squares: Floats,
    multiplicity: Ints,
    metric: Floats,
    tolerance: float,
    parameters: Floats,
) -> int:
    """Letter of the position that holds an orbit; -1 where none does within the tolerance.

    Args:
        points: float64 [atom, 3], all atoms of the orbit.
        basis, origin, inverses, least_squares, multiplicity: [letter, ...], see `fit`.
        parameters: float64 [3], written: of the points that fit, the first in lexicographic order of parameters.
    """
    best, letter = tolerance, -1
    trial = np.empty(3)
    for candidate in range(len(multiplicity)):
        if multiplicity[candidate] != len(points):
            continue
        for atom in range(len(points)):
            distance = fit(
                points[atom],
                basis[candidate],
                origin[candidate],
                inverses[candidate],
                least_squares[candidate],
                metric,
                trial,
            )
            if distance < best:
                best, letter = distance, candidate
    if letter < 0:
        return -1
    parameters[:] = 2.0
    for atom in range(len(points)):
        distance = fit(
            points[atom],
            basis[letter],
            origin[letter],
            inverses[letter],
            least_squares[letter],
            metric,
            trial,
        )
        if distance > best + 1e-4:
            continue
        for k in range(3):
            if trial[k] < parameters[k] - 1e-6:
                parameters[:] = trial
                break
            if trial[k] > parameters[k] + 1e-6:
                break
    return letter


@njit
def largest_displacement(
    given: Floats,
    given_numbers: Ints,
    rebuilt: Floats,
    rebuilt_numbers: Ints,
    metric: Floats,
) -> float:
    """The largest distance in angstrom from a given atom to the nearest rebuilt one of its element."""
    largest = 0.0
    for i in range(len(given)):
        nearest = np.inf
        for j in range(len(rebuilt)):
            if given_numbers[i] == rebuilt_numbers[j]:
                nearest = min(nearest, square_distance(metric, given[i], rebuilt[j]))
        largest = max(largest, nearest)
    return np.sqrt(largest)
