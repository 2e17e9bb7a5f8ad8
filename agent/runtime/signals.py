"""SIGINT, SIGTERM and SIGUSR1 as a flag that a loop reads at a safe point."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType

_NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Context in which all three raise KeyboardInterrupt, as SIGINT does by itself: work ends by its `finally`s."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, signal.default_int_handler) for number in _numbers()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _numbers() -> list[int]:
    return [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class StopFlag:
    """Context in which the first signal sets `raised` and a second one interrupts at once."""

    def __init__(self) -> None:
        self.raised: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _numbers()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.raised is not None:
            raise KeyboardInterrupt
        self.raised = signal.Signals(number).name
        # Unbuffered, because print is not safe in a handler; closed streams are no reason to fail.
        with contextlib.suppress(OSError):
            os.write(2, f"\noreflow: {self.raised}: stopping after this step; once more stops at once\n".encode())
