"""Hashes of Wyckoff prototypes: which positions are occupied, and by elements of which order.

Equal hashes for all labelings of one crystal, and for crystals that differ only in their elements. numba takes half a
second to import: import this module on first use only.
"""

import numpy as np

from oreflow.envs.arrays import AnyInts, Floats, Ints, UInt64s
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.chemistry.stoichiometry import magpie_electronegativity
from oreflow.rewards.models.crystal.site_tables import site_tables

_FNV_OFFSET, _FNV_PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)
# Ranks of elements in a site's code; crystals of more elements share the last one.
_RANKS = 16


@njit(nogil=True)
def _hash_crystals(
    group: AnyInts,
    offsets: Ints,
    letter: AnyInts,
    atomic_number: AnyInts,
    chi: Floats,
    map_start: Ints,
    maps: Ints,
    ranks: int,
    offset: np.uint64,
    prime: np.uint64,
    out: UInt64s,
) -> None:
    """Writes out [batch, 2], FNV-1a hashes of the least labeling: positions with elements' ranks, positions alone."""
    largest = 0
    for row in range(len(group)):
        largest = max(largest, offsets[row + 1] - offsets[row])
    distinct = np.empty(largest, dtype=np.int64)
    rank = np.empty(largest, dtype=np.int64)
    code = np.empty(largest, dtype=np.int64)
    best = np.empty(largest, dtype=np.int64)
    for row in range(len(group)):
        first, n = offsets[row], offsets[row + 1] - offsets[row]
        n_distinct = 0
        for i in range(n):
            new = True
            for k in range(n_distinct):
                if distinct[k] == atomic_number[first + i]:
                    new = False
                    break
            if new:
                distinct[n_distinct] = atomic_number[first + i]
                n_distinct += 1
        for i in range(n):
            z = atomic_number[first + i]
            rank[i] = 0
            for k in range(n_distinct):
                other = distinct[k]
                # Of equal electronegativities the lighter element comes first.
                if chi[other] < chi[z] or (chi[other] == chi[z] and other < z):
                    rank[i] += 1
            rank[i] = min(rank[i], ranks - 1)
        for with_elements in range(2):
            for m in range(map_start[group[row]], map_start[group[row] + 1]):
                for i in range(n):
                    value = maps[m, letter[first + i]] * ranks
                    if with_elements == 0:
                        value += rank[i]
                    place = i
                    while place > 0 and code[place - 1] > value:
                        code[place] = code[place - 1]
                        place -= 1
                    code[place] = value
                smaller = m == map_start[group[row]]
                if not smaller:
                    for i in range(n):
                        if code[i] != best[i]:
                            smaller = code[i] < best[i]
                            break
                if smaller:
                    copy_first(best, code, n)
            value = (offset ^ np.uint64(group[row])) * prime
            for i in range(n):
                value = (value ^ np.uint64(best[i] + 1)) * prime
            out[row, with_elements] = value


def prototype_hashes(crystals: Crystals) -> Ints:
    """Hash the prototypes of crystals, int64 [batch, 2].

    First the occupied positions with the elements on them ranked by electronegativity, then the positions alone. Every
    element has an electronegativity.
    """
    tables = site_tables()
    out = np.empty((len(crystals), 2), dtype=np.uint64)
    _hash_crystals(
        crystals.space_group.astype(np.int64),
        crystals.site_offsets,
        crystals.letter.astype(np.int64),
        crystals.atomic_number.astype(np.int64),
        magpie_electronegativity(),
        tables.map_start,
        tables.maps,
        _RANKS,
        _FNV_OFFSET,
        _FNV_PRIME,
        out,
    )
    return out.view(np.int64)
