"""The second relaxation: displaced atoms and a strained cell tell a stable symmetry from one that was only held."""

import csv
from pathlib import Path

import numpy as np
import pytest

from oreflow.agent.relaxation.tracks import rattled
from tests.agent.relaxation.test_pool import rock_salt
from tests.agent.relaxation.test_relax import perovskite
from tests.support.cli import done


def test_a_rattle_is_as_large_as_asked_and_the_same_each_time() -> None:
    crystal = perovskite()
    crystal.make_supercell(4)
    vectors, fractional = crystal.lattice.matrix, crystal.frac_coords
    first, second = rattled(vectors, fractional, 0.05, 0.01), rattled(vectors, fractional, 0.05, 0.01)
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a, b)
    strained, moved = first
    assert ((moved - fractional) @ strained).std() == pytest.approx(0.05, rel=0.1)
    strain = np.linalg.inv(vectors) @ strained - np.eye(3)
    np.testing.assert_allclose(strain, strain.T, atol=1e-12)
    assert 0.002 < np.abs(strain).max() < 0.05


@pytest.mark.kind("symmetry after a rattle")
@pytest.mark.slow
def test_the_rattle_tells_stable_symmetry_from_one_that_was_only_held(tmp_path: Path) -> None:
    """Cubic CaTiO3 has soft modes, rock salt has none; without the rattle both would count as kept."""
    calcium = perovskite(3.88)
    calcium.replace_species({"Sr": "Ca"})
    calcium.to(filename=str(tmp_path / "a.cif"))
    rock_salt(5.6).to(filename=str(tmp_path / "b.cif"))
    done("relax", tmp_path / "a.cif", tmp_path / "b.cif", "--out", tmp_path / "out", "--workers", 1, "-q")
    a, b = csv.DictReader((tmp_path / "out" / "relaxed.csv").read_text().splitlines())
    assert (a["space_group_number_after"], a["symmetry_kept"]) == ("221", "False")
    assert float(a["free_energy_change_ev_per_atom"]) < -0.005
    assert (b["space_group_number_after"], b["free_space_group_number"], b["symmetry_kept"]) == ("225", "225", "True")
