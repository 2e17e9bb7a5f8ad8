"""A reward store pays for each value once, whoever asks, and says in a sentence why it cannot be used."""

import gc
import sqlite3
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest

from oreflow.envs.objects import formulas
from oreflow.rewards.composite import build_term
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardWarning, StoreError
from oreflow.rewards.registry import load_plugin
from oreflow.rewards.store import owner, term
from oreflow.rewards.store.identity import TermIdentity, identity_of, object_keys
from oreflow.rewards.store.store import RewardStore
from oreflow.rewards.store.term import StoredTerm, close_stores
from tests.support.cli import done

FORMULAS = ["Li2O", "MnO2", "LiMnO2", "Li5O", "Mn3O4"]
PLUGIN = """
from pathlib import Path
import numpy as np
from oreflow import rewards

@rewards.register("{name}")
class Dear:
    name, unit, version, citations, requires = "{name}", "eV", "1", (), "composition"
    path_params = ("table",)
    def __init__(self, scale: float = 1.0, table: str = ""): self.scale = scale
    def __call__(self, batch):
        return rewards.TermValues(self.scale * batch.reduced().n_atoms, np.ones(len(batch), dtype=bool))
"""


def parse_formulas(texts):
    return formulas.parse_formulas(texts)[0]


class Counting(Term):
    """Notes what it is asked for; has no value for Li5O, and raises on Mn3O4."""

    name, unit, version, citations, requires = "counting", "eV", "1", (), "composition"

    def __init__(self):
        self.asked = []

    def __call__(self, batch):
        self.asked += batch.formulas()
        if "Mn3O4" in batch.formulas():
            raise ValueError("cannot do Mn3O4")
        valid = np.array([formula != "Li5O" for formula in batch.formulas()])
        n = batch.reduced().n_atoms
        columns = {
            "counting_std": np.where(valid, n / 3.0, np.inf),
            "counting_label": np.array(["a" * k for k in n.tolist()]),
            "counting_n": n,
        }
        return TermValues(n / 7.0, valid, columns, dict.fromkeys(np.flatnonzero(~valid).tolist(), "no lithium"))


@pytest.fixture(autouse=True)
def _closed():
    yield
    close_stores()


def fresh(path, **options):
    """A term in a store, as another process would make it."""
    made = Counting()
    return StoredTerm(made, RewardStore(str(path), **options), TermIdentity("counting", made.version, "{}")), made


def test_values_come_back_as_they_were(tmp_path):
    first, counting = fresh(tmp_path / "r.db")
    batch = parse_formulas([*FORMULAS, "Li2O"])
    one = first(batch)
    assert sorted(set(counting.asked)) == sorted(FORMULAS)
    again, untouched = fresh(tmp_path / "r.db")
    two = again(batch)
    assert untouched.asked == []
    assert two.valid.tolist() == one.valid.tolist() == [True, True, True, False, False, True]
    assert two.values[:3].tolist() == one.values[:3].tolist() == [3 / 7.0, 3 / 7.0, 4 / 7.0]
    assert two.reasons == one.reasons == {3: "no lithium", 4: "ValueError: cannot do Mn3O4"}
    assert list(one.tracebacks) == [4]
    for name in ("counting_std", "counting_label", "counting_n"):
        assert two.columns[name].tolist()[:4] == one.columns[name].tolist()[:4]
    assert two.columns["counting_std"][3] == np.inf


def test_a_term_pays_anew_only_when_its_values_may_differ(tmp_path, monkeypatch):
    load_plugin(_written(tmp_path / "plugin.py", PLUGIN.format(name="dear_anew")))
    from oreflow.rewards.registry import make_term

    made = make_term("dear_anew", {})
    here, there = tmp_path / "a.csv", tmp_path / "b.csv"
    here.write_text("x")
    there.write_text("x")
    same = identity_of("dear_anew", {}, made)
    assert identity_of("dear_anew", {"scale": 1.0}, made).id == same.id  # a default that is given
    assert identity_of("dear_anew", {"scale": 2.0}, made).id != same.id
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / "changes").write_text("as time goes on")
    assert identity_of("dear_anew", {}, made).id == same.id  # no file is no file, not the working folder
    of_file = identity_of("dear_anew", {"table": str(here)}, made)
    assert identity_of("dear_anew", {"table": str(there)}, made).id == of_file.id  # a file is what it holds
    there.write_text("y")
    assert identity_of("dear_anew", {"table": str(there)}, made).id != of_file.id
    made.version = "2"
    assert identity_of("dear_anew", {}, made).id != same.id


def test_a_config_entry_asks_its_store(tmp_path):
    load_plugin(_written(tmp_path / "plugin.py", PLUGIN.format(name="dear_entry")))
    entry = {"name": "dear_entry", "shape": {"kind": "verdict", "log_penalty": 1.0}, "label": "mine", "cost": 2.5}
    place = str(tmp_path / "deep" / "r.db")
    cached, _ = build_term(entry, store=place)
    assert cached(parse_formulas(FORMULAS)).values.tolist() == [3, 3, 4, 6, 7]
    again, _ = build_term(entry | {"label": "other"}, store=place)  # a label is no part of a value
    assert again(parse_formulas(FORMULAS)).values.tolist() == [3, 3, 4, 6, 7]
    assert (cached.term.n_computed, again.term.n_computed) == (5, 0)
    (row,) = RewardStore(place).listing()
    assert (row["name"], row["n_values"], row["n_valid"], row["cost"]) == ("dear_entry", 5, 5, 12.5)
    assert build_term(entry | {"cache": False}, store=place)[0].term is not None  # not stored where not remembered


