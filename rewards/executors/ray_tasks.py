"""Tasks on a Ray cluster: Ray decides where each runs, and takes it elsewhere when a machine goes away."""

import contextlib
import pickle
from collections import deque
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from oreflow.rewards.errors import ExecutorError, WorkersLostError
from oreflow.rewards.executors.protocol import Answer, Task, Work
from oreflow.rewards.executors.ray_cluster import MAX_MACHINES_LOST, connect
from oreflow.rewards.executors.ray_task import answer_task

START_LIMIT_S = 600.0


class RayExecutor:
    """Tasks on a Ray cluster, each on one CPU of it; see `Executor`.

    An answer comes from a worker process beside Ray's, so a crash or a hang costs that process alone. Whatever ends
    Ray's own worker is the machine's fault: Ray gives the task to another one.

    Args:
        work: what is done; the files it needs, such as plug-ins, lie at the same place on all machines.
        time_limit_s: for one task.
        retries: how often a task that crashed or hung is tried again.
        workers: tasks that Ray has at once, at most; None: all, and Ray queues them. Where a cluster is started here,
            its number of CPUs.
        address: of a cluster; None starts one on this machine, which ends with this process.
    """

    def __init__(
        self,
        work: Work,
        *,
        time_limit_s: float,
        retries: int = 1,
        workers: int | None = None,
        address: str | None = None,
    ) -> None:
        told = {"work": work, "time_limit_s": time_limit_s, "retries": retries, "version": version("oreflow")}
        self._recipe = pickle.dumps(told)
        self._workers, self._address = workers, address
        self._ray: Any = None
        self._function: Any = None
        self._waiting: deque[Task] = deque()
        self._at_ray: dict[Any, str] = {}
        self._under_way: set[str] = set()
        self.slots = workers or 1
        self.n_lost = 0

    def start(self) -> Any:
        """Connect, and let one worker build what it needs; return what the work says about itself.

        Raises:
            ExecutorError: without Ray, without a cluster at the address, or one that cannot be used.
            WorkersLostError: when the work cannot be built there.
        """
        self._connect()
        first = self._function.remote(self._recipe, None)
        ready, _ = self._ray.wait([first], timeout=START_LIMIT_S)
        if not ready:
            self._cancel(first)
            raise ExecutorError(
                f"expected a free CPU of the Ray cluster within {START_LIMIT_S:g} s, got none; it has "
                f"{self._ray.cluster_resources().get('CPU', 0):g} in all. Wait for others' work, or add machines"
            )
        return self._result(first)["about"]

    def _connect(self) -> None:
        if self._ray is not None and self._ray.is_initialized():
            return
        self._ray = connect(self._address, self._workers)
        self._function = self._ray.remote(num_cpus=1, max_retries=MAX_MACHINES_LOST)(answer_task)
        self.slots = self._workers or max(int(self._ray.cluster_resources().get("CPU", 1)), 1)

    def submit(self, tasks: Sequence[Task]) -> None:
        """Take tasks, and return at once; an id that is under way is not taken again."""
        self._connect()
        for task in tasks:
            if task.id not in self._under_way:
                self._under_way.add(task.id)
                self._waiting.append(task)
        self._give()

    def _give(self) -> None:
        while self._waiting and (self._workers is None or len(self._at_ray) < self._workers):
            task = self._waiting.popleft()
            self._at_ray[self._function.remote(self._recipe, task)] = task.id

    def collect(self, timeout_s: float) -> list[Answer]:
        """Return all answers that came; wait at most so long for the first, and not at all where nothing is under way.

        Raises:
            WorkersLostError: when a worker cannot be started.
        """
        if not self._at_ray:
            return []
        ready, _ = self._ray.wait(list(self._at_ray), timeout=timeout_s)
        if ready:
            ready, _ = self._ray.wait(list(self._at_ray), num_returns=len(self._at_ray), timeout=0)
        answers = []
        for reference in ready:
            answers.append(self._answer(reference, self._at_ray[reference]))
            self._under_way.discard(self._at_ray.pop(reference))
        self._give()
        return answers

    def _answer(self, reference: Any, task_id: str) -> Answer:
        lost = self._ray.exceptions
        try:
            result = self._result(reference)
        except lost.OutOfMemoryError as error:
            return self._lost(task_id, "each machine that worked at it ran out of memory", error)
        except (lost.WorkerCrashedError, lost.NodeDiedError, lost.LocalRayletDiedError) as error:
            return self._lost(task_id, "each machine that worked at it went away", error)
        self.n_lost += result["n_lost"]
        answer: Answer = result["answer"]
        return answer

    def _lost(self, task_id: str, reason: str, error: Exception) -> Answer:
        self.n_lost += 1
        return Answer(task_id, "crashed", None, reason, output=str(error).strip())

    def _result(self, reference: Any) -> dict[str, Any]:
        try:
            result: dict[str, Any] = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # it cannot even read the question
            reason = str(error).strip().rpartition("\n")[2]
            raise WorkersLostError(
                f"a Ray worker cannot take part: {reason}. Install oreflow {version('oreflow')}, and what plug-ins "
                "need, on all nodes"
            ) from None
        if "failed" in result:
            raise WorkersLostError(result["failed"])
        return result

    def _cancel(self, reference: Any) -> None:
        # Whatever goes wrong while something is given up is of no interest: its machine may be gone already.
        with contextlib.suppress(Exception):
            self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Give up what is under way; the connection stays, as others in this process may use it."""
        if self._ray is not None and self._ray.is_initialized():
            for reference in self._at_ray:
                self._cancel(reference)
        self._at_ray.clear()
        self._waiting.clear()
        self._under_way.clear()
