"""Tasks as files that the jobs of a batch system answer; scheduling is the batch system's."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oreflow.rewards.errors import ExecutorError, RewardWarning
from oreflow.rewards.executors.batch.answers import UnreadableAnswer, has_value, read_answer
from oreflow.rewards.executors.batch.folder import (
    ANSWERS,
    CLAIMS,
    SCHEMA_VERSION,
    RequestFolder,
    version,
    write_once,
)
from oreflow.rewards.executors.batch.submissions import Submissions
from oreflow.rewards.executors.protocol import Answer, Task, Work

# A worker touches its claim far more often; one that is left alone for so long has lost its worker.
LEASE_S = 120.0
# So long an answer that cannot be read may still be under somebody's pen.
SETTLED_S = 10.0
# So long nothing may happen before it is asked whether there are workers at all.
QUIET_S = 3600.0
# So many workers a request may cost, beyond its retries, before it is answered as crashed.
MOST_LOST = 3
_FIRST_POLL_S, _LAST_POLL_S = 0.05, 2.0


@dataclass
class _Watched:
    """A file as it was last seen, and since when on this process's own clock."""

    seen: tuple[int, int]
    since: float

    def unchanged_s(self, path: Path) -> float:
        """For how long the file is as it is now; 0 where it has gone."""
        try:
            found = path.stat()
        except OSError:
            return 0.0
        if (found.st_size, found.st_mtime_ns) != self.seen:
            self.seen, self.since = (found.st_size, found.st_mtime_ns), time.monotonic()
        return time.monotonic() - self.since


