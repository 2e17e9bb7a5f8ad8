"""The one interface of all executors: tasks go in, answers come out in whatever order they are finished."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Make = Callable[[], Callable[[Any], Any]]
Kind = Literal["done", "raised", "crashed", "hung"]
KINDS: tuple[Kind, ...] = ("done", "raised", "crashed", "hung")


def _as_it_is(data: Any) -> Any:
    return data


@dataclass(frozen=True)
class Work:
    """What is done with each task.

    Attributes:
        kind: "reward", "relaxation" or another, as `oreflow worker` knows it.
        params: plain data from which another machine makes the same work again.
        make: called once in each worker process; it returns the function from payload to value. It is found by name
            in a fresh process. An attribute `about` of the function, plain data, is told to who starts the executor.
        encode, decode: a payload as JSON data, and back.
        encode_value, decode_value: a value as JSON data, and back.
        keep_output: whether what the worker prints is kept to explain how it ended, and not shown.
        scratch: whether the worker's working folder is one that is removed in the end.
    """

    kind: str
    params: dict[str, Any]
    make: Make
    encode: Callable[[Any], Any] = _as_it_is
    decode: Callable[[Any], Any] = _as_it_is
    encode_value: Callable[[Any], Any] = _as_it_is
    decode_value: Callable[[Any], Any] = _as_it_is
    keep_output: bool = False
    scratch: bool = True


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        id: the same for the same work on the same object, in another process and after a restart, too.
        payload: plain data, as the work's function takes it.
        time_limit_s: for this task; None: that of the executor.
        retries: how often it is tried again when it crashed or hung; None: as often as the executor does.
        anew: whether an earlier answer that was no value is forgotten, where the executor has kept one.
    """

    id: str
    payload: Any
    time_limit_s: float | None = None
    retries: int | None = None
    anew: bool = False


@dataclass(frozen=True)
class Answer:
    """What became of a task.

    Attributes:
        id: of the task.
        kind: "done", with a value; "raised", "crashed" or "hung", with a reason.
        value: what the function returned.
        reason: a phrase.
        seconds: of wall time, of the last try.
        output: the end of what its process printed before it crashed or was stopped, where that was kept.
    """

    id: str
    kind: Kind
    value: Any = None
    reason: str = ""
    seconds: float = 0.0
    output: str = field(default="", repr=False)


class Executor(Protocol):
    """Answers tasks, several at once.

    A task that crashed or hung is tried again, and answered as such in the end; one that was lost because its machine
    went away is tried again without that being held against it.

    Attributes:
        slots: tasks worked at at once.
        n_lost: tries that crashed or hung.
    """

    slots: int
    n_lost: int

    def start(self) -> Any:
        """Start what is needed to work; return what the work's function says `about` itself.

        Raises:
            ExecutorError: when it cannot be reached.
            WorkersLostError: when the work cannot be started.
        """
        ...

    def submit(self, tasks: Sequence[Task]) -> None:
        """Take tasks, and return at once; an id that is under way is not taken again."""
        ...

    def collect(self, timeout_s: float) -> list[Answer]:
        """Return all answers that came; wait at most so long for the first, and not at all where no task is under way.

        Raises:
            WorkersLostError: when no worker can be started.
        """
        ...

    def close(self) -> None:
        """End what was started; tasks under way are dropped here. What is submitted later starts it again."""
        ...
