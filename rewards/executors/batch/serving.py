"""A worker of a request folder: claims open requests, one after another, and writes their answers."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from oreflow.envs.errors import OreflowError
from oreflow.rewards.errors import ExecutorError
from oreflow.rewards.executors.batch.folder import (
    ANSWERS,
    CLAIMS,
    REQUESTS,
    SCHEMA_VERSION,
    RequestFolder,
    version,
    write_once,
)
from oreflow.rewards.executors.local import LocalExecutor
from oreflow.rewards.executors.protocol import Answer, Task, Work

BEAT_S = 10.0
# A disk that is full may be emptied; an answer that was paid for waits so long for that.
PATIENCE_S = 600.0
_RETRY_S = 5.0
_POLL_S = 1.0

MakeWork = Callable[[dict[str, Any]], Work]


def serve(
    path: Path,
    works: Mapping[str, MakeWork],
    *,
    n: int | None = None,
    wait_s: float = 0.0,
    told: Callable[[str], None] = lambda text: None,
) -> int:
    """Answer open requests; return how many.

    Each is answered in a process of its own kind, so that a crash or a hang is an answer too.

    Args:
        path: the folder.
        works: by kind, what makes the work of a request's parameters.
        n: at most so many.
        wait_s: ends when nothing was open for so long.
        told: is given sentences on what happens.

    Raises:
        ExecutorError: for a folder or a request that this oreflow cannot read.
        WorkersLostError: when the work cannot be started here.
        OSError: when an answer cannot be written, however long one waits.
    """
    folder, crews, n_done = RequestFolder(path.absolute(), create=False), _Crews(works), 0
    idle_since, skipped = time.monotonic(), set[str]()
    try:
        while n is None or n_done < n:
            task_id = _claim_one(folder, skipped)
            if task_id is None:
                left = wait_s - (time.monotonic() - idle_since)
                if left <= 0:
                    break
                time.sleep(min(_POLL_S, left))
                continue
            with _held(folder.claim(task_id)):
                try:
                    request = _read(folder, task_id)
                    crews.prepare(request)
                except _Damaged as error:
                    told(f"{folder.request(task_id)}: {error}; left to others")
                    skipped.add(task_id)
                    continue
                answer, value = crews.answer(request)
                if not _write(folder, answer, value, told):
                    told(f"{task_id} was answered by somebody else first; this answer is dropped")
            told(f"{task_id} {answer.kind} in {answer.seconds:.1f} s" + (f": {answer.reason}" if answer.reason else ""))
            n_done += 1
            idle_since = time.monotonic()
    finally:
        crews.close()
    return n_done


class _Damaged(Exception):
    """A request that cannot be answered here; the message says why."""


class _Crews:
    """One worker process for each kind of work, started when it is needed."""

    def __init__(self, works: Mapping[str, MakeWork]) -> None:
        self._makers = works
        self._crews: dict[str, tuple[Work, LocalExecutor]] = {}

    def prepare(self, request: dict[str, Any]) -> None:
        """Start the worker process of a request, and read its payload.

        Raises:
            _Damaged: when this oreflow knows no such work, or the payload cannot be read.
        """
        key, kind = json.dumps(request["work"], sort_keys=True), request["work"]["kind"]
        if kind not in self._makers:
            raise _Damaged(f"expected work of the kind {', '.join(sorted(self._makers))}, got {kind!r}")
        if key not in self._crews:
            work = self._makers[kind](request["work"]["params"])
            self._crews[key] = work, LocalExecutor(work, workers=1, time_limit_s=request["time_limit_s"])
            self._crews[key][1].start()
        try:
            request["payload"] = self._crews[key][0].decode(request["payload"])
        except (OreflowError, ValueError, KeyError, TypeError) as error:
            raise _Damaged(f"its payload cannot be read: {error}") from None

    def answer(self, request: dict[str, Any]) -> tuple[Answer, Any]:
        """The answer to a request that was prepared, and its value as JSON data."""
        work, crew = self._crews[json.dumps(request["work"], sort_keys=True)]
        crew.submit([Task(request["id"], request["payload"], request["time_limit_s"], request["retries"])])
        answers: list[Answer] = []
        while not answers:
            answers = crew.collect(60.0)
        return answers[0], work.encode_value(answers[0].value) if answers[0].kind == "done" else None

    def close(self) -> None:
        for _, crew in self._crews.values():
            crew.close()


def _claim_one(folder: RequestFolder, skipped: set[str]) -> str | None:
    """Claims the oldest request that is neither answered nor claimed; None where there is none."""
    taken = folder.ids(ANSWERS) | folder.ids(CLAIMS) | skipped
    for task_id in sorted(folder.ids(REQUESTS) - taken, key=_age(folder)):
        record = {"host": socket.gethostname(), "pid": os.getpid(), "job": _job(), "schema_version": SCHEMA_VERSION}
        if write_once(folder.claim(task_id), record):
            if not folder.answer(task_id).exists():
                return task_id
            folder.claim(task_id).unlink(missing_ok=True)  # answered between two looks
    return None


def _age(folder: RequestFolder) -> Callable[[str], tuple[int, str]]:
    def age(task_id: str) -> tuple[int, str]:
        with suppress(OSError):
            return folder.request(task_id).stat().st_mtime_ns, task_id
        return 0, task_id

    return age


def _job() -> str | None:
    names = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


@contextmanager
def _held(claim: Path) -> Iterator[None]:
    """Touches a claim from time to time, and gives it back in the end, whatever the end is."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_S):
            with suppress(OSError):  # declared void, because this machine slept; the first answer will count
                os.utime(claim)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        claim.unlink(missing_ok=True)


def _read(folder: RequestFolder, task_id: str) -> dict[str, Any]:
    path = folder.request(task_id)
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
        known = {"work": dict, "time_limit_s": int | float, "retries": int}
        if request["id"] != task_id or not all(isinstance(request[key], kind) for key, kind in known.items()):
            raise ValueError
        request["work"]["kind"], request["work"]["params"], request["payload"]
    except (OSError, ValueError, KeyError, TypeError):
        raise _Damaged("expected a request, got what is damaged") from None
    if request["oreflow"] != version():
        raise ExecutorError(
            f"{path} was written by oreflow {request['oreflow']}, this is {version()}: expected the same on both "
            "sides, as values may differ"
        )
    return dict(request)


def _write(folder: RequestFolder, answer: Answer, value: Any, told: Callable[[str], None]) -> bool:
    data = {
        "schema_version": SCHEMA_VERSION,
        "id": answer.id,
        "kind": answer.kind,
        "value": value,
        "reason": answer.reason,
        "seconds": round(answer.seconds, 3),
        "output": answer.output,
        "host": socket.gethostname(),
        "job": _job(),
    }
    until, complained = time.monotonic() + PATIENCE_S, False
    while True:
        try:
            return write_once(folder.answer(answer.id), data)
        except OSError as error:
            if time.monotonic() > until:
                raise
            if not complained:
                told(
                    f"cannot write {folder.answer(answer.id)}: {error.strerror or error}; tried again for "
                    f"{PATIENCE_S / 60:.0f} min: make room"
                )
                complained = True
            time.sleep(_RETRY_S)