class FilesExecutor:
    """A folder of requests and answers; see `Executor`.

    An id that was answered before is answered from the folder, and one that waits there is not written again, also
    after a restart. Nothing is lost when this process ends.

    Args:
        work: what is to be done.
        folder: where requests and answers lie.
        time_limit_s: for one task.
        retries: how often a task that crashed or hung is tried again.
        submit: a command to run after new requests were written. "{n}" in it is their number, "{last}" one less, and
            "{folder}" the folder; None where somebody else starts workers.
        lease_s: after which a claim that nobody touches is void; None: `LEASE_S`.

    Raises:
        ExecutorError: when the folder holds something else.
    """

    def __init__(
        self,
        work: Work,
        folder: Path,
        *,
        time_limit_s: float,
        retries: int = 1,
        submit: str | None = None,
        lease_s: float | None = None,
    ) -> None:
        self.slots = 2**20  # as many as there are tasks: how many are worked at is the batch system's choice
        self.n_lost = 0
        self._work, self._time_limit_s, self._retries = work, time_limit_s, retries
        self._lease_s = LEASE_S if lease_s is None else lease_s
        self._submissions = None if submit is None else Submissions(submit, folder)
        self._folder = RequestFolder(folder.absolute(), create=True)
        self._under_way: dict[str, int] = {}
        self._watched: dict[Path, _Watched] = {}
        self._told: set[str] = set()
        self._last_news = time.monotonic()

    def start(self) -> Any:
        """Make the work once in a process here; return what it says about itself.

        Raises:
            WorkersLostError: when it cannot be made.
        """
        from oreflow.rewards.executors.local import LocalExecutor

        probe = LocalExecutor(self._work, workers=1, time_limit_s=self._time_limit_s)
        try:
            return probe.start()
        finally:
            probe.close()

    def submit(self, tasks: Sequence[Task]) -> None:
        """Write requests that are new, and tell the batch system of those that it was not told of.

        Raises:
            ExecutorError: when they cannot be written, or the command fails.
        """
        new = [task for task in tasks if task.id not in self._under_way]
        answered, anew = self._folder.ids(ANSWERS), []
        try:
            for task in new:
                if task.anew and task.id in answered and not has_value(self._folder, self._work, task.id):
                    self._folder.set_aside(task.id, self._folder.answer(task.id))
                    answered.discard(task.id)
                    anew.append(task.id)
                if task.id not in answered:
                    write_once(self._folder.request(task.id), self._request(task))
        except OSError as error:
            raise ExecutorError(
                f"cannot write requests to {self._folder.path}: {error.strerror or error}; make room, and give the "
                "same command again: what was submitted stays submitted"
            ) from error
        self._under_way |= {task.id: self._retries if task.retries is None else task.retries for task in new}
        self._tell_batch_system([task.id for task in new if task.id not in answered and task.id not in anew])
        self._tell_batch_system(anew, again=True)

    def _request(self, task: Task) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "oreflow": version(),
            "id": task.id,
            "work": {"kind": self._work.kind, "params": self._work.params},
            "time_limit_s": self._time_limit_s if task.time_limit_s is None else task.time_limit_s,
            "retries": self._retries if task.retries is None else task.retries,
            "payload": self._work.encode(task.payload),
        }

    def _tell_batch_system(self, ids: list[str], again: bool = False) -> None:
        if self._submissions is not None:
            self._submissions.submit(ids, again=again)

    def collect(self, timeout_s: float) -> list[Answer]:
        """Return all answers that came; wait at most so long for the first, and not at all where nothing waits."""
        deadline, poll_s = time.monotonic() + timeout_s, _FIRST_POLL_S
        while True:
            answers = self._look()
            left = deadline - time.monotonic()
            if answers or left <= 0 or not self._under_way:
                return answers
            time.sleep(min(poll_s, left))
            poll_s = min(2 * poll_s, _LAST_POLL_S)

    def _look(self) -> list[Answer]:
        there, answers = self._folder.ids(ANSWERS), []
        for task_id in [task_id for task_id in self._under_way if task_id in there]:
            path = self._folder.answer(task_id)
            try:
                answer = read_answer(self._folder, self._work, task_id)
            except UnreadableAnswer as error:
                if self._unchanged_s(path) < SETTLED_S:
                    continue
                self._tell(f"{path}: {error}; it is set aside")
                number = self._folder.set_aside(task_id, path)
                self._again(task_id, number > self._under_way[task_id], f"its answer could not be read: {error}")
                continue
            answers.append(answer)
            self._watched.pop(path, None)
            del self._under_way[task_id]
            self.n_lost += answer.kind in ("crashed", "hung")
        for name in there - set(self._under_way) - {answer.id for answer in answers} - self._told:
            if not self._folder.request(name).exists():
                self._told.add(name)
                self._tell(f"{self._folder.path / ANSWERS}/{name} answers no request of this folder; it is left alone")
        self._look_for_lost_workers()
        if answers or not self._under_way or self._folder.ids(CLAIMS) & set(self._under_way):
            self._last_news = time.monotonic()
        elif time.monotonic() - self._last_news > QUIET_S:
            self._last_news = time.monotonic()
            self._tell(
                f"{len(self._under_way)} requests wait in {self._folder.path}, and no worker has taken one for "
                f"{QUIET_S / 60:.0f} min; look whether the batch system's jobs began, or start one: oreflow worker "
                f"{self._folder.path}"
            )
        return answers

    def _look_for_lost_workers(self) -> None:
        for task_id in self._folder.ids(CLAIMS) & set(self._under_way):
            path = self._folder.claim(task_id)
            if self._unchanged_s(path) > self._lease_s and not self._folder.answer(task_id).exists():
                number = self._folder.set_aside(task_id, path)
                self.n_lost += 1
                gone = f"{number} workers that were at it went away"
                self._again(task_id, number > MOST_LOST + self._under_way[task_id], gone)

    def _again(self, task_id: str, enough: bool, reason: str) -> None:
        """Opens a request again, or answers it as crashed, for all who wait and for good."""
        if enough:
            write_once(
                self._folder.answer(task_id),
                {"schema_version": SCHEMA_VERSION, "id": task_id, "kind": "crashed", "reason": reason},
            )
            return
        self._folder.claim(task_id).unlink(missing_ok=True)
        self._tell_batch_system([task_id], again=True)

    def _unchanged_s(self, path: Path) -> float:
        return self._watched.setdefault(path, _Watched((-1, -1), time.monotonic())).unchanged_s(path)

    def _tell(self, text: str) -> None:
        warnings.warn(text, RewardWarning, stacklevel=2)

    def close(self) -> None:
        """Wait for nothing any more; requests and answers stay where they are."""
        self._under_way.clear()
        self._watched.clear()
