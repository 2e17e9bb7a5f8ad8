"""Compiled sums over neighbours: coordination numbers, bond-valence sums, and the oxidation states that fit them best.

Sums run from the first atom of each orbit to all atoms; the others of the orbit have the same surroundings.
"""

import math

import numpy as np
from numba import prange

from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.objects.distances import images_within, nearest_image, reduce_cell, shortest_lattice_vector


@njit(nogil=True)
def _starts_orbit(orbit: Ints, i: int) -> bool:
    return i == 0 or orbit[i] != orbit[i - 1]


@njit(nogil=True)
def _nearest_distance(cell: Floats, at: Floats, i: int) -> float:
    """Distance from atom i to its nearest neighbour in angstrom."""
    distance = shortest_lattice_vector(cell)
    for j in range(len(at)):
        if j != i:
            distance = nearest_image(cell, at[j, 0] - at[i, 0], at[j, 1] - at[i, 1], at[j, 2] - at[i, 2], distance)
    return distance


@njit(nogil=True)
def _coordination_number(
    cell: Floats, at: Floats, numbers: Ints, i: int, radii: Floats, tolerance: float, by_radii: bool
) -> int:
    reach = 0.0 if by_radii else tolerance * _nearest_distance(cell, at, i)
    total = 0
    for j in range(len(at)):
        if by_radii:
            reach = tolerance * (radii[numbers[i]] + radii[numbers[j]])
        number, _ = images_within(cell, at[j, 0] - at[i, 0], at[j, 1] - at[i, 1], at[j, 2] - at[i, 2], reach, 0.0, 0.0)
        total += number
    return total


@njit(nogil=True, parallel=True)
def coordination_numbers(
    vectors: Floats,
    offsets: Ints,
    numbers: Ints,
    fractional: Floats,
    orbit: Ints,
    usable: Bools,
    radii: Floats,
    tolerance: float,
    by_radii: bool,
) -> Ints:
    """Neighbours of every atom, int64 [atom]; -1 where there is no cell, and in rows that are not usable.

    Args:
        vectors, offsets, numbers, fractional, orbit: as `oreflow.envs.objects.atoms.Atoms` has them.
        usable: bool [batch].
        radii: float64 [119], angstrom.
        tolerance: neighbours are nearer than so many times the distance to the nearest neighbour of the atom, or, if
            `by_radii`, than so many times the two atoms' summed radii.
    """
    out = np.full(len(numbers), -1, dtype=np.int64)
    for row in prange(len(vectors)):
        first, last = offsets[row], offsets[row + 1]
        if not usable[row]:
            continue
        cell, at = reduce_cell(vectors[row], fractional[first:last])
        if math.isnan(cell[0, 0]):
            continue
        for i in range(last - first):
            if _starts_orbit(orbit[first:last], i):
                out[first + i] = _coordination_number(cell, at, numbers[first:last], i, radii, tolerance, by_radii)
            else:
                out[first + i] = out[first + i - 1]
    return out


@njit(nogil=True, parallel=True)
def bond_valence_sums(
    vectors: Floats,
    offsets: Ints,
    numbers: Ints,
    fractional: Floats,
    orbit: Ints,
    sign: Ints,
    lengths: Ints,
    softness: float,
    cutoff: float,
) -> Floats:
    """Sum of exp((R - d) / softness) over the bonds of every atom with atoms of the other sign, times its own sign.

    Args:
        vectors, offsets, numbers, fractional, orbit: as `oreflow.envs.objects.atoms.Atoms` has them.
        sign: int8 [atom], 1 for cations, -1 for anions, 0 to leave an atom out.
        lengths: float64 [119, 119], R in angstrom, by atomic numbers.
        softness, cutoff: in angstrom; neighbours beyond the cutoff do not count.

    Returns:
        float64 [atom], in valence units; NaN where there is no cell.
    """
    out = np.zeros(len(numbers))
    for row in prange(len(vectors)):
        first, last = offsets[row], offsets[row + 1]
        cell, at = reduce_cell(vectors[row], fractional[first:last])
        for i in range(last - first):
            if math.isnan(cell[0, 0]):
                out[first + i] = np.nan
            elif not _starts_orbit(orbit[first:last], i):
                out[first + i] = out[first + i - 1]
            elif sign[first + i] != 0:
                for j in range(last - first):
                    if sign[first + i] * sign[first + j] >= 0:
                        continue
                    _, valence = images_within(
                        cell,
                        at[j, 0] - at[i, 0],
                        at[j, 1] - at[i, 1],
                        at[j, 2] - at[i, 2],
                        cutoff,
                        lengths[numbers[first + i], numbers[first + j]],
                        softness,
                    )
                    out[first + i] += sign[first + i] * valence
    return out


