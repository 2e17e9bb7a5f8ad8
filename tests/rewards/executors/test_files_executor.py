"""Requests and answers as files: each object answered or quarantined once, nothing submitted or paid twice."""

import errno
import json
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.errors import ExecutorError, RewardWarning
from oreflow.rewards.executors.batch import files, serving
from oreflow.rewards.executors.batch.files import FilesExecutor
from oreflow.rewards.executors.batch.serving import serve
from oreflow.rewards.executors.protocol import Answer, Task, Work
from oreflow.rewards.executors.settings import ExecutorSettings
from oreflow.rewards.isolation.term import IsolatedTerm
from oreflow.rewards.registry import load_plugin
from tests.rewards.isolation.test_isolation import PLUGIN
from tests.support import relax_fakes
from tests.support.fake_batch import FAULTS, FakeBatch

PAYING = """
@rewards.register("paying")
class Paying(Term):
    name = "paying"
    def __call__(self, batch):
        with open(os.path.join(self.directory, "tries"), "a") as file: file.write(batch.formulas()[0] + "\\n")
        found = super().__call__(batch)
        with open(os.path.join(self.directory, "paid"), "a") as file: file.write(batch.formulas()[0] + "\\n")
        return found
"""
ECHO = Work("echo", {}, relax_fakes.make_echo)


def executor(folder: Path, **settings) -> FilesExecutor:
    return FilesExecutor(ECHO, folder, time_limit_s=5.0, **settings)


def work_off(folder: Path, n: int | None = None) -> list[str]:
    told: list[str] = []
    serve(folder, {"echo": lambda params: ECHO}, n=n, told=told.append)
    return told


def collected(crew: FilesExecutor, n: int) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    deadline = time.monotonic() + 60.0
    while len(answers) < n:
        assert time.monotonic() < deadline, f"only {sorted(answers)} came"
        answers |= {answer.id: answer for answer in crew.collect(5.0)}
    return answers


