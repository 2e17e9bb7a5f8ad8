"""`train`, `resume` and `check`."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.commands.common import (
    BAD_INPUT,
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
    from agent.config import Config
    from agent.train import TrainingResult

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
    from agent.build import make_checked
    from agent.config import load_config
    from agent.lock import RunLock
    from agent.run_dir import RunFolder
    from agent.signals import StopFlag
    from agent.train import train as run_training

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
    return _report(result, resolved, out, time.monotonic() - started, quiet, as_json)


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
    from agent.build import make_checked
    from agent.config import dump_config
    from agent.errors import RunFolderError
    from agent.files import write_text
    from agent.lock import RunLock
    from agent.resume import check_fits, find_checkpoint
    from agent.run_dir import RunFolder
    from agent.signals import StopFlag
    from agent.train import train as run_training

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
    return _report(result, resolved, run, time.monotonic() - started, quiet, as_json)


@contextlib.contextmanager
def _writing_to(run: Path) -> Iterator[None]:
    """Turns a failure to write into a sentence that names the run and how to go on with it.

    Raises:
        OutputError: for any OSError.
    """
    from agent.checkpoint import list_checkpoints
    from agent.errors import OutputError
    from agent.run_dir import RunFolder
    from envs.errors import OreflowError

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


def _report(result: "TrainingResult", config: "Config", run: Path, seconds: float, quiet: bool, as_json: bool) -> int:
    """The summary of a training, and its exit code."""
    metrics = result.metrics
    if as_json:
        summary = {
            "run": str(run),
            "steps": result.steps,
            "of_steps": config.sampler.steps,
            "seconds": round(seconds, 1),
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


@verb
def check(
    config: ConfigPath,
    set_: Overrides = None,
    seed: Seed = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Dry run of a config: world, masks, rewards and their contracts, before the first training step.

    Example: oreflow check runs/configs/solid_electrolytes.yaml
    """
    import numpy as np

    from agent.build import make_checked, make_policy
    from agent.config import load_config
    from agent.families import drawn_conditions, make_family
    from agent.random_objects import random_objects
    from agent.rollout import forward_rollout
    from agent.sampler_config import OBJECTIVES
    from agent.seeds import stream
    from envs.check import check_kernel
    from envs.labelings import count_objects
    from rewards.check import check_reward_term, check_shaped

    load_plugins(plugin)
    resolved = load_config(config, set_, seed)
    rng = stream(resolved.seed, "check")
    kernel, reward = make_checked(resolved, str(config))
    check_kernel(kernel, rng, n=64)
    for term, _ in reward.terms:
        check_reward_term(term)
    policy, family = make_policy(resolved, kernel), make_family(resolved)
    states, origin = random_objects(kernel, 500, rng)
    objects = kernel.objects(states)
    result = reward(objects)
    for term, _ in reward.terms:
        check_reward_term(term, objects[:64])
    check_shaped(reward, objects)
    started = time.perf_counter()
    batch = resolved.sampler.batch
    forward_rollout(kernel, policy, batch, rng, condition=drawn_conditions(family, batch, rng)[0])
    seconds = time.perf_counter() - started
    log_rewards = result.log_reward[result.valid]
    quantiles = np.quantile(log_rewards, [0.05, 0.5, 0.95]).tolist() if len(log_rewards) else [float("nan")] * 3
    share_valid = float(result.valid.mean())
    figures: dict[str, Any] = {
        "config": str(config),
        "purpose": resolved.purpose,
        "n_elements": len(resolved.world.compositions().elements),
        "n_actions": kernel.n_actions,
        "enumerable": kernel.enumeration_unavailable_reason is None,
        "world": kernel.enumeration_unavailable_reason or f"{count_objects(kernel)} objects",
        "n_parameters": sum(p.numel() for p in policy.parameters()),
        "share_valid_reward": share_valid,
        "log_reward_quantiles_05_50_95": quantiles,
        "share_at_log_min": float((log_rewards <= resolved.reward.log_min).mean()) if len(log_rewards) else 0.0,
        "terms": {
            name: {
                "median": float(np.median(v.values[v.valid])) if v.valid.any() else None,
                "valid": float(v.valid.mean()),
            }
            for name, v in result.terms.items()
        },
        "rollout_seconds": seconds,
        "examples": kernel.describe(states[:5]),
    }
    ok = 1 - share_valid <= resolved.reward.invalid_budget
    if not ok:
        figures["reason"] = next(iter(result.reasons().values()))
    if as_json:
        print_json(figures)
    elif not quiet:
        print(f"{config}: {resolved.purpose}")
        print(f"world      {figures['n_elements']} elements, {figures['n_actions']} actions, {figures['world']}")
        print(f"examples   {'; '.join(figures['examples'])} ({origin})")
        for name, entry in figures["terms"].items():
            median = "none" if entry["median"] is None else f"{entry['median']:.4g}"
            print(f"reward     {name}: median {median}, valid {entry['valid']:.1%}; contract holds")
        print(f"log R      5 %, 50 %, 95 % of {len(states)} such objects: " + ", ".join(f"{q:.3g}" for q in quantiles))
        if figures["share_at_log_min"]:
            print(f"           {figures['share_at_log_min']:.1%} at reward.log_min = {resolved.reward.log_min:g}")
        if resolved.sampler.kind in OBJECTIVES:
            print(f"network    {figures['n_parameters']:,} parameters; one batch rolled out in {seconds:.2f} s")
    if not ok:
        print(
            f"oreflow: {1 - share_valid:.1%} of random objects have no valid reward, more than reward.invalid_budget = "
            f"{resolved.reward.invalid_budget:g}; for instance {figures['reason']}",
            file=sys.stderr,
        )
        return BAD_INPUT
    return DONE
