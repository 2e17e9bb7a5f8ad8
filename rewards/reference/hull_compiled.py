"""The compiled loop over compositions behind `rewards.reference.convex_hull`.

Imported on first use because numba is slow to import.

The hull energy of a composition x is the minimum of Σ w_i e_i over phases i with Σ w_i a_i = x and w ≥ 0, where a_i are
atomic fractions. The revised simplex method (`simplex_compiled`) solves it per composition. That takes microseconds, so
that no hull of a chemical system needs to be built or kept, and nothing grows with the number of elements as the facets
of a hull do.
"""

import numpy as np

from oreflow.envs.arrays import AnyInts, Floats, Ints, UInt64s
from oreflow.envs.compiled.jit import njit
from oreflow.rewards.reference.simplex_compiled import minimise

# Products with a smaller share of the atoms are left out, as in pymatgen.
_LEAST_AMOUNT = 1e-8


@njit(nogil=True)
def _find(words: UInt64s, low: int, high: int) -> int:
    """Place of a chemical system's two words in the sorted list, -1 where absent."""
    first, last = 0, words.shape[0]
    while first < last:
        middle = (first + last) // 2
        if words[middle, 1] < high or (words[middle, 1] == high and words[middle, 0] < low):
            first = middle + 1
        else:
            last = middle
    if first < words.shape[0] and words[first, 0] == low and words[first, 1] == high:
        return first
    return -1


