"""Why a store cannot be used is said in a sentence, and costs no value that was paid for."""

import gc
import sqlite3
import warnings

import pytest

from oreflow.rewards.errors import RewardWarning, StoreError
from oreflow.rewards.store.store import RewardStore
from tests.support.cli import done
from tests.support.stores import FORMULAS, Counting, fresh, parse_formulas


def test_what_is_no_store_is_refused_and_left_alone(tmp_path):
    foreign, text, newer = tmp_path / "foreign.db", tmp_path / "text.db", tmp_path / "newer.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("create table mine (x)")
    text.write_text("formula,value\nLi2O,1\n" * 200)
    RewardStore(str(newer)).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("update oreflow_store set value = '2'")
    before = {path: path.read_bytes() for path in (foreign, text, newer)}
    for path, words in (
        (foreign, "is a database of something else, with mine"),
        (text, "is damaged or is none of oreflow's"),
        (newer, "has version 2 of the reward store"),
        (tmp_path, "choose another path"),
        (text / "r.db", "choose another path"),
    ):
        with pytest.raises(StoreError, match=words):
            RewardStore(str(path))
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(StoreError, match="there is no reward store"):
        RewardStore(str(tmp_path / "none.db"), create=False)
    with pytest.raises(StoreError, match="needs a driver that is not installed"):
        RewardStore("postgresql+psycopg://localhost/x")
    with pytest.raises(StoreError, match=r"expected the path of a reward store, or a URL"):
        RewardStore("://")


def test_a_store_cut_short_says_so(tmp_path):
    path = tmp_path / "r.db"
    made, _ = fresh(path)
    made(parse_formulas([f"Li{n}O" for n in range(1, 300) if n != 5]))
    made._store.close()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="damaged"):
        fresh(path)[0](parse_formulas([f"Li{n}O" for n in range(1, 300) if n != 5]))


def test_a_store_that_is_locked_says_so_and_loses_nothing(tmp_path):
    made, counting = fresh(tmp_path / "r.db", busy_s=0.05)
    other = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"database is locked; another program has kept it locked for 0\.05 s"):
        made(parse_formulas(["Li2O"]))
    assert counting.asked == []  # nothing is paid that nobody could be kept from paying
    other.execute("COMMIT")
    claimed = made._store.claim
    made._store.claim = lambda *given: (claimed(*given), other.execute("BEGIN IMMEDIATE"))[0]
    with pytest.warns(RewardWarning, match="stay in memory and are written later"):
        assert made(parse_formulas(["Li2O"])).values.tolist() == [3 / 7.0]
    other.execute("COMMIT")
    made._store.claim = claimed
    assert made(parse_formulas(["Li2O", "MnO2"])).values.tolist() == [3 / 7.0] * 2
    assert counting.asked == ["Li2O", "MnO2"]
    other.close()
    assert len(fresh(tmp_path / "r.db")[0]._store.listing()) == 1
    assert fresh(tmp_path / "r.db")[0]._store.listing()[0]["n_values"] == 2


def test_a_full_disk_costs_no_value(tmp_path):
    made, counting = fresh(tmp_path / "r.db")
    listed = [f"Li{n}O" for n in range(6, 600)]

    def allow(pages):
        with made._store._connection.reading() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    allow(20)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            made(parse_formulas(listed))
            raised = ""
        except StoreError as error:
            raised = str(error)
    assert "database or disk is full" in (raised or str(said[0].message))
    allow(10**6)
    assert len(made(parse_formulas(listed)).values) == len(listed)
    assert len(counting.asked) == len(set(counting.asked)) == len(listed)
    assert made._store.listing()[0]["n_values"] == len(listed)


def test_what_could_not_be_written_is_written_when_the_term_goes(tmp_path):
    made, _ = fresh(tmp_path / "r.db", busy_s=0.05)
    other = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
    claimed = made._store.claim
    made._store.claim = lambda *given: (claimed(*given), other.execute("BEGIN IMMEDIATE"))[0]
    with pytest.warns(RewardWarning):
        made(parse_formulas(["Li2O"]))
    other.execute("COMMIT")
    other.close()
    del made
    gc.collect()
    assert fresh(tmp_path / "r.db")[0]._store.listing()[0]["n_values"] == 1


def test_what_could_never_be_written_is_put_aside_to_be_imported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    made, _ = fresh(tmp_path / "r.db", busy_s=0.05)
    other = sqlite3.connect(tmp_path / "r.db", isolation_level=None)
    claimed = made._store.claim
    made._store.claim = lambda *given: (claimed(*given), other.execute("BEGIN IMMEDIATE"))[0]
    with pytest.warns(RewardWarning):
        one = made(parse_formulas(FORMULAS))
    del made
    gc.collect()
    (aside,) = tmp_path.glob("rewards_not_stored_counting_*.jsonl")
    assert (
        f"5 values of counting could not be written to the reward store {tmp_path / 'r.db'}" in capsys.readouterr().err
    )
    other.execute("COMMIT")
    other.close()
    done("rewards", "import", tmp_path / "r.db", aside)
    again, untouched = fresh(tmp_path / "r.db")
    assert again._store.listing()[0]["n_under_way"] == 0
    two = again(parse_formulas(FORMULAS))
    assert untouched.asked == []
    assert two.values[two.valid].tolist() == one.values[one.valid].tolist()
    assert two.reasons == one.reasons
    assert two.columns["counting_std"][:4].tolist() == one.columns["counting_std"][:4].tolist()


def test_an_interruption_gives_claims_up(tmp_path):
    made, counting = fresh(tmp_path / "r.db")
    called = counting.__class__.__call__

    class Interrupted(Counting):
        def __call__(self, batch):
            if "MnO2" in batch.formulas():
                raise KeyboardInterrupt
            return called(self, batch)

    made.term = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        made(parse_formulas(FORMULAS))
    assert [row["n_under_way"] for row in made._store.listing()] == [0]
    assert [row["n_values"] for row in made._store.listing()] == [1]  # what was paid before is kept


# Without waiting