@njit(nogil=True)
def fit_states(
    valences: Floats,
    numbers: Ints,
    sign: Ints,
    states: Ints,
    n_states: Ints,
    mixed_valence: bool,
    out: Ints,
) -> bool:
    """The neutral choice of oxidation states nearest to the bond-valence sums of one cell, by least squares.

    Found by dynamic programming over the net charge, so it is the best of all choices.

    Args:
        valences: float64 [atom].
        numbers: integer [atom], atomic numbers.
        sign: int8 [atom]; 1 admits states of 0 and more, -1 of 0 and less, alike for all atoms of an element.
        states, n_states: as `oreflow.envs.chemistry.oxidation.oxidation_matrix` gives them.
        mixed_valence: whether the atoms of an element may differ.
        out: int64 [atom], receives the states.

    Returns:
        Whether there is a neutral choice.
    """
    n = len(numbers)
    group = np.arange(n)
    if not mixed_valence:
        for i in range(n):
            for j in range(i):
                if numbers[j] == numbers[i]:
                    group[i] = group[j]
                    break
    size = np.zeros(n, dtype=np.int64)
    low, high = 0, 0
    for i in range(n):
        size[group[i]] += 1
        z = numbers[i]
        if n_states[z] == 0:
            return False
        low += min(states[z, 0], 0)
        high += max(states[z, n_states[z] - 1], 0)
    width = high - low + 1
    cost = np.full(width, np.inf)
    cost[-low] = 0.0
    chosen = np.full((n, width), -1, dtype=np.int8)  # the state that leads to each charge, as its place in the table
    for g in range(n):
        if size[g] == 0:
            continue
        z = numbers[g]
        total, squares = 0.0, 0.0
        for i in range(n):
            if group[i] == g:
                total += valences[i]
                squares += valences[i] ** 2
        following = np.full(width, np.inf)
        for s in range(n_states[z]):
            state = states[z, s]
            if state * sign[g] < 0:
                continue
            price = squares - 2.0 * state * total + size[g] * state * state
            shift = state * size[g]
            for q in range(max(0, -shift), min(width, width - shift)):
                if cost[q] + price < following[q + shift]:
                    following[q + shift] = cost[q] + price
                    chosen[g, q + shift] = s
        cost = following
    if not cost[-low] < np.inf:
        return False
    q = -low
    for g in range(n - 1, -1, -1):
        if size[g] > 0:
            state = states[numbers[g], chosen[g, q]]
            q -= state * size[g]
            for i in range(n):
                if group[i] == g:
                    out[i] = state
    return True


@njit(nogil=True, parallel=True)
def fit_states_of_cells(
    valences: Floats,
    offsets: Ints,
    numbers: Ints,
    sign: Ints,
    usable: Bools,
    states: Ints,
    n_states: Ints,
    mixed_valence: bool,
) -> tuple[Ints, Bools]:
    """`fit_states` for every usable cell: states, int64 [atom], and whether each cell has some, bool [batch]."""
    out = np.zeros(len(numbers), dtype=np.int64)
    found = np.zeros(len(usable), dtype=np.bool_)
    for row in prange(len(usable)):
        if usable[row]:
            own = slice(offsets[row], offsets[row + 1])
            found[row] = fit_states(valences[own], numbers[own], sign[own], states, n_states, mixed_valence, out[own])
    return out, found
