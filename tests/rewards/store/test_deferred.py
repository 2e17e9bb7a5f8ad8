"""Terms that answer later are asked once, by whoever asks first; isolated ones only for what is missing."""

import numpy as np

from oreflow.rewards.composite import build_term
from oreflow.rewards.registry import load_plugin
from oreflow.rewards.store import term
from oreflow.rewards.store.identity import TermIdentity
from oreflow.rewards.store.opened import close_stores
from oreflow.rewards.store.store import RewardStore
from oreflow.rewards.store.term import StoredTerm
from tests.support.stores import Counting, fresh, parse_formulas, written


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
    load_plugin(written(tmp_path / "plugin.py", ISOLATED))
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
