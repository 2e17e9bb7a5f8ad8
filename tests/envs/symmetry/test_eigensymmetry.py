"""The reward `eigensymmetry`: textbook cases, and moyopy's judgement of random crystals."""

import numpy as np
import pytest

from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.encode import found_space_groups
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, group_tables
from oreflow.envs.symmetry.space_groups import space_group
from oreflow.rewards.registry import make_term
from tests.rewards.terms.test_free_parameters import decorations

# Group, letters and their elements; whether the crystal has this group and no higher one.
CASES = {
    "rock salt": (225, "ab", "Na Cl", True),
    "rock salt in F432": (209, "ab", "Na Cl", False),
    "rock salt in F-43m": (216, "ab", "Na Cl", False),
    "zinc blende": (216, "ac", "Zn S", True),
    "zinc blende, one element: diamond": (216, "ac", "C C", False),
    "fluorite": (225, "ac", "Ca F", True),
    "fluorite in F-43m": (216, "acd", "Ca F F", False),
    "half-Heusler": (216, "acd", "Li Mg N", True),
    "caesium chloride": (221, "ab", "Cs Cl", True),
    "caesium chloride, one element: bcc": (221, "ab", "Fe Fe", False),
    "caesium chloride in P-43m": (215, "ab", "Cs Cl", False),
    "perovskite": (221, "abc", "Sr Ti O", True),
    "perovskite in P432": (207, "abc", "Sr Ti O", False),
    "spinel": (227, "cbe", "Mg Al O", True),
    "rutile": (136, "af", "Ti O", True),
    "wurtzite": (186, "bb", "Zn S", True),
    "hexagonal close packing, written with a polar axis": (186, "b", "Mg", False),
    "polar perovskite": (99, "abbc", "Pb Ti O O", True),
    "two-fold axes of Pcc2, half a cell along c": (27, "ac", "Na Cl", False),
    "general position of Pcc2": (27, "ae", "Na Cl", True),
    "one general site of P1": (1, "a", "Na", False),
    "two general sites of P1": (1, "aa", "Na Cl", True),
}


@pytest.mark.parametrize(("group", "letters", "elements", "expected"), CASES.values(), ids=CASES)
def test_textbook_cases(group: int, letters: str, elements: str, expected: bool) -> None:
    crystal = decorations([(group, letters)])
    numbers = np.array([elements.split().index(element) + 3 for element in elements.split()])
    crystal = Crystals(
        crystal.space_group, crystal.site_offsets, crystal.letter, numbers, crystal.lattice, crystal.parameters
    )
    assert make_term("eigensymmetry")(crystal).values.tolist() == [float(expected)]


def test_no_atoms() -> None:
    found = make_term("eigensymmetry")(decorations([(225, "ab"), (1, "")]))
    assert found.valid.tolist() == [True, False]
    assert "at least one atom" in found.reasons[1]


def random_crystals(n: int, rng: np.random.Generator) -> Crystals:
    """One to three sites of distinct elements, in each group in turn, with nothing special about the numbers."""
    tables = group_tables()
    groups = np.arange(n) % 230 + 1
    letters, offsets, lattice, parameters = [], [0], [], []
    for group in groups.tolist():
        g = space_group(group)
        dof = tables.row[tables.group[group, FIRST_ROW] :, DOF]
        chosen: list[int] = []
        for letter in rng.integers(len(g.letters), size=rng.integers(1, 4)).tolist():
            if dof[letter] or letter not in chosen:
                chosen.append(letter)
        letters += chosen
        offsets.append(len(letters))
        parameters += [np.where(np.arange(3) < dof[letter], rng.random(3), 0.0) for letter in chosen]
        (a, b, c), (alpha, beta, gamma) = 8 + 6 * rng.random(3), 75 + 10 * rng.random(3)
        if g.crystal_system in ("tetragonal", "trigonal", "hexagonal", "cubic"):
            b = a
        if g.crystal_system == "cubic":
            c = a
        if g.crystal_system != "triclinic":
            alpha = gamma = 90.0
            beta = beta if g.crystal_system == "monoclinic" else 90.0
        if g.crystal_system in ("trigonal", "hexagonal"):
            gamma = 120.0
        lattice.append([a, b, c, alpha, beta, gamma])
    site = np.arange(len(letters))
    elements = 3 + site - np.repeat(offsets[:-1], np.diff(offsets))
    return Crystals(groups, np.array(offsets), np.array(letters), elements, np.array(lattice), np.array(parameters))


def test_random_crystals_against_moyopy() -> None:
    crystals = random_crystals(1380, np.random.default_rng(0))
    more = make_term("eigensymmetry")(crystals).values == 0
    higher = found_space_groups(crystals) != crystals.space_group
    # An additional translation may lead to the same type of group with a smaller cell.
    smaller = np.zeros(len(crystals), dtype=bool)
    for row in np.flatnonzero(more & ~higher):
        (structure,) = pymatgen_structures(crystals[np.array([row])])  # the primitive cell of the group
        smaller[row] = len(structure.get_primitive_structure(0.01)) < len(structure)
    higher |= smaller
    assert not (more & ~higher).any(), "more symmetry is claimed than there is"
    assert more.sum() > 500
    missed = higher & ~more
    assert missed.mean() < 0.01
    # Translations outside the normalizer, of single kinds of positions in these groups.
    assert set(crystals.space_group[missed].tolist()) <= {180, 181, 205, 206, 224, 229, 230}
