"""`oreflow rewards`: what a store holds, out of it and into another, and people's own values in."""

import json

import pandas as pd
import pytest

from oreflow.agent.tables.formulas import read_table
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.composite import build_term
from oreflow.rewards.store.opened import close_stores
from oreflow.rewards.store.store import RewardStore
from tests.support.cli import done, oreflow, plugin, refused
from tests.support.small_crystals import salt_crystals

FORMULAS = ["Li2O", "MnO2", "NaN", "LiMnO2"]
SHAPE = {"kind": "minimise", "beta": 1.0}


@pytest.fixture(autouse=True)
def _closed():
    yield
    close_stores()


@pytest.fixture
def store(tmp_path):
    """A store with values of a plug-in and of a reward that ships."""
    from oreflow.rewards.registry import load_plugin

    load_plugin(plugin(tmp_path, "owned"))
    place = str(tmp_path / "rewards.db")
    for name in ("owned", "complexity"):
        entry = {"name": name, "shape": SHAPE, "cache": True, "cost": 1.5}
        build_term(entry, store=place)[0](parse_formulas(FORMULAS)[0])
    close_stores()
    return place


def asked(place, name, formulas, params=None):
    """Values by the store, and how many had to be computed."""
    cached, _ = build_term({"name": name, "shape": SHAPE, "cache": True, "params": params or {}}, store=place)
    values = cached(parse_formulas(formulas)[0]).values.tolist()
    n = cached.term.n_computed
    close_stores()
    return values, n


@pytest.mark.parametrize("verb", ["list", "export", "import", "forget"])
def test_every_help_text_has_an_example(verb):
    text = " ".join(done("rewards", verb, "--help").stdout.split())
    assert f"Example: oreflow rewards {verb} " in text
    assert all(option in text for option in ("--debug", "--quiet", "--json"))


def test_list_says_what_is_there(store):
    found = json.loads(done("rewards", "list", store, "--json").stdout)
    rows = {row["name"]: row for row in found["rewards"]}
    assert {name: (row["n_values"], row["n_valid"], row["cost"]) for name, row in rows.items()} == {
        "owned": (4, 4, 6.0),
        "complexity": (4, 4, 6.0),
    }
    text = done("rewards", "list", store).stdout
    assert "owned" in text
    assert done("rewards", "list", store, "--quiet").stdout == ""
    refused("there is no reward store at nothing.db", "rewards", "list", "nothing.db", code=5)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_export_fills_another_store(store, tmp_path, suffix):
    table, other = tmp_path / f"out{suffix}", str(tmp_path / "other.db")
    done("rewards", "export", store, "--out", table)
    frame = read_table(table)
    assert sorted(frame["formula"]) == sorted(2 * parse_formulas(FORMULAS)[0].formulas())
    refused("is there already", "rewards", "export", store, "--out", table)
    assert json.loads(done("rewards", "import", other, table, "--json").stdout)["new"] == 8
    assert asked(other, "owned", FORMULAS) == (asked(store, "owned", FORMULAS)[0], 0)
    done("rewards", "export", other, "--out", table, "--overwrite")
    pd.testing.assert_frame_equal(read_table(table), frame)
    done("rewards", "export", store, "--out", table, "--reward", "owned", "--overwrite")
    assert set(read_table(table)["reward"]) == {"owned"}
    refused(
        "holds no values of 'ownd'; did you mean 'owned'",
        "rewards",
        "export",
        store,
        "--out",
        tmp_path / "x.csv",
        "--reward",
        "ownd",
    )
    refused("ends in .csv or .parquet", "rewards", "export", store, "--out", tmp_path / "x.txt")


