"""`train --seeds`: one config, several seeds, one run folder each."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreflow.agent.commands.common import DONE, STOPPED_BY_SIGNAL, print_json

if TYPE_CHECKING:
    from oreflow.agent.config.run import Config
    from oreflow.agent.runtime.signals import StopFlag

_PART = re.compile(r"(\d+)(?:-(\d+))?")
_MOST = 1000


def parse_seeds(text: str) -> list[int]:
    """Read seeds and ranges of seeds, such as "0-4" or "0,2,7-9"; ascending, each once.

    Raises:
        ConfigError: for a text of another form, or more than 1000 seeds.
    """
    from oreflow.agent.errors import ConfigError

    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last or last - first >= _MOST:
            raise ConfigError(
                f"--seeds: expected numbers and ascending ranges, at most {_MOST}, such as 0-4 or 0,2,7, got {text!r}"
            )
        found.update(range(first, last + 1))
    return sorted(found)


def train_seeds(
    config: Path,
    out: Path,
    seeds: str,
    overrides: list[str],
    overwrite: bool,
    *,
    plugins: list[str],
    stop: "StopFlag",
    quiet: bool,
    as_json: bool,
) -> int:
    """Train `out/seed_N` for each seed, and return the exit code.

    Runs that were stopped go on, finished ones stay as they are, unless `overwrite` asks for all of them anew. All
    folders are looked at before any training starts.

    Raises:
        ConfigError: for seeds or a config that cannot be read.
        RunFolderError: when a run of another config is in one of the folders, or `out` is a run itself.
        CheckpointError: when the checkpoints of a run that is to go on are damaged.
    """
    from oreflow.agent.commands.training import go_on, report, start, summary
    from oreflow.agent.config.run import load_config
    from oreflow.agent.errors import RunFolderError
    from oreflow.agent.storage.run_folder import RunFolder

    if RunFolder(out).config_path.exists():
        raise RunFolderError(f"{out} holds a run itself; expected a folder for several, choose another --out")
    plan = []
    for seed in parse_seeds(seeds):
        resolved, folder = load_config(config, overrides, seed), RunFolder(out / f"seed_{seed}")
        done = None if overwrite else _steps_done(resolved, str(config), folder)
        plan.append((seed, resolved, folder, done))
    summaries: list[dict[str, Any]] = []
    stopped = False
    for number, (seed, resolved, folder, done) in enumerate(plan, start=1):
        if done is not None and done >= resolved.sampler.steps:
            summaries.append({"run": str(folder.path), "seed": seed, "steps": done, "finished_before": True})
            if not (quiet or as_json):
                print(f"seed {seed}: {folder.path} is finished, {done} steps")
            continue
        if not quiet:
            print(f"seed {seed}, {number} of {len(plan)}: {folder.path}", file=sys.stderr)
        if done is None:
            anew = overwrite or folder.config_path.exists()  # begun, and stopped before its first checkpoint
            ended = start(resolved, str(config), folder.path, overwrite=anew, plugins=plugins, stop=stop, quiet=quiet)
        else:
            ended = go_on(resolved, folder.path, fall_back=True, stop=stop, quiet=quiet)
        stopped = ended.result.stopped_by is not None
        summaries.append({**summary(ended), "seed": seed, "finished_before": False})
        then = f"next: oreflow compare {out}" if number == len(plan) else "next: the following seed"
        report(ended, quiet or as_json, False, "the same command; finished runs stay as they are" if stopped else then)
        if stopped:
            break
    if as_json:
        print_json({"runs": summaries})
    return STOPPED_BY_SIGNAL if stopped else DONE


def _steps_done(config: "Config", source: str, folder: Any) -> int | None:
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
