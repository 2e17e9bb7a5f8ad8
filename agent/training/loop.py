"""The training loop of every sampler: step, log, checkpoint; and going on exactly where a run stopped."""

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oreflow.agent.config.run import Config
from oreflow.agent.errors import CheckpointWarning, TrainingError
from oreflow.agent.learners.learner import Learner
from oreflow.agent.policy.network import Policy
from oreflow.agent.registry import OBJECTIVES, POLICIES
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.runtime.signals import StopFlag
from oreflow.agent.storage.atomic_files import to_json
from oreflow.agent.storage.checkpoint import load_arrays, load_optimizer, load_policy, read_state, save_checkpoint
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_kernel, make_learner, make_reward, set_threads
from oreflow.agent.training.ledgers.asynchronous import make_ledger
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.agent.training.metrics_log import _Clock, _Figures
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.errors import OreflowError
from oreflow.rewards import Reward

_MAX_SKIPPED_IN_A_ROW = 20


@dataclass(frozen=True)
class TrainingLine:
    """What a callback of `train` is told.

    Attributes:
        step: gradient steps done.
        of_steps: gradient steps that the config asks for.
        metrics: the line of metrics.jsonl, a copy; its names are defined in runs/README.md.
    """

    step: int
    of_steps: int
    metrics: dict[str, Any]


@dataclass
class TrainingResult:
    """How a training ended.

    Attributes:
        steps: gradient steps done.
        stopped_by: name of the signal that stopped it, or "callback"; None when it did all its steps.
        metrics: the last line of metrics.jsonl.
        checkpoint: the last checkpoint.
        seconds_measuring: what `run.measure_every` took, in this call.
    """

    steps: int
    stopped_by: str | None
    metrics: dict[str, Any]
    checkpoint: Path
    seconds_measuring: float = 0.0


