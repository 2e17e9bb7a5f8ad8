"""`oreflow check`: tries a config without training."""

import sys
from typing import Any

from oreflow.agent.commands.common import (
    BAD_INPUT,
    DONE,
    AsJson,
    ConfigPath,
    Overrides,
    Plugins,
    Quiet,
    Seed,
    load_plugins,
    print_json,
    verb,
)


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

    from oreflow.agent.config.run import load_config
    from oreflow.agent.config.sampler import OBJECTIVES
    from oreflow.agent.evaluation.random_objects import random_objects
    from oreflow.agent.runtime.progress import Stages
    from oreflow.agent.runtime.seeds import stream
    from oreflow.agent.runtime.sparkline import sparkline
    from oreflow.agent.training.build import check_world, make_checked, make_policy
    from oreflow.agent.training.dry_run import seconds_per_object, seconds_per_step, unknown_elements
    from oreflow.envs.contract.labelings import count_objects
    from oreflow.envs.registry import COMPOSITION, STRUCTURE
    from oreflow.rewards.check import check_reward_term, check_shaped

    load_plugins(plugin)
    resolved = load_config(config, set_, seed)
    rng = stream(resolved.seed, "check")
    stages = Stages("check", 5, quiet or as_json)
    stages.begin("world and rewards")
    kernel, reward = make_checked(resolved, str(config))
    stages.begin("masks")
    check_world(resolved, kernel, 64, rng)
    stages.begin("contracts of the rewards")
    for term, _ in reward.terms:
        if term.requires in (COMPOSITION, STRUCTURE):  # of own objects only the world has examples
            check_reward_term(term)
    stages.begin("rewards of random objects")
    states, origin = random_objects(kernel, 500, rng)
    objects = kernel.objects(states)
    result = reward(objects)
    for term, _ in reward.terms:
        check_reward_term(term, objects[:64])
    check_shaped(reward, objects)
    seconds = seconds_per_object(reward, objects)
    stages.begin("some steps of training")
    step_seconds = seconds_per_step(resolved, kernel, reward, seconds)
    policy = make_policy(resolved, kernel) if resolved.sampler.kind in OBJECTIVES else None
    log_rewards = result.log_reward[result.valid]
    quantiles = np.quantile(log_rewards, [0.05, 0.5, 0.95]).tolist() if len(log_rewards) else [float("nan")] * 3
    share_valid = float(result.valid.mean())
    enumerable = kernel.enumeration_unavailable_reason is None
    figures: dict[str, Any] = {
        "config": str(config),
        "purpose": resolved.purpose,
        "n_elements": len(resolved.world.space().symbols()),
        "n_actions": kernel.n_actions,
        "enumerable": enumerable,
        "world": f"{count_objects(kernel):,} objects" if enumerable else "too many objects to list",
        "n_parameters": 0 if policy is None else sum(p.numel() for p in policy.parameters()),
        "share_valid_reward": share_valid,
        "log_reward_quantiles_05_50_95": quantiles,
        "share_at_log_min": float((log_rewards <= resolved.reward.log_min).mean()) if len(log_rewards) else 0.0,
        "terms": {
            name: {
                "median": float(np.median(v.values[v.valid])) if v.valid.any() else None,
                "valid": float(v.valid.mean()),
                "microseconds_per_object": 1e6 * seconds[name],
            }
            for name, v in result.terms.items()
        },
        "seconds_per_step": step_seconds,
        "training_seconds": step_seconds * resolved.sampler.steps,
        "examples": kernel.describe(states[:5]),
    }
    ok = 1 - share_valid <= resolved.reward.invalid_budget
    if not ok:
        figures["reason"] = next(iter(result.reasons().values()))
        figures["unknown_elements"] = unknown_elements(objects, result)
    if as_json:
        print_json(figures)
    elif not quiet:
        print(f"{config}: {resolved.purpose}")
        elements = f"{figures['n_elements']} elements, " if figures["n_elements"] else ""
        print(f"world      {elements}{figures['n_actions']} actions, {figures['world']}")
        print(f"examples   {'; '.join(figures['examples'])} ({origin})")
        for name, entry in figures["terms"].items():
            values = result.terms[name]
            drawn = sparkline(values.values[values.valid])
            median = "none" if entry["median"] is None else f"{entry['median']:.4g}"
            print(
                f"reward     {name}: median {median}, valid {entry['valid']:.1%}; contract holds; "
                f"{_time(1e-6 * entry['microseconds_per_object'])} an object"
                + (f"\n           {drawn}" if drawn else "")
            )
        print(f"log R      5 %, 50 %, 95 % of {len(states)} such objects: " + ", ".join(f"{q:.3g}" for q in quantiles))
        if len(log_rewards):
            print(f"           {sparkline(log_rewards)}")
        if figures["share_at_log_min"]:
            print(f"           {figures['share_at_log_min']:.1%} at reward.log_min = {resolved.reward.log_min:g}")
        if policy is not None:
            print(f"network    {figures['n_parameters']:,} parameters")
        print(
            f"training   {resolved.sampler.steps:,} steps of {resolved.sampler.batch} objects: about "
            f"{_time(figures['training_seconds'])} at {_time(step_seconds)} a step, as long as it is as it begins"
        )
    if not ok:
        print(
            f"oreflow: {1 - share_valid:.1%} of random objects have no valid reward, more than reward.invalid_budget = "
            f"{resolved.reward.invalid_budget:g}; for instance {figures['reason']}{_remedy(figures)}",
            file=sys.stderr,
        )
        return BAD_INPUT
    return DONE


def _time(seconds: float) -> str:
    """A duration with two significant digits: 3.2 µs, 0.45 s, 12 min, 2.5 h."""
    for factor, unit in ((1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min")):
        if seconds < 100 * factor or (unit != "s" and seconds < 1000 * factor):
            return f"{seconds / factor:.2g} {unit}" if seconds < 100 * factor else f"{seconds / factor:.0f} {unit}"
    return f"{seconds / 3600:.2g} h"


def _remedy(figures: dict[str, Any]) -> str:
    unknown = figures["unknown_elements"]
    if not unknown:
        return ""
    return f". No object with {', '.join(unknown)} has one: add  forbidden: [{', '.join(unknown)}]  to world"
