"""SIGINT, SIGTERM and SIGUSR1 as a flag that a loop reads at a safe point."""

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType


class StopFlag:
    """Context in which the first signal sets `raised` and a second one interrupts at once."""

    def __init__(self) -> None:
        self.raised: str | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> "StopFlag":
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._previous[number] = signal.signal(number, self._note)
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
