"""`exact`: how far a trained sampler is from R/Z."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oreflow.agent.commands.common import (
    BAD_INPUT,
    DONE,
    AsJson,
    Beta,
    Overrides,
    Plugins,
    Quiet,
    Seed,
    Weights,
    condition_line,
    load_plugins,
    print_json,
    verb,
)

if TYPE_CHECKING:
    from oreflow.agent.config.run import Config
    from oreflow.agent.policy.network import Policy
    from oreflow.agent.sampling.sample import TrainedRun
    from oreflow.rewards import Reward

_N_DRAWN = 2000


@verb
def exact(
    config_or_run: Annotated[
        Path, typer.Argument(help="A run folder, or a config (trained first, in a scratch folder).")
    ],
    set_: Overrides = None,
    seed: Seed = None,
    beta: Beta = None,
    weights: Weights = None,
    plugin: Plugins = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Distance of a trained sampler from R/Z, with --beta or --weights from that of the reward so chosen.

    In a world small enough to enumerate nothing is estimated: the probability of every object is computed by pushing
    mass through all build orders. In larger ones the probabilities of objects are as exact, but the objects looked at
    are drawn: errors are those within random sets of objects, and log R - log P over the sampler's own draws.

    Example: oreflow exact runs/configs/tiny_exact.yaml
    """
    from oreflow.agent.config.run import load_config
    from oreflow.agent.learners.reward_families import choose, parse_weights
    from oreflow.agent.sampling.sample import load_run
    from oreflow.agent.storage.run_folder import RunFolder
    from oreflow.agent.training.build import make_checked, make_reward
    from oreflow.agent.training.loop import train as run_training

    load_plugins(plugin)
    weighting = None if weights is None else parse_weights(weights)
    with tempfile.TemporaryDirectory(prefix="oreflow-exact-") as scratch:
        if config_or_run.is_dir():
            if set_ or seed is not None:
                print("oreflow: --set and --seed change a training, and this run is trained already", file=sys.stderr)
                return BAD_INPUT
            folder = RunFolder(config_or_run)
        else:
            resolved = load_config(config_or_run, set_, seed)
            _has_probabilities(resolved, str(config_or_run))  # before any work
            choose(resolved, beta, weighting)
            kernel, reward = make_checked(resolved, str(config_or_run))
            reason = kernel.enumeration_unavailable_reason
            if reason:
                raise ValueError(f"this world cannot be enumerated: {reason}; train a run, and give its folder")
            folder = RunFolder(Path(scratch) / "run")
            folder.create(resolved, overwrite=False, plugins=[])
            run_training(resolved, folder, kernel=kernel, reward=reward, quiet=quiet)
        run = load_run(folder, beta=beta, weights=weighting)
    _has_probabilities(run.config, str(config_or_run))
    assert run.policy is not None
    reward = make_reward(run.config)
    if run.kernel.enumeration_unavailable_reason:
        figures, lines = _on_draws(run, run.policy, reward)
    else:
        figures, lines = _on_all_objects(run, run.policy, reward)
    figures |= {"step": run.step, "nondeterministic_rewards": reward.nondeterministic}
    if run.condition is not None:
        figures["condition"] = run.condition.describe()
        lines.insert(0, f"under                      {condition_line(figures['condition'])}")
    if as_json:
        print_json(figures)
    elif not quiet:
        print("\n".join(lines))
    if reward.nondeterministic:
        names = ", ".join(reward.nondeterministic)
        print(f"oreflow: {names} gives one formula different values: these figures prove nothing", file=sys.stderr)
    return DONE


def _has_probabilities(config: "Config", source: str) -> None:
    from oreflow.agent.config.sampler import OBJECTIVES

    if config.sampler.kind not in OBJECTIVES:
        raise ValueError(
            f"{source}: {config.sampler.kind} has no probabilities to compare with R/Z; expected gflownet or "
            "policy_gradient"
        )


