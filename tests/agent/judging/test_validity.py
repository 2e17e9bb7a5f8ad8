"""Validity as LeMat-GenBench defines it: each part by hand, and SMACT's score against SMACT."""

import warnings
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from oreflow.agent.judging.metallicity import metallicity_scores
from oreflow.agent.judging.validity import has_distances, is_plausible, neutral, validity
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formulas
from tests.agent.judging.samples import KNOWN, layers, perovskite, rock_salt, zinc_blende


def test_the_metallicity_is_smacts(rng: np.random.Generator) -> None:
    from smact.metallicity import metallicity_score

    names = symbols()
    dicts = []
    for _ in range(300):
        chosen = rng.choice(np.arange(1, 104), size=int(rng.integers(1, 5)), replace=False)
        dicts.append({int(z): int(rng.integers(1, 5)) for z in chosen})
    found = metallicity_scores(Compositions.from_dicts(dicts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [metallicity_score("".join(f"{names[z]}{n}" for z, n in d.items())) for d in dicts]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_charge_by_each_of_its_grounds() -> None:
    def verdict(structure: Any, formula: str) -> bool:
        return bool(neutral([structure], parse_formulas([formula])[0])[0])

    assert verdict(KNOWN["mp-2"], "SrTiO3")  # common states
    alloy = Structure(Lattice.cubic(3.0), ["Cu", "Zn"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert verdict(alloy, "CuZn")  # metallic
    assert verdict(rock_salt("Mg", "O", 4.2), "MgO")
    assert not verdict(layers("Na", "F", "Cl"), "NaFCl")
    assert not verdict(perovskite("K", "Na", "F", 4.2), "KNaF3")
    assert verdict(perovskite("K", "Mg", "F", 4.0), "KMgF3")


def test_distances_at_the_limit() -> None:
    """Mg and O: radii 1.5 and 0.6 angstrom, so that half of 0.7 + 2.1, 1.4, is the least; of Mg and Mg 1.85."""
    assert has_distances(rock_salt("Mg", "O", 2 * 1.401))
    assert not has_distances(rock_salt("Mg", "O", 2 * 1.399))
    assert has_distances(Structure(Lattice.cubic(0.5), ["Po"], [[0, 0, 0]]))  # no pair of sites


@pytest.mark.parametrize(
    ("structure", "expected"),
    [
        (rock_salt("Na", "Cl", 5.64), True),
        (rock_salt("Na", "Cl", 33.0), True),  # 0.0108 g/cm3
        (rock_salt("Na", "Cl", 34.0), False),  # 0.0099 g/cm3
        (rock_salt("Os", "Ir", 4.0), False),  # 40 g/cm3
        (Structure(Lattice.orthorhombic(0.9, 9, 9), ["H"], [[0, 0, 0]]), False),  # an edge below 1 angstrom
        (Structure(Lattice.orthorhombic(101, 3, 3), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]]), False),  # above 100
        (Structure(Lattice.cubic(1.1), ["Li"], [[0, 0, 0]]), False),  # 0.75 atoms/A3
    ],
)
def test_plausibility_at_the_limits(structure: Structure, expected: bool) -> None:
    assert is_plausible(structure) == expected


def test_valid_is_all_three_and_a_missing_structure_is_none_of_them() -> None:
    sample = [zinc_blende("Zn", "S", 5.41), None, rock_salt("Mg", "O", 2.7), rock_salt("Na", "Cl", 60.0)]
    found = validity(sample)
    assert found.neutral.tolist() == [True, False, True, True]
    assert found.distances.tolist() == [True, False, False, True]
    assert found.plausible.tolist() == [True, False, True, False]
    assert found.valid.tolist() == [True, False, False, False]
    assert found.smact.tolist() == [True, False, True, True]
