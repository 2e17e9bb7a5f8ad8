"""A reward store pays for each value once, whoever asks, and says in a sentence why it cannot be used."""

import sqlite3
import subprocess
import sys
import time

import numpy as np

from oreflow.rewards.composite import build_term
from oreflow.rewards.registry import load_plugin
from oreflow.rewards.store import owner
from oreflow.rewards.store.identity import TermIdentity, identity_of, object_keys
from oreflow.rewards.store.store import RewardStore
from tests.support.stores import FORMULAS, PLUGIN, fresh, parse_formulas, written


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
    load_plugin(written(tmp_path / "plugin.py", PLUGIN.format(name="dear_anew")))
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
    load_plugin(written(tmp_path / "plugin.py", PLUGIN.format(name="dear_entry")))
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
