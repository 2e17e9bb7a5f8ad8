"""A crash, a hang, an exit or an exception in a worker costs the formula that causes it, and nothing else (R6, R7)."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.composite import build
from oreflow.rewards.errors import (
    PluginError,
    RewardBudgetError,
    RewardContractError,
    RewardParameterError,
    RewardWarning,
)
from oreflow.rewards.isolation.known import MAX_FAILURES_IN_A_ROW
from oreflow.rewards.isolation.term import IsolatedTerm
from oreflow.rewards.registry import load_plugin
from tests.whole.test_layers import ROOT

PLUGIN = """
import ctypes, os, random, sys, time
import numpy as np
from oreflow import rewards

class Term:
    unit, version, citations, requires = "eV", "1", (), "composition"

    def __init__(self, directory: str = ".") -> None:
        self.directory = directory

    def __call__(self, batch):
        values = []
        for formula, n in zip(batch.formulas(), batch.reduced().n_atoms.tolist()):
            if formula == "ClNa": os._exit(3)
            if formula == "MgO": ctypes.string_at(0)
            if formula == "CaO":
                with open(os.path.join(self.directory, "hung"), "a") as file: file.write("x")
                time.sleep(600)
            if formula == "BrK": raise ValueError("no bromides")
            if formula == "FLi": sys.exit(4)
            values.append(float(n))
        return rewards.TermValues(np.array(values), np.ones(len(values), dtype=bool))

@rewards.register("fragile")
class Fragile(Term):
    "Dies on rock salt."
    name = "fragile"

@rewards.register("hopeless")
class Hopeless(Term):
    name = "hopeless"
    def __call__(self, batch): os._exit(9)

@rewards.register("two_values")
class TwoValues(Term):
    name = "two_values"
    def __call__(self, batch): return rewards.TermValues(np.zeros(2), np.ones(2, dtype=bool))

@rewards.register("unsendable")
class Unsendable(Term):
    name = "unsendable"
    def __init__(self, what: str) -> None: self.what = what
    def __call__(self, batch):
        thing = Term() if self.what == "object" else (lambda: 0)
        column = np.array([thing] * len(batch), dtype=object)
        return rewards.TermValues(np.zeros(len(batch)), np.ones(len(batch), dtype=bool), {"thing": column})

@rewards.register("forking")
class Forking(Term):
    name = "forking"
    def __call__(self, batch):
        if "BaO" in batch.formulas() and os.fork() == 0: raise OSError("as after an exec that failed")
        return super().__call__(batch)

@rewards.register("half_broken")
class HalfBroken(Term):
    name = "half_broken"
    def __call__(self, batch):
        if "ClNa" in batch.formulas(): return rewards.TermValues(np.zeros(2), np.ones(2, dtype=bool))
        if "CaO" in batch.formulas(): time.sleep(600)
        return super().__call__(batch)

@rewards.register("closing")
class Closing(Term):
    name = "closing"
    def __call__(self, batch):
        if sys.stdout is not None: sys.stdout.close()
        sys.stdout = None
        return rewards.TermValues(np.zeros(len(batch)), np.ones(len(batch), dtype=bool))

@rewards.register("not_there")
class NotThere(Term):
    name = "not_there"
    def __init__(self): raise RuntimeError("no licence found")

@rewards.register("messy")
class Messy(Term):
    name = "messy"
    def __call__(self, batch):
        print("from Python"); os.system("echo from a shell"); os.chdir("/"); random.random(); np.random.rand()
        os.environ["MESSY"] = "1"
        return rewards.TermValues(np.zeros(len(batch)), np.ones(len(batch), dtype=bool))

@rewards.register("mother")
class Mother(Term):
    name = "mother"
    def __call__(self, batch):
        import subprocess
        child = subprocess.Popen(["sleep", "600"])
        with open(os.path.join(self.directory, "child"), "w") as file: file.write(str(child.pid))
        time.sleep(600)
