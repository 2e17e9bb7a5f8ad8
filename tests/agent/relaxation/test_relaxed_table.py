"""The table of relaxed candidates: what became of each, against hand-made geometry and energies, and what is read."""

from pathlib import Path
from typing import Any

import pytest

from oreflow.agent.relaxation.inputs import Candidate, read_candidates
from oreflow.agent.relaxation.summary import summary
from oreflow.agent.relaxation.table import relaxed_table
from oreflow.envs.chemistry.elements import atomic_number
from oreflow.rewards.potential.references import shipped_references
from oreflow.rewards.reference.known_phases import read_reference
from tests.support.small_crystals import perovskite, salt_crystals

EV_PER_KJ_PER_MOL = 1 / 96.485


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
