"""Tasks in worker processes: crashes and hangs cost the task that has them, and nothing is left behind."""

import contextlib
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oreflow.rewards.errors import WorkersLostError
from oreflow.rewards.executors.in_turn import run_tasks
from oreflow.rewards.executors.local import LocalExecutor
from oreflow.rewards.executors.process import running_workers
from oreflow.rewards.executors.protocol import Answer, Make, Task, Work
from tests.support import relax_fakes
from tests.support.repository import ROOT


def executor(make: Make = relax_fakes.make_echo, workers: int = 1, time_limit_s: float = 60.0, retries: int = 0):
    return LocalExecutor(Work("echo", {}, make), workers=workers, time_limit_s=time_limit_s, retries=retries)


def tasks_of(payloads: list[str]) -> list[Task]:
    return [Task(str(number), payload) for number, payload in enumerate(payloads)]


def outcomes(payloads: list[str], **settings) -> list[Answer]:
    found = {answer.id: answer for answer in run_tasks(tasks_of(payloads), executor(**settings))}
    assert sorted(found, key=int) == [task.id for task in tasks_of(payloads)]
    return [found[str(number)] for number in range(len(payloads))]


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
    with pytest.raises(WorkersLostError, match="cannot start: RuntimeError: no such weights"):
        list(run_tasks(tasks_of(["a"]), executor(relax_fakes.make_broken)))
    with pytest.raises(WorkersLostError, match="cannot start: its process ended with exit code 9"):
        list(run_tasks(tasks_of(["a"]), executor(relax_fakes.make_dead)))


def test_crash_after_crash_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oreflow.rewards.executors.in_turn.MAX_CRASHES_IN_A_ROW", 3)
    found = []
    with pytest.raises(WorkersLostError, match="3 tasks in a row"):
        found += [answer.kind for answer in run_tasks(tasks_of(["exit"] * 9), executor())]
    # One that works in between shows that the machine does.
    kinds = [o.kind for o in outcomes(["exit", "exit", "a", "exit", "exit"])]
    assert kinds == ["crashed", "crashed", "done", "crashed", "crashed"]


def test_leaves_no_process_and_no_setting_behind() -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    running = run_tasks(tasks_of(["a", "hang"]), executor())
    next(running)
    assert running_workers()
    running.close()
    assert not running_workers()
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "from oreflow.rewards.executors.process import running_workers\n"
        "from tests.rewards.executors.test_local import executor, run_tasks, tasks_of\n"
        "if __name__ == '__main__':\n"
        "    tasks = run_tasks(tasks_of(['a', 'hang']), executor(time_limit_s=600))\n"
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


def collected(crew: LocalExecutor, n: int) -> list[Answer]:
    answers: list[Answer] = []
    while len(answers) < n:
        answers += crew.collect(60.0)
    return answers


def test_tasks_may_be_submitted_at_any_time_and_none_twice() -> None:
    crew = executor(workers=2)
    crew.submit([Task("first", "a"), Task("second", "b")])
    crew.submit([Task("second", "b"), Task("third", "c")])
    assert sorted(answer.value for answer in collected(crew, 3)) == ["a done", "b done", "c done"]
    assert crew.collect(0.0) == []
    crew.submit([Task("fourth", "d")])
    assert [answer.value for answer in collected(crew, 1)] == ["d done"]
    crew.close()
    assert not running_workers()
    crew.submit([Task("fifth", "e")])
    assert [answer.value for answer in collected(crew, 1)] == ["e done"]
    crew.close()


def test_an_id_that_is_under_way_is_worked_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    crew = executor(functools.partial(relax_fakes.make_counting, str(log)))
    one, two = (Task(f"task {i}", ([[float(i)]], [], [])) for i in (1, 2))
    crew.submit([one, one])
    crew.submit([one, two])
    assert sorted(answer.id for answer in collected(crew, 2)) == ["task 1", "task 2"]
    crew.submit([Task("last", ([[3.0]], [], []))])
    collected(crew, 1)
    assert log.read_text().split() == ["1.0000", "2.0000", "3.0000"]
    crew.close()


def test_no_task_begins_before_earlier_answers_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    crew = executor(functools.partial(relax_fakes.make_counting, str(log)))
    tasks = [Task(f"task {i}", ([[float(i)]], [], [])) for i in (1, 2)]
    with contextlib.closing(run_tasks(tasks, crew)) as answers:
        next(answers)
        time.sleep(0.5)  # far longer than the second task would take
        assert log.read_text().split() == ["1.0000"]
        assert next(answers).id == "task 2"


def test_what_crashes_is_tried_again_and_answered_once(tmp_path: Path) -> None:
    flag = str(tmp_path / "been_here")
    crew = executor(retries=1)
    crew.submit([Task("bad", "exit"), Task("at first", f"once {flag}"), Task("never again", "exit", retries=0)])
    answers = {answer.id: answer for answer in collected(crew, 3)}
    assert crew.collect(0.0) == []
    assert (answers["bad"].kind, answers["bad"].reason) == ("crashed", "its process ended with exit code 7")
    assert (answers["at first"].kind, answers["at first"].value) == ("done", f"once {flag} done")
    assert answers["never again"].kind == "crashed"
    assert crew.n_lost == 4, "bad twice, the others once"
    crew.close()


def test_a_task_may_have_a_time_limit_of_its_own() -> None:
    crew = executor(time_limit_s=600.0)
    crew.submit([Task("slow", "hang", time_limit_s=1.0), Task("quick", "a")])
    answers = {answer.id: answer for answer in collected(crew, 2)}
    assert (answers["slow"].kind, answers["slow"].reason) == ("hung", "no answer within 1 s")
    assert answers["quick"].value == "a done"
    crew.close()
