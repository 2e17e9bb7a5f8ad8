"""A worker process that can be killed: started, asked with a time limit, and its death explained."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from typing import Any

from oreflow.rewards.contract.protocol import Batch
from oreflow.rewards.errors import PluginError, RewardWarning
from oreflow.rewards.isolation.messages import as_message, read_frame, write_frame

START_LIMIT_S = 120.0
# So long a process that is ending may take to be gone.
LAST_WORDS_S = 2.0
_SLICE_S = 0.5
_OUTPUT_KEPT = 4000
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_running: "weakref.WeakSet[WorkerProcess]" = weakref.WeakSet()


def running_workers() -> list[int]:
    """Return the process ids of the worker processes that this process has started and not stopped."""
    return sorted(process.pid for process in _running)


class WorkerProcess:
    """A fresh Python process that is sent messages, and whose answers arrive in a thread.

    It is spawned, never forked (neither numba's nor OpenMP's threads survive a fork), in a session of its own, so that
    Ctrl-C does not reach it and a kill reaches what it has started. It ends when this process ends.

    Args:
        module: whose function `main` the process runs.
        n_threads: of each of the process's libraries.
        receive: called with every answer, and with None once the process has closed the connection.
        keep_output: whether what it prints is kept for `stop`, instead of going where this process prints.
    """

    def __init__(
        self, module: str, n_threads: int, receive: Callable[[Any], None], *, keep_output: bool = True
    ) -> None:
        # The parent's own import path, so that the worker finds what the parent found, and nothing else.
        code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main()"
        self._printed = tempfile.TemporaryFile() if keep_output else None  # noqa: SIM115 (closed by `stop`)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env={**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(n_threads))},
            start_new_session=True,  # a kill then reaches what the worker itself has started
        )
        self.pid = self._process.pid
        _running.add(self)
        threading.Thread(target=_forward, args=(self._process.stdout, receive), daemon=True).start()

    def send(self, message: Any) -> None:
        """Send a message.

        Raises:
            OSError: when the process is gone.
        """
        write_frame(self._process.stdin, message)  # type: ignore[arg-type]  # IO[bytes], and buffered

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def abort(self) -> None:
        """Ask for a traceback of where the process hangs; one that ignores this is killed by `stop`."""
        self._process.send_signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)

    def how_it_died(self) -> str:
        """Say how the process has ended, which it is given a moment for."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_WORDS_S)
        code = self._process.poll()
        if code is None:
            return "its process closed the connection"
        if code >= 0:
            return f"its process ended with exit code {code}"
        try:
            return f"its process was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"its process was killed by signal {-code}"

    def stop(self) -> str:
        """Kill the process and what it has started; return the end of what it printed, where that was kept."""
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        _running.discard(self)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        if self._printed is None:
            return ""
        with self._printed as file:
            file.seek(0)
            # A crash ends with a list of loaded modules, which helps nobody.
            text = file.read().decode(errors="replace").partition("\nExtension modules:")[0].strip()
            return text[-_OUTPUT_KEPT:]


def _forward(stream: Any, receive: Callable[[Any], None]) -> None:
    try:
        while True:
            receive(read_frame(stream))
    except (EOFError, OSError, ValueError):
        receive(None)
    except Exception as error:  # of the many that pickle raises: an object of a class that this process does not have
        complaint = f"expected columns of numbers and text, got what cannot be read here: {error}"
        receive({"raised": "RewardContractError", "message": complaint})


class WorkerLost(Exception):
    """The worker died or did not answer in time; the message says which, `output` what it left behind."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


class TermWorker:
    """The worker process of one reward term, restarted on demand.

    Args:
        recipe: how the term is built there.
        n_threads: of the process.
    """

    def __init__(self, recipe: dict[str, Any], n_threads: int) -> None:
        self._recipe = recipe
        self._n_threads = n_threads
        self._process: WorkerProcess | None = None
        self._answers: queue.Queue = queue.Queue()
        self.about: dict[str, Any] = {}
        self._number = 0
        self.halted = False  # set from another thread: whatever is under way is of no use any more

    def start(self) -> None:
        """Start the process and build the term in it.

        Raises:
            PluginError: when the term cannot be built there.
        """
        self._answers = queue.Queue()
        self._process = WorkerProcess("oreflow.rewards.isolation.worker", self._n_threads, self._answers.put)
        try:
            answer = self._ask(self._recipe, START_LIMIT_S)
        except WorkerLost as error:
            raise PluginError(f"reward {self._recipe['name']!r} cannot be built in a worker process: {error}") from None
        if "failed" in answer:
            raise PluginError(
                f"reward {self._recipe['name']!r} cannot be built in a worker process: {answer['failed']}"
            )
        self.about = answer["ready"]
        for text in answer["warnings"]:
            warnings.warn(text, RewardWarning, stacklevel=2)

    def call(self, batch: Batch, limit_s: float) -> dict[str, Any]:
        """Return the worker's answer to a batch.

        Raises:
            WorkerLost: when it dies or takes too long; it is gone then, and the next call starts another.
        """
        if self._process is None:
            self.start()
        self._number += 1
        return self._ask({"number": self._number, **as_message(batch)}, limit_s)

    def _ask(self, message: Any, limit_s: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        try:
            process.send(message)
            answer = self._wait(process, limit_s)
        except queue.Empty:
            process.abort()
            raise WorkerLost(f"no answer within {limit_s:g} s", self.stop()) from None
        except OSError:
            answer = None
        except BaseException:  # Ctrl-C: the answer under way must not be taken for that to the next question
            self.stop()
            raise
        if answer is None:
            raise WorkerLost(process.how_it_died(), self.stop())
        if answer.get("number", message.get("number")) != message.get("number"):
            raise WorkerLost("it answered another question than it was asked", self.stop())
        return answer

    def _wait(self, process: WorkerProcess, limit_s: float) -> dict[str, Any] | None:
        """The next answer; None when the process is gone. Raises queue.Empty when time is up."""
        deadline = time.monotonic() + limit_s
        while True:
            # Asked before the queue, so that a last answer is not missed.
            gone = self.halted or not process.alive
            try:
                # In slices: a child that the term forked may hold the pipe open after the worker has died.
                return self._answers.get(timeout=max(min(_SLICE_S, deadline - time.monotonic()), 0.0))
            except queue.Empty:
                if gone:
                    return None
                if time.monotonic() >= deadline:
                    raise

    def stop(self) -> str:
        """Kill the process and what it has started; return the end of what it printed."""
        process, self._process = self._process, None
        return "" if process is None else process.stop()
