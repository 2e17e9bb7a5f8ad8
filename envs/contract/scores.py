"""What environments expect of a scorer: log R of each state, as numbers."""

import warnings
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats, States
from oreflow.envs.contract.protocol import Scorer
from oreflow.envs.errors import ScorerContractError


def scores_of(scorer: Scorer, states: States) -> Floats:
    """Ask a scorer for the log-rewards of terminal states, float64 [batch].

    Raises:
        ScorerContractError: when it returns something else than one number a state.
    """
    scored: Any = scorer(states)
    try:
        scores = np.asarray(scored, dtype=np.float64)
    except (TypeError, ValueError):
        scores = np.empty(0)
    if scores.shape != (len(states),):
        got = f"shape {scores.shape}" if np.ndim(scored) else type(scored).__name__
        raise ScorerContractError(
            f"expected the scorer to return log R of each state, float64 of shape ({len(states)},), got {got}; a "
            f"scorer takes states, {states.dtype} of shape {states.shape}, and returns np.array([...])"
        )
    return scores


def warn_of_missing(scores: Floats, replaced_by: float) -> None:
    """Warn where a scorer gave no finite number; Python shows the same warning once."""
    missing = ~np.isfinite(scores)
    if missing.any():
        warnings.warn(
            f"the scorer returned {scores[missing][0]:g} for a state; it counts as illegal_log_reward = "
            f"{replaced_by:g}, and info['invalid_reward'] says so",
            RuntimeWarning,
            stacklevel=3,
        )