def _on_all_objects(run: "TrainedRun", policy: "Policy", reward: "Reward") -> tuple[dict[str, Any], list[str]]:
    from oreflow.agent.evaluation.exact import compare_exactly, perfect_sampler_floor
    from oreflow.agent.runtime.seeds import stream
    from oreflow.agent.training.build import make_scorer

    features = None if run.condition is None else run.condition.features
    result = compare_exactly(run.kernel, policy, make_scorer(run.kernel, reward, run.condition), features)
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
    }
    return figures, [
        f"objects                    {figures['n_objects']}, of them without a valid reward {result.n_invalid}",
        f"log Z                      exact {result.log_z:.6f}, learned {figures['log_z_learned']:.6f}",
        f"log Z error                {result.log_z_error:+.6f}",
        f"exact total variation      {result.total_variation:.6f}",
        f"exact Jensen-Shannon       {result.jensen_shannon:.3e} nats",
        f"mass of all objects        {figures['learned_mass']:.12f}",
        f"for scale: 10 000 draws of a perfect sampler would show a total variation of {floor:.4f}",
    ]


def _on_draws(run: "TrainedRun", policy: "Policy", reward: "Reward") -> tuple[dict[str, Any], list[str]]:
    import numpy as np
    import torch

    from oreflow.agent.evaluation.random_objects import random_objects
    from oreflow.agent.evaluation.random_supports import log_partition_estimate, sub_support_error
    from oreflow.agent.policy.network import learned_log_z
    from oreflow.agent.runtime.seeds import stream
    from oreflow.agent.training.build import make_scorer
    from oreflow.envs.contract.labelings import canonical

    rng = stream(run.config.seed, "check")
    score = make_scorer(run.kernel, reward, run.condition, of_states=False)
    features = None if run.condition is None else run.condition.features
    drawn = canonical(run.kernel, run.sampler.draw(_N_DRAWN, rng))
    random, origin = random_objects(run.kernel, _N_DRAWN, rng)
    figures: dict[str, Any] = {"n_drawn": len(drawn), "n_random": len(random), "random_objects": origin}
    lines = [f"the world is too large to enumerate; exact probabilities of {len(drawn)} draws:"]
    for name, label, states in (
        ("drawn", "the sampler's draws", drawn),
        ("random", f"objects, {origin}", random),
    ):
        log_reward, log_p = score(states), np.empty(0)
        valid = np.isfinite(log_reward)
        if not valid.any():
            continue
        states, log_reward = states[valid], log_reward[valid]
        known = run.sampler.log_probability(states)
        assert known is not None
        few = np.isfinite(known)  # of so many parts that the probability was left out
        if not few.any():
            continue
        states, log_reward, log_p = states[few], log_reward[few], known[few]
        figures[f"n_{name}_with_log_p"] = int(few.sum())
        if name == "drawn":
            spread = float((log_reward - log_p).std())
            log_z, error = log_partition_estimate(log_p, log_reward, rng)
            learned = learned_log_z(policy, torch.from_numpy(run.kernel.encode(run.kernel.initial(1))), features)
            figures |= {"log_reward_minus_log_p_std": spread, "log_z_importance": log_z, "log_z_learned": learned}
            figures["log_z_importance_standard_error"] = error
            lines.append(f"std of log R - log P       {spread:.3f} nats (0 for a perfect sampler)")
            lines.append(f"log Z                      learned {learned:.3f}, by importance {log_z:.3f} ± {error:.3f}")
        _, first = np.unique(states, axis=0, return_index=True)
        found = sub_support_error(log_p[first], log_reward[first], rng)
        if found is not None:
            figures |= {f"sub_support_{name}": found.mean, f"sub_support_{name}_standard_error": found.standard_error}
            figures["sub_support_size"] = found.size
            lines.append(
                f"error within {found.size} objects    {found.mean:.4f} ± {found.standard_error:.4f} total variation, "
                f"{found.n_supports} random sets of {label} (0 for a perfect sampler)"
            )
    return figures, lines
