"""The rows of a candidate table: all draws, or all distinct objects, judged in batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.config.target import TargetConfig
from oreflow.agent.evaluation.exact import log_target
from oreflow.agent.rollout.log_probabilities import log_prior
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.sampling.draws import Draws, first_of_their_kind
from oreflow.agent.sampling.rows.store import RowStore
from oreflow.agent.sampling.rows.uncertainty import log_reward_std
from oreflow.agent.sampling.trained_run import TrainedRun
from oreflow.agent.storage.scratch import writing_to
from oreflow.agent.tables.candidates import EnergyTerm, candidate_table, energy_model_of
from oreflow.agent.tables.known_crystals import is_known_object
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.agent.training.target import log_measure
from oreflow.envs.arrays import States
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.registry import COMPOSITION, STRUCTURE
from oreflow.rewards import Reward, RewardValues

# How many objects are judged at once. Networks round differently in batches of other sizes: another number here changes
# the last digits of what a seed gives.
_JUDGED_AT_ONCE = 4096


@dataclass
class Findings:
    """What the rows do not say: how many log R were cut at a bound, and why an object has no valid reward."""

    n_bounded: int = 0
    reason: str = ""


def judge(
    failures: RewardFailures,
    run: TrainedRun,
    reward: Reward,
    draws: Draws,
    reference: Compositions | Crystals | None,
    rows: RowStore,
    out: Path,
    unique: bool,
    progress: Progress,
) -> Findings:
    """Add the rows of all draws, or of all distinct objects, that have a valid reward.

    Raises:
        OutputError: when `out` cannot be written.
    """
    found = Findings()
    energy_model, world = predictor(run.config, reward), run.config.world.space()
    log_pf = np.full(len(draws.objects), np.nan)  # computed once an object, not once a draw
    n_objects, n_seen = len(draws.objects) if unique else draws.n, 0
    for first in range(0, n_objects, _JUDGED_AT_ONCE):
        last = min(first + _JUDGED_AT_ONCE, n_objects)
        numbers = np.arange(first, last) if unique else draws.numbers.rows(slice(first, last))
        states = draws.objects.rows(numbers)
        is_first = first_of_their_kind(numbers, n_seen)
        if is_first.any():
            known = run.sampler.log_probability(states[is_first])
            if known is not None:
                log_pf[numbers[is_first]] = known
        n_seen += int(is_first.sum())
        objects = run.kernel.objects(states)
        result = reward(objects)
        under = (lambda values: values) if run.condition is None else run.condition.rewards
        std, result = log_reward_std(reward, result, under), under(result)
        frame = candidate_table(
            objects,
            result,
            energy_model=energy_model,
            terms=[term for term, _ in reward.terms],
            rule=run.config.world.charge_rule(),
            descriptions=run.kernel.describe(states),
            further={**world.columns(objects), **_further_columns(run, states, result)},
            n_times_sampled=draws.times[numbers],
            is_unique=is_first,
            is_novel=None if reference is None else ~is_known_object(objects, reference),
            log_pf=log_pf[numbers],
            log_reward_std=std,
        )
        with writing_to(out):
            rows.add(frame[result.valid])
        failures.record(objects, result)
        found.n_bounded += int(result.bounded.sum())
        if not result.valid.all():
            found.reason = found.reason or next(iter(result.reasons().values()))
        progress.update(last)
    return found


def _further_columns(run: TrainedRun, states: States, result: RewardValues) -> dict[str, Any]:
    """What was changed, or what the sampler was trained for where that is not plain R/Z: the column `log_target`."""
    changes = {} if run.narrowing is None else dict(run.narrowing.columns(states))
    run = run.whole or run
    if run.config.target == TargetConfig():
        return changes
    if run.policy is None:
        return ({} if run.prior is None else {"log_prior": log_prior(run.kernel, run.prior, states)}) | changes
    log_reward = result.log_reward - log_measure(run.kernel, states, run.config.target)
    wanted = log_target(run.kernel, run.policy, states, log_reward, run.prior, run.config.target.tau)
    of_prior = {} if run.prior is None else {"log_prior": log_prior(run.kernel, run.prior, states)}
    return {"log_target": wanted} | of_prior | changes


def predictor(config: Config, reward: Reward) -> EnergyTerm | None:
    """Give what predicts formation energies of the world's objects; None where they have none."""
    kind = config.world.space().object_kind
    return energy_model_of(reward, kind == STRUCTURE) if kind in (COMPOSITION, STRUCTURE) else None
