"""Probe crystals that occupy every position of a space group, and what the tests of its tables share."""

from functools import cache
from typing import Any

import moyopy
import numpy as np
import spglib

from oreflow.envs.symmetry.space_groups import DENOMINATOR, SpaceGroup, space_group

D = DENOMINATOR
ALL = range(1, 231)
STANDARD = moyopy.Setting.standard()
METRICS: dict[str, Any] = {
    "triclinic": [[6.1, 0, 0], [0.7, 7.2, 0], [1.1, 0.9, 8.9]],
    "monoclinic": [[6.1, 0, 0], [0, 7.2, 0], [1.1, 0, 8.9]],
    "orthorhombic": np.diag([6.1, 7.2, 8.9]),
    "tetragonal": np.diag([6.1, 6.1, 8.9]),
    "trigonal": [[6.1, 0, 0], [-3.05, 6.1 * 3**0.5 / 2, 0], [0, 0, 8.9]],
    "hexagonal": [[6.1, 0, 0], [-3.05, 6.1 * 3**0.5 / 2, 0], [0, 0, 8.9]],
    "cubic": np.diag([6.1, 6.1, 6.1]),
}


def codes(rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """One number for each operation, lattice translations left out."""
    digits = np.asarray(rotations, dtype=np.int64).reshape(-1, 9) + 1
    assert digits.min() >= 0
    assert digits.max() <= 2
    shift = np.asarray(translations, dtype=np.int64).reshape(-1, 3) % D
    return (digits @ 3 ** np.arange(9)) * D**3 + shift @ D ** np.arange(3)


def group_codes(group: SpaceGroup) -> list[int]:
    return sorted(codes(group.rotations, group.translations).tolist())


def in_units(translations: Any) -> np.ndarray:
    values = np.array(translations) * D
    assert np.abs(values - np.rint(values)).max() < 1e-6
    return np.rint(values).astype(int)


def orbit(group: SpaceGroup, letter: int, parameters: np.ndarray) -> np.ndarray:
    """Points of a position, float64 [multiplicity, 3], not reduced to the cell."""
    point = group.basis[letter] @ parameters + group.origin[letter] / D
    which = group.orbit_operation[group.orbit_start[letter] : group.orbit_start[letter + 1]]
    return group.rotations[which] @ point + group.translations[which] / D


def close(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool [point, other], the same point modulo lattice translations."""
    difference = points[:, None] - others[None]
    return np.abs(difference - np.rint(difference)).max(-1) < 1e-4


@cache
def probe(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, element numbers and letters of a crystal that occupies every position, with random free parameters."""
    group, random = space_group(number), np.random.default_rng(number)
    general = len(group.letters) - 1
    points, numbers, letters = [], [], []
    # One general orbit of a small group may have more symmetry than the group: two more of them.
    for element, letter in enumerate([*range(general + 1), general, general], start=1):
        points.append(orbit(group, letter, random.random(3)) % 1)
        numbers += [element] * len(points[-1])
        letters += [letter] * len(points[-1])
    return np.concatenate(points), np.array(numbers), np.array(letters)


@cache
def moyo_dataset(number: int) -> moyopy.MoyoDataset:
    points, numbers, _ = probe(number)
    cell = moyopy.Cell(METRICS[space_group(number).crystal_system], points.tolist(), numbers.tolist())
    return moyopy.MoyoDataset(cell, symprec=1e-5, setting=STANDARD)


@cache
def moyo_normalizer(number: int) -> moyopy.NormalizerWyckoffPositions:
    return moyo_dataset(number).normalizer_wyckoff_positions()


@cache
def spglib_settings() -> dict[int, list[Any]]:
    """spglib's 530 settings by group."""
    settings: dict[int, list[Any]] = {}
    for hall in range(1, 531):
        settings.setdefault(spglib.get_spacegroup_type(hall).number, []).append(spglib.get_spacegroup_type(hall))
    return settings
