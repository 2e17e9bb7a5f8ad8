"""`oreflow merge`: the same objects are one row, their draws add up, and every row says where it comes from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from oreflow.envs.structure_io.crystal_text import crystal_from_text, crystal_to_text
from tests.support.cli import CONFIG, done, refused
from tests.support.small_crystals import salt_crystals


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one config, one with distinct candidates and one with raw draws."""
    folder = tmp_path_factory.mktemp("merge")
    (folder / "config.yaml").write_text(CONFIG)
    done("train", folder / "config.yaml", "--seeds", "0-1", "--out", folder / "seeds", "-q")
    done("sample", folder / "seeds" / "seed_0", "-n", 60, "--unique", "-q")
    done("sample", folder / "seeds" / "seed_1", "-n", 150, "-q")
    return folder / "seeds"


def full(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "candidates.parquet")


def table(path: Path, formulas: list[str], **columns: Any) -> Path:
    """A table of candidates as it might come from elsewhere."""
    ids = [f"c{row + 1:07d}" for row in range(len(formulas))]
    frame = pd.DataFrame({"candidate_id": ids, "formula_reduced": formulas, "log_reward": 0.0} | columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    return path


def test_objects_are_joined_their_draws_added_and_their_rows_named(sampled: Path, tmp_path: Path) -> None:
    shown = done("merge", sampled / "seed_0", sampled / "seed_1", "--out", tmp_path / "both").stdout
    one, two, both = full(sampled / "seed_0/samples"), full(sampled / "seed_1/samples"), full(tmp_path / "both")
    assert not two["is_unique"].all(), "raw draws, in which formulas come again"
    draws = dict.fromkeys(both["formula_reduced"], 0)
    for formula, n in zip(one["formula_reduced"], one["n_times_sampled"]):
        draws[formula] += n
    for formula in two["formula_reduced"]:
        draws[formula] += 1
    assert set(draws) == set(one["formula_reduced"]) | set(two["formula_reduced"])
    assert dict(zip(both["formula_reduced"], both["n_times_sampled"])) == draws
    assert both["is_unique"].all()
    assert both["formula_reduced"].is_unique
    rows_of = {
        f"{seed} {name}": formula
        for seed, frame in (("seed_0", one), ("seed_1", two))
        for name, formula in zip(frame["candidate_id"], frame["formula_reduced"])
    }
    named = {}
    for formula, sources in zip(both["formula_reduced"], both["sources"]):
        named |= {source.partition(" (")[0]: formula for source in sources.split("; ")}
    assert named == rows_of, "each row that was read stands in exactly one row's sources"
    summary = json.loads((tmp_path / "both/summary.json").read_text())
    assert summary["n_draws"] == draws_of(one) + 150 == sum(table["n_draws"] for table in summary["tables"])
    assert f"{len(both)} candidates from {len(one) + 150} rows of 2 tables, {summary['n_draws']} draws" in shown


def draws_of(frame: pd.DataFrame) -> int:
    return int(frame["n_times_sampled"].sum())


def test_rows_stand_in_the_order_of_tables_of_candidates(sampled: Path, tmp_path: Path) -> None:
    done("merge", sampled / "seed_0", "--out", tmp_path / "alone", "-q")
    before, after = full(sampled / "seed_0/samples"), full(tmp_path / "alone")
    assert list(after.columns) == [*before.columns, "sources"]
    for name in before.columns:
        cells = [frame[name].astype(object).where(frame[name].notna(), None).tolist() for frame in (after, before)]
        assert cells[0] == cells[1], name
    done("merge", sampled / "seed_1", sampled / "seed_0", "--out", tmp_path / "both", "-q")
    both = full(tmp_path / "both").sort_values("rank")
    decimals = json.loads((tmp_path / "both/summary.json").read_text())["log_reward_decimals"]
    assert (np.diff(both["log_reward"].round(decimals)) <= 0).all()
    assert both["rank"].tolist() == list(range(1, len(both) + 1))
    assert full(tmp_path / "both")["candidate_id"].tolist() == [f"c{i + 1:07d}" for i in range(len(both))]


def test_tables_for_people_merge_as_the_full_ones_do(sampled: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        tables = [sampled / seed / "samples" / f"candidates.{suffix}" for seed in ("seed_0", "seed_1")]
        done("merge", *tables, "--out", tmp_path / suffix, "-q")
    one, two = full(tmp_path / "csv"), full(tmp_path / "parquet")
    assert one["formula_reduced"].tolist() == two["formula_reduced"].tolist()
    assert one["n_times_sampled"].tolist() == two["n_times_sampled"].tolist()
    shown = (tmp_path / "csv/candidates.csv").read_text().splitlines()[0]
    assert "n_times_sampled" in shown
    assert "is_novel" not in shown, "nothing was compared with"


def test_what_was_merged_can_be_merged_again(sampled: Path, tmp_path: Path) -> None:
    done("merge", sampled / "seed_0", sampled / "seed_1", "--out", tmp_path / "both", "-q")
    other = table(tmp_path / "other/candidates.parquet", ["O3Li2Mn2"], n_times_sampled=5)
    done("merge", tmp_path / "both", other, "--out", tmp_path / "all", "-q")
    before, after = full(tmp_path / "both"), full(tmp_path / "all")
    assert draws_of(after) == draws_of(before) + 5
    kept = dict(zip(before["formula_reduced"], before["sources"]))
    assert all(kept[f] in sources for f, sources in zip(after["formula_reduced"], after["sources"]) if f in kept)


def test_columns_that_differ_are_filled_from_whichever_table_has_them(tmp_path: Path) -> None:
    one = table(tmp_path / "a/t.parquet", ["Li2O", "NaCl"], gap=[np.nan, 5.0], stable=[True, False])
    two = table(tmp_path / "b/t.parquet", ["OLi2", "Mg2O2", "ClNa"], gap=[7.5, 4.5, 9.0], note=["x", "y", "z"])
    done("merge", one, two, "--out", tmp_path / "m", "-q")
    rows = full(tmp_path / "m").set_index("formula_reduced")
    assert sorted(rows.index) == ["Li2O", "Mg2O2", "NaCl"], "each as the first table writes it"
    assert rows["gap"].to_dict() == {"Li2O": 7.5, "NaCl": 5.0, "Mg2O2": 4.5}
    assert rows["note"].to_dict() == {"Li2O": "x", "NaCl": "z", "Mg2O2": "y"}
    assert rows["stable"].dtype == "boolean"
    assert rows["stable"].isna().to_dict() == {"Li2O": False, "NaCl": False, "Mg2O2": True}
    assert rows["n_times_sampled"].to_dict() == {"Li2O": 2, "NaCl": 2, "Mg2O2": 1}
    assert rows.loc["Li2O", "sources"] == "a c0000001; b c0000001"


def test_another_reward_is_noticed(tmp_path: Path) -> None:
    one = table(tmp_path / "a/t.parquet", ["Li2O", "NaCl", "MgO"])
    two = table(tmp_path / "b/t.parquet", ["Li2O", "NaCl", "MgO"], log_reward=[0.0, 0.5, 0.04])
    shown = done("merge", one, two, "--out", tmp_path / "m").stdout
    assert "1 objects have another log R in a later table" in shown
    assert full(tmp_path / "m").set_index("formula_reduced")["log_reward"].to_dict() == {"Li2O": 0, "NaCl": 0, "MgO": 0}


def test_crystals_are_the_same_when_their_sites_are_and_decorations_whatever_their_origin(tmp_path: Path) -> None:
    text = crystal_to_text(salt_crystals())
    sites = json.loads(text[0])
    turned = json.dumps(sites | {"sites": sites["sites"][::-1]})
    one = table(tmp_path / "a/t.parquet", ["NaCl", "MgO"], structure=text)
    two = table(tmp_path / "b/t.parquet", ["NaCl"], structure=[turned], n_times_sampled=3)
    done("merge", one, two, "--out", tmp_path / "m", "-q")
    assert sorted(full(tmp_path / "m")["n_times_sampled"]) == [1, 4]
    assert (tmp_path / "m/structures.extxyz").read_text().count("Lattice=") == 2
    bare = [
        json.dumps({"sg": 225, "lattice": None, "sites": [["a", first, None], ["b", second, None]]})
        for first, second in (("Na", "Cl"), ("Cl", "Na"), ("Na", "F"))
    ]
    assert not crystal_from_text(bare).has_geometry.any()
    one = table(tmp_path / "c/t.parquet", ["NaCl", "NaF"], structure=[bare[0], bare[2]])
    two = table(tmp_path / "d/t.parquet", ["NaCl"], structure=[bare[1]])
    done("merge", one, two, "--out", tmp_path / "n", "-q")
    assert dict(zip(full(tmp_path / "n")["formula_reduced"], full(tmp_path / "n")["n_times_sampled"])) == {
        "NaCl": 2,
        "NaF": 1,
    }
    refused(
        "expected tables of the same kind of object", "merge", tmp_path / "a/t.parquet", one, "--out", tmp_path / "x"
    )


def test_what_cannot_be_merged_is_refused_and_nothing_is_touched(sampled: Path, tmp_path: Path) -> None:
    one = table(tmp_path / "a/t.parquet", ["Li2O"])
    refused("expected each table once, as its draws would count twice", "merge", one, one, "--out", tmp_path / "m")
    (tmp_path / "mine.csv").write_text("formula,energy\nLi2O,-2\n")
    refused(
        "with a column candidate_id, found formula, energy", "merge", tmp_path / "mine.csv", "--out", tmp_path / "m"
    )
    bad = table(tmp_path / "b/t.parquet", ["Li2O", "Xx3"])
    refused("row 3", "merge", bad, "--out", tmp_path / "m")
    refused("merge", "merge", tmp_path / "nowhere.csv", "--out", tmp_path / "m")
    assert not (tmp_path / "m").exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own/candidates.csv").write_text("mine")
    refused("was not written by oreflow", "merge", one, "--out", tmp_path / "own", "--overwrite")
    assert (tmp_path / "own/candidates.csv").read_text() == "mine"
    done("merge", one, "--out", tmp_path / "m", "-q")
    refused("holds results already", "merge", one, "--out", tmp_path / "m")
    done("merge", one, "--out", tmp_path / "m", "--overwrite", "-q")
