"""CHGNet as the physics referee: `oreflow relax`, its table, and the reward `chgnet_energy`.

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
from oreflow.agent.relaxation.inputs import Candidate, read_candidates
from oreflow.agent.relaxation.summary import summary
from oreflow.agent.relaxation.table import relaxed_table
from oreflow.envs.chemistry.elements import atomic_number
from oreflow.rewards import registry
from oreflow.rewards.errors import MissingPackageError, PotentialError, RewardParameterError
from oreflow.rewards.potential.chgnet import Chgnet
from oreflow.rewards.potential.protocol import cell_of, energies_per_atom
from oreflow.rewards.potential.references import shipped_references
from oreflow.rewards.potential.relax import Relaxation, relax
from oreflow.rewards.reference.known_phases import read_reference
from oreflow.rewards.terms.energy.chgnet_energy import ChgnetEnergy
from tests.agent.relaxation.test_pool import rock_salt
from tests.support.cli import oreflow, refused
from tests.whole.test_layers import MAY_IMPORT, ROOT, imported_packages

EV_PER_KJ_PER_MOL = 1 / 96.485


@pytest.fixture(scope="module")
def potential() -> Chgnet:
    return Chgnet()


def perovskite(a: float = 3.905, along_z: float = 0.0) -> Any:
    """SrTiO3; `along_z` moves titanium, in angstrom."""
    from pymatgen.core import Lattice, Structure

    sites = [[0, 0, 0], [0.5, 0.5, 0.5 + along_z / a], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), ["Sr", "Ti", "O", "O", "O"], sites)


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


def record(before: Any, after: Any, energy: float, free: Any = None) -> dict[str, Any]:
    """What a worker gives: the end with the symmetry held, and one from a rattle."""
    second = {} if free is None else {"free": record(after, free, energy - 0.01)}
    return second | {
        "status": "converged",
        "reason": "",
        "seconds": 1.0,
        "vectors": after.lattice.matrix.tolist(),
        "fractional": after.frac_coords.tolist(),
        "energy_before_ev_per_atom": energy + 0.25,
        "energy_ev_per_atom": energy,
        "max_force_ev_per_a": 0.05,
        "n_steps": 7,
    }


def test_the_table_says_what_became_of_each(tmp_path: Path) -> None:
    mu = shipped_references().energies_ev_per_atom
    sr, ti, o = (float(mu[atomic_number(symbol)]) for symbol in ("Sr", "Ti", "O"))
    energy = (sr + ti + 3 * o) / 5 - 3.5  # so that the formation energy is -3.5 eV/atom
    ideal, bent = perovskite(), perovskite(along_z=0.30)
    candidates = [Candidate("kept", "", ideal), Candidate("bent", "", ideal), Candidate("lost", "", ideal)]
    # Held, both stay cubic; rattled, the second goes where it would rather be.
    records = [record(ideal, perovskite(4.0), energy, perovskite(4.0)), record(ideal, ideal, energy + 0.1, bent), None]
    known = tmp_path / "known.csv"
    # By hand: SrTiO3 as SrO + TiO2 has 2 atoms at -3.0 and 3 at -3.2, so -3.12 eV/atom; Sr2Ti is above the elements.
    known.write_text("formula,formation_energy_per_atom\nSrO,-3.0\nTiO2,-3.2\nTiO,-2.0\nSr2Ti,0.4\n")
    frame, structures = relaxed_table(candidates, records, "chgnet", read_reference(known))
    assert frame["candidate_id"].tolist() == ["kept", "bent"]
    assert sorted(structures) == ["cif/bent.cif", "cif/kept.cif", "cif_free/bent.cif", "cif_free/kept.cif"]
    assert frame["symmetry_kept"].tolist() == [True, False]
    assert frame["symmetry_deviation_a"].tolist() == pytest.approx([0.0, 0.48], abs=1e-3)
    assert frame["space_group_number_before"].tolist() == [221, 221]
    assert frame["space_group_number_after"].tolist() == [221, 221]
    assert frame["free_space_group_number"].tolist() == [221, 99]
    assert frame["free_energy_change_ev_per_atom"].tolist() == pytest.approx([-0.01, -0.01])
    assert frame["volume_change"].tolist() == pytest.approx([(4.0 / 3.905) ** 3 - 1, 0.0])
    assert frame["energy_change_ev_per_atom"].tolist() == pytest.approx([-0.25, -0.25])
    assert frame["formation_energy_ev_per_atom"].tolist() == pytest.approx([-3.5, -3.4], abs=1e-9)
    assert frame["hull_energy_ev_per_atom"].tolist() == pytest.approx([-3.12, -3.12])
    assert frame["energy_above_hull_ev_per_atom"].tolist() == pytest.approx([-0.38, -0.28], abs=1e-9)
    assert frame["decomposition"].tolist() == ["0.6 TiO2 + 0.4 SrO"] * 2
    assert frame["free_formation_energy_ev_per_atom"].tolist() == pytest.approx([-3.51, -3.41], abs=1e-9)
    assert frame["free_energy_above_hull_ev_per_atom"].tolist() == pytest.approx([-0.39, -0.29], abs=1e-9)
    assert frame["n_competing_compounds"].tolist() == [4, 4]
    data = summary(frame, len(candidates), "chgnet")
    assert (data["n_candidates"], data["n_rows"], data["share_symmetry_kept"]) == (3, 2, 0.5)
    assert data["share_on_or_below_hull"] == 1.0
    known.write_text("formula,formation_energy_per_atom\nSrO,-3.0\nTiO2,-3.2\nSrTiO3,-3.45\n")
    for same_formula, above in (("include", -0.05), ("exclude", -0.38)):
        frame, _ = relaxed_table(candidates[:1], records[:1], "chgnet", read_reference(known), same_formula)
        assert frame["energy_above_hull_ev_per_atom"].tolist() == pytest.approx([above], abs=1e-9)
    once, _ = relaxed_table(candidates[:1], [record(ideal, bent, energy)], "chgnet")  # without a rattle nothing is said
    assert once["symmetry_kept"].isna().all()
    assert summary(once, 1, "chgnet")["share_symmetry_kept"] is None
    nothing, _ = relaxed_table(candidates, [None] * 3, "chgnet", read_reference(known))  # stopped before the first
    assert summary(nothing, 3, "chgnet")["n_rows"] == 0
    # Formation energies are known for the model that the elements' energies were fitted to, and for no other.
    other, _ = relaxed_table(candidates, records, "chgnet-r2scan", None)
    assert other["formation_energy_ev_per_atom"].isna().all()


def test_one_geometry_of_a_decoration_is_the_best_and_what_the_table_said_is_kept(tmp_path: Path) -> None:
    import pandas as pd

    from oreflow.envs.structure_io.crystal_text import crystal_to_text

    text = crystal_to_text(salt_crystals())
    table = pd.DataFrame(
        {
            "decoration_id": ["d0", "d0", "d0", "d1", "d1", None],
            "geometry_rank": [1, 2, 3, 1, 2, 1],
            "structure": [text[0], text[0], text[0], text[1], "{}", text[1]],
        }
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    candidates = read_candidates([tmp_path / "t.csv"])
    ideal = candidates[0].structure
    failed = {"status": "crashed", "reason": "", "seconds": 1.0}
    records: list[dict[str, Any] | None] = [record(ideal, ideal, energy) for energy in (-3.0, -3.2, -3.1)]
    frame, structures = relaxed_table(candidates, [*records, failed, failed, failed], "chgnet")
    assert frame["is_best_geometry"].tolist() == [False, True, False, True, False, True]
    assert frame["decoration_id"].tolist()[:5] == ["d0", "d0", "d0", "d1", "d1"]
    assert frame["geometry_rank"].tolist() == [1, 2, 3, 1, 2, 1]
    assert "n_times_sampled" not in frame.columns
    assert len(structures) == 3
    # Without decorations each row is its own, and none of these columns is there.
    alone = [Candidate("a", "", ideal), Candidate("b", "", ideal)]
    frame, _ = relaxed_table(alone, records[:2], "chgnet")
    assert frame["is_best_geometry"].all()
    assert "decoration_id" not in frame.columns
    # Where the free track is alone, it decides.
    ends = [{"status": "converged", "reason": "", "free": one} for one in records[:3]]
    frame, _ = relaxed_table(candidates[:3], ends, "chgnet")
    assert frame["is_best_geometry"].tolist() == [False, True, False]
    assert frame["free_energy_ev_per_atom"].tolist() == [-3.0, -3.2, -3.1]
    assert frame["energy_ev_per_atom"].isna().all()


def test_the_reward_gives_formation_energies_and_energies_above_a_hull(tmp_path: Path, potential: Chgnet) -> None:
    from pymatgen.core import Lattice, Structure

    magnesia = rock_salt(4.21, "Mg")
    magnesia.replace(1, "O")
    batch = (rock_salt(5.64), Structure(Lattice.cubic(3.5), ["Am"], [[0, 0, 0]]), magnesia)
    term = registry.make_term("chgnet_energy")
    assert (term.requires, term.unit, term.batch_type) == ("structure", "eV/atom", "pymatgen")  # type: ignore[attr-defined]
    found = term(batch)
    assert found.valid.tolist() == [True, False, True]
    assert found.reasons == {1: "chgnet knows the elements H to Pu, not Am"}
    # -411.12 and -601.60 kJ/mol (CRC Handbook of Chemistry and Physics).
    wanted = np.array([-411.12, -601.60]) * EV_PER_KJ_PER_MOL / 2
    np.testing.assert_allclose(found.values[[0, 2]], wanted, atol=0.12)
    np.testing.assert_allclose(
        found.columns["chgnet_total_energy_ev_per_atom"][0], energies_per_atom(potential, batch[:1]), atol=1e-5
    )
    alone = [float(term((structure,)).values[0]) for structure in batch]
    np.testing.assert_allclose(alone, found.values, atol=1e-5)
    doubled = batch[0].copy()
    doubled.make_supercell([2, 1, 1])
    assert float(term((doubled,)).values[0]) == pytest.approx(alone[0], abs=1e-4)

    known = tmp_path / "known.csv"
    known.write_text("formula,formation_energy_per_atom\nNaCl,-2.0\n")
    above = ChgnetEnergy(reference=known)(batch[:1])
    assert above.values[0] == pytest.approx(found.values[0] + 2.0, abs=1e-6)
    assert above.columns["chgnet_decomposition"].tolist() == ["1 NaCl"]
    squeezed = ChgnetEnergy(relax=True, reference=known)((rock_salt(5.3), batch[1]))
    assert squeezed.valid.tolist() == [True, False]
    assert squeezed.values[0] == pytest.approx(above.values[0], abs=0.01)
    assert squeezed.columns["chgnet_converged"].tolist() == [True, False]
    change = float(squeezed.columns["chgnet_volume_change"][0])
    assert 5.3 * (1 + change) ** (1 / 3) == pytest.approx(5.64, rel=0.02)
    with pytest.raises(RewardParameterError, match="fmax above 0"):
        ChgnetEnergy(fmax=-1)


def test_candidates_have_distinct_names_fit_for_files(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "material_id,lattice,sites\n"
        "x/1,4 4 4 90 90 90,Po 0 0 0\n"
        "X 1,4 4 4 90 90 90,Po 0 0 0\n"
        "x,4 4 0 90 90 90,Po 0 0 0\n"
    )
    found = read_candidates([table])
    assert [c.candidate_id for c in found] == ["x_1", "X_1-2", "x"]
    assert [c.structure is None for c in found] == [False, False, True]
    assert found[2].reason
    assert len(read_candidates([table], n=1)) == 1


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


def test_the_missing_package_is_said_by_the_reward_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "chgnet", None)
    with pytest.raises(MissingPackageError, match="reward 'chgnet_energy' needs CHGNet"):
        registry.make_term("chgnet_energy")


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


def test_reference_energies_cover_the_elements_of_the_materials_project() -> None:
    energies = shipped_references().energies_ev_per_atom
    known = {z for z in range(1, 119) if np.isfinite(energies[z])}
    assert known >= set(range(1, 95)) - {10, 84, 85, 86, 87, 88}
    # Energies of the elements' PBE ground states, as the Materials Project gives them (mp-127, mp-13, mp-149, mp-23).
    for symbol, energy in (("Na", -1.31), ("Fe", -8.47), ("Si", -5.42), ("Ni", -5.78)):
        assert energies[atomic_number(symbol)] == pytest.approx(energy, abs=0.15)


def salt_crystals() -> Any:
    """NaCl in rock salt and MgO, as the environment holds crystals."""
    from oreflow.envs.structure_io.encode import encode_structures

    magnesia = rock_salt(4.21, "Mg")
    magnesia.replace(1, "O")
    crystals, rows, errors = encode_structures([rock_salt(5.64), magnesia])
    assert rows.tolist() == [0, 1]
    assert not any(errors)
    return crystals


def test_the_table_of_a_crystal_world_is_relaxed(tmp_path: Path) -> None:
    """Rows as `oreflow sample` writes them; one of them damaged."""
    import pandas as pd

    from oreflow.envs.structure_io.crystal_text import crystal_to_text

    texts = crystal_to_text(salt_crystals())
    frame = pd.DataFrame({"candidate_id": ["c0", "c1", "c2"], "structure": [texts[0], "{}", texts[1]]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    for name in ("t.csv", "t.parquet"):
        found = read_candidates([tmp_path / name])
        assert [c.candidate_id for c in found] == ["c0", "c1", "c2"]
        assert [c.structure is None for c in found] == [False, True, False]
        assert "expected a structure as" in found[1].reason
        assert found[0].structure.volume == pytest.approx(5.64**3 / 4, rel=1e-6)
        assert len(found[2].structure) == 2


def test_the_reward_is_isolated_with_crystals() -> None:
    """A config's `isolated: true`: the term in a process of its own, asked about the environment's own batches."""
    from oreflow.rewards.contract.evaluation import evaluate_term
    from oreflow.rewards.isolation.term import IsolatedTerm

    crystals = salt_crystals()
    here = evaluate_term(registry.make_term("chgnet_energy"), crystals)
    isolated = IsolatedTerm("chgnet_energy", {}, time_limit_s=120.0)
    try:
        there = evaluate_term(isolated, crystals)
    finally:
        isolated.close()
    assert here.valid.tolist() == there.valid.tolist() == [True, True]
    np.testing.assert_allclose(here.values, there.values, atol=1e-5)
    np.testing.assert_allclose(here.values, np.array([-411.12, -601.60]) * EV_PER_KJ_PER_MOL / 2, atol=0.12)
