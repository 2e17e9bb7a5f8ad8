"""How sure log R is: the models' standard deviations, carried through the shapes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.rewards import Reward, RewardValues
from oreflow.rewards.composite import scored_values
from oreflow.rewards.contract.protocol import SCORED, TermValues


def log_reward_std(
    reward: Reward, result: RewardValues, under: Callable[[RewardValues], RewardValues] = lambda values: values
) -> Floats | None:
    """Compute how far log R moves when what a model predicts moves by its standard deviation.

    Of each term with a column of its name and `_std`, the larger of the changes up and down; several terms add up as
    squares do, as if their errors had nothing to do with each other.

    Args:
        result: of `reward`, without a condition.
        under: puts log R under the condition that is sampled under.

    Returns:
        float64 [batch], nats, NaN where the term has no value; None where no term says how sure it is.
    """
    before = under(result).log_reward
    whole = np.sum(list(result.log_scores.values()), axis=0)  # not cut at the bounds of log R
    square: Floats | None = None
    for term, shape in reward.terms:
        values = result.terms[term.name]
        std = values.columns.get(f"{term.name}_std")
        if std is None or std.dtype.kind != "f":
            continue
        moved = np.zeros(len(before))
        for step in (std, -std):
            shifted = _shifted(values, step)
            with np.errstate(invalid="ignore", over="ignore"):
                score = reward.beta * np.where(values.valid, shape(scored_values(shifted)), np.nan)
                change = score - result.log_scores[term.name]
            there = replace(
                result,
                log_reward=np.clip(whole + change, reward.log_min, reward.log_max),
                terms=result.terms | {term.name: shifted},
                log_scores=result.log_scores | {term.name: score},
            )
            moved = np.maximum(moved, np.abs(under(there).log_reward - before))
        square = moved**2 if square is None else square + moved**2
    return None if square is None else np.sqrt(square)


def _shifted(values: TermValues, step: Floats) -> TermValues:
    columns = {name: cells + step if name.endswith(SCORED) else cells for name, cells in values.columns.items()}
    return replace(values, values=values.values + step, columns=columns)
