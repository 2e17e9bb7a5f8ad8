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
from typing import Any

from oreflow.rewards.contract.protocol import Batch
from oreflow.rewards.errors import PluginError, RewardWarning
from oreflow.rewards.isolation.messages import as_message, read_frame, write_frame

START_LIMIT_S = 120.0


_LAST_WORDS_S = 2.0


_SLICE_S = 0.5


_OUTPUT_KEPT = 4000


class _WorkerLost(Exception):
    """The worker died or did not answer in time; the message says which, `output` what it left behind."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


class _Worker:
    """One worker process, restarted on demand."""

    def __init__(self, recipe: dict[str, Any], n_threads: int) -> None:
        self._recipe = recipe
        self._n_threads = n_threads
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: queue.Queue = queue.Queue()
        self.about: dict[str, Any] = {}
        self._number = 0
        self.halted = False  # set from another thread: whatever is under way is of no use any more

    def start(self) -> None:
        """Starts the process and builds the term in it.

        Raises:
            PluginError: when the term cannot be built there.
        """
        threads = {name: str(self._n_threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
        # The parent's own import path, so that the worker finds what the parent found, and nothing else.
        code = f"import sys; sys.path[:] = {sys.path!r}; from oreflow.rewards.isolation.worker import main; main()"
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `stop`)
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env={**os.environ, **threads},
            start_new_session=True,  # a kill then reaches what the term itself has started
        )
        self._answers = queue.Queue()
        threading.Thread(target=_forward, args=(self._process.stdout, self._answers), daemon=True).start()
        try:
            answer = self._ask(self._recipe, START_LIMIT_S)
        except _WorkerLost as error:
            raise PluginError(f"reward {self._recipe['name']!r} cannot be built in a worker process: {error}") from None
        if "failed" in answer:
            raise PluginError(
                f"reward {self._recipe['name']!r} cannot be built in a worker process: {answer['failed']}"
            )
        self.about = answer["ready"]
        for text in answer["warnings"]:
            warnings.warn(text, RewardWarning, stacklevel=2)

    def call(self, batch: Batch, limit_s: float) -> dict[str, Any]:
        """The worker's answer to a batch.

        Raises:
            _WorkerLost: when it dies or takes too long; it is gone then, and the next call starts another.
        """
        if self._process is None:
            self.start()
        self._number += 1
        return self._ask({"number": self._number, **as_message(batch)}, limit_s)

    def _ask(self, message: Any, limit_s: float) -> dict[str, Any]:
        process = self._process
        assert process is not None
        try:
            write_frame(process.stdin, message)  # type: ignore[arg-type]  # IO[bytes], and buffered
            answer = self._wait(process, limit_s)
        except queue.Empty:
            process.send_signal(signal.SIGABRT)  # leaves a traceback; a process that ignores it is killed below
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS_S)
            raise _WorkerLost(f"no answer within {limit_s:g} s", self.stop()) from None
        except OSError:
            answer = None
        except BaseException:  # Ctrl-C: the answer under way must not be taken for that to the next question
            self.stop()
            raise
        if answer is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS_S)
            code = process.poll()
            raise _WorkerLost(_how_it_died(code), self.stop())
        if answer.get("number", message.get("number")) != message.get("number"):
            raise _WorkerLost("it answered another question than it was asked", self.stop())
        return answer

    def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> dict[str, Any] | None:
        """The next answer; None when the process is gone. Raises queue.Empty when time is up."""
        deadline = time.monotonic() + limit_s
        while True:
            gone = (
                self.halted or process.poll() is not None
            )  # asked before the queue, so that a last answer is not missed
            try:
                # In slices: a child that the term forked may hold the pipe open after the worker has died.
                return self._answers.get(timeout=max(min(_SLICE_S, deadline - time.monotonic()), 0.0))
            except queue.Empty:
                if gone:
                    return None
                if time.monotonic() >= deadline:
                    raise

    def stop(self) -> str:
        """Kills the process and what it has started; returns the end of what it printed."""
        process, self._process = self._process, None
        if process is None:
            return ""
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        with self._printed as file:
            file.seek(0)
            # A crash ends with a list of loaded modules, which helps nobody.
            text = file.read().decode(errors="replace").partition("\nExtension modules:")[0].strip()
            return text[-_OUTPUT_KEPT:]


def _forward(stream: Any, answers: queue.Queue) -> None:
    try:
        while True:
            answers.put(read_frame(stream))
    except (EOFError, OSError, ValueError):
        answers.put(None)
    except Exception as error:  # of the many that pickle raises: an object of a class that this process does not have
        complaint = f"expected columns of numbers and text, got what cannot be read here: {error}"
        answers.put({"raised": "RewardContractError", "message": complaint})


def _how_it_died(code: int | None) -> str:
    if code is None:
        return "its process closed the connection"
    if code < 0:
        try:
            return f"its process was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"its process was killed by signal {-code}"
    return f"its process ended with exit code {code}"
