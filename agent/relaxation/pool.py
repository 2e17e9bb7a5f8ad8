"""Independent, slow tasks in worker processes: one that crashes or hangs costs itself, and nothing else.

A worker is a fresh Python process (spawned, never forked: the threads of torch do not survive a fork). It builds what
it needs once, then answers one task after another.
"""

import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from oreflow.agent.errors import RelaxationError

START_LIMIT_S = 180.0
# So many crashes in a row: the machine or the potential is broken, not the structures.
MAX_CRASHES_IN_A_ROW = 8
_LAST_WORDS_S = 2.0
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

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
    """One process, and the task that it is at."""

    def __init__(self, make: Make, scratch: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(make, theirs, scratch), daemon=True)
        with _one_thread_each():
            self._process.start()
        theirs.close()
        self.task: int | None = None
        self.ready = self.gone = False
        self.since = time.monotonic()

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
        with contextlib.suppress(OSError):  # a dead worker shows when its answer is read
            self.connection.send(task)

    def listen(self) -> Outcome | None:
        """What it has to say: the outcome of its task, or nothing but that it is ready.

        Raises:
            RelaxationError: when it could not start.
        """
        seconds = self.seconds
        try:
            kind, value, reason = self.connection.recv()
        except (EOFError, OSError):
            kind, value, reason = "crashed", None, self.stop(_LAST_WORDS_S)
        if not self.ready and kind != "ready":
            raise RelaxationError(f"a worker process cannot start: {reason}")
        self.ready = True
        return None if kind == "ready" else Outcome(kind, value, reason, seconds)

    def silent(self, time_limit_s: float) -> Outcome:
        """Gives it up, as it has been silent for too long."""
        self.stop()
        if not self.ready:
            raise RelaxationError(f"a worker process did not start within {START_LIMIT_S:g} s")
        return Outcome("hung", None, f"no answer within {time_limit_s:g} s; its process was stopped", self.seconds)

    def stop(self, patience_s: float = 0.0) -> str:
        """Ends the process; says how it had ended by itself, if it had."""
        self.gone = True
        self._process.join(patience_s)
        code = self._process.exitcode
        self._process.kill()
        self._process.join()
        self.connection.close()
        return _how_it_ended(code)


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
    n_crashes = 0
    scratch = tempfile.TemporaryDirectory()  # chgnet writes a file into the working folder when it fails on a structure
    try:
        while True:
            n_busy = sum(worker.task is not None for worker in crew)
            if not waiting and not n_busy:
                return
            while len(crew) < min(workers, len(waiting) + n_busy):
                crew.append(_Worker(make, scratch.name))
            left = min(worker.limit_s(time_limit_s) - worker.seconds for worker in crew)
            heard = wait([worker.connection for worker in crew], timeout=min(max(left, 0.0), 1.0))
            for worker in list(crew):
                outcome = None
                if worker.connection in heard:
                    outcome = worker.listen()
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
                            f"{outcome.reason}; look at the machine's memory and the installation of chgnet and torch"
                        )
                if worker.ready and worker.task is None and not worker.gone and waiting:
                    place = waiting.pop()
                    worker.give(place, tasks[place])
    finally:
        for worker in crew:
            worker.stop()
        scratch.cleanup()


def _how_it_ended(code: int | None) -> str:
    if code is None:
        return "its process was stopped"
    if code >= 0:
        return f"its process ended with exit code {code}"
    try:
        return f"its process was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"its process was killed by signal {-code}"


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started within read from their environment that they have one thread; libraries look when loaded."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(make: Make, connection: Connection, scratch: str) -> None:
    """The worker process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print would end up in the command's own output
    for name in ("SIGINT", "SIGUSR1"):  # Ctrl-C reaches the whole group, and is the parent's to answer
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:  # no orphans, also when the task hangs
        parent.join()
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    try:
        function = make()
    except BaseException as error:
        connection.send(("failed", None, f"{type(error).__name__}: {error}"))
        return
    connection.send(("ready", None, ""))
    os.chdir(scratch)
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[str, Any, str] = ("done", function(task), "")
        except Exception as error:
            answer = ("raised", None, " ".join(str(error).split()) or type(error).__name__)
        connection.send(answer)
