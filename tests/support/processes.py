"""Verbs in processes of their own. They are forked from one that has imported everything, which saves seconds each."""

import functools
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "oreflow.agent.cli",
        "oreflow.agent.training.resume",
        "oreflow.agent.training.loop",
        "oreflow.agent.learners.gflownet",
        "oreflow.agent.storage.lock",
        "pytest",
    ]
)


class Started:
    """A process that may be signalled while it runs."""

    def __init__(self, process: BaseProcess, streams: Path) -> None:
        self.process, self._streams = process, streams

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def out(self) -> str:
        return (self._streams / "stdout").read_text(encoding="utf-8")

    @property
    def said(self) -> str:
        return (self._streams / "stderr").read_text(encoding="utf-8")

    def send(self, number: signal.Signals) -> None:
        if self.process.is_alive():
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit code, negative where a signal killed it."""
        self.process.join(60)
        assert self.process.exitcode is not None, self.said
        return self.process.exitcode

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert self.process.is_alive(), self.said
            assert time.monotonic() < deadline
            time.sleep(0.005)


def start(function: Callable[[], None], streams: Path) -> Started:
    """Calls a function, which must be found by its name, in a process that writes its streams into a folder."""
    streams.mkdir(parents=True, exist_ok=True)
    process = _context.Process(target=_redirected, args=(function, streams))
    process.start()
    return Started(process, streams)


def oreflow(streams: Path, *arguments: object, patch: Callable[[], None] | None = None) -> Started:
    """The command, after `patch` was called in its process."""
    return start(functools.partial(_command, [str(argument) for argument in arguments], patch), streams)


def _redirected(function: Callable[[], None], streams: Path) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    function()


def _command(arguments: list[str], patch: Callable[[], None] | None) -> None:
    from oreflow.agent.cli import main

    if patch is not None:
        patch()
    sys.argv = ["oreflow", *arguments]
    main()
