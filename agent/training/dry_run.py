"""What a config would cost, and which elements its rewards do not know, before any training."""

import re
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from oreflow.agent.config.run import Config
from oreflow.agent.training.build import make_learner
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.agent.training.ledgers.ledger import RewardLedger
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards import Reward, RewardValues
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.protocol import Batch

_FEW, _DEAR_SECONDS = 8, 0.005
_TRIED_STEPS = 4  # the first compiles, the others are timed
_MOST_SECONDS_A_STEP = 5.0  # dearer rewards are not asked again
_LEAST_OBJECTS = 3  # without a value, before an element in all of them is blamed


def seconds_per_object(reward: Reward, objects: Batch) -> dict[str, float]:
    """Time every term on objects that it was asked about before, so that nothing is compiled: seconds an object.

    A dear term is asked about a few objects again, a cheap one about all of them.
    """
    seconds = {}
    for term, _ in reward.terms:
        for part in (objects[:_FEW], objects):
            started = time.perf_counter()
            evaluate_term(term.unwrapped, part)  # past the memory of values
            seconds[term.name] = (time.perf_counter() - started) / max(len(part), 1)
            if seconds[term.name] > _DEAR_SECONDS:
                break
    return seconds


def seconds_per_step(config: Config, kernel: TransitionKernel, reward: Reward, seconds: dict[str, float]) -> float:
    """Time a training step by training for a moment, on a sampler that is then thrown away.

    Where the rewards alone take longer than five seconds a step, their time is the answer.

    Args:
        seconds: of each term an object, as `seconds_per_object` gives them.
    """
    of_rewards = config.sampler.batch * sum(seconds.values())
    if of_rewards > _MOST_SECONDS_A_STEP:
        return of_rewards
    learner = make_learner(config, kernel)
    found = []
    with tempfile.TemporaryDirectory(prefix="oreflow-check-") as folder:
        ledger = RewardLedger(kernel, reward, RewardFailures(Path(folder) / "failures.jsonl"), 1.0, config.target)
        for step in range(min(_TRIED_STEPS, config.sampler.steps)):
            started = time.perf_counter()
            learner.step(step, ledger)
            found.append(time.perf_counter() - started)
    return statistics.median(found[1:] or found)


def unknown_elements(objects: Batch, result: RewardValues) -> list[str]:
    """Name the elements that no object with a valid reward holds, and that the reasons of the others name."""
    if not isinstance(objects, Compositions | Crystals) or result.valid.all():
        return []
    amounts = objects.formula_units().dense()[:, 1:] > 0
    never = ~amounts[result.valid].any(axis=0) & (amounts[~result.valid].sum(axis=0) >= _LEAST_OBJECTS)
    named = {word for reason in result.reasons().values() for word in re.findall(r"\b[A-Z][a-z]?\b", reason)}
    return [symbols()[z + 1] for z in np.flatnonzero(never).tolist() if symbols()[z + 1] in named]
