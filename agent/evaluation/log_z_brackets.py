"""Brackets of log Z from trajectories, in worlds of any size: of the whole, or of each stratum of prescribed shares.

With w(tau) = R(x) P_B(tau | x) / P_F(tau), or R(x)^(1/t) P0(tau) / P_F(tau) with a prior of temperature t, the sum over
all trajectories of P_F w is Z. So

    E over tau of P_F [log w]  <=  log Z  <=  E over tau of R(x)/Z P_B(tau | x) [log w]

by Jensen's inequality: the evidence lower bound, below log Z by KL(P_F || target), and the evidence upper bound, above
it by KL(target || P_F) (EUBO; Blessing et al. 2024, "Beyond ELBOs", arXiv:2406.07423). The two meet at a perfect
sampler. A sampler that misses a part of the target gives it away in the upper one alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.evaluation.exact import log_z_of_strata
from oreflow.agent.policy.network import Policy, learned_log_z
from oreflow.agent.policy.prior import Prior
from oreflow.agent.rollout.log_probabilities import log_first
from oreflow.agent.rollout.rollout import backward_rollout, forward_rollout, under_prior
from oreflow.agent.rollout.trajectories import Trajectories
from oreflow.envs.arrays import Bools, Floats, Ints, States
from oreflow.envs.contract.protocol import TransitionKernel

_AT_ONCE = 1024
_N_RESAMPLES = 200


@dataclass(frozen=True)
class LogZBracket:
    """What draws say of log Z, natural logarithm; None where no draw has a valid reward.

    Attributes:
        name: of the stratum, or "all".
        n_draws: forward trajectories.
        n_valid: of them with a valid reward; the others count as R = 0.
        learned: log Z as the sampler has learned it; None where it has not.
        lower, lower_standard_error: mean of log w over the sampler's draws. Its expectation is at most log Z.
        importance, importance_standard_error: log of the mean of w over the same draws. Its expectation is at most
            log Z, too, and it comes closer with every draw; by Markov's inequality it exceeds log Z by b nats or more
            with a probability of at most exp(-b) (Burda et al. 2016, arXiv:1509.00519).
        upper, upper_standard_error: mean of log w over trajectories of the target. For exact draws of the target its
            expectation is at least log Z. The target cannot be drawn from, so the objects are the sampler's draws in
            proportion to w (self-normalised importance sampling) and the trajectories new walks back from them along
            P_B (with a prior the drawn ones themselves): an estimate of a bound, too low where the sampler misses parts
            of the target.
        effective_draws: (sum of w)^2 / sum of w^2, how many draws carry that estimate; few mean that it is no bound.
    """

    name: str
    n_draws: int
    n_valid: int
    learned: float | None
    lower: float | None = None
    lower_standard_error: float | None = None
    importance: float | None = None
    importance_standard_error: float | None = None
    upper: float | None = None
    upper_standard_error: float | None = None
    effective_draws: float | None = None


def log_z_brackets(
    kernel: TransitionKernel,
    policy: Policy,
    log_reward: Callable[[States], Floats],
    rng: np.random.Generator,
    n_draws: int,
    condition: Tensor | None = None,
    prior: Prior | None = None,
    tau: float = 1.0,
) -> list[LogZBracket]:
    """Bracket log Z, or log Z of each stratum where shares are prescribed, as `compare_exactly` defines it.

    Args:
        log_reward: log R of terminal states, an object's R shared out among the states that it is; NaN where invalid.
        n_draws: forward trajectories, of each stratum; each costs one evaluation of the reward.
        condition: float32 [n_conditions] for a conditional policy; `log_reward` is the one it stands for.
        prior: whose law P0 the target is multiplied by, P0(x) R(x)^(1/tau).
        tau: with a prior.
    """
    names = ("all",) if policy.strata is None else policy.strata.names
    of_draw = np.repeat(np.arange(len(names)), n_draws)
    parts = []
    with torch.no_grad():
        for i in range(0, len(of_draw), _AT_ONCE):
            strata = of_draw[i : i + _AT_ONCE]
            parts.append(_log_weights(kernel, policy, log_reward, rng, strata, condition, prior, tau))
    forward, backward = (np.concatenate(column).reshape(len(names), n_draws) for column in zip(*parts))
    learned = _learned(kernel, policy, condition, prior)
    return [_bracket(*row, rng) for row in zip(names, learned, forward, backward)]


def _log_weights(
    kernel: TransitionKernel,
    policy: Policy,
    log_reward: Callable[[States], Floats],
    rng: np.random.Generator,
    strata: Ints,
    condition: Tensor | None,
    prior: Prior | None,
    tau: float,
) -> tuple[Floats, Floats]:
    """log w of forward draws and of a trajectory of the target that ends in the same object; -inf where R is 0."""
    forward, backward = np.full(len(strata), -np.inf), np.full(len(strata), -np.inf)
    conditions = None if condition is None else condition.expand(len(strata), -1)
    chosen = None if policy.strata is None else strata
    t = forward_rollout(kernel, policy, len(strata), rng, condition=conditions, strata=chosen)
    log_r = log_reward(t.terminal) / tau
    valid = np.isfinite(log_r)
    if not valid.any():
        return forward, backward
    t, log_r = t.select(valid), log_r[valid]
    if prior is None:
        forward[valid] = log_r + _log_ratio(t)
        again = backward_rollout(kernel, policy, t.terminal, rng, condition=t.condition)
        backward[valid] = log_r + _log_ratio(again)
    else:
        log_w = log_r + _log_ratio(under_prior(prior, t))
        if policy.strata is not None:  # trajectories begin after the first action, the prior's law before it
            log_w = log_w + log_first(prior, policy.strata)[strata[valid]]
        forward[valid] = backward[valid] = log_w
    return forward, backward


def _log_ratio(t: Trajectories) -> Floats:
    """log P_B - log P_F of whole trajectories, float64 [batch]."""
    ratio: Floats = (t.total(t.log_pb) - t.total(t.log_pf)).numpy()
    return ratio


def _learned(
    kernel: TransitionKernel, policy: Policy, condition: Tensor | None, prior: Prior | None
) -> list[float | None]:
    if policy.strata is not None:
        return [float(value) for value in log_z_of_strata(kernel, policy, prior)]
    return [learned_log_z(policy, torch.from_numpy(kernel.encode(kernel.initial(1))), condition)]


def _bracket(
    name: str, learned: float | None, forward: Floats, backward: Floats, rng: np.random.Generator
) -> LogZBracket:
    """Both ends, with standard errors by the bootstrap over draws."""
    n = len(forward)
    valid = np.isfinite(forward)
    n_valid = int(valid.sum())
    if not n_valid:
        return LogZBracket(name, n, 0, learned)
    weights = np.exp(forward - forward[valid].max())
    shift = float(forward[valid].max())
    below, above = np.where(valid, forward, 0.0), np.where(valid, backward, 0.0)
    rows = [np.arange(n), *rng.integers(0, n, (_N_RESAMPLES, n))]
    figures = np.array([_ends(weights[row], valid[row], below[row], above[row]) for row in rows if valid[row].any()])
    lower, importance, upper = figures[0].tolist()
    errors = figures[1:].std(axis=0).tolist()
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return LogZBracket(
        name, n, n_valid, learned, lower, errors[0], importance + shift, errors[1], upper, errors[2], effective
    )


def _ends(weights: Floats, valid: Bools, below: Floats, above: Floats) -> tuple[float, float, float]:
    """Lower end, log of the mean weight, upper end.

    With a share a of valid draws log Z = log a + log E[w | valid], so that log a + E[log w | valid] bounds it.
    """
    share = valid.mean()
    return (
        float(np.log(share) + below.sum() / valid.sum()),
        float(np.log(weights.mean())),
        float((weights * above).sum() / weights.sum()),
    )
