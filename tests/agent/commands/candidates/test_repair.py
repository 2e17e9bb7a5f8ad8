"""`oreflow repair` on the command line: tables in and out, exit codes, nothing lost."""

import json
from pathlib import Path

import pandas as pd

from tests.support.cli import done, oreflow, refused


def test_a_table_in_a_table_out(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("formula,note\nNaN,sodium nitride\nNaCl2,\nNaCl2,again\nFeCu,\n")
    out = tmp_path / "new folder" / "repaired.csv"
    result = done("repair", "--in", tmp_path / "mine.csv", "--out", out)
    assert "4 rows: 3 repaired, 1 no neutral formula; 1 repeat an earlier row" in result.output
    frame = pd.read_csv(out, keep_default_na=False)
    assert frame["formula"].tolist() == ["NaN", "NaCl2", "NaCl2", "FeCu"]
    assert frame["repaired"].tolist() == ["Na3N", "NaCl", "NaCl", ""]
    before = out.read_bytes()
    refused("is there already", "repair", "NaCl", "--out", out)
    assert out.read_bytes() == before
    done("repair", "NaCl", "--out", out, "--overwrite")
    assert len(pd.read_csv(out)) == 1


def test_what_cannot_be_read_sets_the_exit_code_and_costs_no_other_row(tmp_path: Path) -> None:
    out = tmp_path / "repaired.csv"
    result = oreflow("repair", "NaCl2", "Na0.5Cl0.3", "--out", out)
    assert result.exit_code == 2
    assert pd.read_csv(out)["status"].tolist() == ["repaired", "unreadable"]
    rows = json.loads(oreflow("repair", "NaCl2", "Na0.5Cl0.3", "--json").output)
    assert [row["repaired"] for row in rows] == ["NaCl", ""]
    assert rows[1]["distance"] is None


def test_no_formulas_and_wrong_options_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("formula\n")
    refused("expected formulas, or --in FILE", "repair")
    refused("expected formulas, or --in FILE with some", "repair", "--in", tmp_path / "empty.csv")
    refused("expected nearest as changes or fractions", "repair", "NaCl", "--nearest", "atoms")
    refused("did you mean 'halogens'", "repair", "NaCl", "--add", "O,halogen")
    refused("moves the fractions", "repair", "NaCl", "--method", "metropolis_hastings", "--keep-elements")
    refused("expected the name of an oxidation-state table", "repair", "NaCl", "--oxidation-table", "mine")


def test_options_reach_the_search() -> None:
    row = json.loads(done("repair", "FeCu", "--add", "F", "--mixed-valence", "--json").output)[0]
    assert row["repaired"] == "CuF2"
    assert row["oxidation_table"] == "pymatgen_common (mixed valence)"
    kept = json.loads(done("repair", "FeCu", "--add", "F", "--keep-elements", "--max-atoms", "6", "--json").output)[0]
    assert kept["repaired"] == "FeCuF4"
    none = json.loads(done("repair", "FeCu", "--add", "F", "--keep-elements", "--max-atoms", "4", "--json").output)[0]
    assert none["status"] == "no_neutral_formula"
