"""Tasks in worker processes of this machine: one that crashes or hangs costs itself, and nothing else.

A worker (`oreflow.rewards.executors.process`) builds what it needs once, then answers one task after another.
"""

import contextlib
import pickle
import queue
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from oreflow.rewards.errors import WorkersLostError
from oreflow.rewards.executors.process import WorkerProcess
from oreflow.rewards.executors.protocol import Answer, Task, Work

START_LIMIT_S = 180.0
_SLICE_S = 0.5
# So long after its death a worker's last answer may be on its way; a child that it forked may hold the pipe open.
_LAST_ANSWER_S = 0.5


class _Try:
    """A task, and how often it may still fail."""

    def __init__(self, task: Task, retries: int, time_limit_s: float) -> None:
        self.task = task
        self.retries_left = retries if task.retries is None else task.retries
        self.time_limit_s = time_limit_s if task.time_limit_s is None else task.time_limit_s


class _Worker:
    """One process, and the task that it is at. Its answers arrive in `inbox`, each with this worker and the time."""

    def __init__(self, work: Work, scratch: str, n_threads: int, inbox: queue.Queue) -> None:
        self._process = WorkerProcess(
            "oreflow.rewards.executors.process_main",
            n_threads,
            lambda answer: inbox.put((self, answer, time.monotonic())),
            keep_output=work.keep_output,
        )
        self._keep_output = work.keep_output
        self.current: _Try | None = None
        self.ready = self.gone = False
        self.about: Any = None
        self.since = time.monotonic()
        self._dead_since: float | None = None
        self._number = 0
        self._send({"make": pickle.dumps(work.make), "scratch": scratch, "keep_output": work.keep_output})

    def _send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # a dead worker shows when its answer is read
            self._process.send(message)

    @property
    def idle(self) -> bool:
        return self.ready and self.current is None and not self.gone

    @property
    def deadline(self) -> float:
        """When it will have been silent for too long, on the monotonic clock."""
        if not self.ready:
            return self.since + START_LIMIT_S
        return float("inf") if self.current is None else self.since + self.current.time_limit_s

    def give(self, one: _Try) -> None:
        self.current, self.since = one, time.monotonic()
        self._number += 1
        self._send({"payload": one.task.payload, "number": self._number})

    def dead(self) -> bool:
        """Whether it died so long ago that nothing of it is on its way any more."""
        if self._dead_since is None and not self._process.alive:
            self._dead_since = time.monotonic()
        return self._dead_since is not None and time.monotonic() - self._dead_since > _LAST_ANSWER_S

    def answer_of(self, message: dict[str, Any] | None, at: float) -> Answer | None:
        """What a message says: the answer to its task, or nothing but that it is ready. None is the end of it.

        Raises:
            WorkersLostError: when it could not start.
        """
        output = ""
        if message is None:
            message, output = {"kind": "crashed", "reason": self._process.how_it_died()}, self.stop()
        elif "raised" in message:  # a value that cannot be sent
            message = {"kind": "raised", "reason": message["message"]}
        if not self.ready and message["kind"] != "ready":
            self.stop()
            raise WorkersLostError(f"a worker process cannot start: {message['reason']}")
        if message["kind"] == "ready":
            self.ready, self.about = True, message["about"]
            return None
        if message.get("number", self._number) != self._number:
            message, output = {"kind": "crashed", "reason": "it answered another question than it was asked"}, ""
            self.stop()
        if self.current is None:
            return None
        task_id = self.current.task.id
        return Answer(task_id, message["kind"], message.get("value"), message["reason"], at - self.since, output)

    def silent(self) -> Answer | None:
        """Give it up, as it has been silent for too long."""
        if not self.ready or self.current is None:
            self.stop()
            raise WorkersLostError(f"a worker process did not start within {START_LIMIT_S:g} s")
        seconds = time.monotonic() - self.since
        if self._keep_output:
            self._process.abort()  # leaves a traceback
        limit = f"no answer within {self.current.time_limit_s:g} s"
        return Answer(self.current.task.id, "hung", None, limit, seconds, self.stop())

    def stop(self) -> str:
        """End the process; return the end of what it printed, where that was kept."""
        self.gone = True
        return self._process.stop()


