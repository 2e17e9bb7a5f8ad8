"""`oreflow evaluate` on relaxed crystals: figures counted by hand, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from oreflow.agent.errors import JudgingError
from oreflow.agent.evaluation.statistics import wilson
from oreflow.agent.judging.judge import Rule
from oreflow.agent.judging.report import report
from tests.agent.judging.samples import KNOWN, ROWS, reference, relaxed, rock_salt
from tests.support.cli import done, refused


def counts(result: Any) -> dict[str, int]:
    return {key: figure["count"] for key, figure in result.metrics["figures"].items()}


def judged(result: Any) -> pd.DataFrame:
    return result.table.set_index("candidate_id")


def test_figures_counted_by_hand(tmp_path: Path) -> None:
    """Nine sampled objects.

    known: SrTiO3, in the reference. twin, substituted: KBr twice; the second is lower and a rock salt with other
    elements. unstable, between: LiF and MgF2 with the positions of ZnS and TiO2. new: PbFCl, whose positions nobody
    has. sulphide: BeS on the threshold. unfinished: RbI, not converged. failed: nothing.
    """
    result = report(relaxed(tmp_path), Rule(reference(tmp_path)))
    assert result.metrics["n_sampled"] == 9
    assert result.metrics["n_by_status"] == {"converged": 7, "not_converged": 1, "unphysical": 1}
    found = counts(result)
    hand = {
        "unique": 7,  # all but twin and failed
        "novel": 7,  # all but known and failed: a twin is novel, too
        "novel_prototype": 1,  # new
        "formula_not_listed": 7,
        "on_or_below_hull": 2,  # known, new
        "stable": 5,  # known, twin, substituted, new, sulphide
        "metastable": 6,  # and between
        "sun": 3,  # substituted, new, sulphide
        "msun": 4,
        "symmetric_sun": 2,  # new ended in P1
        "symmetric_msun": 3,
        "new_prototype_sun": 1,
        "unlisted_sun": 3,
        "free_on_or_below_hull": 2,
        "free_stable": 5,  # known, twin, substituted, new, between
        "free_metastable": 6,  # and sulphide
        "free_sun": 3,  # substituted, new, between
        "free_msun": 4,
        "free_symmetric_sun": 1,  # substituted
        "symmetric": 8,  # of the structures in the CIFs
    }
    assert {key: found[key] for key in hand} == hand
    table = judged(result)
    assert table.index[table["is_sun"] == True].tolist() == ["substituted", "new", "sulphide"]  # noqa: E712
    assert table.loc["known", ["is_stable", "is_novel", "known_as", "is_sun"]].tolist() == [True, False, "mp-2", False]
    assert table.loc["twin", ["is_unique", "duplicate_of", "is_sun"]].tolist() == [False, "substituted", False]
    assert table.loc["substituted", ["novel_prototype", "prototype_of"]].tolist() == [False, "mp-1"]
    assert table.loc["unstable", ["is_novel", "prototype_of", "is_stable"]].tolist() == [True, "mp-4", False]
    assert table.loc["between", "prototype_of"] == "mp-5"
    assert table.loc["new", ["novel_prototype", "prototype_of", "is_sun"]].tolist() == [True, "", True]
    assert table.loc["failed", ["is_stable", "is_unique", "is_novel", "is_valid"]].tolist() == [False] * 4
    assert table.loc["unfinished", ["is_stable", "is_novel"]].tolist() == [False, True]


def test_each_line_says_what_the_figure_was_measured_by(tmp_path: Path) -> None:
    table = relaxed(tmp_path)
    hull = {"reference": "/somewhere/hull.csv", "n_phases": 321}
    (tmp_path / "summary.json").write_text(json.dumps({"model": "CHGNet 0.3.0", "hull": hull}))
    result = report(table, Rule(reference(tmp_path), stable=0.08, metastable=0.1))
    (line,) = (line for line in result.lines if line.startswith("S.U.N.   "))
    low, high = wilson(3, 9)
    for words in (
        f"33.3%  ({low:.1%} to {high:.1%})  3 of n = 9",
        "at most 0.08 eV/atom",
        "hull.csv as `oreflow relax` took it (321 phases, not aligned)",
        "CHGNet 0.3.0, symmetry held",
        "novelty against known.csv (5 structures), StructureMatcher ltol 0.2, stol 0.3, angle_tol 5",
    ):
        assert words in line, line
    (line,) = (line for line in result.lines if line.startswith("M.S.U.N., free"))
    assert "at most 0.1 eV/atom" in line
    assert "free after a rattle" in line
    assert any(line.startswith("of the S.U.N. hits: new prototype") and "1 of n = 3" in line for line in result.lines)


def test_wilson_is_scipys() -> None:
    from scipy.stats import binomtest

    for k, n in ((0, 1), (0, 20), (3, 9), (331, 1000), (20, 20)):
        expected = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
        assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_duplicate_draws_are_in_the_denominator_and_their_hit_counts_once(tmp_path: Path) -> None:
    names = ["known", "substituted", "unstable", "failed"]
    table = relaxed(tmp_path, names, n_times_sampled=[2, 5, 1, 3])
    result = report(table, Rule(reference(tmp_path)))
    assert result.metrics["n_sampled"] == 11
    found = counts(result)
    assert (found["stable"], found["novel"], found["unique"], found["sun"]) == (7, 6, 3, 1)
    assert counts(report(table, Rule(reference(tmp_path), n_sampled=50))) == found
    assert report(table, Rule(reference(tmp_path), n_sampled=50)).metrics["figures"]["sun"]["n"] == 50
    with pytest.raises(JudgingError, match=r"expected --sampled of at least 11, the draws that .* shows, got 10"):
        report(table, Rule(n_sampled=10))


def test_the_lowest_geometry_stands_for_its_decoration(tmp_path: Path) -> None:
    names = ["twin", "substituted", "unstable", "failed"]
    of = {"decoration_id": ["d1", "d1", "d2", "d2"], "n_times_sampled": [4, 4, 1, 1]}
    result = report(relaxed(tmp_path, names, **of), Rule(reference(tmp_path)))
    table = judged(result)
    assert table["stands_for_decoration"].tolist() == [False, True, True, False]
    assert table["decoration_id"].tolist() == ["d1", "d1", "d2", "d2"]
    assert pd.isna(table.loc["twin", "is_stable"])
    assert (result.metrics["n_sampled"], counts(result)["stable"], counts(result)["sun"]) == (5, 4, 1)
    marked = relaxed(tmp_path, names, is_best_geometry=[True, False, True, False], **of)
    assert judged(report(marked, Rule(reference(tmp_path))))["stands_for_decoration"].tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_the_hull_is_recomputed_and_aligned(tmp_path: Path) -> None:
    """The phases of the hull lie 0.3 eV too high for each share of oxygen; the potential's are those of `right`."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    right = {
        "SrO": -3.0,
        "TiO2": -3.3,
        "KBr": -2.0,
        "MgF2": -3.9,
        "LiF": -3.1,
        "BeS": -1.2,
        "PbF2": -2.3,
        "PbCl2": -1.2,
    }
    metals = ("Li", "Na", "K", "Rb", "Cs", "Be", "Mg", "Ca", "Ba", "Al", "Ga", "In", "Sc", "Y", "La", "Zr", "Hf", "Sr")
    right |= {f"{m}{n}": -1.0 - 0.1 * i for i, m in enumerate(metals) for n in ("2O", "O3")}
    wrong = {f: e + 0.3 * Composition(f).get_atomic_fraction("O") for f, e in right.items()}
    for name, energies in (("right.csv", right), ("wrong.csv", wrong)):
        rows = "".join(f"{f},{e}\n" for f, e in energies.items() if (name, f) != ("right.csv", "TiO2"))
        (tmp_path / name).write_text("formula,formation_energy_per_atom\n" + rows)
    names = ["known", "substituted", "new"]
    formation = {"known": -3.4, "substituted": -1.99, "new": -2.1}
    table = relaxed(tmp_path, names, formation_energy_ev_per_atom=list(formation.values()))
    rule = Rule(hull=tmp_path / "wrong.csv", aligned_by=tmp_path / "right.csv")
    result = report(table, rule)
    entries = [PDEntry(Composition(f), e * Composition(f).num_atoms) for f, e in right.items()]
    entries += [PDEntry(Composition(s), 0.0) for s in {str(x) for f in right for x in Composition(f).elements}]
    diagram = PhaseDiagram(entries)
    for name, energy in formation.items():
        expected = energy - diagram.get_hull_energy_per_atom(ROWS[name][0].composition)
        above = judged(result).loc[name, "energy_above_hull_ev_per_atom"]
        assert above == pytest.approx(expected, abs=0.03 if name == "known" else 1e-3), name
    plain = judged(report(table, Rule(hull=tmp_path / "wrong.csv")))
    assert plain.loc["known", "energy_above_hull_ev_per_atom"] < -0.2
    assert result.metrics["alignment"]["n_common_formulas"] == 43
    assert any("wrong.csv aligned to right.csv (44 phases, alignment residual 0.0" in line for line in result.lines)
    assert counts(result)["formula_not_listed"] == 2  # KBr is a phase of the hull


