"""Which geometries of one decoration are different crystals: by a cheap invariant, then by pymatgen's matcher."""

from functools import cache
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats

_CENTRES = np.arange(0.8, 2.4, 0.1)
_WIDTH = 0.1
_NEAR = 0.15  # of two fingerprints' distance over the length of the first: what matches comes below


def fingerprint(structure: Any) -> Floats:
    """Smoothed numbers of neighbours by pair of elements and distance, float64 [number]: alike for equal crystals.

    Distances are in units of the cube root of the volume per atom, so that the volume plays no part, as in matching.

    Args:
        structure: pymatgen `Structure`.
    """
    numbers = np.array(structure.atomic_numbers)
    kinds = np.unique(numbers)
    unit = (structure.volume / len(structure)) ** (1 / 3)
    centre, neighbour, _, distances = structure.get_neighbor_list((_CENTRES[-1] + 2 * _WIDTH) * unit)
    peaks = np.exp(-0.5 * ((distances[:, None] / unit - _CENTRES) / _WIDTH) ** 2)
    pair = np.searchsorted(kinds, numbers[centre]) * len(kinds) + np.searchsorted(kinds, numbers[neighbour])
    out = np.zeros((len(kinds) ** 2, len(_CENTRES)))
    np.add.at(out, pair, peaks)
    return (out / _CENTRES**2 / len(structure)).reshape(-1)


def same_crystal(one: Any, print_one: Floats, other: Any, print_other: Floats) -> bool:
    """Whether two structures of one composition are the same crystal; their fingerprints are looked at first."""
    if np.linalg.norm(print_one - print_other) > _NEAR * np.linalg.norm(print_one):
        return False
    return bool(_matcher().fit(one, other))


@cache
def _matcher() -> Any:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher()
