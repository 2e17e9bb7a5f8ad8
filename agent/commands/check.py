"""`oreflow check`: tries a config without training."""

import sys
import time
from typing import Any

from oreflow.agent.commands.common import (
    BAD_INPUT,
    DONE,
    AsJson,
    Overrides,
    Plugins,
    Quiet,
    Seed,
    load_plugins,
    print_json,
    verb,
)
from oreflow.agent.commands.train import ConfigPath


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
    from oreflow.agent.learners.reward_families import drawn_conditions, make_family
    from oreflow.agent.rollout.rollout import forward_rollout
    from oreflow.agent.runtime.seeds import stream
    from oreflow.agent.training.build import check_world, make_checked, make_policy
    from oreflow.envs.contract.labelings import count_objects
    from oreflow.envs.registry import COMPOSITION, STRUCTURE
    from oreflow.rewards.check import check_reward_term, check_shaped

    load_plugins(plugin)
    resolved = load_config(config, set_, seed)
    rng = stream(resolved.seed, "check")
    kernel, reward = make_checked(resolved, str(config))
    check_world(resolved, kernel, 64, rng)
    for term, _ in reward.terms:
        if term.requires in (COMPOSITION, STRUCTURE):  # of own objects only the world has examples
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
        "n_elements": len(resolved.world.space().symbols()),
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
        elements = f"{figures['n_elements']} elements, " if figures["n_elements"] else ""
        print(f"world      {elements}{figures['n_actions']} actions, {figures['world']}")
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
