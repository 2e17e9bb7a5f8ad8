"""The run of one seed: how far it came, and what a worker does for `train --seeds --executor`."""

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreflow.rewards.executors.protocol import Task, Work

if TYPE_CHECKING:
    from oreflow.agent.config.run import Config

# A training ends by itself; so long a batch system would not let it run either.
TIME_LIMIT_S = 30 * 86400.0


def training_work(plugins: list[str]) -> Work:
    """The work of training one seed: begun, or gone on with where it stopped.

    Args:
        plugins: files to load before. They are no part of a request: nothing that is read runs code.
    """
    return Work("training", {}, functools.partial(make_trainer, plugins), scratch=False)


def training_task(config: str, source: str, run: Path, nonce: str) -> Task:
    """The task of training a config into a run folder.

    Args:
        config: in YAML.
        nonce: tells a training that replaces an earlier one from that one; "" where none is replaced.
    """
    run = run.absolute()
    digest = hashlib.sha256("\0".join([config, str(run), nonce]).encode()).hexdigest()[:32]
    return Task(
        digest,
        {
            "config": config,
            "source": source,
            "run": str(run),
            "overwrite": bool(nonce),
            "working_folder": str(Path.cwd()),  # which paths in the config are relative to
        },
        anew=True,  # an earlier try that failed does not stand in the way of the same command
    )


def make_trainer(plugins: list[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Load plug-in files; return the function that trains a task's payload and returns the summary of the run."""
    from oreflow.rewards.registry import load_plugin

    for path in plugins:
        load_plugin(path)
    return functools.partial(train_task, plugins)


def train_task(plugins: list[str], payload: dict[str, Any]) -> dict[str, Any]:
    """Train one run, or go on with it; return its summary.

    Raises:
        OreflowError: as `train` and `resume` do.
    """
    from oreflow.agent.commands.training.one_run import go_on, start, summary
    from oreflow.agent.config.run import validate_config
    from oreflow.agent.config.strict_yaml import parse_yaml
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.storage.run_folder import RunFolder

    os.chdir(payload["working_folder"])
    source, folder = payload["source"], RunFolder(Path(payload["run"]))
    config = validate_config(parse_yaml(payload["config"], source), source)
    done = None if payload["overwrite"] else steps_done(config, source, folder)
    if done is not None and done >= config.sampler.steps:
        return {"run": payload["run"], "steps": done, "stopped_by": None}
    stop = StopFlag()  # which no signal raises: a worker is ended by its parent, and its last checkpoint stays
    if done is None:
        anew = payload["overwrite"] or folder.config_path.exists()
        return summary(start(config, source, folder.path, overwrite=anew, plugins=plugins, stop=stop, quiet=True))
    return summary(go_on(config, folder.path, fall_back=True, stop=stop, quiet=True))


def steps_done(config: "Config", source: str, folder: Any) -> int | None:
    """How far the run of a folder came; None where there is no run, or no checkpoint of it yet.

    Raises:
        RunFolderError: when the run was trained with another config; naming the keys.
        CheckpointError: when its checkpoints are damaged.
    """
    from oreflow.agent.errors import CheckpointError
    from oreflow.agent.storage.checkpoint import list_checkpoints, read_state
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.resume import check_fits

    found = list_checkpoints(folder.checkpoints)
    if not folder.config_path.exists() or not found:
        return None
    make_checked(config, source)  # writes full paths and recorded shares into the config, as the run's own has them
    for path in reversed(found):
        try:
            state = read_state(path)
        except CheckpointError:
            if path == found[0]:
                raise
            continue
        check_fits(state, config, folder)
        return int(state["step"])
    return None
