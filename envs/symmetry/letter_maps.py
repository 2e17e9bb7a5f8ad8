"""How the normalizer of a space group renames the letters of Wyckoff positions."""

from collections.abc import Iterable
from functools import cache

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.symmetry.space_groups import SpaceGroup, space_group

Map = tuple[int, ...]  # entry k: the letter that letter k becomes


def _closure(maps: Iterable[Map]) -> list[Map]:
    """Return all products of maps, ascending: an exchange of axes may follow a shift of the origin."""
    generators = set(maps)
    found = set(generators)
    while True:
        more = found | {tuple(second[letter] for letter in first) for first in found for second in generators}
        if len(more) == len(found):
            return sorted(found)
        found = more


@cache
def letter_mappings(number: int) -> tuple[Map, ...]:
    """Return the distinct ways in which changes of origin and axes that keep a space group rename its positions.

    Example: in Pm-3m, shifting the origin by half a cell's diagonal exchanges a with b and c with d.

    Args:
        number: of the space group, 1 to 230.

    Returns:
        maps from a letter (0 for a) to a letter, ascending; the identity is one of them.
    """
    group = space_group(number)
    return tuple(_closure(tuple(row) for row in [*group.letter_map.tolist(), *group.axis_letter_map.tolist()]))


def letter_maps(group: SpaceGroup) -> Ints:
    """Return what `letter_mappings` finds as an array, int64 [map, letter].

    Of P-1, whose normalizer holds every change of the lattice's basis, one map that is no permutation: it sends the
    eight inversion centres to the first.
    """
    return np.array([[0] * 8 + [8]] if group.number == 2 else letter_mappings(group.number))