def test_a_table_of_the_free_track_alone(tmp_path: Path) -> None:
    path = relaxed(tmp_path, ["twin", "substituted", "new"])
    frame = pd.read_csv(path)
    frame["free_cif"], frame["free_energy_ev_per_atom"] = frame["cif"], [-4.0, -4.1, -4.2]
    frame["free_formation_energy_ev_per_atom"] = [-1.9, -1.95, -2.0]
    for column in ("cif", "energy_ev_per_atom", "energy_above_hull_ev_per_atom", "space_group_number_after"):
        frame[column] = None
    frame.to_csv(path, index=False)
    card = {"name": "7net-0", "version": "11July2024"}
    (tmp_path / "summary.json").write_text(json.dumps({"potential": card}))
    result = report(path, Rule(reference(tmp_path)))
    assert (counts(result)["free_stable"], counts(result)["free_sun"], "stable" in counts(result)) == (3, 2, False)
    assert judged(result).loc["twin", "duplicate_of"] == "substituted"
    assert any("7net-0 11July2024, free after a rattle" in line for line in result.lines)
    (tmp_path / "hull.csv").write_text("formula,formation_energy_per_atom\nKBr,-2.0\n")
    again = judged(report(path, Rule(hull=tmp_path / "hull.csv")))
    assert again["free_energy_above_hull_ev_per_atom"].tolist() == pytest.approx([0.1, 0.05, -2.0])