def until(over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120.0
    while not over():
        assert time.monotonic() < deadline, "it waits for ever"


def lines(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_batch_system_that_fails_and_a_trainer_that_restarts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(files, "LEASE_S", 2.0)
    monkeypatch.setattr(files, "SETTLED_S", 0.5)
    plugin = tmp_path / "paying.py"
    plugin.write_text(PLUGIN + PAYING)
    load_plugin(plugin)
    folder = tmp_path / "requests"
    good = ["Fe2O3", "Al2O3", "TiO2", "SrTiO3", "ZnO", "MnO2"]
    batch = parse_formulas([*good[:3], "NaCl", "KBr", *good[3:], "CaO"])[0]

    def trainer(command: str | None) -> IsolatedTerm:
        settings = ExecutorSettings("files", folder=str(folder), submit=command)
        return IsolatedTerm("paying", {"directory": str(tmp_path)}, time_limit_s=1.0, executor=settings)

    with FakeBatch(folder, plugin, seed, FAULTS) as system, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        first = trainer(system.command)
        first.submit(batch[:7])
        until(lambda: bool(first.collect(5.0)) and first.known(batch).sum() >= 2)
        first.close()
        second = trainer(system.command)
        n_submitted = second.submit(batch)
        assert n_submitted == len(batch), "it knows nothing by itself; the folder does"
        until(lambda: second.collect(5.0) >= 0 and not second.n_under_way)
        result = second(batch)
        second.close()
    assert dict(zip(batch.formulas(), result.valid.tolist())) == {
        **dict.fromkeys(parse_formulas(good)[0].formulas(), True), "ClNa": False, "BrK": False, "CaO": False
    }  # fmt: skip
    assert result.values[result.valid].tolist() == [5.0, 5.0, 3.0, 5.0, 2.0, 3.0]
    assert sorted(result.reasons.values()) == [
        "ValueError: no bromides", "its process ended with exit code 3; set aside", "no answer within 1 s; set aside"
    ]  # fmt: skip
    assert lines(tmp_path / "paid") == Counter(dict.fromkeys(parse_formulas(good)[0].formulas(), 1)), "each once"
    assert lines(tmp_path / "tries")["ClNa"] == lines(tmp_path / "tries")["CaO"] == 2, (
        "once more each, then never again"
    )
    told = [name for path in (folder / "submissions").glob("*.json") for name in json.loads(path.read_text())["ids"]]
    lost = Counter(path.name.split(".")[0] for path in (folder / "set_aside").iterdir())
    requests = {path.stem for path in (folder / "requests").glob("*.json")}
    assert Counter(told) == Counter({name: 1 + lost[name] for name in requests}), "again only where a job was lost"
    assert lost.total() == 3, "one killed, two that wrote nonsense"
    assert system.submitted == len(told)
    complaints = [str(warning.message) for warning in said if issubclass(warning.category, RewardWarning)]
    assert any("expected JSON, got what is cut off" in text for text in complaints)
    assert any("got that to 'somebody_else'; it is set aside" in text for text in complaints)
    assert not list((folder / "claims").iterdir())


def test_answers_that_came_while_nobody_waited_are_taken_up(tmp_path: Path) -> None:
    first = executor(tmp_path / "f")
    first.submit([Task("a", "x"), Task("b", "y")])
    first.close()
    assert [text.split(" in ")[0] for text in work_off(tmp_path / "f", n=1)] == ["a done"]
    second = executor(tmp_path / "f")
    second.submit([Task("a", "x"), Task("b", "y"), Task("c", "z")])
    assert [text.split(" in ")[0] for text in work_off(tmp_path / "f")] == ["b done", "c done"]
    assert {name: answer.value for name, answer in collected(second, 3).items()} == {
        "a": "x done", "b": "y done", "c": "z done"
    }  # fmt: skip
    assert second.collect(0.0) == []


def test_crashes_and_exceptions_are_answers_and_may_be_asked_for_anew(tmp_path: Path) -> None:
    crew = executor(tmp_path / "f", retries=0)
    flag = tmp_path / "been_here"
    crew.submit([Task("a", f"once {flag}"), Task("b", "raise"), Task("c", "hang", time_limit_s=0.5), Task("d", "ok")])
    work_off(tmp_path / "f")
    assert {name: (answer.kind, answer.reason) for name, answer in collected(crew, 4).items()} == {
        "a": ("crashed", "its process ended with exit code 7"),
        "b": ("raised", "this one is wrong"),
        "c": ("hung", "no answer within 0.5 s"),
        "d": ("done", ""),
    }
    again = executor(tmp_path / "f")
    again.submit([Task("a", f"once {flag}"), Task("b", "raise")])
    assert {answer.kind for answer in collected(again, 2).values()} == {"crashed", "raised"}, "told from the folder"
    again.submit([Task("a", f"once {flag}", anew=True), Task("d", "ok", anew=True)])
    assert [text.split(" in ")[0] for text in work_off(tmp_path / "f")] == ["a done"], "what has a value keeps it"
    assert {name: answer.value for name, answer in collected(again, 2).items()} == {
        "a": f"once {flag} done", "d": "ok done"
    }  # fmt: skip


def test_the_batch_system_is_told_of_each_request_once(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = f"sh -c 'echo {{n}} {{last}} {{folder}} >> {told}; echo job 17'"
    crew = executor(tmp_path / "f", submit=command)
    crew.submit([Task("a", "x"), Task("b", "y")])
    crew.submit([Task("b", "y")])
    executor(tmp_path / "f", submit=command).submit([Task("a", "x"), Task("b", "y"), Task("c", "z")])
    assert told.read_text().splitlines() == [f"2 1 {tmp_path / 'f'}", f"1 0 {tmp_path / 'f'}"]
    (first, second) = sorted((tmp_path / "f" / "submissions").iterdir())
    assert (json.loads(first.read_text())["ids"], json.loads(second.read_text())["ids"]) == (["a", "b"], ["c"])
    assert json.loads(first.read_text())["said"] == "job 17"


def test_a_command_that_fails_is_said_and_run_again_later(tmp_path: Path) -> None:
    crew = executor(tmp_path / "f", submit="sh -c 'echo queue is closed >&2; exit 3'")
    with pytest.raises(ExecutorError, match="failed, exit code 3: queue is closed; mend it, and give the same command"):
        crew.submit([Task("a", "x")])
    with pytest.raises(ExecutorError, match=r"run\.executor\.submit: no_such_batch_system failed, .*No such file"):
        executor(tmp_path / "f", submit="no_such_batch_system").submit([Task("a", "x")])
    executor(tmp_path / "f", submit=f"touch {tmp_path / 'told'}").submit([Task("a", "x")])
    assert (tmp_path / "told").exists()
    with pytest.raises(ExecutorError, match="expected a command, got 'sbatch \"': No closing quotation"):
        executor(tmp_path / "f", submit='sbatch "')


def test_a_half_written_answer_may_still_be_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = executor(tmp_path / "f")
    crew.submit([Task("a", "x")])
    path = tmp_path / "f" / "answers" / "a.json"
    path.write_text('{"id": "a", "val')
    assert crew.collect(0.3) == []
    path.write_text('{"id": "a", "value": "from a script"}')
    assert collected(crew, 1)["a"].value == "from a script"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"id": "a", "val', "expected JSON, got what is cut off or none"),
        ('{"id": "b", "value": 1}', "expected the answer to a, got that to 'b'"),
        ("[1, 2]", r"expected the answer to a, got that to \[1, 2\]"),
        ('{"id": "a", "kind": "finished"}', "expected kind to be one of done, raised, crashed, hung, got 'finished'"),
        ('{"id": "a", "value": 1, "seconds": "long"}', "its value cannot be read: could not convert"),
    ],
)
def test_answers_that_say_nothing_are_set_aside_and_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, complaint: str
) -> None:
    monkeypatch.setattr(files, "SETTLED_S", 0.2)
    crew = executor(tmp_path / "f", retries=1)
    crew.submit([Task("a", "x")])
    path = tmp_path / "f" / "answers" / "a.json"
    path.write_text(text)
    with pytest.warns(RewardWarning, match=complaint):
        assert crew.collect(2.0) == []
    assert not path.exists()
    path.write_text(text)
    with pytest.warns(RewardWarning, match=complaint):
        answer = collected(crew, 1)["a"]
    assert answer.kind == "crashed"
    assert answer.reason.startswith("its answer could not be read: ")
    assert [path.read_text() for path in sorted((tmp_path / "f" / "set_aside").iterdir())] == [text, text]


