"""A worker process that can be killed: started, sent messages, and its death explained."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from typing import Any

from oreflow.rewards.executors.messages import read_frame, write_frame

# So long a process that is ending may take to be gone.
LAST_WORDS_S = 2.0
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