def train(
    config: Config,
    folder: RunFolder,
    *,
    kernel: TransitionKernel | None = None,
    reward: Reward | None = None,
    resume_from: Path | None = None,
    stop: StopFlag | None = None,
    quiet: bool = False,
    callback: Callable[[TrainingLine], bool | None] | None = None,
    measure: Callable[[Policy, int], dict[str, Any]] | None = None,
) -> TrainingResult:
    """Trains into an existing run folder, from the start or from a checkpoint.

    With one thread and the same versions, a training that is stopped and resumed any number of times leaves the same
    weights, moments, buffer, random state and metrics as one that ran through.

    Args:
        kernel, reward: those of the config, where they have been built already.
        resume_from: a checkpoint of this run to go on from; what was logged after it is cut off.
        callback: called at each line of the log; where it returns True, training stops with a checkpoint, to be
            resumed like one that a signal stopped. What it raises ends the training, after a checkpoint.
        measure: gives further figures of a policy at a step, asked for every `run.measure_every` steps and at the last
            one; by default none are. What it raises ends the training, after a checkpoint.
        stop: a flag that the caller has entered, so that signals count from before this call; a new one by default.

    Raises:
        RewardBudgetError: when the share of objects without a valid reward exceeds `reward.invalid_budget`.
        TrainingError: when losses stay non-finite.
        OreflowError: as a reward raises it. A checkpoint of the last good state is written first in all cases.
    """
    set_threads(config.run.threads)
    kernel, reward = kernel or make_kernel(config), reward or make_reward(config)
    learner = make_learner(config, kernel)
    figures = _Figures(config)
    failures = RewardFailures(folder.reward_failures_path)
    ledger = make_ledger(config, kernel, reward, failures)
    called_off = False
    step = n_skipped = skipped_in_a_row = 0
    metrics: dict[str, Any] = {}
    if resume_from is not None:
        state = _restore(learner, resume_from)
        step, n_skipped, skipped_in_a_row = state["step"], state["n_skipped"], state["skipped_in_a_row"]
        metrics = state["metrics"]
        ledger.load_state(state["ledger"])
        ledger.load_arrays(load_arrays(resume_from))
        figures.sums = state["figures"]
        folder.cut_logs(state["log_sizes"])

    def checkpoint(rng_state: dict[str, Any] | None = None) -> Path:
        if rng_state is not None:
            learner.rng.bit_generator.state = rng_state
        state = {
            "config": config.model_dump(mode="json"),
            "n_skipped": n_skipped,
            "skipped_in_a_row": skipped_in_a_row,
            "ledger": ledger.state(),
            "figures": figures.sums,
            "metrics": json.loads(to_json(metrics)),
            "log_sizes": folder.log_sizes(),
        }
        return save_checkpoint(
            folder.checkpoints,
            step,
            learner.policy,
            learner.optimizer,
            learner.rng,
            state,
            config.run.keep_checkpoints,
            learner.arrays() | ledger.arrays(),
        )

    with (
        StopFlag() if stop is None else contextlib.nullcontext(stop) as stop,
        Progress("train", config.sampler.steps, quiet) as progress,
        folder.metrics_path.open("a", encoding="utf-8") as log,
        folder.timings_path.open("a", encoding="utf-8") as timings,
    ):
        clock = _Clock(ledger)
        ledger.stopping = lambda: stop.raised is not None

        @contextlib.contextmanager
        def nothing_lost() -> Iterator[None]:
            try:
                yield
            except BaseException:
                checkpoint()
                raise

        def write_line(measured: dict[str, Any] | None = None) -> None:
            nonlocal metrics
            log_z = learner.log_z()
            metrics = {"step": step, **figures.close()}
            metrics |= {} if log_z is None else {"log_z": log_z}
            metrics |= {"n_objects": ledger.n_objects, "n_invalid": ledger.n_invalid, "n_skipped": n_skipped}
            metrics |= {"n_log_reward_bounded": ledger.n_bounded}
            metrics["nondeterministic_rewards"] = reward.nondeterministic
            metrics |= ledger.figures()
            metrics |= measured or {}
            timing: dict[str, Any] = {"step": step, **clock.close()}
            for file, line in ((log, metrics), (timings, timing)):
                file.write(to_json(line, indent=None) + "\n")
                file.flush()
            names = {"loss": "loss", "log_z": "log_Z", "mean_log_reward": "mean_log_R", "share_neutral": "neutral"}
            names |= {"n_waiting": "waiting"}
            shown = {label: metrics[name] for name, label in names.items() if name in metrics}
            rate = timing["objects_per_second"]
            progress.update(step, **shown, unique=metrics["share_unique"], objects_per_s=rate)

        while step < config.sampler.steps and not (stop.raised or called_off):
            rng_state, counts = dict(learner.rng.bit_generator.state), ledger.state()
            try:
                ledger.begin(step)
                update = learner.step(step, ledger)
            except (OreflowError, KeyboardInterrupt):
                if ledger.scoring or ledger.over_budget:  # weights, moments and buffer are those before the step
                    ledger.load_state(counts)
                    checkpoint(rng_state)
                raise
            n_skipped += update.skipped
            skipped_in_a_row = skipped_in_a_row + 1 if update.skipped else 0
            if skipped_in_a_row >= _MAX_SKIPPED_IN_A_ROW:
                checkpoint()
                ledger.check()
                own = [
                    f"{names.word} {name!r}"
                    for names, name in ((OBJECTIVES, config.sampler.objective), (POLICIES, config.sampler.policy))
                    if name not in names.built_in
                ]
                mend = f"; or mend the plug-in, {' and '.join(own)}: its loss must be finite" if own else ""
                raise TrainingError(
                    f"{skipped_in_a_row} losses in a row were not finite; lower sampler.learning_rate or log_max{mend}"
                )
            step += 1
            figures.add(kernel, update)

            # Log and checkpoint
            if step % config.run.log_every_steps == 0 or step == config.sampler.steps:
                with nothing_lost():
                    measured = _measured(measure, config, learner.policy, step, clock)
                write_line(measured)
                with nothing_lost():
                    line = TrainingLine(step, config.sampler.steps, dict(metrics))
                    called_off = callback is not None and callback(line) is True
            if (
                step % config.run.checkpoint_every_steps == 0
                and step < config.sampler.steps
                and not (stop.raised or called_off)
            ):
                checkpoint()
        last = checkpoint()
        if stop.raised and figures.sums:
            write_line()  # for the reader only: resuming cuts it off and completes it
    ledger.check()
    stopped_by = stop.raised or ("callback" if called_off else None)
    stopped_by = stopped_by if step < config.sampler.steps else None
    return TrainingResult(step, stopped_by, metrics, last, clock.seconds_measuring)


def _measured(
    measure: Callable[[Policy, int], dict[str, Any]] | None,
    config: Config,
    policy: Policy | None,
    step: int,
    clock: _Clock,
) -> dict[str, Any]:
    """What is measured at a step; nothing where it is not its turn."""
    every = config.run.measure_every
    if measure is None or policy is None or not every or (step % every and step != config.sampler.steps):
        return {}
    with clock.measuring():
        return measure(policy, step)


def _restore(learner: Learner, path: Path) -> dict[str, Any]:
    """Puts a learner back to where a checkpoint left it; returns the checkpoint's counters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CheckpointWarning)  # `find_checkpoint` gave them
        if learner.policy is not None and learner.optimizer is not None:
            state = load_policy(path, learner.policy)
            load_optimizer(path, learner.optimizer)
        else:
            state = read_state(path)
    learner.load_arrays(load_arrays(path))
    learner.rng.bit_generator.state = state["rng"]
    return state
