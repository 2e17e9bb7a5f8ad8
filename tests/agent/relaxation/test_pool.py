"""Workers of `oreflow relax`: crashes and hangs cost one structure, nothing is done twice, a signal ends it cleanly."""

import errno
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from oreflow.agent.errors import OutputError, RelaxationError, RunFolderError
from oreflow.agent.relaxation.inputs import Candidate, read_candidates
from oreflow.agent.relaxation.pool import Outcome, run_tasks
from oreflow.agent.relaxation.relax import JOURNAL_FILE, Relaxed, Settings, relax_candidates
from oreflow.rewards.isolation.process import running_workers
from tests.support import processes, relax_fakes
from tests.support.repository import ROOT
from tests.support.small_crystals import rock_salt


def outcomes(tasks: list[str], workers: int = 1, time_limit_s: float = 60.0) -> list[Outcome]:
    found = dict(run_tasks(tasks, relax_fakes.make_echo, workers=workers, time_limit_s=time_limit_s))
    assert sorted(found) == list(range(len(tasks)))
    return [found[number] for number in range(len(tasks))]


def write_series(folder: Path, n: int) -> None:
    folder.mkdir()
    for number in range(n):
        rock_salt(5.5 + number / 10).to(filename=str(folder / f"s{number}.cif"))


def test_faults_cost_only_the_task_that_has_them(capfd: pytest.CaptureFixture[str]) -> None:
    tasks = ["a", "raise", "exit", "b", "segfault", "kill", "hang", "print", "threads"]
    found = outcomes(tasks, workers=2, time_limit_s=3.0)
    assert [o.kind for o in found] == [
        "done", "raised", "crashed", "done", "crashed", "crashed", "hung", "done", "done"
    ]  # fmt: skip
    assert [found[0].value, found[3].value] == ["a done", "b done"]
    assert found[1].reason == "this one is wrong"
    assert found[2].reason == "its process ended with exit code 7"
    assert found[4].reason == "its process was killed by SIGSEGV"
    assert found[5].reason == "its process was killed by SIGKILL"
    assert found[6].reason.startswith("no answer within 3 s")
    assert 3.0 <= found[6].seconds < 8.0
    assert found[8].value == ["1", "1"]
    assert capfd.readouterr().out == ""


def test_workers_that_never_work_end_it() -> None:
    with pytest.raises(RelaxationError, match="cannot start: RuntimeError: no such weights"):
        list(run_tasks(["a"], relax_fakes.make_broken, workers=1, time_limit_s=9))
    with pytest.raises(RelaxationError, match="cannot start: its process ended with exit code 9"):
        list(run_tasks(["a"], relax_fakes.make_dead, workers=1, time_limit_s=9))


def test_crash_after_crash_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oreflow.agent.relaxation.pool.MAX_CRASHES_IN_A_ROW", 3)
    found = []
    with pytest.raises(RelaxationError, match="3 structures in a row"):
        found += [
            outcome.kind for _, outcome in run_tasks(["exit"] * 9, relax_fakes.make_echo, workers=1, time_limit_s=9)
        ]
    # One that works in between shows that the machine does.
    kinds = [o.kind for o in outcomes(["exit", "exit", "a", "exit", "exit"])]
    assert kinds == ["crashed", "crashed", "done", "crashed", "crashed"]


def test_leaves_no_process_and_no_setting_behind() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    running = run_tasks(["a", "hang"], relax_fakes.make_echo, workers=1, time_limit_s=60)
    next(running)
    assert running_workers()
    running.close()
    assert not running_workers()
    assert os.environ.get("OMP_NUM_THREADS") == before


def relaxed(candidates: list[Candidate], out: Path, log: Path, **options: Any) -> Relaxed:
    out.mkdir(exist_ok=True)
    make = functools.partial(relax_fakes.make_counting, str(log))
    settings = options.pop("settings", Settings())
    return relax_candidates(candidates, out, settings, quiet=True, make=make, **options)