"""

GOOD = ["Fe2O3", "Al2O3", "TiO2", "SrTiO3", "ZnO"]
ATOMS = [5.0, 5.0, 3.0, 5.0, 2.0]


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "fragile.py"
    path.write_text(PLUGIN)
    load_plugin(path)
    return path


def batch_of(*formulas: str):
    return parse_formulas(formulas)[0]


def alive(pid: int) -> bool:
    # A killed process may stay as a zombie where nobody reaps orphans.
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_formulas_are_set_aside_and_the_others_keep_their_values(plugin: Path, workers: int) -> None:
    term = IsolatedTerm("fragile", {"directory": str(plugin.parent)}, time_limit_s=0.5, workers=workers)
    batch = batch_of("Fe2O3", "NaCl", "Al2O3", "MgO", "KBr", "TiO2", "CaO", "LiF", "SrTiO3", "ZnO")
    result = term(batch)
    assert result.values[result.valid].tolist() == ATOMS
    assert [f for f, valid in zip(batch.formulas(), result.valid) if not valid] == ["ClNa", "MgO", "BrK", "CaO", "FLi"]
    assert result.reasons == {
        1: "its process ended with exit code 3; set aside",
        3: "its process was killed by SIGSEGV; set aside",
        4: "ValueError: no bromides",
        6: "no answer within 0.5 s; set aside",
        7: "SystemExit: 4",
    }
    assert "Segmentation fault" in result.tracebacks[3]
    assert "in __call__" in result.tracebacks[6], "shows where it hung"
    assert 'raise ValueError("no bromides")' in result.tracebacks[4]
    lost = term.n_workers_lost
    again = term(batch)
    assert again.valid.tolist() == result.valid.tolist()
    assert term.n_workers_lost == lost, "what cost a worker is not tried again"
    assert (plugin.parent / "hung").read_text() in ("x", "xx")
    term.close()


def test_the_number_of_workers_changes_nothing(plugin: Path) -> None:
    batch = batch_of(*GOOD)
    for workers in (1, 2, 8):
        term = IsolatedTerm("fragile", workers=workers)
        assert term(batch).values.tolist() == ATOMS
        term.close()
        assert term(batch[:2]).values.tolist() == ATOMS[:2], "workers come back after close"
        term.close()


def test_a_term_that_fails_on_everything_ends_the_run(plugin: Path) -> None:
    term = IsolatedTerm("hopeless")
    message = f"no value for {MAX_FAILURES_IN_A_ROW} formulas in a row, the last .*exit code 9"
    with pytest.raises(RewardBudgetError, match=message):
        term(batch_of(*GOOD, "H2O", "LiH", "NaF", "K2O"))


def test_contract_errors_come_through(plugin: Path) -> None:
    with pytest.raises(RewardContractError, match="expected values and valid of shape"):
        IsolatedTerm("two_values")(batch_of("NaCl"))


@pytest.mark.parametrize("what", ["object", "function"])
def test_columns_that_only_the_worker_understands_are_refused(
    plugin: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("oreflow_plugin_fragile")]:
        monkeypatch.delitem(sys.modules, name)
    term = IsolatedTerm("unsendable", {"what": what})
    with pytest.raises(RewardContractError, match="expected columns of numbers and text, got what cannot be"):
        term(batch_of("NaCl"))


def test_an_interrupted_call_leaves_nothing_for_the_next(plugin: Path) -> None:
    term = IsolatedTerm("fragile", {"directory": str(plugin.parent)}, time_limit_s=60.0)
    main = threading.main_thread().ident
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background ignores it
    try:
        threading.Timer(1.0, signal.pthread_kill, [main, signal.SIGINT]).start()
        with pytest.raises(KeyboardInterrupt):
            term(batch_of("CaO"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert term(batch_of(*GOOD)).values.tolist() == ATOMS


def test_a_term_that_cannot_be_built_says_so_at_once(plugin: Path) -> None:
    with pytest.raises(PluginError, match=r"cannot be built in a worker process: .*no licence found"):
        IsolatedTerm("not_there")
    with pytest.raises(RewardParameterError, match="expected time_limit_s above 0"):
        IsolatedTerm("fragile", time_limit_s=0.0)


def test_prints_of_any_kind_and_side_effects_are_reported_once(plugin: Path, capfd: pytest.CaptureFixture[str]) -> None:
    term = IsolatedTerm("messy")
    with pytest.warns(RewardWarning) as caught:
        assert term(batch_of("NaCl")).valid.all()
    term(batch_of("KCl"))  # a second warning would be an error here
    said = sorted(str(warning.message) for warning in caught)
    assert len(said) == 5
    assert "from a shell" in said[-1]
    assert "from Python" in said[-1]
    assert capfd.readouterr() == ("", ""), "nothing of it reaches the screen"
    assert "MESSY" not in os.environ


def test_what_a_hanging_term_started_dies_with_it(plugin: Path) -> None:
    term = IsolatedTerm("mother", {"directory": str(plugin.parent)}, time_limit_s=1.0)
    assert not term(batch_of("NaCl")).valid[0]
    child = int((plugin.parent / "child").read_text())
    time.sleep(0.1)
    assert not alive(child)


def test_workers_end_with_their_parent_even_when_they_hang(plugin: Path, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "from oreflow.rewards.executors.process import running_workers\n"
        "from oreflow.rewards.registry import load_plugin\nfrom oreflow.rewards.isolation.term import IsolatedTerm\n"
        "from oreflow.envs.objects.formulas import parse_formulas\n"
        f"load_plugin({str(plugin)!r})\n"
        f"term = IsolatedTerm('fragile', {{'directory': {str(tmp_path)!r}}}, time_limit_s=600.0)\n"
        "print(running_workers()[0], flush=True)\n"
        "term(parse_formulas(['CaO'])[0])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        deadline = time.monotonic() + 30
        while not (tmp_path / "hung").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert alive(worker)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 10
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


def test_isolated_terms_are_cached_and_give_what_they_give_at_home(plugin: Path) -> None:
    shape = {"kind": "maximise", "beta": 1.0}
    batch = batch_of(*GOOD)
    at_home = build([{"name": "fragile", "shape": shape}])(batch)
    away = build([{"name": "fragile", "shape": shape, "isolated": True, "workers": 2}])
    np.testing.assert_array_equal(away(batch).log_reward, at_home.log_reward)
    term = away.terms[0][0]
    n = term.n_evaluated
    away(batch[:3])  # the second call, which rechecks a sample
    assert term.n_evaluated == n + 3
    away(batch)
    assert term.n_evaluated == n + 3


def test_a_built_in_term_may_be_isolated_too() -> None:
    term = IsolatedTerm("charge_balance", {"mixed_valence": True})
    assert term.unit == "e"
    assert term(batch_of("Fe3O4", "Na2Cl")).values.tolist() == [0.0, 1.0]


def test_an_answer_to_another_question_is_never_taken(plugin: Path) -> None:
    term = IsolatedTerm("forking")
    assert term(batch_of("BaO", "Fe2O3", "TiO2", "ZnO", "SrTiO3")).values.tolist() == [2.0, 5.0, 3.0, 2.0, 5.0]
    assert term(batch_of("SrO", "Al2O3")).values.tolist() == [2.0, 5.0]


def test_a_contract_error_of_one_worker_does_not_wait_for_the_others(plugin: Path) -> None:
    term = IsolatedTerm("half_broken", time_limit_s=60.0, workers=2)
    term(batch_of("TiO2"))
    term(batch_of("ZnO"))
    started = time.monotonic()
    with pytest.raises(RewardContractError, match="expected values and valid of shape"):
        term(batch_of("NaCl", "CaO"))
    term.close()
    assert time.monotonic() - started < 30.0


def test_closed_streams_cost_nothing(plugin: Path) -> None:
    term = IsolatedTerm("closing")
    assert term(batch_of(*GOOD)).valid.all()
    assert term(batch_of("NaCl", "KCl")).valid.all()
    assert term.n_workers_lost == 0


def test_warnings_while_a_term_is_built_come_through(tmp_path: Path) -> None:
    table = tmp_path / "known.csv"
    table.write_text("formula\nNaCl\nXx2\n")
    with pytest.warns(RewardWarning, match="1 of 2 rows set aside"):
        IsolatedTerm("novelty", {"reference": str(table)})
