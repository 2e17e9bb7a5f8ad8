"""What judging refuses, warns of, or leaves out, and the sentence that says so."""

from pathlib import Path

import numpy as np
import pytest

from tests.agent.judging.samples import reference, relaxed
from tests.support.cli import oreflow, refused


@pytest.mark.kind("bad input to judge")
def test_bad_input(tmp_path: Path) -> None:
    table, known = relaxed(tmp_path / "r"), reference(tmp_path)
    (tmp_path / "formulas.csv").write_text("formula,formation_energy_per_atom\nNaCl,-2.1\n")
    refused(
        "formulas.csv holds formulas only; novelty of crystals needs structures",
        *("evaluate", table, "--reference", tmp_path / "formulas.csv"),
    )
    refused("has no formation energies, which a hull needs", "evaluate", table, "--hull", tmp_path / "formulas.csv")
    refused("expected --hull with --aligned-by", "evaluate", table, "--aligned-by", tmp_path / "formulas.csv")
    refused("is a table of formulas", "evaluate", tmp_path / "formulas.csv", "--hull", tmp_path / "formulas.csv")
    refused("expected --same-formula to be include", "evaluate", table, "--same-formula", "x")
    (tmp_path / "r" / "cif" / "new.cif").unlink()
    refused("new.cif, which is not there; keep the folder cif/ beside the table", "evaluate", table)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "relaxed.csv").write_text("candidate_id,status,energy_ev_per_atom\na,failed,\n")
    result = oreflow("evaluate", bare, "--reference", known)
    assert result.exit_code == 0
    assert "no energies above a hull in the table, so stability is not judged; give --hull FILE" in result.output
    assert "S.U.N." not in result.output.replace("novelty and S.U.N.", "")
    (bare / "relaxed.csv").write_text("candidate_id,status,energy_ev_per_atom\n")
    refused("has no row", "evaluate", bare)
    (tmp_path / "none").mkdir()
    refused("expected structures in", "evaluate", tmp_path / "none")


@pytest.mark.filterwarnings("always::oreflow.rewards.errors.ReferenceTableWarning")
@pytest.mark.kind("bad input to judge")
def test_a_hull_of_another_kind_is_refused_and_one_in_between_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    formulas = [f"{m}{x}" for m in ("Li", "Na", "K", "Rb", "Cs") for x in ("F", "Cl", "Br", "I")]
    right = dict(zip(formulas, rng.uniform(-3, -1, len(formulas))))
    names = ["substituted"]
    table = relaxed(tmp_path, names, formation_energy_ev_per_atom=[-1.9])
    for noise, said in ((2.0, "energies are of different kinds"), (0.07, "energies above their hull are no better")):
        other = {f: min(e + rng.normal(0, noise), 0.0) for f, e in right.items()}
        for name, energies in (("right.csv", right), ("other.csv", other)):
            rows = "".join(f"{f},{e}\n" for f, e in energies.items())
            (tmp_path / name).write_text("formula,formation_energy_per_atom\n" + rows)
        call = ("evaluate", table, "--hull", tmp_path / "other.csv", "--aligned-by", tmp_path / "right.csv")
        result = oreflow(*call)
        assert said in " ".join(result.output.split()), result.output
        assert result.exit_code == (2 if noise == 2.0 else 0)
    refused("expected at most 0.001", *call, "--max-residual", 0.001)
