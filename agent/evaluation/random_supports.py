"""How far a sampler is from R/Z in a world too large to enumerate, measured on random parts of it.

The probability of an object is exact, all build orders summed; only which objects are looked at is drawn. So a perfect
sampler shows an error of zero here, whatever the size of the sample, and the standard error tells of the choice of
objects alone.
"""

from dataclasses import dataclass

import numpy as np

from oreflow.agent.evaluation.exact import total_variation
from oreflow.envs.arrays import Floats

_SIZE, _N_SUPPORTS = 64, 200


@dataclass(frozen=True)
class SubSupportError:
    """Mean total variation over random supports of `size` objects, and its standard error."""

    size: int
    n_supports: int
    mean: float
    standard_error: float


def sub_support_error(
    log_p: Floats,
    log_reward: Floats,
    rng: np.random.Generator,
    size: int = _SIZE,
    n_supports: int = _N_SUPPORTS,
) -> SubSupportError | None:
    """Flow consistency in sub-graphs (da Silva et al. 2025, "When do GFlowNets learn the right distribution?", ICLR).

    For each random set S of distinct objects: half the L1 distance of P(x | S) and R(x | S), both normalised over S.

    Args:
        log_p: log P_T of distinct objects, [object].
        log_reward: their log R, [object].

    Returns:
        None when there are fewer than two objects.
    """
    size = min(size, len(log_p))
    if size < 2:
        return None
    errors = np.empty(n_supports)
    for i in range(n_supports):
        chosen = rng.choice(len(log_p), size, replace=False)
        errors[i] = total_variation(_normalised(log_p[chosen]), _normalised(log_reward[chosen]))
    return SubSupportError(size, n_supports, float(errors.mean()), float(errors.std() / n_supports**0.5))


def _normalised(log_weights: Floats) -> Floats:
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum()


def log_partition_estimate(log_p: Floats, log_reward: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """log Z by importance sampling from the sampler's own draws, and its bootstrap standard error (200 resamples).

        log Z ~ log mean exp(log R(x) - log P_T(x)),  x drawn from P_T

    Objects that the sampler never draws are missing from it: a lower value than the learned log Z hints at them.
    """
    ratios = log_reward - log_p
    shifted = np.exp(ratios - ratios.max())
    resampled = shifted[rng.integers(0, len(shifted), (200, len(shifted)))].mean(axis=1)
    return float(ratios.max() + np.log(shifted.mean())), float(np.log(resampled).std())
