"""How an executor is chosen: plain settings, and the one place that makes it of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from oreflow.envs.suggestions import nearest
from oreflow.rewards.errors import ExecutorError
from oreflow.rewards.executors.protocol import Executor, Work

ExecutorKind = Literal["local", "ray", "files"]
EXECUTORS: tuple[ExecutorKind, ...] = get_args(ExecutorKind)


@dataclass(frozen=True)
class ExecutorSettings:
    """Where dear work is done; the section `run.executor` of a config.

    Attributes:
        kind: "local" processes, a "ray" cluster, or "files" that the jobs of a batch system answer.
        workers: tasks worked at at once, at most; None: what the caller says for `local`, what the cluster has for
            `ray`.
        retries: how often a task that crashed or hung is tried again; None: never by `local`, once by the others,
            where a crash is often the machine's fault.
        address: of a Ray cluster; None starts one here for the run.
        folder: where `files` has its requests and answers.
        submit: a command that `files` runs after it has written requests; None where somebody else starts workers.
    """

    kind: ExecutorKind = "local"
    workers: int | None = None
    retries: int | None = None
    address: str | None = None
    folder: str | None = None
    submit: str | None = None


def make_executor(
    settings: ExecutorSettings, work: Work, *, time_limit_s: float, workers: int = 1, n_threads: int = 1
) -> Executor:
    """Make an executor; nothing is started yet.

    Args:
        time_limit_s: for one task.
        workers: where the settings do not say.
        n_threads: of the libraries in each local worker.

    Raises:
        ExecutorError: for a kind that there is not.
    """
    if settings.kind == "local":
        from oreflow.rewards.executors.local import LocalExecutor

        return LocalExecutor(
            work,
            workers=settings.workers or workers,
            time_limit_s=time_limit_s,
            retries=settings.retries or 0,
            n_threads=n_threads,
        )
    if settings.kind == "files":
        from oreflow.rewards.executors.batch.files import FilesExecutor

        if settings.folder is None:
            raise ExecutorError("run.executor: kind files needs folder, where requests and answers lie")
        retries = 1 if settings.retries is None else settings.retries
        return FilesExecutor(
            work, Path(settings.folder), time_limit_s=time_limit_s, retries=retries, submit=settings.submit
        )
    if settings.kind == "ray":
        from oreflow.rewards.executors.ray_tasks import RayExecutor

        return RayExecutor(
            work,
            time_limit_s=time_limit_s,
            retries=1 if settings.retries is None else settings.retries,
            workers=settings.workers,
            address=settings.address,
        )
    raise ExecutorError(f"expected an executor, got {settings.kind!r}; {nearest(str(settings.kind), EXECUTORS)}")
