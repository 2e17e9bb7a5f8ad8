"""A list of independent tasks, from the first to the last answer."""

from collections.abc import Generator, Sequence

from oreflow.rewards.errors import WorkersLostError
from oreflow.rewards.executors.protocol import Answer, Executor, Task

# So many crashes in a row: the machine or the installation is broken, not the objects.
MAX_CRASHES_IN_A_ROW = 8
_WAIT_S = 3600.0


def run_tasks(tasks: Sequence[Task], executor: Executor) -> Generator[Answer, None, None]:
    """Answers of tasks as they come; the executor is closed in the end.

    Args:
        tasks: each with an id of its own.

    Raises:
        WorkersLostError: when no worker can start, or task after task crashes.
    """
    waiting = {task.id for task in tasks}
    n_crashes = 0
    try:
        executor.submit(tasks)
        while waiting:
            for answer in executor.collect(_WAIT_S):
                if answer.id not in waiting:
                    continue
                waiting.discard(answer.id)
                yield answer
                n_crashes = n_crashes + 1 if answer.kind == "crashed" else 0
                if n_crashes >= MAX_CRASHES_IN_A_ROW:
                    raise WorkersLostError(
                        f"{n_crashes} tasks in a row cost a worker process, the last because {answer.reason}; look at "
                        "the machine's memory, and at the installation of what runs there"
                    )
    finally:
        executor.close()
