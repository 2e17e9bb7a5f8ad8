"""Independent, slow tasks in worker processes: one that crashes or hangs costs itself, and nothing else.

A worker (`oreflow.rewards.isolation.process`) builds what it needs once, then answers one task after another.
"""

import contextlib
import pickle
import queue
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from oreflow.agent.errors import RelaxationError
from oreflow.rewards.isolation.process import WorkerProcess

START_LIMIT_S = 180.0
# So many crashes in a row: the machine or the potential is broken, not the structures.
MAX_CRASHES_IN_A_ROW = 8

Make = Callable[[], Callable[[Any], Any]]
Kind = Literal["done", "raised", "crashed", "hung"]


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        kind: "done", with a value; "raised", "crashed" or "hung", with a reason.
        value: what the function returned.
        reason: a phrase.
        seconds: of wall time.
    """

    kind: Kind
    value: Any
    reason: str
    seconds: float


class _Worker:
    """One process, and the task that it is at. Its answers arrive in `inbox`, each with this worker."""

    def __init__(self, make: Make, scratch: str, inbox: queue.Queue) -> None:
        self._process = WorkerProcess(
            "oreflow.rewards.isolation.tasks", 1, lambda answer: inbox.put((self, answer)), keep_output=False
        )
        self._send({"make": pickle.dumps(make), "scratch": scratch})
        self.task: int | None = None
        self.ready = self.gone = False
        self.since = time.monotonic()

    def _send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # a dead worker shows when its answer is read
            self._process.send(message)

    @property
    def seconds(self) -> float:
        """Since it was started, or was given its task."""
        return time.monotonic() - self.since

    def limit_s(self, time_limit_s: float) -> float:
        """How long it may be silent."""
        if not self.ready:
            return START_LIMIT_S
        return float("inf") if self.task is None else time_limit_s

    def give(self, number: int, task: Any) -> None:
        self.task, self.since = number, time.monotonic()
        self._send({"task": task})

    def outcome_of(self, answer: dict[str, Any] | None) -> Outcome | None:
        """What an answer says: the outcome of its task, or nothing but that it is ready. None is the end of it.

        Raises:
            RelaxationError: when it could not start.
        """
        seconds = self.seconds
        if answer is None:
            answer = {"kind": "crashed", "reason": self._process.how_it_died()}
            self.stop()
        elif "raised" in answer:  # a value that cannot be sent
            answer = {"kind": "raised", "reason": answer["message"]}
        if not self.ready and answer["kind"] != "ready":
            raise RelaxationError(f"a worker process cannot start: {answer['reason']}")
        self.ready = True
        if answer["kind"] == "ready":
            return None
        return Outcome(answer["kind"], answer.get("value"), answer["reason"], seconds)

    def silent(self, time_limit_s: float) -> Outcome:
        """Gives it up, as it has been silent for too long."""
        self.stop()
        if not self.ready:
            raise RelaxationError(f"a worker process did not start within {START_LIMIT_S:g} s")
        return Outcome("hung", None, f"no answer within {time_limit_s:g} s; its process was stopped", self.seconds)

    def stop(self) -> None:
        """End the process."""
        self.gone = True
        self._process.stop()


def run_tasks(
    tasks: Sequence[Any], make: Make, *, workers: int, time_limit_s: float
) -> Generator[tuple[int, Outcome], None, None]:
    """Outcomes of tasks as they come, each with its position in `tasks`.

    Args:
        tasks: of plain data, which can be pickled.
        make: called once in each worker, returns the function that turns a task into its result. Both must be found by
            name in a fresh process.
        workers: processes, each with one thread.
        time_limit_s: for one task; a worker that takes longer is stopped, and another one started.

    Raises:
        RelaxationError: when a worker cannot start, or task after task crashes.
    """
    waiting = list(range(len(tasks)))[::-1]
    crew: list[_Worker] = []
    inbox: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
    n_crashes = 0
    scratch = tempfile.TemporaryDirectory()  # chgnet writes a file into the working folder when it fails on a structure
    try:
        while True:
            n_busy = sum(worker.task is not None for worker in crew)
            if not waiting and not n_busy:
                return
            while len(crew) < min(workers, len(waiting) + n_busy):
                crew.append(_Worker(make, scratch.name, inbox))
            left = min(worker.limit_s(time_limit_s) - worker.seconds for worker in crew)
            heard = _all_in(inbox, min(max(left, 0.0), 1.0))
            for worker in list(crew):
                outcome = None
                if worker in heard:
                    outcome = worker.outcome_of(heard[worker])
                elif worker.seconds > worker.limit_s(time_limit_s):
                    outcome = worker.silent(time_limit_s)
                if worker.gone:
                    crew.remove(worker)
                if outcome is not None and worker.task is not None:
                    number, worker.task = worker.task, None
                    yield number, outcome
                    n_crashes = n_crashes + 1 if outcome.kind == "crashed" else 0
                    if n_crashes >= MAX_CRASHES_IN_A_ROW:
                        raise RelaxationError(
                            f"{n_crashes} structures in a row cost a worker process, the last because "
                            f"{outcome.reason}; look at the machine's memory and the installation of the potential"
                        )
                if worker.ready and worker.task is None and not worker.gone and waiting:
                    place = waiting.pop()
                    worker.give(place, tasks[place])
    finally:
        for worker in crew:
            worker.stop()
        scratch.cleanup()


def _all_in(inbox: queue.Queue, timeout_s: float) -> dict[_Worker, Any]:
    """All answers that are there, or the first that comes; a worker has one at most, or its end behind it."""
    heard: dict[_Worker, Any] = {}
    with contextlib.suppress(queue.Empty):
        worker, answer = inbox.get(timeout=timeout_s)
        heard[worker] = answer
        while inbox.qsize():
            worker, answer = inbox.get_nowait()
            if worker in heard:  # its end, which is told after its answer
                inbox.put((worker, answer))
                break
            heard[worker] = answer
    return heard