class LocalExecutor:
    """Worker processes of this machine, started when there is work for them; see `Executor`.

    What is under way goes on between calls, but a free worker gets its next task only in `submit` and `collect`.

    Args:
        work: what they do.
        workers: processes, at most.
        time_limit_s: for one task; a worker that takes longer is stopped, and another one started.
        retries: how often a task that crashed or hung is tried again.
        n_threads: of each process's libraries.
    """

    def __init__(self, work: Work, *, workers: int, time_limit_s: float, retries: int = 0, n_threads: int = 1) -> None:
        self.slots = workers
        self.n_lost = 0
        self._work, self._time_limit_s, self._retries, self._n_threads = work, time_limit_s, retries, n_threads
        self._waiting: deque[_Try] = deque()
        self._under_way: set[str] = set()
        self._crew: list[_Worker] = []
        self._inbox: queue.Queue[tuple[_Worker, dict[str, Any] | None, float]] = queue.Queue()
        self._scratch: tempfile.TemporaryDirectory | None = None

    def start(self) -> Any:
        """Start one worker; return what its function says about itself.

        Raises:
            WorkersLostError: when it cannot start.
        """
        if not self._crew:
            self._hire()
        worker = self._crew[0]
        while not worker.ready and not worker.gone:
            self._hear(_SLICE_S)
        return worker.about

    def submit(self, tasks: Sequence[Task]) -> None:
        """Take tasks, and return at once; an id that is under way is not taken again."""
        for task in tasks:
            if task.id not in self._under_way:
                self._under_way.add(task.id)
                self._waiting.append(_Try(task, self._retries, self._time_limit_s))
        self._give()

    def collect(self, timeout_s: float) -> list[Answer]:
        """Return all answers that came; wait at most so long for the first, and not at all where nothing is under way.

        Raises:
            WorkersLostError: when a worker cannot start.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self._give()
            left = max(deadline - time.monotonic(), 0.0)
            answers = self._hear(left) if self._under_way else []
            if answers or not left or not self._under_way:
                # Nobody gets another task before the caller has kept these: an interruption would cost them.
                return answers

    def _give(self) -> None:
        n_busy = sum(worker.current is not None for worker in self._crew)
        while len(self._crew) < min(self.slots, len(self._waiting) + n_busy):
            self._hire()
        for worker in self._crew:
            if worker.idle and self._waiting:
                worker.give(self._waiting.popleft())

    def _hire(self) -> None:
        if (
            self._work.scratch and self._scratch is None
        ):  # chgnet, for one, writes into the working folder when it fails
            self._scratch = tempfile.TemporaryDirectory()
        scratch = "" if self._scratch is None else self._scratch.name
        self._crew.append(_Worker(self._work, scratch, self._n_threads, self._inbox))

    def _hear(self, timeout_s: float) -> list[Answer]:
        """Answers that are there, or the first that comes in time; [] may come early."""
        dead = [worker for worker in self._crew if worker.dead()]
        now = time.monotonic()
        left = min((worker.deadline - now for worker in self._crew), default=timeout_s)
        heard = self._messages(min(max(left, 0.0), timeout_s, _SLICE_S))
        answers = []
        for worker in list(self._crew):
            answer = None
            try:
                if worker in heard:
                    answer = worker.answer_of(*heard[worker])
                elif worker in dead:
                    answer = worker.answer_of(None, time.monotonic())
                elif time.monotonic() > worker.deadline:
                    answer = worker.silent()
            finally:
                if worker.gone:
                    self._crew.remove(worker)
            if answer is not None:
                answers += self._settled(worker, answer)
        return answers

    def _settled(self, worker: _Worker, answer: Answer) -> list[Answer]:
        """The answer, or [] where its task is tried again."""
        one, worker.current = worker.current, None
        assert one is not None
        if answer.kind in ("crashed", "hung"):
            self.n_lost += 1
            if one.retries_left:
                one.retries_left -= 1
                self._waiting.append(one)
                return []
        self._under_way.discard(answer.id)
        return [answer]

    def _messages(self, timeout_s: float) -> dict[_Worker, tuple[dict[str, Any] | None, float]]:
        """All that are there, or the first that comes; a worker has one at most, or its end behind it."""
        heard: dict[_Worker, tuple[dict[str, Any] | None, float]] = {}
        with contextlib.suppress(queue.Empty):
            worker, message, at = self._inbox.get(timeout=timeout_s)
            heard[worker] = message, at
            while self._inbox.qsize():
                worker, message, at = self._inbox.get_nowait()
                if worker in heard:  # its end, which is told after its answer
                    self._inbox.put((worker, message, at))
                    break
                heard[worker] = message, at
        return heard

    def close(self) -> None:
        """Stop the workers and drop what is under way; what is submitted later starts others."""
        for worker in self._crew:
            worker.stop()
        self._crew.clear()
        self._waiting.clear()
        self._under_way.clear()
        self._inbox = queue.Queue()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None
