"""Going on where a run stopped: which checkpoint, and whether the config still fits it."""

import warnings
from pathlib import Path
from typing import Any

from oreflow.agent.config.run import Config, validate_config, with_later_parameters
from oreflow.agent.errors import CheckpointError, CheckpointWarning, RunFolderError
from oreflow.agent.storage.checkpoint import list_checkpoints, read_state, sweep
from oreflow.agent.storage.run_folder import RunFolder

# What may change between a checkpoint and its continuation: how long, how often, on how many threads.
CHANGEABLE = (
    "purpose",
    "sampler.steps",
    "run.threads",
    "run.log_every_steps",
    "run.checkpoint_every_steps",
    "run.keep_checkpoints",
    "run.measure_every",
    "run.executor.kind",
    "run.executor.workers",
    "run.executor.retries",
    "run.executor.address",
    "run.executor.folder",
    "run.executor.submit",
    "reward.invalid_budget",
    "reward.store",
    "run.asynchronous.max_waiting",
    "run.asynchronous.max_stale_steps",
    "run.asynchronous.budget_calls",
    "run.asynchronous.budget_cost",
)


def find_checkpoint(folder: RunFolder, fall_back: bool) -> tuple[Path, dict[str, Any]]:
    """Find the newest checkpoint of a run, and read its state.

    The caller holds the run's lock: what a killed process left of a checkpoint is swept.

    Args:
        fall_back: whether an older one is taken, with a warning, where the newest is damaged.

    Raises:
        RunFolderError: when there is none.
        CheckpointError: when it is damaged; naming the file, and what to do.
    """
    sweep(folder.checkpoints)
    folder.latest_checkpoint()
    damaged: list[CheckpointError] = []
    for path in reversed(list_checkpoints(folder.checkpoints)):
        try:
            state = read_state(path)
        except CheckpointError as error:
            damaged.append(error)
            if not fall_back:
                break
            continue
        if damaged:
            warnings.warn(f"{damaged[0]}; going on from {path.name} instead", CheckpointWarning, stacklevel=2)
        return path, state
    older = len(list_checkpoints(folder.checkpoints)) > 1
    hint = "; add --auto to go on from an older checkpoint" if older and not fall_back else ""
    raise CheckpointError(f"{damaged[0]}{hint}")


def check_fits(state: dict[str, Any], config: Config, folder: RunFolder, what: str = "go on") -> None:
    """Compares the config that a checkpoint was made under with the run's.

    Args:
        what: what the run cannot do under another config.

    Raises:
        RunFolderError: listing every key that differs and must not.
        ConfigError: when this version does not know the checkpoint's keys.
    """
    # Keys that a later version added get their defaults, which are what the run had.
    trained = validate_config(state["config"], f"the checkpoint in {folder.path}")
    saved = _flat(with_later_parameters(trained, new=False).model_dump(mode="json"))
    now = _flat(config.model_dump(mode="json"))
    different = [key for key in sorted(saved.keys() | now.keys()) if saved.get(key) != now.get(key)]
    refused = [key for key in different if key not in CHANGEABLE]
    if refused:
        lines = "; ".join(f"{key} was {saved.get(key)!r}, is {now.get(key)!r}" for key in refused[:8])
        raise RunFolderError(
            f"{folder.path} cannot {what} with another config: {lines}. Change these back, or train a new run; only "
            f"{', '.join(CHANGEABLE)} may change"
        )


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping of dotted keys."""
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list) and any(isinstance(value, dict | list) for value in data):
        items = ((str(i), value) for i, value in enumerate(data))  # type: ignore[assignment]
    else:
        return {prefix: data}
    out: dict[str, Any] = {}
    for key, value in items:
        out |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return out or {prefix: data}