def test_foreign_and_duplicate_files_are_left_alone_and_told_of_once(tmp_path: Path) -> None:
    crew = executor(tmp_path / "f")
    crew.submit([Task("a", "x")])
    foreign = tmp_path / "f" / "answers" / "notes.txt"
    foreign.write_text("mine")
    twin = tmp_path / "f" / "answers" / "a (copy).json"
    twin.write_text("{}")
    with pytest.warns(RewardWarning) as said:
        assert crew.collect(0.2) == []
    assert sorted(str(one.message).rpartition("/")[2] for one in said) == [
        f"{name} answers no request of this folder; it is left alone" for name in ("a (copy)", "notes.txt")
    ]
    assert crew.collect(0.2) == []
    assert (foreign.read_text(), twin.read_text()) == ("mine", "{}")


def test_of_two_answers_the_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = executor(tmp_path / "f")
    crew.submit([Task("a", "x")])
    honest = serving._write

    def slower(folder, answer, value, told):
        folder.answer("a").write_text('{"id": "a", "value": "first"}')
        return honest(folder, answer, value, told)

    monkeypatch.setattr(serving, "_write", slower)
    assert "was answered by somebody else first; this answer is dropped" in work_off(tmp_path / "f")[0]
    assert collected(crew, 1)["a"].value == "first"