def test_two_referees(tmp_path: Path) -> None:
    first = relaxed(tmp_path / "a")
    second = relaxed(tmp_path / "b")
    frame = pd.read_csv(second, keep_default_na=False).iloc[::-1]
    above = dict(zip(frame["candidate_id"], frame["energy_above_hull_ev_per_atom"]))
    above |= {"substituted": 0.5, "between": 0.01}
    frame["energy_above_hull_ev_per_atom"] = [above[name] for name in frame["candidate_id"]]
    frame[frame["candidate_id"] != "new"].to_csv(second, index=False)
    (tmp_path / "b" / "summary.json").write_text(json.dumps({"model": "7net-l3i5"}))
    result = report(first, Rule(reference(tmp_path)), second)
    found = result.metrics["referees"]["held"]
    # known, twin, sulphide stable by both; substituted by the first; between by the second; unstable by neither.
    assert [found[f"n_{key}"] for key in ("both", "first_only", "second_only", "neither")] == [3, 1, 1, 1]
    assert found["share_agreed"] == pytest.approx(4 / 6)
    pairs = np.array([[0, 0.03, 0.02, 0.3, 0.09, 0.08], [0, 0.03, 0.5, 0.3, 0.01, 0.08]])
    from scipy.stats import spearmanr

    assert found["rank_correlation"] == pytest.approx(spearmanr(*pairs).statistic)
    assert (counts(result)["stable_by_both"], counts(result)["sun_by_both"]) == (3, 1)
    assert any("S.U.N. by both" in line and "7net-l3i5" in line for line in result.lines)
    (tmp_path / "c").mkdir()
    frame["candidate_id"] = "other-" + frame["candidate_id"]
    frame["cif"] = ""
    frame.to_csv(tmp_path / "c" / "relaxed.csv", index=False)
    with pytest.raises(JudgingError, match="have no candidate_id in common"):
        report(first, Rule(), tmp_path / "c" / "relaxed.csv")