def _written(path, text):
    path.write_text(text)
    return path


def test_who_claims_pays_and_others_wait(tmp_path):
    one, two = RewardStore(str(tmp_path / "r.db")), RewardStore(str(tmp_path / "r.db"))
    id_ = one.enter_term(TermIdentity("t", "1", "{}"), "eV", "composition")
    assert one.claim(id_, ["a", "b"]).mine == ["a", "b"]
    found = two.claim(id_, ["b", "c"])
    assert (found.mine, found.others) == (["c"], ["b"])
    one.release(id_, ["b"])
    assert two.claim(id_, ["a", "b"]).mine == ["b"]
    one.close()  # its claims go with it
    assert two.claim(id_, ["a"]).mine == ["a"]


def test_claims_of_a_process_that_ended_are_taken_over(tmp_path):
    script = (
        "import sys; from oreflow.rewards.store.store import RewardStore as S; from oreflow.rewards.store.identity "
        "import TermIdentity as T; s = S(sys.argv[1]); i = s.enter_term(T('t', '1', '{}'), 'eV', 'composition'); "
        "print(s.claim(i, ['a']).mine, flush=True); sys.stdin.read()"
    )
    place = str(tmp_path / "r.db")
    with subprocess.Popen(
        [sys.executable, "-c", script, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "['a']\n"
        mine = RewardStore(place, lease_s=0.0)  # however short the lease: a process that is seen to live is trusted
        id_ = mine.enter_term(TermIdentity("t", "1", "{}"), "eV", "composition")
        for _ in range(3):
            assert mine.claim(id_, ["a"]).others == ["a"]
        process.kill()
        process.wait()
        assert mine.claim(id_, ["a"]).mine == ["a"]
        assert len(_beats(place)) == 1  # and nothing is left of it


def test_a_clock_that_jumps_breaks_no_claim(tmp_path, monkeypatch):
    """Elsewhere runs a process whose beat goes up; nobody's clock of the wall is asked."""
    monkeypatch.setattr(owner, "is_dead_here", lambda machine, process: None)  # as from another machine
    now = 0.0
    monkeypatch.setattr(owner.time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # a hundred years ahead
    one, two = (RewardStore(str(tmp_path / "r.db"), lease_s=100.0) for _ in range(2))
    id_ = one.enter_term(TermIdentity("t", "1", "{}"), "eV", "composition")
    one.claim(id_, ["a"])
    for now in (0.0, 90.0):  # noqa: B007
        assert two.claim(id_, ["a"]).others == ["a"]
    _beat_once(one)
    for now in (180.0, 270.0):  # noqa: B007
        assert two.claim(id_, ["a"]).others == ["a"]
    now = 290.0  # 110 s after it was last seen to go up
    assert two.claim(id_, ["a"]).mine == ["a"]
    one.record(id_, {})
    one.claim(id_, ["b"])  # who was thought dead and is not goes on
    assert two.claim(id_, ["b"]).others == ["b"]


def _beat_once(one):
    with one._connection.writing() as connection:
        connection.exec_driver_sql(f"update oreflow_owners set beat = beat + 1 where id = '{one.owner.id}'")


def test_a_process_that_computes_gives_signs_of_life(tmp_path):
    one = RewardStore(str(tmp_path / "r.db"), lease_s=0.2)
    id_ = one.enter_term(TermIdentity("t", "1", "{}"), "eV", "composition")
    one.claim(id_, ["a"])
    deadline = time.monotonic() + 30
    while (beat := _beats(tmp_path / "r.db")[0]) < 3:
        assert time.monotonic() < deadline, beat
        time.sleep(0.02)


def _beats(path):
    with sqlite3.connect(path) as connection:
        return [beat for (beat,) in connection.execute("select beat from oreflow_owners")]


def test_an_answer_that_came_first_stays(tmp_path):
    """A process that slept through its lease pays twice at worst, and no value changes under anybody."""
    stored_one, _ = fresh(tmp_path / "r.db")
    batch = parse_formulas(["Li2O"])
    stored_one(batch)
    (key,) = object_keys(batch)
    one = stored_one._store
    entry = one.recall(stored_one._id, [key])[key]
    assert one.record(stored_one._id, {key: entry.__class__(9.0, True)}) == 0
    assert one.recall(stored_one._id, [key])[key].value == entry.value
    assert one.record(stored_one._id, {key: entry.__class__(9.0, True)}, replace=True) == 1
    assert one.recall(stored_one._id, [key])[key].value == 9.0


# Bad input


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


class Deferring(Counting):
    """Answers when told to."""

    def __init__(self):
        super().__init__()
        self.under_way, self.answers, self.closed = {}, {}, False

    def __call__(self, batch):
        assert all(key in self.answers for key in batch.key_bytes())
        return super().__call__(batch)

    def known(self, batch):
        return np.array([key in self.answers for key in batch.key_bytes()], dtype=np.bool_)

    def submit(self, batch):
        self.under_way |= dict.fromkeys(batch.key_bytes())
        return len(batch)

    def collect(self, timeout_s):
        self.answers |= self.under_way
        n, self.under_way = len(self.under_way), {}
        return n

    def close(self):
        self.closed = True


def deferring(path):
    inner = Deferring()
    return StoredTerm(inner, RewardStore(str(path)), TermIdentity("counting", "1", "{}")), inner


def test_a_deferred_term_is_asked_once_by_two(tmp_path, monkeypatch):
    monkeypatch.setattr(term, "_POLL_S", (0.001, 0.0))
    (one, of_one), (two, of_two) = deferring(tmp_path / "r.db"), deferring(tmp_path / "r.db")
    batch = parse_formulas(["Li2O", "MnO2"])
    assert (one.submit(batch[:1]), two.submit(batch)) == (1, 1)
    assert (one.submit(batch), two.submit(batch)) == (0, 0)  # under way
    assert not one.known(batch).any()
    assert two.collect(0.0) == 1
    assert two.known(batch).tolist() == [False, True]
    assert one.collect(0.0) == 2  # its own, and what the other one has written
    assert two.collect(0.0) == 1
    assert one.known(batch).all()
    assert one(batch).values.tolist() == two(batch).values.tolist() == [3 / 7.0, 3 / 7.0]
    assert of_one.asked + of_two.asked == ["Li2O", "MnO2"]


def test_work_that_another_gave_up_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(term, "_POLL_S", (0.001, 0.0))
    (one, _), (two, of_two) = deferring(tmp_path / "r.db"), deferring(tmp_path / "r.db")
    batch = parse_formulas(["Li2O"])
    one.submit(batch)
    assert two.submit(batch) == 0
    one.close()
    assert one.term.closed
    assert two.collect(0.0) == 0
    assert len(of_two.under_way) == 1
    assert two.collect(0.0) == 1


def test_a_call_waits_for_what_another_computes(tmp_path, monkeypatch):
    monkeypatch.setattr(term, "_POLL_S", (0.001, 0.001))
    made, counting = fresh(tmp_path / "r.db")
    other, _ = deferring(tmp_path / "r.db")
    batch = parse_formulas(["Li2O"])
    other.submit(batch)
    waited = []
    monkeypatch.setattr(term.time, "sleep", lambda s: (waited.append(s), other.collect(0.0)))
    assert made(batch).values.tolist() == [3 / 7.0]
    assert counting.asked == []
    assert waited


ISOLATED = """
import gc
import os
import numpy as np
from oreflow import rewards

@rewards.register("dear_isolated")
class Dear:
    name, unit, version, citations, requires = "dear_isolated", "eV", "1", (), "composition"
    def __init__(self, log: str = ""): self.log = log
    def __call__(self, batch):
        with open(self.log, "a") as file:
            file.write("".join(formula + "\\n" for formula in batch.formulas()))
        if "MnO2" in batch.formulas():
            os._exit(7)
        return rewards.TermValues(batch.reduced().n_atoms / 7.0, np.ones(len(batch), dtype=bool))
"""


def test_workers_are_asked_only_for_what_is_missing(tmp_path):
    load_plugin(_written(tmp_path / "plugin.py", ISOLATED))
    log = tmp_path / "log.txt"
    entry = {"name": "dear_isolated", "params": {"log": str(log)}, "isolated": True, "workers": 2}
    entry |= {"shape": {"kind": "minimise", "beta": 1.0}}
    place = str(tmp_path / "r.db")
    waiting, _ = build_term(entry, store=place)
    batch = parse_formulas(["Li2O", "MnO2", "LiMnO2", "Li2O"])
    assert waiting.is_deferred
    assert not waiting.known(batch).any()
    assert waiting.submit(batch) == 3
    assert waiting.submit(batch) == 0
    while not waiting.known(batch).all():
        waiting.collect(10.0)
    result = waiting(batch)
    assert result.valid.tolist() == [True, False, True, True]
    assert result.values[[0, 2]].tolist() == [3 / 7.0, 4 / 7.0]
    assert result.reasons[1].endswith("; set aside")
    assert list(result.tracebacks) == [1]
    asked = log.read_text().split()
    assert sorted(set(asked)) == ["Li2O", "LiMnO2", "MnO2"]
    assert asked.count("Li2O") == asked.count("LiMnO2") == 1
    waiting.close()
    (row,) = RewardStore(place).listing()
    assert (row["n_values"], row["n_valid"], row["n_failed"]) == (3, 2, 1)
    assert row["seconds"] > 0
    close_stores()
    again, _ = build_term(entry, store=place)
    assert again.known(batch).all()
    assert again(batch).reasons == result.reasons  # nor is what cost a worker tried again
    assert again(parse_formulas(["LiO", "Li2O"])).valid.all()
    assert log.read_text().split() == [*asked, "LiO"]
    again.close()
