"""Workers of `oreflow relax`: crashes and hangs cost one structure, nothing is done twice, a signal ends it cleanly."""

import errno
import functools
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from oreflow.agent.errors import OutputError, RunFolderError
from oreflow.agent.relaxation.inputs import Candidate, read_candidates
from oreflow.agent.relaxation.relax import JOURNAL_FILE, Relaxed, Settings, relax_candidates
from oreflow.rewards.executors.process import running_workers
from tests.support import processes, relax_fakes
from tests.support.small_crystals import rock_salt


def write_series(folder: Path, n: int) -> None:
    folder.mkdir()
    for number in range(n):
        rock_salt(5.5 + number / 10).to(filename=str(folder / f"s{number}.cif"))


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
