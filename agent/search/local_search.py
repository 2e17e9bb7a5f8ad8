"""Local search on terminal states: take an object apart, rebuild it, keep what is better.

Kim et al. 2024, Local Search GFlowNets (arXiv:2310.02710), refine the objects of a rollout like this before training
on them. There destroying and repairing follow the learned P_B and P_F; here the choices are uniform unless other walks
are given.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from oreflow.agent.search.random_walks import random_rollout, random_unroll
from oreflow.envs.arrays import Floats, Ints, States
from oreflow.envs.contract.protocol import TransitionKernel


class Unroll(Protocol):
    """A walk back, as `agent.search.random_walks.random_unroll`: non-terminal states, log-probabilities, lengths."""

    def __call__(
        self, kernel: TransitionKernel, terminal: States, go_on: float, rng: np.random.Generator, /
    ) -> tuple[States, Floats, Ints]:
        """Walk from terminal states; see the class."""
        ...


class Rollout(Protocol):
    """A walk forth, as `agent.search.random_walks.random_rollout`: terminal states, log-probabilities, lengths."""

    def __call__(
        self, kernel: TransitionKernel, states: States, rng: np.random.Generator, /
    ) -> tuple[States, Floats, Ints]:
        """Walk from terminal states; see the class."""
        ...


def local_search(
    kernel: TransitionKernel,
    terminal: States,
    log_reward: Floats,
    score: Callable[[States], Floats],
    rounds: int,
    go_on: float,
    rng: np.random.Generator,
    *,
    unroll: Unroll = random_unroll,
    rollout: Rollout = random_rollout,
) -> tuple[States, Floats]:
    """Climbs from each object for `rounds` rounds; a rebuilt object replaces the old one where its log R is higher.

    This is the deterministic filter of the paper. Proposals equal to the object they come from are not scored, so a
    round costs at most `batch` reward calls, often fewer.

    Args:
        terminal: [batch, *state_shape].
        log_reward: float64 [batch], their log R; NaN where invalid, which any valid proposal beats.
        score: log R of terminal states, NaN where invalid.
        go_on: probability of each further step back, in [0, 1]; see `oreflow.agent.search.random_walks.random_unroll`.
        unroll, rollout: walks under other than uniform choices, such as a learned P_B and P_F; their log-probabilities
            are not used.

    Returns:
        Terminal states [batch, *state_shape] and their log R, float64 [batch]; the arguments stay as they are.
    """
    terminal, log_reward = terminal.copy(), np.array(log_reward, dtype=np.float64)
    for _ in range(rounds):
        junctions = unroll(kernel, terminal, go_on, rng)[0]
        proposal = rollout(kernel, junctions, rng)[0]
        differs = np.flatnonzero((proposal != terminal).reshape(len(terminal), -1).any(axis=1))
        if not len(differs):
            continue
        proposed = score(proposal[differs])
        old = log_reward[differs]
        better = (proposed > old) | (np.isnan(old) & ~np.isnan(proposed))
        chosen = differs[better]
        terminal[chosen], log_reward[chosen] = proposal[chosen], proposed[better]
    return terminal, log_reward