def test_a_full_disk_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crew = executor(tmp_path / "f")
    crew.submit([Task("a", "x")])
    honest, n_full = serving.write_once, [2]

    def full(path, data):
        if path.parent.name == "answers" and n_full[0]:
            n_full[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return honest(path, data)

    monkeypatch.setattr(serving, "write_once", full)
    monkeypatch.setattr(serving, "_RETRY_S", 0.01)
    told = work_off(tmp_path / "f")
    assert [("No space left on device; tried again" in text) for text in told] == [True, False]
    assert collected(crew, 1)["a"].value == "x done"
    crew.submit([Task("b", "y")])
    n_full[0] = 10**9
    monkeypatch.setattr(serving, "PATIENCE_S", 0.05)
    with pytest.raises(OSError, match="No space left"):
        work_off(tmp_path / "f")
    assert not (tmp_path / "f" / "claims" / "b").exists(), "another one may try"


def test_a_worker_that_vanished_gives_its_request_back_whatever_the_clock_says(tmp_path: Path) -> None:
    told = tmp_path / "told"
    crew = executor(tmp_path / "f", lease_s=0.3, retries=0, submit=f"sh -c 'echo {{n}} >> {told}'")
    crew.submit([Task("a", "x")])
    claim = tmp_path / "f" / "claims" / "a"
    claim.write_text("{}")
    for year in (1971, 2090, 1999):  # clocks jump; a claim that changes is alive
        os.utime(claim, ((year - 1970) * 31556952.0,) * 2)
        assert crew.collect(0.2) == []
        assert claim.exists()
    assert crew.collect(1.0) == []
    assert not claim.exists()
    assert told.read_text().split() == ["1", "1"]
    for _ in range(files.MOST_LOST):
        claim.write_text("{}")
        answers = crew.collect(2.5)
    assert [(answer.kind, answer.reason) for answer in answers] == [("crashed", "4 workers that were at it went away")]


def test_folders_that_are_something_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(ExecutorError, match=r"expected a new or empty folder for requests, got .*mine, which holds"):
        executor(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    with pytest.raises(ExecutorError, match=r"expected a folder of requests, .* got none at"):
        work_off(tmp_path / "nothing")
    executor(tmp_path / "f")
    (tmp_path / "f" / "FORMAT.json").write_text('{"format": "oreflow executor folder", "schema_version": 2}')
    with pytest.raises(ExecutorError, match="has schema version 2, this oreflow writes 1; choose another folder, or"):
        executor(tmp_path / "f")
    (tmp_path / "f" / "FORMAT.json").write_text("{")
    with pytest.raises(ExecutorError, match="is damaged; choose another folder"):
        executor(tmp_path / "f")


def test_requests_that_a_worker_cannot_answer_are_left_to_others(tmp_path: Path) -> None:
    crew = executor(tmp_path / "f")
    crew.submit([Task("a", "x"), Task("b", "y"), Task("c", "z")])
    requests = tmp_path / "f" / "requests"
    (requests / "a.json").write_text("{")
    (requests / "b.json").write_text((requests / "b.json").read_text().replace('"echo"', '"quantum"'))
    told = sorted(work_off(tmp_path / "f"), key=lambda text: "left to others" not in text)
    assert [text.split("; left to others")[0].split(": ", 1)[1] for text in told[:2]] == [
        "expected a request, got what is damaged", "expected work of the kind echo, got 'quantum'"
    ]  # fmt: skip
    assert told[2].startswith("c done")
    assert not list((tmp_path / "f" / "claims").iterdir())
    (requests / "c.json").write_text((requests / "c.json").read_text().replace('"oreflow": "', '"oreflow": "9.'))
    (tmp_path / "f" / "answers" / "c.json").unlink()
    with pytest.raises(ExecutorError, match=r"was written by oreflow 9\..*expected the same on both sides"):
        work_off(tmp_path / "f")


def test_two_workers_never_answer_one_request(tmp_path: Path) -> None:
    crew = executor(tmp_path / "f")
    crew.submit([Task(f"task{i}", f"task{i}") for i in range(12)])
    told: list[list[str]] = []
    threads = [threading.Thread(target=lambda: told.append(work_off(tmp_path / "f"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [text.split()[0] for texts in told for text in texts]
    assert sorted(names) == sorted(f"task{i}" for i in range(12))
    assert len(collected(crew, 12)) == 12


def test_requests_that_nobody_takes_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "QUIET_S", 0.2)
    crew = executor(tmp_path / "f")
    crew.submit([Task("a", "x")])
    with pytest.warns(RewardWarning, match="1 requests wait in .*, and no worker has taken one for .*oreflow worker"):
        assert crew.collect(0.5) == []
    (tmp_path / "f" / "claims" / "a").write_text("{}")
    assert crew.collect(0.5) == [], "no warning, which would be an error: somebody is at it"
