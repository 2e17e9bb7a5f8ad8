"""Rejection sampling from a prior: exact draws of P0(x) R(x)^(1/tau) / Z without any training."""

from collections.abc import Callable
from typing import Any

import numpy as np

from oreflow.agent.errors import TrainingError
from oreflow.agent.policy.prior import Prior
from oreflow.agent.policy.strata import Strata
from oreflow.agent.rollout.log_probabilities import log_prior
from oreflow.agent.rollout.rollout import draw_objects
from oreflow.agent.search.searcher import Score
from oreflow.envs.arrays import Arrays, Floats, Ints, States
from oreflow.envs.contract.finding import FindsCompositions, FindsCrystals
from oreflow.envs.contract.protocol import TransitionKernel

_BATCH = 1024
_MOST_IN_VAIN = 2_000_000  # draws of the prior without one that is taken


class Rejection:
    """Takes a draw of the prior with probability (R(x) / R_max)^(1 / tau) (von Neumann 1951).

    Draws that lie outside the world, and those without a valid reward, are not taken. What is taken follows
    P0(x) R(x)^(1/tau) / Z within the world exactly, each draw independent of the others. The rounds of propose and tell
    only measure how many are taken, and how much of Z each stratum has. With strata whose shares are a power of their
    Z_g, draws of stratum g are thinned by the measured Z_g^(power - 1): exact within a stratum, and between strata as
    exact as what was measured.

    Args:
        kernel: of the world.
        prior: whose draws are judged.
        tau: R counts to the power of 1 / tau.
        log_max: the largest log R that there can be.
        least_log_prior: objects of which log P0, all build orders summed, is smaller are not taken either; nats.
        strata: with shares that are a power of Z_g; their `log_share` follows what is measured. None leaves them alone.
    """

    scores_states = True

    def __init__(
        self,
        kernel: TransitionKernel,
        prior: Prior,
        tau: float,
        log_max: float,
        least_log_prior: float | None = None,
        strata: Strata | None = None,
    ) -> None:
        assert isinstance(kernel, FindsCompositions | FindsCrystals)
        self._find: Callable[[Any], Any] = kernel.find
        self.kernel, self.prior, self.tau, self.log_max = kernel, prior, tau, log_max
        self.least_log_prior = least_log_prior
        self.strata = strata
        self._proposed = self._drawn = 0
        self._taken = np.zeros(1 if strata is None else len(strata))
        self._of_proposal = np.empty(0, dtype=np.int64)

    def propose(self, n: int, rng: np.random.Generator) -> States:
        """Draw n objects of the world from the prior, those that are likely enough, [n, *state_shape].

        Raises:
            TrainingError: when the prior does not come upon the world.
        """
        parts = [self.kernel.initial(0)]
        n_found = n_in_vain = 0
        while n_found < n:
            drawn = draw_objects(self.prior.kernel, self.prior.policy, _BATCH, rng)
            self._drawn += len(drawn)
            found, inside, *_ = self._find(self.prior.kernel.objects(drawn))
            found = found[inside]
            if self.least_log_prior is not None and len(found):  # what takes too long to know is NaN, and not taken
                found = found[log_prior(self.kernel, self.prior, found) >= self.least_log_prior]
            parts.append(found[: n - n_found])
            n_found += len(parts[-1])
            n_in_vain = 0 if len(found) else n_in_vain + len(drawn)
            if n_in_vain >= _MOST_IN_VAIN:
                likely = "" if self.least_log_prior is None else f" with log P0 of at least {self.least_log_prior:g}"
                lower = "" if self.least_log_prior is None else "lower target.least_log_prior, "
                raise TrainingError(
                    f"none of {n_in_vain:,} draws of the prior lies in this world{likely}; {lower}widen the world, or "
                    "train a sampler (kind gflownet), which is drawn within it"
                )
        self._proposed += n
        proposal = np.concatenate(parts)
        self._of_proposal = self._places(proposal)
        return proposal

    def tell(self, log_reward: Floats, rng: np.random.Generator) -> dict[str, float]:
        """Take log R of what was proposed; return the share of it that would be taken, in the mean over all so far."""
        probability = np.exp(self._log_probability(log_reward))
        np.add.at(self._taken, self._of_proposal, probability)
        self._follow()
        thinned = self._taken @ np.exp(self._log_thinning())
        return {"acceptance": float(thinned) / max(self._proposed, 1)}

    def arrays(self) -> Arrays:
        """Give all that is needed to go on exactly, by name."""
        return {"counts": np.array([self._proposed, self._drawn], dtype=np.int64), "taken": self._taken.copy()}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up the state that `arrays` gave."""
        self._proposed, self._drawn = (int(n) for n in arrays["counts"])
        self._taken = np.array(arrays["taken"], dtype=np.float64)
        self._follow()

    def draw(self, n: int, rng: np.random.Generator, score: Score) -> States:
        """Draw n objects of P0 R^(1/tau) / Z, terminal states [n, *state_shape].

        Raises:
            TrainingError: when hardly a draw of the prior is taken.
        """
        parts = [self.kernel.initial(0)]
        n_taken = n_in_vain = 0
        thinning = self._log_thinning()
        while n_taken < n:
            proposed = self.propose(_BATCH, rng)
            probability = self._log_probability(score(proposed)) + thinning[self._of_proposal]
            taken = np.log(rng.random(len(proposed))) < probability
            parts.append(proposed[taken][: n - n_taken])
            n_taken += len(parts[-1])
            n_in_vain = 0 if taken.any() else n_in_vain + len(proposed)
            if n_in_vain >= _MOST_IN_VAIN:
                raise TrainingError(
                    f"none of {n_in_vain:,} draws of the prior was taken: the reward is too sharp for rejection; raise "
                    "target.tau, soften the shapes, or train a sampler (kind gflownet)"
                )
        return np.concatenate(parts)

    def _log_probability(self, log_reward: Floats) -> Floats:
        """log of the probability to take objects, float64 [batch]; -inf where log R is invalid."""
        valid = np.where(np.isnan(log_reward), -np.inf, log_reward)
        return np.minimum((valid - self.log_max) / self.tau, 0.0)

    def _places(self, states: States) -> Ints:
        """The stratum of each state, int64 [batch]; 0 where there are none."""
        if self.strata is None:
            return np.zeros(len(states), dtype=np.int64)
        return self.strata.of_objects(self.kernel, states)

    def _log_z(self) -> Floats:
        """Log of the measured Z_g of each stratum but for a factor.

        One of which less than one draw would have been taken is not measured, and counts as one of one: the rarest
        would else decide how much of all others is thrown away.
        """
        return np.log(np.maximum(self._taken, 1.0))

    def _log_thinning(self) -> Floats:
        """Log of the share of a stratum's draws that is kept, float64 [stratum], 0 at most."""
        if self.strata is None or self.strata.power is None:
            return np.zeros(len(self._taken))
        thinning = (self.strata.power - 1.0) * self._log_z()
        return np.asarray(thinning - thinning.max())

    def _follow(self) -> None:
        if self.strata is not None and self.strata.power is not None:
            self.strata.follow(self._log_z())