def test_own_values_are_not_computed(store, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("formula,e,price\nFe2O3,-1.25,10\nFe4O6,-1.25,\nNaN,3,1\nFeO,,1\nXx,1,1\n")
    arguments = (
        "rewards",
        "import",
        store,
        table,
        "--reward",
        "owned",
        "--value-column",
        "e",
        "--cost-column",
        "price",
    )
    result = oreflow(*arguments, "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)
    assert (found["values"], found["new"]) == (2, 1)  # NaN is there, and stays
    assert any("Xx" in note for note in found["notes"])
    assert any("1 rows have no value in 'e'" in note for note in found["notes"])
    assert asked(store, "owned", ["Fe2O3", "NaN"]) == ([-1.25, 2.0], 0)
    oreflow(*arguments, "--replace")
    assert asked(store, "owned", ["Fe2O3", "NaN"]) == ([-1.25, 3.0], 0)
    assert RewardStore(store).listing()[1]["cost"] == 4 * 1.5 - 1.5 + 1 + 10


def test_parameters_and_versions_are_kept_apart(store, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("formula,value\nNaCl,7\n")
    done("rewards", "import", store, table, "--reward", "owned", "--version", "1")
    assert asked(store, "owned", ["NaCl"]) == ([7.0], 0)
    refused(
        "--version: owned has version '1' here, got values of '2'",
        "rewards",
        "import",
        store,
        table,
        "--reward",
        "owned",
        "--version",
        "2",
    )
    refused(
        "takes no parameter 'scale'", "rewards", "import", store, table, "--reward", "owned", "--param", "owned.scale=2"
    )


def test_bad_tables_change_nothing(store, tmp_path):
    before = done("rewards", "list", store, "--json").stdout
    table = tmp_path / "mine.csv"
    for text, words in (
        ("formula,value\nNaCl,high\n", "expected numbers, got 'high' in row"),
        ("formula,value\nNaCl,inf\n", "expected finite numbers"),
        ("formula,value\nNaCl,1\nNa2Cl2,2\n", "got 1 and 2; leave one row out"),
        ("formula,valu\nNaCl,1\n", "got 'value'; did you mean 'valu'"),
        ("formula,value\nNaCl,\n", "expected rows with an object and a value"),
        ("value\n1\n", "formula"),
    ):
        table.write_text(text)
        refused(words, "rewards", "import", store, table, "--reward", "owned")
    refused("does not say which reward its values are of", "rewards", "import", store, table)
    refused("did you mean", "rewards", "import", store, table, "--reward", "ownd")
    done("rewards", "export", store, "--out", tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_text()
    (tmp_path / "out.csv").write_text(text.replace("True", "Maybe", 1))
    refused(
        "is not as `oreflow rewards export` writes it: expected True or False",
        "rewards",
        "import",
        store,
        tmp_path / "out.csv",
    )
    assert done("rewards", "list", store, "--json").stdout == before


def test_forgotten_values_are_computed_again(store):
    assert asked(store, "owned", FORMULAS)[1] == 0
    assert (
        json.loads(done("rewards", "forget", store, "--reward", "owned", "--failed", "--json").stdout)["removed"] == 0
    )
    assert (
        json.loads(done("rewards", "forget", store, "--reward", "owned", "--version", "9", "--json").stdout)["removed"]
        == 0
    )
    assert json.loads(done("rewards", "forget", store, "--reward", "owned", "--json").stdout)["removed"] == 4
    assert asked(store, "owned", FORMULAS)[1] == 4
    assert asked(store, "complexity", FORMULAS)[1] == 0
    refused("holds no values of 'x'", "rewards", "forget", store, "--reward", "x")


@pytest.mark.slow
def test_values_of_crystals_go_out_and_in(tmp_path):
    place, table = str(tmp_path / "rewards.db"), tmp_path / "out.csv"
    entry = {"name": "density", "shape": SHAPE, "cache": True}
    salt = salt_crystals()[:1]
    value = build_term(entry, store=place)[0](salt).values[0]
    close_stores()
    done("rewards", "export", place, "--out", table)
    frame = read_table(table)
    assert float(frame["value"].iloc[0]) == value
    other, own = str(tmp_path / "other.db"), tmp_path / "own.csv"
    frame[["structure"]].assign(mine=0.5).to_csv(own, index=False)
    done("rewards", "import", other, own, "--reward", "density", "--value-column", "mine")
    cached, _ = build_term(entry, store=other)
    assert cached(salt).values.tolist() == [0.5]
    assert cached.term.n_computed == 0
    own.write_text("formula,mine\nNaCl,1\n")
    refused(
        "expected a column 'structure'",
        "rewards",
        "import",
        other,
        own,
        "--reward",
        "density",
        "--value-column",
        "mine",
    )
