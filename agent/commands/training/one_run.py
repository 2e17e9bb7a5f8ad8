"""What `train`, `resume` and `train --seeds` share: a run begun or gone on with, and what is said at its end."""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreflow.agent.commands.common import DONE, STOPPED_BY_SIGNAL, print_json

if TYPE_CHECKING:
    from oreflow.agent.config.run import Config
    from oreflow.agent.runtime.signals import StopFlag
    from oreflow.agent.training.loop import TrainingResult
    from oreflow.envs.contract.protocol import TransitionKernel


@dataclass(frozen=True)
class Ended:
    """A training that came to its end or was stopped.

    Attributes:
        seconds: what it took in this call.
        target: what is sampled, in words.
    """

    result: "TrainingResult"
    config: "Config"
    run: Path
    seconds: float
    target: str


def start(
    config: "Config", source: str, out: Path, *, overwrite: bool, plugins: list[str], stop: "StopFlag", quiet: bool
) -> Ended:
    """Train a new run.

    Raises:
        RunFolderError: when `out` holds a run already, or cannot be written.
        OutputError: when writing fails under the work.
    """
    from oreflow.agent.sampling.measure import measurement_of
    from oreflow.agent.storage.lock import RunLock
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.loop import train

    folder = RunFolder(out)
    kernel, reward = make_checked(config, source)
    folder.check_place(overwrite)
    with _writing_to(out), RunLock(out):
        folder.create(config, overwrite, plugins, reward.describe())
        started, measure = time.monotonic(), measurement_of(config, kernel)
        result = train(config, folder, kernel=kernel, reward=reward, stop=stop, quiet=quiet, measure=measure)
    return Ended(result, config, out, time.monotonic() - started, _target(config, kernel))


def go_on(config: "Config", run: Path, *, fall_back: bool, stop: "StopFlag", quiet: bool) -> Ended:
    """Go on with a run where it stopped.

    Args:
        fall_back: whether an older checkpoint is taken where the newest is damaged.

    Raises:
        RunFolderError: when the config does not fit the run, or the run has done its steps.
        CheckpointError: when the checkpoint is damaged.
        OutputError: when writing fails under the work.
    """
    from oreflow.agent.config.run import dump_config
    from oreflow.agent.errors import RunFolderError
    from oreflow.agent.sampling.measure import measurement_of
    from oreflow.agent.storage.atomic_files import write_text
    from oreflow.agent.storage.lock import RunLock
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.build import make_checked
    from oreflow.agent.training.loop import train
    from oreflow.agent.training.resume import check_fits, find_checkpoint

    folder = RunFolder(run)
    kernel, reward = make_checked(config, str(folder.config_path), resuming=True)
    with _writing_to(run), RunLock(run):
        folder.sweep()
        checkpoint, state = find_checkpoint(folder, fall_back=fall_back)
        check_fits(state, config, folder)
        if state["step"] >= config.sampler.steps:
            raise RunFolderError(
                f"{run} has done {state['step']} steps, and sampler.steps is {config.sampler.steps}; for more, "
                "add --set sampler.steps=N with a larger N"
            )
        folder.note_resumption(state["step"])
        write_text(folder.config_path, dump_config(config))
        started, measure = time.monotonic(), measurement_of(config, kernel)
        result = train(
            config,
            folder,
            kernel=kernel,
            reward=reward,
            resume_from=checkpoint,
            stop=stop,
            quiet=quiet,
            measure=measure,
        )
    return Ended(result, config, run, time.monotonic() - started, _target(config, kernel))


def _target(config: "Config", kernel: "TransitionKernel") -> str:
    from oreflow.agent.training.target import make_strata
    from oreflow.agent.training.target_words import target_in_words

    return target_in_words(config, make_strata(config, kernel))


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


def summary(ended: Ended) -> dict[str, Any]:
    """What --json prints of a training."""
    result = ended.result
    measuring = {"seconds_measuring": round(result.seconds_measuring, 1)} if ended.config.run.measure_every else {}
    return {
        "run": str(ended.run),
        "steps": result.steps,
        "of_steps": ended.config.sampler.steps,
        "seconds": round(ended.seconds, 1),
        **measuring,
        "target": ended.target,
        "stopped_by": result.stopped_by,
        "checkpoint": str(result.checkpoint),
        **{f"last_{key}": value for key, value in result.metrics.items() if key != "step"},
    }


def report(ended: Ended, quiet: bool, as_json: bool, then: str = "") -> int:
    """Print the summary of a training, and return its exit code.

    Args:
        then: what to do next; by default to sample.
    """
    result, metrics, run = ended.result, ended.result.metrics, ended.run
    if as_json:
        print_json(summary(ended))
    elif not quiet:
        print(f"trained {result.steps} steps in {ended.seconds:.1f} s; checkpoint {result.checkpoint}")
        labels = {"loss": "loss", "log_z": "log Z", "mean_log_reward": "mean log R"}
        parts = [f"{label} {metrics[name]:.4g}" for name, label in labels.items() if metrics.get(name) is not None]
        shares = {"share_neutral": "neutral", "share_unique": "unique in a batch"}
        parts += [f"{label} {metrics[name]:.1%}" for name, label in shares.items() if name in metrics]
        print(", ".join(parts))
        print(f"target: {ended.target}")
        if ended.config.run.measure_every:
            print(_measured(ended))
        if ended.config.run.asynchronous is not None:
            print(_paid(ended))
        if not result.stopped_by:
            print(then or f"next: oreflow sample {run} -n 1000 --unique")
    if result.stopped_by:
        print(
            f"stopped by {result.stopped_by} after a good checkpoint at step {result.steps}; go on with: "
            + (then or f"oreflow resume {run}"),
            file=sys.stderr,
        )
        return STOPPED_BY_SIGNAL
    return DONE


def _paid(ended: Ended) -> str:
    """What isolated rewards were paid for, and what of it is still to come."""
    metrics = ended.result.metrics
    cost = f", at a cost of {metrics['cost']:g}" if metrics.get("cost") else ""
    waiting = f"; {metrics['n_waiting']} objects wait, and are taken up again" if metrics.get("n_waiting") else ""
    return f"values of isolated rewards: {metrics.get('n_calls', 0)}{cost}{waiting}"


def _measured(ended: Ended) -> str:
    """What was measured last, and at what cost."""
    metrics, seconds = ended.result.metrics, ended.result.seconds_measuring
    labels = {
        "exact_total_variation": "exact total variation",
        "exact_total_variation_worst": "in the worst group",
        "top_log_reward": "mean of the 100 largest log R",
        "rank_correlation": "rank correlation with the target",
    }
    parts = [f"{label} {metrics[name]:.4g}" for name, label in labels.items() if metrics.get(name) is not None]
    return f"measured: {', '.join(parts)} ({seconds / max(ended.seconds, 1e-9):.0%} of the time, {seconds:.1f} s)"