@njit(nogil=True)
def _systems_within(zs: AnyInts, d: int, words: UInt64s, systems: Ints) -> int:
    """Writes the places of all listed chemical systems within d elements; returns how many there are."""
    bits = np.zeros((d, 2), dtype=np.uint64)
    low, high = np.uint64(0), np.uint64(0)
    for i in range(d):
        bits[i, zs[i] // 64] = np.uint64(1) << np.uint64(zs[i] % 64)
        low |= bits[i, 0]
        high |= bits[i, 1]
    n = 0
    # Looking up all 2^d subsets beats going through the list until there are more subsets than systems.
    if d < 25 and (np.int64(1) << d) * 4 < words.shape[0]:
        subsets = np.zeros((1 << d, 2), dtype=np.uint64)
        for s in range(1, 1 << d):
            i = 0
            while not (s >> i) & 1:
                i += 1
            subsets[s, 0] = subsets[s & (s - 1), 0] | bits[i, 0]
            subsets[s, 1] = subsets[s & (s - 1), 1] | bits[i, 1]
            place = _find(words, subsets[s, 0], subsets[s, 1])
            if place >= 0:
                systems[n] = place
                n += 1
    else:
        for place in range(words.shape[0]):
            if words[place, 0] | low == low and words[place, 1] | high == high:
                systems[n] = place
                n += 1
    return n


@njit(nogil=True)
def _phases_within(
    zs: AnyInts,
    d: int,
    words: UInt64s,
    starts: Ints,
    n_known: Ints,
    phase_zs: AnyInts,
    phase_counts: AnyInts,
    phase_energies: Floats,
) -> tuple[Floats, Floats, Ints, int]:
    """All phases within d elements, the elements first.

    Returns:
        columns: float64 [d, phase], atomic fractions.
        energies: float64 [phase].
        ids: int64 [phase], z - 1 for an element, 118 + phase for a compound.
        known: how many compounds are known within the elements.
    """
    systems = np.empty(words.shape[0], dtype=np.int64)
    n_systems = _systems_within(zs, d, words, systems)
    n, known = d, 0
    for s in range(n_systems):
        n += starts[systems[s] + 1] - starts[systems[s]]
        known += n_known[systems[s]]
    columns, energies, ids = np.zeros((d, n)), np.zeros(n), np.empty(n, dtype=np.int64)
    slot_of = np.zeros(128, dtype=np.int64)
    for i in range(d):
        columns[i, i] = 1.0
        ids[i] = zs[i] - 1
        slot_of[zs[i]] = i
    n = d
    for s in range(n_systems):
        for phase in range(starts[systems[s]], starts[systems[s] + 1]):
            total = 0
            for k in range(phase_zs.shape[1]):
                total += phase_counts[phase, k]
            for k in range(phase_zs.shape[1]):
                if phase_zs[phase, k] > 0:
                    columns[slot_of[phase_zs[phase, k]], n] = phase_counts[phase, k] / total
            energies[n] = phase_energies[phase]
            ids[n] = 118 + phase
            n += 1
    return columns, energies, ids, known


@njit(nogil=True)
def _without(columns: Floats, energies: Floats, x: Floats) -> Floats:
    """The energies, inf for every compound whose atomic fractions are x."""
    out = energies.copy()
    for j in range(x.shape[0], out.shape[0]):
        same = True
        # Equal reduced counts give equal quotients, bit for bit.
        for i in range(x.shape[0]):
            same = same and columns[i, j] == x[i]
        if same:
            out[j] = np.inf
    return out


@njit(nogil=True)
def hull_kernel(
    order: Ints,
    zs: AnyInts,
    counts: AnyInts,
    words: UInt64s,
    starts: Ints,
    n_known: Ints,
    phase_zs: AnyInts,
    phase_counts: AnyInts,
    phase_energies: Floats,
    include_same: bool,
    hull: Floats,
    products: Ints,
    amounts: Floats,
    n_competing: Ints,
) -> None:
    """Writes hull energies, decomposition products, their amounts by atoms, and the number of competing compounds.

    Args:
        order: int64 [batch], rows such that those of one chemical system follow each other.
        zs, counts: int16 and int32 [batch, slot], reduced; 0 pads on the right.
        words: uint64 [system, 2], bits of each chemical system's elements, sorted.
        starts: int64 [system + 1], where each system's phases begin.
        n_known: int64 [system], how many compounds are known in exactly this system.
        phase_zs, phase_counts, phase_energies: the phases, sorted by system.
        include_same: whether phases of the row's own formula compete.
        hull: float64 [batch], out; NaN for rows without elements, or where no solution was found.
        products: int64 [batch, slot], out; ids as `_phases_within` gives them, in descending order of amount, -1 pads.
        amounts: float64 [batch, slot], out.
        n_competing: int64 [batch], out.
    """
    width = zs.shape[1]
    columns, usual, ids = np.zeros((0, 0)), np.zeros(0), np.zeros(0, dtype=np.int64)
    d, previous, known = 0, -1, 0
    for row in order:
        hull[row] = np.nan
        same_system = previous >= 0
        for slot in range(width):
            products[row, slot] = -1
            amounts[row, slot] = 0.0
            same_system = same_system and zs[row, slot] == zs[previous, slot]
        if not same_system:
            d, known, previous = 0, 0, row
            while d < width and zs[row, d] > 0:
                d += 1
            if d > 0:
                columns, usual, ids, known = _phases_within(
                    zs[row], d, words, starts, n_known, phase_zs, phase_counts, phase_energies
                )
        n_competing[row] = known
        if d == 0:
            continue
        total = 0
        for i in range(d):
            total += counts[row, i]
        x, basis, weights = np.empty(d), np.empty(d, dtype=np.int64), np.empty(d)
        for i in range(d):
            x[i] = counts[row, i] / total
        energies = usual if include_same else _without(columns, usual, x)
        if not minimise(columns, energies, x, basis, weights):
            continue
        energy, place = 0.0, 0
        for i in range(d):
            energy += weights[i] * energies[basis[i]]
            if weights[i] > _LEAST_AMOUNT:
                k = place
                while k > 0 and amounts[row, k - 1] < weights[i]:
                    amounts[row, k], products[row, k] = amounts[row, k - 1], products[row, k - 1]
                    k -= 1
                amounts[row, k], products[row, k] = weights[i], ids[basis[i]]
                place += 1
        hull[row] = energy
