"""Elements of sites whose type symbol says nothing."""

import pytest

from oreflow.envs.structure_io.reading.files import read_structure_text
from tests.support.cifs import cif


@pytest.mark.parametrize("missing", ["?", "."])
def test_label_decides_where_the_type_symbol_is_missing(missing: str) -> None:
    sites = f"Na1 {missing} 0 0 0 1\nCl1 Cl .5 .5 .5 1\n"
    (entry,) = read_structure_text(cif(sites, "_symmetry_space_group_name_H-M 'F m -3 m'"), "cif", "x")
    assert entry.code == "", entry.message
    assert entry.structure.formula == "Na4 Cl4"