def test_diversity_by_hand(tmp_path: Path) -> None:
    names = ["substituted", "twin", "between", "known"]
    result = report(relaxed(tmp_path, names, n_times_sampled=[2, 1, 1, 4]), Rule(reference(tmp_path)))
    found = result.metrics["diversity"]
    # Draws: 3 in 225, 1 in 136, 4 in 221; reference: 2 in 225, and one each in 221, 216, 136.
    p = {225: 3 / 8, 136: 1 / 8, 221: 4 / 8, 216: 0}
    q = {225: 2 / 5, 136: 1 / 5, 221: 1 / 5, 216: 1 / 5}
    from scipy.spatial.distance import jensenshannon

    expected = jensenshannon(list(p.values()), list(q.values())) ** 2
    assert found["space_groups_jensen_shannon_nats"] == pytest.approx(expected)
    assert found["n_space_groups"] == 3
    assert found["entropy_space_groups_nats"] == pytest.approx(-sum(x * np.log(x) for x in p.values() if x))
    assert (found["n_chemical_systems"], found["n_chemical_systems_of_sun"]) == (3, 1)


def test_the_verb_writes_metrics_and_the_table(tmp_path: Path) -> None:
    table, known = relaxed(tmp_path / "r"), reference(tmp_path)
    printed = done("evaluate", table, "--reference", known).output
    assert "S.U.N." in printed
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert metrics["figures"]["sun"]["count"] == 3
    rows = pd.read_csv(tmp_path / "r" / "judged.csv")
    assert rows["candidate_id"].tolist() == list(ROWS)
    assert rows["is_sun"].sum() == 3
    done("evaluate", tmp_path / "r", "--threshold", 0.05, "--reference", known)  # the folder, again
    assert json.loads((tmp_path / "r" / "metrics.json").read_text())["figures"]["sun"]["count"] == 2
    (tmp_path / "r" / "judged.csv").write_text("mine")
    refused("judged.csv is there already", "evaluate", table)


def test_uniqueness_and_novelty_are_pymatgens(tmp_path: Path, rng: np.random.Generator) -> None:
    """Strained and displaced copies, against all pairs compared by the matcher itself."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    from oreflow.agent.judging.matching import duplicates

    matcher = StructureMatcher()
    structures: list[Any] = []
    for _ in range(12):
        structure = (rock_salt("Na", "Cl", 5.6) if rng.random() < 0.5 else KNOWN["mp-5"]).copy()
        structure.apply_strain(rng.normal(0, 0.08, 3))
        structures.append(structure.perturb(float(rng.uniform(0, 0.8))) or structure)
    structures.insert(3, None)
    same = duplicates(structures, range(len(structures)))
    kept: list[int] = []
    for place, structure in enumerate(structures):
        match = None if structure is None else next((k for k in kept if matcher.fit(structures[k], structure)), None)
        assert same[place] == match
        if structure is not None and match is None:
            kept.append(place)
    assert 2 < len(kept) < 12
