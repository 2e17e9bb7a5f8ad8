"""`train`, `resume` and `check`."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oreflow.agent.commands.common import (
    DONE,
    STOPPED_BY_SIGNAL,
    AsJson,
    Overrides,
    Plugins,
    Quiet,
    Seed,
    load_plugins,
    print_json,
    verb,
)

if TYPE_CHECKING:
    from oreflow.agent.config.run import Config
    from oreflow.agent.training.loop import TrainingResult

ConfigPath = Annotated[Path, typer.Argument(help="YAML config.", metavar="CONFIG.yaml")]


@verb
def train(
    config: ConfigPath,
    out: Annotated[Path, typer.Option("--out", help="Run folder to write.")],
    set_: Overrides = None,
    seed: Seed = None,
    plugin: Plugins = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run that is in --out.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Train a sampler: rolls out, checkpoints, ends with a summary.

    Example: oreflow train runs/configs/quickstart.yaml --out runs/quickstart --set sampler.steps=500
    """
    from oreflow.agent.config.run import load_config
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.storage.lock import RunLock
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.loop import train as run_training
    from oreflow.agent.training.target import make_strata
    from oreflow.agent.training.target_words import target_in_words

    # From here on, as an exception in the midst of compiled code may not arrive, or do harm there
    with StopFlag() as stop:
        plugins = load_plugins(plugin)
        resolved = load_config(config, set_, seed)
        folder = RunFolder(out)
        kernel, reward = make_checked(resolved, str(config))
        folder.check_place(overwrite)
        with _writing_to(out), RunLock(out):
            folder.create(resolved, overwrite, plugins, reward.describe())
            started = time.monotonic()
            result = run_training(resolved, folder, kernel=kernel, reward=reward, stop=stop, quiet=quiet)
    words = target_in_words(resolved, make_strata(resolved, kernel))
    return _report(result, resolved, words, out, time.monotonic() - started, quiet, as_json)


@verb
def resume(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    set_: Overrides = None,
    plugin: Plugins = None,
    auto: Annotated[bool, typer.Option("--auto", help="Take an older checkpoint where the newest is damaged.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Go on exactly where a run stopped; with --set sampler.steps=N also beyond its end.

    On one thread, and with the same versions, the result is the same to the last bit as without the stop. Rewards that
    came from plug-in files need their --plugin again.

    Example: oreflow resume runs/quickstart
    """
    from oreflow.agent.config.run import dump_config
    from oreflow.agent.errors import RunFolderError
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.storage.atomic_files import write_text
    from oreflow.agent.storage.lock import RunLock
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.loop import train as run_training
    from oreflow.agent.training.resume import check_fits, find_checkpoint
    from oreflow.agent.training.target import make_strata
    from oreflow.agent.training.target_words import target_in_words

    with StopFlag() as stop:
        load_plugins(plugin)
        folder = RunFolder(run)
        resolved = folder.load_config(set_)
        kernel, reward = make_checked(resolved, str(folder.config_path), resuming=True)
        with _writing_to(run), RunLock(run):
            folder.sweep()
            checkpoint, state = find_checkpoint(folder, fall_back=auto)
            check_fits(state, resolved, folder)
            if state["step"] >= resolved.sampler.steps:
                raise RunFolderError(
                    f"{run} has done {state['step']} steps, and sampler.steps is {resolved.sampler.steps}; for more, "
                    "add --set sampler.steps=N with a larger N"
                )
            folder.note_resumption(state["step"])
            write_text(folder.config_path, dump_config(resolved))
            started = time.monotonic()
            result = run_training(
                resolved, folder, kernel=kernel, reward=reward, resume_from=checkpoint, stop=stop, quiet=quiet
            )
    words = target_in_words(resolved, make_strata(resolved, kernel))
    return _report(result, resolved, words, run, time.monotonic() - started, quiet, as_json)


@contextlib.contextmanager
def _writing_to(run: Path) -> Iterator[None]:
    """Turns a failure to write into a sentence that names the run and how to go on with it.

    Raises:
        OutputError: for any OSError.
    """
    from oreflow.agent.errors import OutputError
    from oreflow.agent.storage.checkpoint import list_checkpoints
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.envs.errors import OreflowError

    try:
        yield
    except BrokenPipeError:  # whoever read our output has left
        raise
    except OSError as error:
        if isinstance(error, OreflowError):
            raise
        complete = list_checkpoints(RunFolder(run).checkpoints)
        go_on = f"go on with: oreflow resume {run}" if complete else "train again"
        raise OutputError(f"cannot write to {run}: {error.strerror or error}; free some space, then {go_on}") from error


def _report(
    result: "TrainingResult", config: "Config", target: str, run: Path, seconds: float, quiet: bool, as_json: bool
) -> int:
    """The summary of a training, and its exit code."""
    metrics = result.metrics
    if as_json:
        summary = {
            "run": str(run),
            "steps": result.steps,
            "of_steps": config.sampler.steps,
            "seconds": round(seconds, 1),
            "target": target,
            "stopped_by": result.stopped_by,
            "checkpoint": str(result.checkpoint),
            **{f"last_{key}": value for key, value in metrics.items() if key != "step"},
        }
        print_json(summary)
    elif not quiet:
        print(f"trained {result.steps} steps in {seconds:.1f} s; checkpoint {result.checkpoint}")
        labels = {"loss": "loss", "log_z": "log Z", "mean_log_reward": "mean log R"}
        parts = [f"{label} {metrics[name]:.4g}" for name, label in labels.items() if metrics.get(name) is not None]
        shares = {"share_neutral": "neutral", "share_unique": "unique in a batch"}
        parts += [f"{label} {metrics[name]:.1%}" for name, label in shares.items() if name in metrics]
        print(", ".join(parts))
        print(f"target: {target}")
        if not result.stopped_by:
            print(f"next: oreflow sample {run} -n 1000 --unique")
    if result.stopped_by:
        print(
            f"stopped by {result.stopped_by} after a good checkpoint at step {result.steps}; go on with: "
            f"oreflow resume {run}",
            file=sys.stderr,
        )
        return STOPPED_BY_SIGNAL
    return DONE
