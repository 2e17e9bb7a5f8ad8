"""An isolated term asked without waiting: what is known, what is under way, and what came."""

import time
from pathlib import Path

import numpy as np
import pytest

from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.composite import build
from oreflow.rewards.errors import RewardBudgetError, RewardContractError
from oreflow.rewards.isolation.term import IsolatedTerm
from oreflow.rewards.registry import load_plugin
from tests.rewards.isolation.test_isolation import PLUGIN

COUNTING = """
@rewards.register("counting")
class Counting(Term):
    name = "counting"
    def __call__(self, batch):
        with open(os.path.join(self.directory, "calls"), "a") as file:
            file.write("".join(f + "\\n" for f in batch.formulas()))
        return super().__call__(batch)
"""


@pytest.fixture
def term(tmp_path: Path):
    path = tmp_path / "counting.py"
    path.write_text(PLUGIN + COUNTING)
    load_plugin(path)
    made = IsolatedTerm("counting", {"directory": str(tmp_path)}, time_limit_s=1.0, workers=2)
    yield made
    made.close()


def batch_of(*formulas: str):
    return parse_formulas(formulas)[0]


def until_all_came(term: IsolatedTerm) -> int:
    n = 0
    while term.n_under_way:
        n += term.collect(60.0)
    return n


def test_each_object_is_asked_about_once_and_then_known(term: IsolatedTerm, tmp_path: Path) -> None:
    batch = batch_of("Fe2O3", "NaCl", "TiO2", "CaO", "KBr", "Fe4O6")
    assert not term.known(batch).any()
    assert term.submit(batch) == 5, "one formula is there twice, once as two units"
    assert term.submit(batch) == 0
    assert until_all_came(term) == 5
    assert term.known(batch).all()
    assert term.submit(batch) == 0
    calls = sorted((tmp_path / "calls").read_text().split())
    assert calls == ["BrK", "CaO", "ClNa", "Fe2O3", "O2Ti"] or calls == ["BrK", "CaO", "ClNa", "Fe2O3", "TiO2"]
    found = term(batch)
    assert found.valid.tolist() == [True, False, True, False, False, True]
    assert found.values[found.valid].tolist() == [5.0, 3.0, 5.0]
    assert found.reasons == {
        1: "its process ended with exit code 3; set aside",
        3: "no answer within 1 s; set aside",
        4: "ValueError: no bromides",
    }
    assert sorted((tmp_path / "calls").read_text().split()) == calls, "the call asked nobody"


def test_a_worker_goes_on_while_nobody_asks(term: IsolatedTerm, tmp_path: Path) -> None:
    alone = IsolatedTerm("counting", {"directory": str(tmp_path)})
    alone.submit(batch_of("Fe2O3", "TiO2"))
    assert alone.collect(60.0) == 1
    deadline = time.monotonic() + 20
    while len((tmp_path / "calls").read_text().split()) < 2:
        assert time.monotonic() < deadline, "a free worker waits to be asked"
        time.sleep(0.02)
    alone.close()


def test_a_call_between_submission_and_collection_mixes_nothing_up(term: IsolatedTerm, tmp_path: Path) -> None:
    later = batch_of("Fe2O3", "Al2O3", "SrTiO3")
    now = batch_of("TiO2", "ZnO", "MnO2", "Al2O3")
    term.submit(later)
    assert term(now).values.tolist() == [3.0, 2.0, 3.0, 5.0]
    until_all_came(term)
    assert term.known(later).all()
    assert term.known(now).tolist() == [False, False, False, True], "a call's own answers are the cache's to keep"
    assert term(later).values.tolist() == [5.0, 5.0, 5.0]


def test_the_reward_of_what_came_asks_nobody(term: IsolatedTerm, tmp_path: Path) -> None:
    reward = build(
        [
            {
                "name": "counting",
                "params": {"directory": str(tmp_path)},
                "shape": {"kind": "maximise", "beta": 1.0},
                "isolated": True,
            }
        ]
    )
    isolated = reward.terms[0][0].unwrapped
    batch = batch_of("Fe2O3", "Al2O3", "SrTiO3")
    isolated.submit(batch)
    until_all_came(isolated)
    for _ in range(2):  # the second call looks whether the term is deterministic
        np.testing.assert_array_equal(reward(batch).terms["counting"].values, [5.0, 5.0, 5.0])
    assert len((tmp_path / "calls").read_text().split()) == 3
    isolated.close()


def test_what_a_term_cannot_be_asked_about_is_known(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(PLUGIN)
    load_plugin(path)
    term = IsolatedTerm("two_values")
    assert term.known(batch_of()).tolist() == []
    term.requires = "structure"
    batch = batch_of("NaCl", "KCl")
    assert term.known(batch).all()
    assert term.submit(batch) == 0
    term.requires = "composition"
    term.submit(batch)
    with pytest.raises(RewardContractError, match="expected values and valid of shape"):
        until_all_came(term)
    term.close()


def test_ids_are_the_same_in_another_process_and_differ_with_the_parameters(term: IsolatedTerm, tmp_path: Path) -> None:
    twin = IsolatedTerm("counting", {"directory": str(tmp_path)})
    other = IsolatedTerm("counting", {"directory": "."})
    key = batch_of("NaCl").key_bytes()[0]
    assert term._task_id(key) == twin._task_id(key) != other._task_id(key)
    twin.close()
    other.close()


def test_failure_after_failure_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "hopeless.py"
    path.write_text(PLUGIN)
    load_plugin(path)
    term = IsolatedTerm("hopeless", workers=2)
    term.submit(batch_of("NaCl", "KCl", "H2O", "LiH", "NaF", "K2O", "TiO2", "ZnO", "MgO"))
    with pytest.raises(RewardBudgetError, match="no value for 8 formulas in a row"):
        until_all_came(term)
    term.close()
