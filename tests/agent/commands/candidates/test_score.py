"""`oreflow score`: values of formulas, each in its place, and of rewards of the user's own."""

import json
from pathlib import Path

import pytest

from oreflow.agent.tables.formulas import read_table
from tests.support.cli import done, oreflow, plugin

NUMBERS = (
    "charge_balance_e",
    "electronegativity_balance_verdict",
    "formation_energy_ev_per_atom",
    "formation_energy_std",
)


def test_score_by_hand() -> None:
    rows = json.loads(done("score", "NaCl", "Fe3O4", "NaN", "CsPbI3", "H2O", "Og", "--json").stdout)
    by_hand = [
        ("NaCl", "ClNa", 0, 1, True, "1 Na+; 1 Cl-"),
        ("Fe3O4", "Fe3O4", 1, 0, False, ""),
        ("NaN", "NNa", 2, 0, False, ""),
        ("CsPbI3", "CsI3Pb", 0, 1, True, "1 Cs+; 1 Pb2+; 3 I-"),
        ("H2O", "H2O", 0, 1, True, "2 H+; 1 O2-"),
        ("Og", "Og", None, None, None, ""),
    ]
    keys = ("formula", "formula_reduced", *NUMBERS[:2], "charge_neutral", "oxidation_states")
    assert [tuple(row[key] for key in keys) for row in rows] == by_hand
    assert {row["oxidation_table"] for row in rows} == {"pymatgen_common"}
    assert [row["formation_energy_ev_per_atom"] is None for row in rows] == [False] * 5 + [True]
    assert rows[0]["formation_energy_ev_per_atom"] < -1.0
    assert rows[1]["note"] == "neutral only with mixed valence: 1 Fe2+; 2 Fe3+; 4 O2-"
    assert "charge_balance: no oxidation state of Og in pymatgen_common" in rows[5]["note"]
    assert "formation_energy: Og outside" in rows[5]["note"]
    assert rows[0]["note"] == ""


def test_score_with_mixed_valence_and_another_table() -> None:
    mixed = json.loads(done("score", "Fe3O4", "--mixed-valence", "--json").stdout)[0]
    assert (mixed["charge_balance_e"], mixed["oxidation_states"]) == (0, "1 Fe2+; 2 Fe3+; 4 O2-")
    assert (mixed["oxidation_table"], mixed["note"]) == ("pymatgen_common (mixed valence)", "")
    assert (
        json.loads(done("score", "NaN", "--oxidation-table", "smact14", "--json").stdout)[0]["charge_neutral"] is True
    )


def test_score_prints_a_table_and_names_its_rule() -> None:
    lines = done("score", "NaCl", "Og", "--reward", "charge_balance").stdout.splitlines()
    assert lines[0].split() == [
        "formula",
        "charge_balance_e",
        "charge_neutral",
        "oxidation_states",
        "note",
    ]
    assert lines[2].split() == ["NaCl", "0", "True", "1", "Na+;", "1", "Cl-"]
    assert lines[3].startswith("Og")
    assert "nan" not in " ".join(lines).lower().replace("formation", "")
    assert lines[-1] == "neutrality by pymatgen_common"


def test_score_keeps_the_place_of_what_it_cannot_read(tmp_path: Path) -> None:
    result = oreflow("score", "NaCl", "Fe0.5O", "=1+1", "NaN", "Og", "--json")
    assert result.exit_code == 2
    rows = json.loads(result.stdout)
    assert [row["formula"] for row in rows] == ["NaCl", "Fe0.5O", "=1+1", "NaN", "Og"]
    assert [row["charge_balance_e"] for row in rows] == [0, None, None, 2, None]
    assert ["no oxidation state of Og" in row["note"] for row in rows] == [False] * 4 + [True]
    assert "got 0.5 Fe in 'Fe0.5O'" in rows[1]["note"]
    assert (rows[1]["charge_neutral"], rows[1]["formula_reduced"]) == (None, "")
    assert oreflow("score", "??", "--json").exit_code == 2  # none at all

    result = oreflow("score", "=1+1", "NaN", "--out", tmp_path / "new folder" / "scores.csv")
    assert result.exit_code == 2
    assert "2 rows written to" in result.stdout
    assert read_table(tmp_path / "new folder" / "scores.csv")["formula"].tolist() == ["'=1+1", "NaN"]


def test_score_reads_a_table_and_a_reward_of_the_users_own(tmp_path: Path) -> None:
    table = tmp_path / "in.csv"
    table.write_text("name,formula\n1,NaN\n2,LiFePO4\n")
    own = plugin(tmp_path, unit="")
    rows = json.loads(done("score", "KCl", "--in", table, "--reward", "mine", "--plugin", own, "--json").stdout)
    assert [(row["formula"], row["mine"]) for row in rows] == [("KCl", 2.0), ("NaN", 2.0), ("LiFePO4", 4.0)]
    assert rows[2]["spread"] == pytest.approx(4 / 7)


def test_score_blames_the_item_that_a_reward_fails_on(tmp_path: Path) -> None:
    own = plugin(tmp_path, values="values if values.max() < 4 else 1 / 0")
    result = done("score", "NaCl", "LiFePO4", "--reward", "mine", "--plugin", own, "--json")
    rows = json.loads(result.stdout)
    assert [row["mine_kg"] for row in rows] == [2.0, None]
    assert rows[1]["note"] == "mine: ZeroDivisionError: division by zero"


@pytest.mark.kind("mixed valence")
@pytest.mark.parametrize("formula", ["Sb2O4", "SbO2", "TlBr2", "Cs2SbCl6", "Fe3O4"])
def test_mixed_valence_judges_a_crystal_of_many_formula_units(formula: str) -> None:
    (row,) = json.loads(done("score", formula, "--mixed-valence", "--json").stdout)
    assert (row["charge_balance_e"], row["charge_neutral"]) == (0, True)
    (plain,) = json.loads(done("score", formula, "--json").stdout)
    assert plain["charge_neutral"] is False
    assert plain["note"] == f"neutral only with mixed valence: {row['oxidation_states']}"
