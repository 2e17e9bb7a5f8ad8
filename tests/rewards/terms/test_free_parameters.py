"""The reward `free_parameters`: counts as textbooks list them, origins that are free, and crystals without atoms."""

import numpy as np
import pytest

from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.registry import make_term

# Group, letters of the occupied positions, and what a structure report of this compound refines.
STRUCTURES = {
    "rock salt": (225, "ab", ["a"]),
    "spinel": (227, "cde", ["a", "x O"]),
    "pyrite": (205, "ac", ["a", "x S"]),
    "garnet": (230, "acdh", ["a", "x O", "y O", "z O"]),
    "rutile": (136, "af", ["a", "c", "x O"]),
    "anatase": (141, "ae", ["a", "c", "z O"]),
    "corundum": (167, "ce", ["a", "c", "z Al", "x O"]),
    "quartz": (154, "ac", ["a", "c", "x Si", "x O", "y O", "z O"]),
    "wurtzite, free along c": (186, "bb", ["a", "c", "z S"]),
    "tetragonal perovskite, free along c": (99, "abbc", ["a", "c", "z Ti", "z O1", "z O2"]),
    "orthorhombic perovskite": (
        62, "accd", ["a", "b", "c", "x Ca", "z Ca", "x O1", "z O1", "x O2", "y O2", "z O2"]
    ),
    "baddeleyite": (
        14, "eee", ["a", "b", "c", "beta", "x Zr", "y Zr", "z Zr", "x O1", "y O1", "z O1", "x O2", "y O2", "z O2"]
    ),
    "two atoms, free along all axes": (1, "aa", ["a", "b", "c", "alpha", "beta", "gamma", "x", "y", "z"]),
    "one atom in a mirror plane, free along two axes": (6, "a", ["a", "b", "c", "beta"]),
}  # fmt: skip


def decorations(structures: list[tuple[int, str]]) -> Crystals:
    """Crystals without geometry; the elements do not matter."""
    letters = "".join(letters for _, letters in structures)
    return Crystals(
        np.array([group for group, _ in structures]),
        np.cumsum([0, *(len(letters) for _, letters in structures)]),
        np.array([ord(letter) - ord("a") for letter in letters]),
        np.full(len(letters), 6),
        np.full((len(structures), 6), np.nan),
        np.full((len(letters), 3), np.nan),
    )


def test_counts_of_structure_reports() -> None:
    found = make_term("free_parameters")(decorations([(group, letters) for group, letters, _ in STRUCTURES.values()]))
    expected = [len(parameters) for _, _, parameters in STRUCTURES.values()]
    assert dict(zip(STRUCTURES, found.values.tolist())) == dict(zip(STRUCTURES, expected))
    assert found.valid.all()


def test_crystal_without_atoms_is_invalid() -> None:
    found = make_term("free_parameters")(decorations([(225, "ab"), (1, ""), (221, "a")]))
    assert found.valid.tolist() == [True, False, True]
    assert found.values[[0, 2]] == pytest.approx([1, 1])
    assert "at least one atom" in found.reasons[1]
