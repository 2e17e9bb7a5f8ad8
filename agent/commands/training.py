"""`train`, `exact` and `check`."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.commands.common import (
    BAD_INPUT,
    DONE,
    STOPPED_BY_SIGNAL,
    AsJson,
    Plugins,
    Quiet,
    Seed,
    load_plugins,
    print_json,
    verb,
)

ConfigPath = Annotated[Path, typer.Argument(help="YAML config.", metavar="CONFIG.yaml")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="Override a key: a.b=value; repeatable.")]


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
    from agent.run_dir import RunFolder
    from agent.train import train as run_training

    plugins = load_plugins(plugin)
    resolved = load_config(config, set_, seed)
    folder = RunFolder(out)
    kernel, reward = make_checked(resolved, str(config))
    folder.create(resolved, overwrite, plugins, reward.describe())
    started = time.monotonic()
    result = run_training(resolved, folder, kernel=kernel, reward=reward, quiet=quiet)
    summary = {
        "run": str(out),
        "steps": result.steps,
        "of_steps": resolved.sampler.steps,
        "seconds": round(time.monotonic() - started, 1),
        "stopped_by": result.stopped_by,
        "checkpoint": str(result.checkpoint),
        **{f"last_{key}": value for key, value in result.metrics.items() if key != "step"},
    }
    if as_json:
        print_json(summary)
    elif not quiet:
        metrics = result.metrics
        print(f"trained {result.steps} steps in {summary['seconds']} s; checkpoint {result.checkpoint}")
        print(
            f"loss {metrics['loss']:.4g}, log Z {metrics['log_z']:.4f}, mean log R {metrics['mean_log_reward']:.4f}, "
            f"neutral {metrics['share_neutral']:.1%}, unique {metrics['share_unique']:.1%}"
        )
        print(f"next: oreflow sample {out} -n 1000 --unique")
    if result.stopped_by:
        print(f"stopped by {result.stopped_by} after a good checkpoint at step {result.steps}", file=sys.stderr)
        return STOPPED_BY_SIGNAL
    return DONE


@verb
def exact(
    config_or_run: Annotated[
        Path, typer.Argument(help="A run folder, or a config (trained first, in a scratch folder).")
    ],
    set_: Overrides = None,
    seed: Seed = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Exact distribution of a trained sampler against R/Z, on a world small enough to enumerate.

    Nothing is estimated: the probability of every object is computed by pushing mass through all build orders.

    Example: oreflow exact runs/configs/tiny_exact.yaml
    """
    from agent.build import make_checked, make_reward, make_scorer
    from agent.config import load_config
    from agent.exact import compare_exactly, perfect_sampler_floor
    from agent.run_dir import RunFolder
    from agent.sampling import load_run
    from agent.seeds import stream
    from agent.train import train as run_training

    load_plugins(plugin)
    with tempfile.TemporaryDirectory(prefix="oreflow-exact-") as scratch:
        if config_or_run.is_dir():
            if set_ or seed is not None:
                print("oreflow: --set and --seed change a training, and this run is trained already", file=sys.stderr)
                return BAD_INPUT
            folder = RunFolder(config_or_run)
        else:
            resolved = load_config(config_or_run, set_, seed)
            kernel, reward = make_checked(resolved, str(config_or_run))
            reason = kernel.enumeration_unavailable_reason
            if reason:
                raise ValueError(f"this world cannot be enumerated: {reason}")
            folder = RunFolder(Path(scratch) / "run")
            folder.create(resolved, overwrite=False, plugins=[])
            run_training(resolved, folder, kernel=kernel, reward=reward, quiet=quiet)
        run = load_run(folder)
    reward = make_reward(run.config)
    result = compare_exactly(run.kernel, run.policy, make_scorer(run.kernel, reward))
    floor = perfect_sampler_floor(result.target, 10_000, stream(run.config.seed, "check"))
    figures = {
        "n_objects": len(result.objects),
        "n_invalid_reward": result.n_invalid,
        "log_z_exact": result.log_z,
        "log_z_learned": result.log_z + result.log_z_error,
        "log_z_error": result.log_z_error,
        "total_variation": result.total_variation,
        "jensen_shannon_nats": result.jensen_shannon,
        "learned_mass": float(result.learned.sum()),
        "floor_total_variation_10000_samples": floor,
        "step": run.step,
        "nondeterministic_rewards": reward.nondeterministic,
    }
    if as_json:
        print_json(figures)
    elif not quiet:
        print(f"objects                    {figures['n_objects']}, of them without a valid reward {result.n_invalid}")
        print(f"log Z                      exact {result.log_z:.6f}, learned {figures['log_z_learned']:.6f}")
        print(f"log Z error                {result.log_z_error:+.6f}")
        print(f"exact total variation      {result.total_variation:.6f}")
        print(f"exact Jensen-Shannon       {result.jensen_shannon:.3e} nats")
        print(f"mass of all objects        {figures['learned_mass']:.12f}")
        print(f"for scale: 10 000 draws of a perfect sampler would show a total variation of {floor:.4f}")
    if reward.nondeterministic:
        names = ", ".join(reward.nondeterministic)
        print(f"oreflow: {names} gives one formula different values: these figures prove nothing", file=sys.stderr)
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
    from agent.rollout import forward_rollout
    from agent.seeds import stream
    from envs.check import check_kernel
    from envs.uniform_compositions import TooRareError
    from rewards.check import check_reward_term, check_shaped

    load_plugins(plugin)
    resolved = load_config(config, set_, seed)
    rng = stream(resolved.seed, "check")
    kernel, reward = make_checked(resolved, str(config))
    check_kernel(kernel, rng, n=64)
    for term, _ in reward.terms:
        check_reward_term(term)
    policy = make_policy(resolved, kernel)
    try:
        states, origin = kernel.sample_uniform(500, rng), "uniform random"
    except TooRareError:
        states, origin = forward_rollout(kernel, policy, 500, rng).terminal, "random build orders"
    objects = kernel.objects(states)
    result = reward(objects)
    for term, _ in reward.terms:
        check_reward_term(term, objects[:64])
    check_shaped(reward, objects)
    started = time.perf_counter()
    forward_rollout(kernel, policy, resolved.sampler.batch, rng)
    seconds = time.perf_counter() - started
    log_rewards = result.log_reward[result.valid]
    quantiles = np.quantile(log_rewards, [0.05, 0.5, 0.95]).tolist() if len(log_rewards) else [float("nan")] * 3
    share_valid = float(result.valid.mean())
    figures: dict[str, Any] = {
        "config": str(config),
        "purpose": resolved.purpose,
        "n_elements": len(kernel.space.elements),
        "n_actions": kernel.n_actions,
        "enumerable": kernel.enumeration_unavailable_reason is None,
        "world": kernel.enumeration_unavailable_reason or f"{kernel.enumerate().n_objects} objects",
        "n_parameters": sum(p.numel() for p in policy.parameters()),
        "share_valid_reward": share_valid,
        "log_reward_quantiles_05_50_95": quantiles,
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
        print(f"examples   {', '.join(figures['examples'])} ({origin})")
        for name, entry in figures["terms"].items():
            median = "none" if entry["median"] is None else f"{entry['median']:.4g}"
            print(f"reward     {name}: median {median}, valid {entry['valid']:.1%}; contract holds")
        print(f"log R      5 %, 50 %, 95 % of {len(states)} such objects: " + ", ".join(f"{q:.3g}" for q in quantiles))
        print(f"network    {figures['n_parameters']:,} parameters; one batch rolled out in {seconds:.2f} s")
    if not ok:
        print(
            f"oreflow: {1 - share_valid:.1%} of random objects have no valid reward, more than reward.invalid_budget = "
            f"{resolved.reward.invalid_budget:g}; for instance {figures['reason']}",
            file=sys.stderr,
        )
        return BAD_INPUT
    return DONE
