"""Elements of sites whose type symbol says nothing."""

import pytest

from oreflow.envs.structure_io.reading.files import read_structure_text
from tests.support.cifs import cif

pytestmark = pytest.mark.kind("CIF: labels, types, occupancies")


@pytest.mark.parametrize("missing", ["?", "."])
def test_label_decides_where_the_type_symbol_is_missing(missing: str) -> None:
    sites = f"Na1 {missing} 0 0 0 1\nCl1 Cl .5 .5 .5 1\n"
    (entry,) = read_structure_text(cif(sites, "_symmetry_space_group_name_H-M 'F m -3 m'"), "cif", "x")
    assert entry.code == "", entry.message
    assert entry.structure.formula == "Na4 Cl4"


@pytest.mark.parametrize(
    ("label", "formula", "right"),
    [
        ("NA1", "", "Na4 O4"),
        ("NI1", "", "Ni4 O4"),
        ("HG1", "", "Hg4 O4"),
        ("CO1", "", ""),
        ("CD1", "", ""),
        ("CO1", "'Co O'", "Co4 O4"),
        ("CO1", "'C O'", "C4 O4"),
        ("NI1", "'N O'", "N4 O4"),
    ],
)
def test_label_in_capitals(label: str, formula: str, right: str) -> None:
    symmetry = "_symmetry_space_group_name_H-M 'F m -3 m'" + (f"\n_chemical_formula_sum {formula}" if formula else "")
    (entry,) = read_structure_text(cif(f"{label} ? 0 0 0 1\nO1 ? .5 .5 .5 1\n", symmetry), "cif", "x")
    if right:
        assert entry.code == "", entry.message
        assert entry.structure.formula == right
    else:
        assert entry.code == "unknown_element"
        assert label in entry.message


def test_hydrogen_in_a_label_is_said() -> None:
    (entry,) = read_structure_text(cif("Na1 ? 0 0 0 1\nOH1 ? .5 .5 .5 1\n"), "cif", "x")
    assert any("OH1" in note for note in entry.notes)


def test_site_of_occupancy_zero_is_no_atom() -> None:
    sites = "Na1 Na 0 0 0 1\nCl1 Cl .5 .5 .5 1\nK1 K .25 .25 .25 0\n"
    (entry,) = read_structure_text(cif(sites), "cif", "x")
    assert entry.code == "", entry.message
    assert entry.structure.formula == "Na4 Cl4"
    assert any("K1" in note for note in entry.notes)
