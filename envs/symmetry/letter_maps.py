"""How the normalizer of a space group renames the letters of Wyckoff positions."""

from functools import cache

import numpy as np

from oreflow.envs.symmetry.space_groups import SpaceGroup, space_group


@cache
def letter_mappings(number: int) -> tuple[tuple[int, ...], ...]:
    """Distinct ways in which changes of origin and axes that keep a space group rename its positions."""
    group = space_group(number)
    found = {tuple(row) for row in [*group.letter_map.tolist(), *group.axis_letter_map.tolist()]}
    while True:  # the closure: an exchange of axes may follow a shift of the origin
        products = {tuple(second[letter] for letter in first) for first in found for second in found}
        if products <= found:
            return tuple(sorted(found))
        found |= products


def letter_maps(group: SpaceGroup) -> np.ndarray:
    """All permutations of letters that elements of the affine normalizer bring about, int64 [map, letter].

    Of P-1, whose normalizer holds every change of the lattice's basis, one map that is no permutation: it sends the
    eight inversion centres to the first.
    """
    if group.number == 2:
        return np.array([[0] * 8 + [8]])
    euclidean = {tuple(row) for row in group.letter_map.tolist()}
    generators = {
        tuple(second[letter] for letter in first) for first in group.axis_letter_map.tolist() for second in euclidean
    }
    found = set(generators)
    while True:
        more = found | {tuple(second[letter] for letter in first) for first in found for second in generators}
        if len(more) == len(found):
            return np.array(sorted(found))
        found = more
