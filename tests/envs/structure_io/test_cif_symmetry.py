"""CIFs that give symmetry as a symbol with a setting, and CIFs whose formula disagrees with their sites."""

import math
from typing import Any

import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from oreflow.envs.structure_io.reading.files import read_structure_text
from tests.support.cifs import ROCK_SALT, cif

SPINEL = {"a": 8.08, "b": 8.08, "c": 8.08}
A_HEX, C_HEX = 4.759, 12.993
A_RHO = math.sqrt(3 * A_HEX**2 + C_HEX**2) / 3
ANGLE = math.degrees(2 * math.asin(1.5 / math.sqrt(3 + (C_HEX / A_HEX) ** 2)))


def read(text: str) -> Any:
    (entry,) = read_structure_text(text, "cif", "x")
    return entry


def with_symbol(symbol: str, sites: str, **cell: float) -> Any:
    entry = read(cif(sites, f"_symmetry_space_group_name_H-M '{symbol}'", **cell))
    assert entry.code == "", entry.message
    return entry.structure


@pytest.mark.parametrize("colon", [":", " : "])
def test_origin_choices_of_spinel_give_one_crystal(colon: str) -> None:
    first = with_symbol(
        f"F d -3 m{colon}1", "Mg1 Mg 0 0 0 1\nAl1 Al .625 .625 .625 1\nO1 O .387 .387 .387 1\n", **SPINEL
    )
    second = with_symbol(
        f"F d -3 m{colon}2", "Mg1 Mg .125 .125 .125 1\nAl1 Al .5 .5 .5 1\nO1 O .262 .262 .262 1\n", **SPINEL
    )
    assert first.formula == second.formula == "Mg8 Al16 O32"
    assert StructureMatcher(scale=False).get_rms_dist(first, second)[1] < 1e-6


def test_both_axes_of_corundum_give_one_crystal() -> None:
    z, x = 0.3523, 0.3064
    hexagonal = with_symbol("R -3 c:H", f"Al1 Al 0 0 {z} 1\nO1 O {x} 0 .25 1\n", a=A_HEX, b=A_HEX, c=C_HEX, gamma=120)
    rhombohedral = with_symbol(
        "R-3c:r",
        f"Al1 Al {z} {z} {z} 1\nO1 O {x + 0.25} {0.25 - x} .25 1\n",
        a=A_RHO, b=A_RHO, c=A_RHO, alpha=ANGLE, beta=ANGLE, gamma=ANGLE,
    )  # fmt: skip
    assert (hexagonal.formula, rhombohedral.formula) == ("Al12 O18", "Al4 O6")
    assert hexagonal.volume == pytest.approx(3 * rhombohedral.volume)
    assert StructureMatcher(scale=False).get_rms_dist(hexagonal, rhombohedral)[1] < 1e-3


def test_positions_of_the_first_origin() -> None:
    structure = with_symbol("P 42/n n m:1", "Cu1 Cu 0 0 0 1\n", a=4.0, b=4.0, c=6.0)
    assert sorted(structure.frac_coords.tolist()) == [[0, 0, 0], [0.5, 0.5, 0.5]], "position 2a of origin choice 1"


def test_setting_that_a_group_has_not() -> None:
    entry = read(cif(symmetry="_symmetry_space_group_name_H-M 'F m -3 m:R'"))
    assert entry.code == "unknown_space_group"
    assert "F m -3 m:R" in entry.message


@pytest.mark.parametrize(
    ("formula", "code", "notes"),
    [
        ("'Na Cl'", "", 0),
        ("'Na4 Cl4'", "", 0),
        ("'Na1.002 Cl1'", "", 0),  # rounded
        ("'Na Cl2'", "", 1),
        ("Na", "", 1),  # a site more than the formula has
        ("'Na Cl H2'", "formula_mismatch", 0),
        ("'Na Cl D2'", "formula_mismatch", 0),
        ("?", "", 0),
        ("'Na Cl . 2(H2 O)'", "", 0),  # no sum: not compared
        ("'Na Xx'", "", 0),
        ("'Na0 Cl'", "", 0),
    ],
)
def test_formula_is_compared_with_the_sites(formula: str, code: str, notes: int) -> None:
    entry = read(ROCK_SALT + f"_chemical_formula_sum {formula}\n")
    assert (entry.code, len(entry.notes)) == (code, notes)
    if code:
        assert "found no site with H" in entry.message
    elif notes:
        assert "the sites say NaCl" in entry.notes[0]


def test_long_formula_costs_no_time() -> None:
    entry = read(ROCK_SALT + f"_chemical_formula_sum 'Na{'1' * 200_000}x'\n")
    assert entry.code == ""
