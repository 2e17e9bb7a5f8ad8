"""What a Ray worker does: keeps a worker process of ours beside it, and hands its answers on.

The process beside it is what a task can crash or hang, so that Ray's own workers never die of an object: where one
does, its machine is gone, and Ray takes the task elsewhere. This file needs no Ray.
"""

import os
import pickle
from importlib.metadata import version
from typing import Any

from oreflow.envs.errors import OreflowError
from oreflow.rewards.executors.local import LocalExecutor
from oreflow.rewards.executors.protocol import Answer, Task

_executors: dict[bytes, LocalExecutor] = {}


def answer_task(recipe: bytes, task: Task | None) -> dict[str, Any]:
    """Answer one task in the process beside this one, which is started when it is first needed.

    Args:
        recipe: pickled `work`, `time_limit_s`, `retries` and `version` (of the package that asks).
        task: None only starts the process.

    Returns:
        `answer` (an `Answer`, or None without a task), `about` (what the work says about itself) and `n_lost` (tries
        that crashed or hung); or `failed`, a phrase, where no process can be started here.
    """
    try:
        executor = _executors.get(recipe) or _make(recipe)
        if task is None:
            return {"answer": None, "about": executor.start(), "n_lost": 0}
        n_lost = executor.n_lost
        executor.submit([task])
        answers: list[Answer] = []
        while not answers:
            answers = executor.collect(float("inf"))
    except OreflowError as error:
        return {"failed": f"on {os.uname().nodename}: {error}"}
    return {"answer": answers[0], "about": None, "n_lost": executor.n_lost - n_lost}


def _make(recipe: bytes) -> LocalExecutor:
    told = pickle.loads(recipe)
    if told["version"] != version("oreflow"):
        raise OreflowError(
            f"expected oreflow {told['version']}, as where the run was started, got {version('oreflow')}; install the "
            "same on all nodes"
        )
    executor = LocalExecutor(told["work"], workers=1, time_limit_s=told["time_limit_s"], retries=told["retries"])
    _executors[recipe] = executor
    return executor
