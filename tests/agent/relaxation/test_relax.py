"""CHGNet as the physics referee: its relaxations, and the verb `relax`.

Numbers are compared with experiment, with chgnet's own optimiser, and with hand-made geometry.
"""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oreflow.agent.relaxation import symmetry
from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.chgnet import Chgnet
from oreflow.rewards.potential.protocol import cell_of
from oreflow.rewards.potential.references import shipped_references
from oreflow.rewards.potential.relax import Relaxation, relax
from tests.support.cli import oreflow, refused
from tests.support.small_crystals import perovskite, rock_salt
from tests.whole.test_layers import MAY_IMPORT, ROOT, imported_packages

EV_PER_KJ_PER_MOL = 1 / 96.485


@pytest.fixture(scope="module")
def potential() -> Chgnet:
    return Chgnet()


def arrays(structure: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return structure.lattice.matrix, structure.frac_coords, np.array([site.specie.Z for site in structure])


def held(potential: Chgnet, structure: Any, **settings: Any) -> Relaxation:
    return relax(potential, cell_of(structure), hold_symmetry=True, **settings)


def deviation(before: Any, after: Any) -> float:
    vectors, fractional, numbers = arrays(before)
    kept = symmetry.operations(vectors, fractional, numbers)
    return symmetry.deviation_a(kept, vectors, fractional, after.lattice.matrix, after.frac_coords)


def test_symmetry_is_kept_by_strain_shifts_and_small_steps_only() -> None:
    ideal = perovskite()
    assert len(symmetry.operations(*arrays(ideal))) == 48
    assert deviation(ideal, perovskite(3.7)) < 1e-6  # the cube may breathe
    shifted = perovskite()
    shifted.translate_sites(range(5), [0.013, 0.5, 0.9])
    assert deviation(ideal, shifted) < 1e-6
    # Off its centre by d, against the other four by d / 5: inversion takes it to where it is off by twice 4 d / 5.
    assert deviation(ideal, perovskite(along_z=0.05)) == pytest.approx(1.6 * 0.05, abs=1e-4)
    assert deviation(ideal, perovskite(along_z=0.30)) == pytest.approx(1.6 * 0.30, abs=1e-4)
    tetragonal = perovskite()
    tetragonal.lattice = type(tetragonal.lattice).tetragonal(3.905, 4.105)
    assert deviation(ideal, tetragonal) == pytest.approx(0.2, abs=1e-6)
    # The other way round nothing is lost: the cube has all that the distorted crystal has.
    assert deviation(perovskite(along_z=0.30), ideal) < 1e-6
    assert symmetry.space_group_number(*arrays(perovskite(along_z=0.30)), 0.1) == 99
    assert symmetry.space_group_number(*arrays(ideal), 0.01) == 221


def test_permuted_atoms_of_a_less_simple_cell_keep_their_symmetry() -> None:
    from pymatgen.core import Lattice, Structure

    rutile = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
    )
    other = Structure.from_spacegroup(
        "P4_2/mnm", Lattice.tetragonal(4.7, 3.0), ["Ti", "O"], [[0, 0, 0], [0.315, 0.315, 0]]
    )
    assert len(symmetry.operations(*arrays(rutile))) == 16
    assert deviation(rutile, other) < 1e-6
    other.translate_sites([2], [0.05, 0, 0])
    assert deviation(rutile, other) > 0.1


def test_rock_salt_finds_its_lattice_constant_and_its_energy(potential: Chgnet) -> None:
    from pymatgen.core import Lattice, Structure

    for a, moved in ((5.4, 0.0), (5.6, 0.02)):
        start = rock_salt(a)
        start.translate_sites([1], [moved, 0, 0])
        end = held(potential, start, fmax=0.05)
        assert (end.status, end.reason) == ("converged", "")
        structure = Structure(Lattice(end.vectors), start.species, end.fractional)
        # 5.640 angstrom at room temperature (Wyckoff, Crystal Structures); PBE overestimates it by 1 %.
        assert (4 * structure.volume) ** (1 / 3) == pytest.approx(5.640, rel=0.02)
        assert symmetry.space_group_number(*arrays(structure), 0.1) == 225
        assert end.energy_ev_per_atom < end.energy_before_ev_per_atom - 0.004
        assert end.max_force_ev_per_a < 0.05
        # -411.12 kJ/mol (CRC Handbook of Chemistry and Physics) for two atoms.
        formation = shipped_references().formation_energy(structure, end.energy_ev_per_atom)
        assert formation == pytest.approx(-411.12 * EV_PER_KJ_PER_MOL / 2, abs=0.1)


