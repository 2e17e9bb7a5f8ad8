"""What reward terms are checked on: compositions, and crystals in two descriptions of each."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals

# Oxides, halides, nitrides, an intermetallic, four and five elements, a noble gas, an element beyond every table.
_COMPOSITIONS: tuple[dict[int, int], ...] = (
    {11: 1, 17: 1},
    {26: 3, 8: 4},
    {11: 1, 7: 1},
    {55: 1, 82: 1, 53: 3},
    {1: 2, 8: 1},
    {3: 1, 26: 1, 15: 1, 8: 4},
    {13: 2, 8: 3},
    {29: 1, 30: 1},
    {22: 1, 8: 2},
    {3: 10, 32: 1, 15: 2, 16: 12},
    {31: 1, 33: 1},
    {20: 5, 15: 3, 8: 12, 9: 1},
    {54: 1, 9: 2},
    {118: 1},
)

Site = tuple[str, int, float, float, float]  # letter of the position, atomic number, its free coordinates
Probe = tuple[int, tuple[float, ...], tuple[Site, ...]]  # space group; a, b, c, alpha, beta, gamma; sites


def _cubic(a: float) -> tuple[float, ...]:
    return (a, a, a, 90.0, 90.0, 90.0)


# Textbook structures (Wyckoff, Crystal Structures, 1963), a molecule-like triclinic cell, and an element beyond every
# table. Where an origin shift maps positions onto each other, the second list describes the same crystal by the others.
_RUTILE = (136, (4.594, 4.594, 2.959, 90.0, 90.0, 90.0), (("a", 22, 0.0, 0.0, 0.0), ("f", 8, 0.305, 0.0, 0.0)))
_TRICLINIC_CELL = (5.1, 6.3, 7.2, 81.0, 97.0, 104.0)
_CRYSTALS: tuple[Probe, ...] = (
    (225, _cubic(5.64), (("a", 11, 0.0, 0.0, 0.0), ("b", 17, 0.0, 0.0, 0.0))),
    (225, _cubic(5.463), (("a", 20, 0.0, 0.0, 0.0), ("c", 9, 0.0, 0.0, 0.0))),
    (221, _cubic(3.905), (("a", 38, 0.0, 0.0, 0.0), ("b", 22, 0.0, 0.0, 0.0), ("c", 8, 0.0, 0.0, 0.0))),
    _RUTILE,
    (194, (3.21, 3.21, 5.21, 90.0, 90.0, 120.0), (("c", 12, 0.0, 0.0, 0.0),)),
    (227, _cubic(5.431), (("a", 14, 0.0, 0.0, 0.0),)),
    (205, _cubic(5.418), (("a", 26, 0.0, 0.0, 0.0), ("c", 16, 0.385, 0.0, 0.0))),
    (227, _cubic(8.083), (("a", 12, 0.0, 0.0, 0.0), ("d", 13, 0.0, 0.0, 0.0), ("e", 8, 0.2624, 0.0, 0.0))),
    (2, _TRICLINIC_CELL, (("i", 29, 0.11, 0.23, 0.31), ("i", 8, 0.35, 0.41, 0.27))),
    (225, _cubic(6.0), (("a", 118, 0.0, 0.0, 0.0),)),
)
_RELABELLED: tuple[Probe, ...] = (
    (225, _cubic(5.64), (("b", 11, 0.0, 0.0, 0.0), ("a", 17, 0.0, 0.0, 0.0))),
    (225, _cubic(5.463), (("b", 20, 0.0, 0.0, 0.0), ("c", 9, 0.0, 0.0, 0.0))),
    (221, _cubic(3.905), (("b", 38, 0.0, 0.0, 0.0), ("a", 22, 0.0, 0.0, 0.0), ("d", 8, 0.0, 0.0, 0.0))),
    (136, _RUTILE[1], (("b", 22, 0.0, 0.0, 0.0), ("f", 8, 0.805, 0.0, 0.0))),
    (194, (3.21, 3.21, 5.21, 90.0, 90.0, 120.0), (("d", 12, 0.0, 0.0, 0.0),)),
    (227, _cubic(5.431), (("b", 14, 0.0, 0.0, 0.0),)),
    (205, _cubic(5.418), (("b", 26, 0.0, 0.0, 0.0), ("c", 16, 0.885, 0.0, 0.0))),
    (227, _cubic(8.083), (("b", 12, 0.0, 0.0, 0.0), ("c", 13, 0.0, 0.0, 0.0), ("e", 8, 0.7624, 0.0, 0.0))),
    (2, _TRICLINIC_CELL, (("i", 29, 0.61, 0.23, 0.81), ("i", 8, 0.85, 0.41, 0.77))),
    (225, _cubic(6.0), (("b", 118, 0.0, 0.0, 0.0),)),
)


@cache
def probe_compositions() -> Compositions:
    """Fourteen compositions."""
    return Compositions.from_dicts(_COMPOSITIONS)


@cache
def probe_crystals() -> Crystals:
    """Ten crystals."""
    return _crystals(_CRYSTALS)


@cache
def relabelled_crystals() -> Crystals:
    """The same ten crystals, with the origin on another point of the same symmetry."""
    return _crystals(_RELABELLED)


def reverse_sites(crystals: Crystals) -> Crystals:
    """The same crystals, the sites of each in reverse order."""
    offsets = crystals.site_offsets
    order = np.concatenate(
        [np.arange(last - 1, first - 1, -1) for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist())]
    )
    return Crystals(
        crystals.space_group,
        offsets,
        crystals.letter[order],
        crystals.atomic_number[order],
        crystals.lattice,
        crystals.parameters[order],
    )


def _crystals(probes: Sequence[Probe]) -> Crystals:
    sites = [site for _, _, own in probes for site in own]
    return Crystals(
        np.array([group for group, _, _ in probes]),
        np.cumsum([0, *(len(own) for _, _, own in probes)]),
        np.array([ord(site[0]) - ord("a") for site in sites]),
        np.array([site[1] for site in sites]),
        np.array([lattice for _, lattice, _ in probes]),
        np.array([site[2:] for site in sites]),
    )