def calls(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def test_nothing_is_relaxed_twice(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    three = [Candidate(f"c{i}", "", rock_salt(5.0 + i)) for i in range(3)]
    twin = Candidate("twin", "", rock_salt(6.0))
    first = relaxed(three[:2], out, log)
    assert (first.n_resumed, first.interrupted, len(calls(log))) == (0, False, 2)
    journal = out / JOURNAL_FILE
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-40])  # as when the power fails in the second record
    second = relaxed([*three, twin], out, log)
    assert second.n_resumed == 1
    assert len(calls(log)) == 4  # the record that was cut off, and the third; the twin has its answer from the second
    assert [r and r["vectors"][0][1] for r in second.records] == [2.5, 3.0, 3.5, 3.0]
    third = relaxed([*three, twin], out, log)
    assert (third.n_resumed, len(calls(log))) == (4, 4)
    assert third.records == second.records
    assert all(json.loads(line) for line in journal.read_text().splitlines())
    with pytest.raises(RunFolderError, match=r"fmax 0\.1 \(now 0\.05\); choose another folder, or --overwrite"):
        relaxed(three, out, log, settings=Settings(fmax=0.05))
    journal.write_text("something else\n")
    with pytest.raises(RunFolderError, match="no journal of relaxations"):
        relaxed(three, out, log)


def test_a_full_disk_is_said_and_costs_nothing_that_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    candidates = [Candidate(f"c{i}", "", rock_salt(5.0 + i)) for i in range(3)]
    relaxed(candidates[:1], out, log)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("oreflow.agent.relaxation.journal.os.fsync", full)
        with pytest.raises(OutputError, match="No space left on device; what was relaxed before is kept"):
            relaxed(candidates, out, log)
    assert not running_workers()
    assert relaxed(candidates, out, log).n_resumed >= 1


def test_a_crash_is_kept_and_can_be_tried_again(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    candidates = [Candidate("good", "", rock_salt(5.6)), Candidate("bad", "", rock_salt(5.0, "Xe"))]
    candidates.append(Candidate("unread", "x.cif", None, "expected a cell"))
    found = relaxed(candidates, out, log)
    assert [r and r["status"] for r in found.records] == ["converged", "crashed", "unreadable"]
    assert [r and r["reason"] for r in found.records][1:] == ["its process ended with exit code 1", "expected a cell"]
    assert relaxed(candidates, out, log).n_resumed == 2
    assert len(calls(log)) == 2
    assert relaxed(candidates, out, log, retry=True).n_resumed == 1
    assert len(calls(log)) == 3


def test_a_signal_ends_it_cleanly_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write_series(tmp_path / "in", 6)
    log, out = tmp_path / "log", tmp_path / "out"
    command = ["relax", tmp_path / "in", "--out", out, "--workers", "1", "--json"]
    patch = functools.partial(relax_fakes.patch_slow, str(log))
    process = processes.oreflow(tmp_path / "streams", *command, patch=patch)
    process.wait_for(lambda: len(calls(log)) >= 3)
    process.send(signal.SIGINT)
    assert process.wait() == 3, process.said
    assert "the same command goes on from there" in process.said
    assert "Traceback" not in process.said
    summary = json.loads(process.out)
    assert summary["interrupted"]
    done = summary["n_rows"]
    assert 2 <= done < 6
    rows = (out / "relaxed.csv").read_text().splitlines()
    assert len(rows) == 1 + done
    n_calls = len(calls(log))
    again = processes.oreflow(tmp_path / "streams", *command, patch=patch)
    assert again.wait() == 0, again.said
    assert json.loads(again.out)["n_resumed"] == done
    assert len(calls(log)) == n_calls + 6 - done
    names = [row.split(",")[0] for row in (out / "relaxed.csv").read_text().splitlines()[1:]]
    assert names == [candidate.candidate_id for candidate in read_candidates([tmp_path / "in"])]


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "from oreflow.rewards.isolation.process import running_workers\n"
        "from oreflow.agent.relaxation.pool import run_tasks\n"
        "from tests.support import relax_fakes\n"
        "if __name__ == '__main__':\n"
        "    tasks = run_tasks(['a', 'hang'], relax_fakes.make_echo, workers=1, time_limit_s=600)\n"
        "    next(tasks)\n"
        "    print(running_workers()[0], flush=True)\n"
        "    next(tasks)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{worker}/stat").exists() and Path(f"/proc/{worker}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.05)