def test_it_agrees_with_chgnets_own_optimiser(potential: Chgnet) -> None:
    import warnings

    start = perovskite(3.95, along_z=0.1)
    ours = relax(potential, cell_of(start), hold_symmetry=False, fmax=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from chgnet.model.dynamics import StructOptimizer

        theirs = StructOptimizer(use_device="cpu").relax(start, fmax=0.01, steps=300, verbose=False)
    assert ours.status == "converged"
    assert ours.n_energies < len(theirs["trajectory"]) / 2
    assert ours.energy_ev_per_atom == pytest.approx(theirs["trajectory"].energies[-1] / 5, abs=1e-3)
    lengths = np.linalg.norm(ours.vectors, axis=1)
    np.testing.assert_allclose(lengths, theirs["final_structure"].lattice.abc, atol=0.03)


def test_what_the_potential_does_not_know_is_refused(potential: Chgnet, monkeypatch: pytest.MonkeyPatch) -> None:
    from pymatgen.core import Lattice, Structure

    for structure, message in [
        (Structure(Lattice.cubic(3.5), ["Am"], [[0, 0, 0]]), "H to Pu, not Am"),
        (Structure(Lattice.cubic(9), ["Na"], [[0, 0, 0]]), "no neighbour within 6"),
        (Structure(Lattice.cubic(4), ["Na", "Na"], [[0, 0, 0], [0.01, 0, 0]]), "closer than 0.5"),
        (Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]), "partly occupied"),
    ]:
        with pytest.raises(PotentialError, match=message):
            held(potential, structure)
    few = held(potential, rock_salt(5.0), fmax=1e-4, steps=2)
    assert (few.status, few.n_steps) == ("not_converged", 2)
    late = held(potential, rock_salt(5.0), fmax=1e-4, time_limit_s=0.0)
    assert (late.status, late.n_steps) == ("time_limit", 0)
    with monkeypatch.context() as patch:
        patch.setattr("oreflow.rewards.potential.relax.MAX_VOLUME_FACTOR", 1.2)
        gone = held(potential, rock_salt(5.2))
    assert gone.status == "unphysical"
    assert "times that of the start" in gone.reason
    stuck = held(potential, Structure(Lattice.cubic(1.5), ["Ar"], [[0, 0, 0]]))
    assert stuck.status == "unphysical"
    assert "is above that of free atoms" in stuck.reason


def test_the_command_relaxes_good_files_beside_bad_ones(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    rock_salt(5.4).to(filename=str(folder / "a.cif"))
    (folder / "b.cif").write_text("data_b\nloop_\n_atom_site_label\n")
    distorted = perovskite()
    distorted.translate_sites([1], [0.02, 0.01, 0.0])
    distorted.to(filename=str(folder / "c.cif"))
    rock_salt(5.4, "Xe").to(filename=str(folder / "d.cif"))
    known = tmp_path / "known.csv"
    known.write_text("formula,formation_energy_per_atom\nNaCl,-2.0\n")
    result = oreflow("relax", folder, "--out", out, "--reference", known, "--workers", 1, "--json")
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((out / "relaxed.csv").read_text().splitlines()))
    assert [row["candidate_id"] for row in rows] == ["a", "b", "c", "d"]
    a, b, c, d = rows
    assert (a["status"], a["formula_reduced"], a["symmetry_kept"]) == ("converged", "ClNa", "True")
    assert (
        a["space_group_number_before"] == a["space_group_number_after"] == a["space_group_number_after_tight"] == "225"
    )
    assert 5.4 * (1 + float(a["volume_change"])) ** (1 / 3) == pytest.approx(5.64, rel=0.02)
    assert float(a["energy_above_hull_ev_per_atom"]) == pytest.approx(
        float(a["formation_energy_ev_per_atom"]) + 2.0, abs=1e-9
    )
    assert (b["status"], b["cif"]) == ("unreadable", "")
    assert b["reason"]
    assert (c["status"], c["formula_pretty"], c["n_competing_compounds"]) == ("converged", "SrTiO3", "0")
    assert d["formula_pretty"] == "XeCl"
    data = json.loads((out / "summary.json").read_text())
    assert data["n_by_status"]["unreadable"] == 1
    assert data["n_rows"] == data["n_candidates"] == 4
    from pymatgen.core import Structure

    text = (out / "cif" / "a.cif").read_text()
    assert "Fm-3m" in text
    again = Structure.from_file(out / "cif" / "a.cif").get_primitive_structure()
    assert again.volume == pytest.approx(2 * float(a["volume_a3_per_atom"]), rel=1e-4)


def test_bad_input_is_refused_before_any_work(tmp_path: Path) -> None:
    rock_salt(5.6).to(filename=str(tmp_path / "a.cif"))
    good, out = tmp_path / "a.cif", tmp_path / "out"
    (tmp_path / "formulas.csv").write_text("formula\nNaCl\n")
    refused("found none at", "relax", tmp_path / "none.cif", "--out", out)
    refused("holds no structures: expected a column 'structure'", "relax", tmp_path / "formulas.csv", "--out", out)
    refused("expected a CHGNet model of 0.3.0", "relax", good, "--out", out, "--model-version", "9")
    refused("expected --fmax and --time-limit above 0", "relax", good, "--out", out, "--fmax", "0")
    refused("for which none are known", "relax", good, "--out", out, "--model-version", "r2scan", "--reference", good)
    assert not out.exists()


WITHOUT = "import sys; sys.modules['chgnet'] = None; "


def test_without_chgnet_one_line_says_what_to_install(tmp_path: Path) -> None:
    rock_salt(5.6).to(filename=str(tmp_path / "a.cif"))
    out = tmp_path / "out"
    code = WITHOUT + f"sys.argv = ['oreflow', 'relax', {str(tmp_path / 'a.cif')!r}, '--out', {str(out)!r}]"
    for text in (
        code + "; from oreflow.agent.cli import main; main()",
        WITHOUT
        + "sys.argv = 'oreflow score NaCl --reward chgnet_energy'.split(); from oreflow.agent.cli import main; main()",
    ):
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("oreflow: ")
        assert line.endswith("needs CHGNet, which is not installed; pip install 'oreflow[chgnet]'")
    assert not out.exists()


def test_each_potential_has_files_of_its_own_that_import_it() -> None:
    def users(name: str) -> set[str]:
        return {
            p.relative_to(ROOT).as_posix()
            for package in MAY_IMPORT
            for p in (ROOT / package).rglob("*.py")
            if name in imported_packages(p)
        }

    assert users("chgnet") == {"rewards/potential/chgnet.py", "rewards/potential/chgnet_graph.py"}
    assert users("sevenn") == {"rewards/potential/sevennet.py"}
    assert users("ase") == {"rewards/potential/ase_calculator.py"}
