"""The table for people: its columns and digits, and how the full table beside it fills it up."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oreflow.agent.errors import TableError
from oreflow.agent.tables.formulas import read_table, write_csv
from oreflow.agent.tables.full_table import where_columns_are
from oreflow.agent.tables.people import MOST_COLUMNS, for_people, people_columns
from oreflow.agent.tables.structures import export
from oreflow.rewards.reference.tables import read_table as as_it_is
from tests.support.cli import done, refused

OF_TERMS = [name for i in range(12) for name in (f"term_{i}_ev", f"term_{i}_valid", f"term_{i}_log_score")]
FIRST = (
    "candidate_id rank formula formula_pretty formula_reduced formula_anonymous chemsys nelements nsites anion "
    "space_group_number {}wyckoff_label {}log_reward log_reward_std"
)
LAST = "formation_energy_per_atom_pred formation_energy_std oxidation_states is_unique n_times_sampled is_novel log_pf"


def names(n_terms: int, of_crystal: bool = False, more: str = "") -> list[str]:
    first = FIRST.format("space_group_symbol " if of_crystal else "", "protostructure " if of_crystal else more)
    return [*first.split(), *OF_TERMS[: 3 * n_terms], *LAST.split(), *(["structure"] if of_crystal else [])]


@pytest.mark.parametrize("n_terms", [0, 1, 3, 6, 12])
@pytest.mark.parametrize("of_crystal", [False, True])
@pytest.mark.parametrize("has_novelty", [False, True])
def test_ten_to_fifteen_columns(n_terms: int, of_crystal: bool, has_novelty: bool) -> None:
    chosen = people_columns(names(n_terms, of_crystal), has_novelty)
    assert 10 <= len(chosen) <= MOST_COLUMNS == 15
    assert len(set(chosen)) == len(chosen)
    head = ["candidate_id", "rank", "formula", "anion"]
    head += ["space_group_symbol", "wyckoff_label"] if of_crystal else []
    assert chosen[: len(head) + 1] == [*head, "log_reward"]
    assert ("is_novel" in chosen) == has_novelty
    terms = [name for name in chosen if name.startswith("term_")]
    assert terms == [f"term_{i}_ev" for i in range(len(terms))]
    assert len(terms) == min(n_terms, 11 - len(head) - has_novelty)
    assert {"n_times_sampled", "formation_energy_per_atom_pred", "formation_energy_std"} <= set(chosen)


def test_columns_of_the_world_come_before_log_r() -> None:
    chosen = people_columns(names(2, more="changes log_target log_prior "), False)
    assert chosen[4:7] == ["changes", "log_reward", "term_0_ev"]
    assert chosen.index("log_prior") > chosen.index("n_times_sampled")
    assert "log_target" not in chosen


def test_an_energy_that_is_a_term_is_not_said_twice() -> None:
    energy = ["formation_energy_ev_per_atom", "formation_energy_valid", "formation_energy_log_score"]
    all_names = [*FIRST.format("", "").split(), *energy, *LAST.split()]
    chosen = people_columns(all_names, False)
    assert chosen.count("formation_energy_ev_per_atom") == 1
    assert "formation_energy_per_atom_pred" not in chosen


def test_digits() -> None:
    frame = pd.DataFrame(
        {
            "log_reward": [-0.25001, 1.0, np.nan, 0.0],
            "complexity_nats": [0.6931, -0.001, 12.0, 1.999],
            "energy_above_hull_ev_per_atom": [0.1, -0.00001, 1.23456, np.nan],
            "scarcity_hhi": [2291.4, 0.0, 123456.7, 0.1],
            "tiny": [0.000012345, 0.0123456, -7.0, np.inf],
            "n": [1, 2, 3, 4],
            "flag": pd.array([True, None, False, True], dtype="boolean"),
        }
    )
    shown = for_people(frame, list(frame.columns), 1)
    assert shown["log_reward"].tolist() == ["-0.3", "1.0", None, "0.0"]
    assert shown["complexity_nats"].tolist() == ["0.69", "0.00", "12.00", "2.00"]
    assert shown["energy_above_hull_ev_per_atom"].tolist() == ["0.100", "0.000", "1.235", None]
    assert shown["scarcity_hhi"].tolist() == ["2291", "0", "123457", "0.1"]
    assert shown["tiny"].tolist() == ["1.234e-05", "0.01235", "-7", "inf"]
    assert shown["n"].tolist() == [1, 2, 3, 4]
    assert shown["flag"].equals(frame["flag"])
    assert for_people(frame, ["n", "log_reward"], 2)["log_reward"].iloc[0] == "-0.25"


FULL = pd.DataFrame(
    {
        "candidate_id": ["c0000001", "c0000002", "c0000003"],
        "rank": [1, 3, 2],
        "formula": ["NaN", "NaCl", "Ca(OH)2"],
        "formula_reduced": ["NNa", "ClNa", "CaH2O2"],
        "log_reward": [-0.123456, -0.5, -0.25],
        "is_unique": [True, True, True],
        "note": ["=1", "b", "c"],
        "structure": ["", "x", ""],
    }
)
SLIM = FULL[["candidate_id", "rank", "formula", "log_reward"]].round({"log_reward": 1})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    FULL.to_parquet(tmp_path / "candidates.parquet")
    write_csv(SLIM, tmp_path / "candidates.csv")
    return tmp_path


def test_the_full_table_fills_up_the_one_for_people(folder: Path) -> None:
    found = read_table(folder / "candidates.csv")
    pd.testing.assert_frame_equal(found.reset_index(drop=True), FULL)
    assert found["formula"].tolist() == ["NaN", "NaCl", "Ca(OH)2"]
    assert where_columns_are(found) == ""


@pytest.mark.parametrize("name", ["candidates.csv", "picked.csv"])
def test_rows_and_columns_of_the_user_stay(folder: Path, name: str) -> None:
    """Some of the rows, in an order of the user's, with notes, saved under the same name or another."""
    mine = SLIM.iloc[[2, 0]].assign(mine=["first", "second"])
    write_csv(mine, folder / name)
    found = read_table(folder / name)
    assert found["candidate_id"].tolist() == ["c0000003", "c0000001"]
    assert found["mine"].tolist() == ["first", "second"]
    assert found["log_reward"].tolist() == [-0.25, -0.123456]
    assert found["note"].tolist() == ["c", "=1"]
    assert found.index.tolist() == as_it_is(folder / name).index.tolist()  # rows as errors count them


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"formula": ["NaN", "KBr", "Ca(OH)2"]}, "c0000002 is NaCl there, and KBr here"),
        ({"log_reward": [-0.1, -0.5, -0.9]}, "c0000003 has log R -0.25 there, and -0.90 here"),
        ({"candidate_id": ["c0000001", "c0000009", "c0000003"]}, "it has no c0000009"),
        ({"candidate_id": ["c0000001", "c0000001", "c0000003"]}, "c0000001 occurs twice in the CSV"),
    ],
)
def test_the_full_table_of_other_candidates_is_not_taken(folder: Path, change: dict, said: str) -> None:
    write_csv(SLIM.assign(**change), folder / "candidates.csv")
    found = read_table(folder / "candidates.csv")
    assert list(found.columns) == list(SLIM.columns)
    assert said in where_columns_are(found)
    with pytest.raises(TableError, match=r"expected a column 'structure'.* is of other candidates \(") as caught:
        export(found, "candidates.csv", folder / "out", "cif")
    assert said in str(caught.value)


def test_without_the_full_table_an_error_says_where_columns_are(folder: Path) -> None:
    (folder / "candidates.parquet").unlink()
    table = folder / "candidates.csv"
    hint = "is a table for people, with few columns; candidates.parquet, which is written beside it, has all"
    refused(hint, "relax", table, "--out", folder / "relaxed")
    refused(hint, "realise", table, "--out", folder / "realised")
    refused(hint, "export", table, "--out", folder / "cifs")
    refused(hint, "select", table, "-n", 2, "--by", "log_pf")
    assert hint in done("evaluate", table).stderr


def test_tables_of_others_are_read_as_they_are(folder: Path) -> None:
    """Also beside a Parquet file that has their ids: no log R, or every column of a full table."""
    for frame in (FULL[["candidate_id", "formula"]], FULL[["formula"]], FULL.drop(columns=["structure"])):
        write_csv(frame, folder / "candidates.csv")
        found = read_table(folder / "candidates.csv")
        pd.testing.assert_frame_equal(found, as_it_is(folder / "candidates.csv"))
        assert where_columns_are(found) == ""
