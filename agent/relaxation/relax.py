"""Relaxing a list of candidates: in parallel, resumably, one record a structure."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oreflow.agent.errors import OutputError
from oreflow.agent.relaxation.inputs import Candidate
from oreflow.agent.relaxation.journal import Journal, structure_key
from oreflow.agent.relaxation.tracks import Settings
from oreflow.agent.relaxation.work import relaxation_work, task_of
from oreflow.agent.runtime.progress import Progress
from oreflow.rewards.executors.in_turn import run_tasks
from oreflow.rewards.executors.protocol import Answer, Make, Task
from oreflow.rewards.executors.settings import ExecutorSettings, make_executor

JOURNAL_FILE = "relaxations.jsonl"
# A relaxation looks at the clock after each step; a worker that is still silent so much later hangs.
GRACE_S = 30.0
_STATUS_OF = {"raised": "failed", "crashed": "crashed", "hung": "time_limit"}
_TRIED_AGAIN = ("crashed", "time_limit")


@dataclass(frozen=True)
class Relaxed:
    """What came of the candidates.

    Attributes:
        records: one a candidate, in their order; None where an interruption came first. Keys: `status` (of
            `rewards.potential.relax.Relaxation`, or "failed", "crashed", "unreadable"), `reason`, `seconds`, and where
            there is an end of the held track, the fields of `Relaxation`; `free` holds the same of the free one.
        n_resumed: candidates that had been relaxed before.
        interrupted: whether a signal ended it.
        seconds: of wall time, this time.
    """

    records: list[dict[str, Any] | None]
    n_resumed: int
    interrupted: bool
    seconds: float


def relax_candidates(
    candidates: Sequence[Candidate],
    out: Path,
    settings: Settings,
    *,
    workers: int = 1,
    executor: ExecutorSettings | None = None,
    time_limit_s: float = 600.0,
    retry: bool = False,
    quiet: bool = False,
    make: Make | None = None,
    grace_s: float = GRACE_S,
) -> Relaxed:
    """Relaxes what has not been relaxed before with the same settings; an interruption leaves all that was finished.

    Args:
        out: an existing folder, which nobody else writes to; it holds the journal.
        workers: processes, each with one thread, where the executor does not say.
        executor: where it is done; by default in processes of this machine.
        time_limit_s: for one structure. The relaxation then ends where it is.
        retry: whether structures that crashed, or ran out of time, are tried again.
        make: instead of the potential, what builds the relaxing function in each worker.
        grace_s: how long after its time a worker that does not answer is killed.

    Raises:
        RunFolderError: when the journal belongs to other settings.
        ExecutorError: when the executor cannot be used.
        WorkersLostError: when no worker can start, or structure after structure crashes one.
        OutputError: when the disk is full.
    """
    started = time.monotonic()
    work = relaxation_work(settings, time_limit_s)
    work = work if make is None else replace(work, make=make)
    record = settings.record()
    keys = ["" if c.structure is None else structure_key(c.structure, record) for c in candidates]
    with contextlib.closing(Journal(out / JOURNAL_FILE, record)) as journal:
        known = set(journal.records)
        if retry:
            known -= {key for key, entry in journal.records.items() if entry["status"] in _TRIED_AGAIN}
        first = {key: place for place, key in reversed(list(enumerate(keys))) if key and key not in known}
        places = sorted(first.values())
        n_readable = sum(1 for key in keys if key)
        n_resumed = sum(key in known for key in keys if key)
        tasks = [Task(keys[place], task_of(candidates[place].structure), anew=retry) for place in places]
        crew = make_executor(executor or ExecutorSettings(), work, time_limit_s=time_limit_s + grace_s, workers=workers)
        interrupted = False
        try:
            with (
                Progress("relax", n_readable, quiet) as progress,
                contextlib.closing(run_tasks(tasks, crew)) as answers,
            ):
                n_converged = 0
                for n_new, answer in enumerate(answers, start=1):
                    entry = _entry(answer)
                    _add(journal, entry)
                    n_converged += entry["status"] == "converged"
                    per_minute = 60 * n_new / max(time.monotonic() - started, 1e-9)
                    progress.update(n_resumed + n_new, converged=n_converged / n_new, per_minute=per_minute)
        except KeyboardInterrupt:
            interrupted = True
        records = [
            {"status": "unreadable", "reason": candidate.reason} if not key else journal.records.get(key)
            for candidate, key in zip(candidates, keys)
        ]
    return Relaxed(records, n_resumed, interrupted, time.monotonic() - started)


def _entry(answer: Answer) -> dict[str, Any]:
    entry = {"key": answer.id, "seconds": round(answer.seconds, 3)}
    if answer.kind == "done":
        return {**entry, **answer.value}
    return {**entry, "status": _STATUS_OF[answer.kind], "reason": answer.reason}


def _add(journal: Journal, entry: dict[str, Any]) -> None:
    try:
        journal.add(entry)
    except OSError as error:
        raise OutputError(
            f"cannot write {journal.path}: {error.strerror or error}; what was relaxed before is kept: make room and "
            "give the same command again"
        ) from error
