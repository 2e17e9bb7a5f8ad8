"""How far a trained sampler is from R/Z, in figures: exactly where the world can be enumerated, on draws elsewhere."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from oreflow.agent.config.run import Config
from oreflow.agent.config.sampler import OBJECTIVES
from oreflow.agent.evaluation.exact import compare_exactly, log_target, perfect_sampler_floor
from oreflow.agent.evaluation.log_z_brackets import log_z_brackets
from oreflow.agent.evaluation.random_objects import random_objects
from oreflow.agent.evaluation.random_supports import log_partition_estimate, sub_support_error
from oreflow.agent.policy.network import Policy, learned_log_z
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.sampling.trained_run import TrainedRun
from oreflow.agent.training.build import make_decoration_scorer, make_reward, make_scorer
from oreflow.envs.arrays import Floats, States
from oreflow.envs.contract.labelings import canonical
from oreflow.rewards import Reward

_N_DRAWN = 2000
_FLOOR_DRAWS = 10_000
_BRACKET_DRAWS, _FEWEST_BRACKET_DRAWS = 8192, 64  # of all strata together, and of each


def check_has_probabilities(config: Config, source: str) -> None:
    """Refuse samplers without a policy, whose probabilities nobody knows.

    Raises:
        ValueError: naming `source` and the sampler.
    """
    if config.sampler.kind == "prior":
        raise ValueError(
            f"{source}: a prior is fitted to known objects and not to R/Z; card.json says how likely it finds others"
        )
    if config.sampler.kind not in OBJECTIVES:
        raise ValueError(
            f"{source}: {config.sampler.kind} has no probabilities to compare with R/Z; expected gflownet or "
            "policy_gradient"
        )


def compare_with_target(run: TrainedRun, source: str, draws: int | None = None) -> dict[str, Any]:
    """Compare a trained sampler with R/Z.

    Args:
        run: as `load_run` gives it.
        source: what the run is called in messages.
        draws: for the bracket of log Z, of each stratum where there are strata. By default 8192 in all and at least 64
            each where the world cannot be enumerated, and none elsewhere.

    Returns:
        In a world that can be enumerated `n_objects`, `n_invalid_reward`, `log_z_exact`, `log_z_learned`,
        `log_z_error`, `total_variation`, `jensen_shannon_nats`, `learned_mass`,
        `floor_total_variation_10000_samples`, and `strata` with their shares where these are prescribed:
        `shares_total_variation` is how far shares that are a power of Z_g are from those by the exact Z_g.
        In larger ones `n_drawn`, `n_random` and the figures that the draws
        allow: `log_reward_minus_log_p_std`, `log_z_importance` with its standard error, and the total variation
        within random sets of `sub_support_size` objects. Where there are `draws`, `log_z_brackets`: of each stratum,
        or of all, the fields of `LogZBracket`. Always `step`, `nondeterministic_rewards` and, for a family of rewards,
        `condition`.

    Raises:
        ValueError: when the sampler has no probabilities.
    """
    check_has_probabilities(run.config, source)
    assert run.policy is not None
    reward = make_reward(run.config)
    if run.kernel.enumeration_unavailable_reason:
        figures = _on_draws(run, run.policy, reward)
    else:
        figures = _on_all_objects(run, run.policy, reward)
    if run.kernel.enumeration_unavailable_reason or draws is not None:
        figures["log_z_brackets"] = _brackets(run, run.policy, reward, draws)
    figures |= {"step": run.step, "nondeterministic_rewards": reward.nondeterministic}
    if run.condition is not None:
        figures["condition"] = run.condition.describe(reward)
    return figures


def _on_all_objects(run: TrainedRun, policy: Policy, reward: Reward) -> dict[str, Any]:
    features = None if run.condition is None else run.condition.features
    scorer = make_scorer(run.kernel, reward, run.condition, target=run.config.target)
    target = run.config.target
    of_decorations = make_decoration_scorer(run.kernel, reward, target)
    result = compare_exactly(run.kernel, policy, scorer, features, run.prior, target.tau, of_decorations)
    floor = perfect_sampler_floor(result.target, _FLOOR_DRAWS, stream(run.config.seed, "check"))
    return {
        "n_objects": len(result.objects),
        "n_invalid_reward": result.n_invalid,
        "log_z_exact": result.log_z,
        "log_z_learned": result.log_z + result.log_z_error,
        "log_z_error": result.log_z_error,
        "total_variation": result.total_variation,
        "jensen_shannon_nats": result.jensen_shannon,
        "strata": [asdict(stratum) for stratum in result.strata],
        "strata_are": "numbers of elements" if run.config.target.prescribes_numbers else "space groups",
        "power": run.config.target.power,
        "shares_total_variation": result.shares_total_variation,
        "learned_mass": float(result.learned.sum()),
        "floor_total_variation_10000_samples": floor,
    }


def _brackets(run: TrainedRun, policy: Policy, reward: Reward, draws: int | None) -> list[dict[str, Any]]:
    if policy.geometry_head is not None:
        return []  # the weights of whole trajectories say nothing of decorations
    n_strata = 1 if policy.strata is None else len(policy.strata)
    score = make_scorer(run.kernel, reward, run.condition, target=run.config.target)
    found = log_z_brackets(
        run.kernel,
        policy,
        score,
        stream(run.config.seed, "check", 1),
        draws or max(_BRACKET_DRAWS // n_strata, _FEWEST_BRACKET_DRAWS),
        None if run.condition is None else run.condition.features,
        run.prior,
        run.config.target.tau,
    )
    return [asdict(bracket) for bracket in found]


def _log_target(run: TrainedRun, policy: Policy, states: States, score: Callable[[States], Floats]) -> Floats:
    return log_target(run.kernel, policy, states, score(states), run.prior, run.config.target.tau)


def _on_draws(run: TrainedRun, policy: Policy, reward: Reward) -> dict[str, Any]:
    rng = stream(run.config.seed, "check")
    score = make_scorer(run.kernel, reward, run.condition, of_states=False, target=run.config.target)
    features = None if run.condition is None else run.condition.features
    drawn = canonical(run.kernel, run.sampler.draw(_N_DRAWN, rng))
    random, origin = random_objects(run.kernel, _N_DRAWN, rng)
    figures: dict[str, Any] = {"n_drawn": len(drawn), "n_random": len(random), "random_objects": origin}
    for name, states in (("drawn", drawn), ("random", random)):
        log_reward, log_p = _log_target(run, policy, states, score), np.empty(0)
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
            log_z, error = log_partition_estimate(log_p, log_reward, rng)
            figures["log_reward_minus_log_p_std"] = float((log_reward - log_p).std())
            figures |= {"log_z_importance": log_z, "log_z_importance_standard_error": error}
            initial = torch.from_numpy(run.kernel.encode(run.kernel.initial(1)))
            figures["log_z_learned"] = learned_log_z(policy, initial, features)
        _, first = np.unique(states, axis=0, return_index=True)
        found = sub_support_error(log_p[first], log_reward[first], rng)
        if found is not None:
            figures |= {f"sub_support_{name}": found.mean, f"sub_support_{name}_standard_error": found.standard_error}
            figures |= {"sub_support_size": found.size, f"sub_support_{name}_sets": found.n_supports}
    return figures
