"""Progress of long work: a bar on a terminal, plain lines elsewhere, nothing when quiet. All of it on stderr."""

import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """Context manager; `update(done, **figures)` may be called as often as one likes.

    Args:
        label: what is being done.
        total: of how many; None where nobody knows.
        quiet: whether nothing is shown.
        seconds_between_lines: the least between two lines where there is no terminal.
    """

    def __init__(self, label: str, total: int | None, quiet: bool = False, seconds_between_lines: float = 10.0) -> None:
        self.label = label
        self.total = total
        self.quiet = quiet
        self._seconds = seconds_between_lines
        self._started = time.monotonic()
        self._last_line = -float("inf")
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress
            from rich.table import Column

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                # Takes what is left of the line, so that a narrow terminal cuts the figures and not the count.
                TextColumn("{task.fields[figures]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
                expand=True,
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, figures="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, **figures: float) -> None:
        """Shows `done` of the total and the figures beside it."""
        if self.quiet:
            return
        text = "  ".join(f"{name.replace('_', ' ')} {_short(value)}" for name, value in figures.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=text)
            return
        now = time.monotonic()
        if self.total is None:
            if now - max(self._last_line, self._started) >= self._seconds:
                self._last_line = now
                print(f"{self.label} {done}  {text}".rstrip(), file=sys.stderr, flush=True)
            return
        if now - self._last_line >= self._seconds or done >= self.total:
            self._last_line = now
            elapsed = now - self._started
            remaining = elapsed * (self.total - done) / done if done else float("nan")
            print(f"{self.label} {done}/{self.total}  {text}  ETA {_clock(remaining)}", file=sys.stderr, flush=True)


class Stages:
    """Says on stderr which part of a longer work has begun; nothing when quiet.

    Args:
        label: the work.
        total: of how many parts.
        quiet: whether nothing is said.
    """

    def __init__(self, label: str, total: int, quiet: bool = False) -> None:
        self.label, self.total, self.quiet = label, total, quiet
        self._begun = 0

    def begin(self, part: str) -> None:
        """Name the part that begins."""
        self._begun += 1
        if not self.quiet:
            print(f"{self.label} {self._begun}/{self.total}  {part}", file=sys.stderr, flush=True)


def _short(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _clock(seconds: float) -> str:
    if seconds != seconds:
        return "--:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
