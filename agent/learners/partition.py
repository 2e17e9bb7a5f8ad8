"""What a learner takes for log Z: one number, or one for each stratum where the shares of strata are prescribed."""

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.learners.schedules import LOG_Z_MEMORY
from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout.trajectories import Trajectories
from oreflow.envs.arrays import Arrays, Ints

_ERROR_RATE = 0.1
_LEAST_SHARE_RATE = 0.01  # of the means that shares follow: an average over the last hundred batches of a stratum
_LARGEST_ERROR = 100.0  # nats squared: a stratum that was just met is not to take all of the draws


class LogPartition:
    """Holds the learned log Z of a policy, and starts it at what minimises the first loss.

    Args:
        policy: owns the parameters, `log_z` or `log_z_of_strata`.
        follows: whether log Z goes on following the batches as a mean with memory, where no loss trains it.
    """

    def __init__(self, policy: Policy, follows: bool) -> None:
        self.policy, self.follows = policy, follows
        self.started = np.zeros(1 if policy.strata is None else len(policy.strata), dtype=np.bool_)
        self._error = np.ones(len(self.started))  # of each stratum: mean with memory of the squared residual
        self._log_z_mean = np.zeros(len(self.started))  # a slower estimate of log Z, by which shares go
        self._n_means = np.zeros(len(self.started), dtype=np.int64)

    def strata(self, t: Trajectories) -> Ints | None:
        """Name the stratum of each member, int64 [batch]; None without strata."""
        return None if self.policy.strata is None else self.policy.strata.of_roots(t.states[t.offsets[:-1]])

    def start(self, t: Trajectories, log_reward: Tensor, strata: Ints | None) -> bool:
        """Set log Z where it has not begun, from log R + log P_B - log P_F; True where any had not."""
        index = np.zeros(1, dtype=np.int64) if strata is None else np.unique(strata)
        new = not bool(self.started[index].all())
        if not (new or self.follows):
            return False
        with torch.no_grad():
            zeta = log_reward + t.total(t.log_pb) - t.total(t.log_pf)
            if strata is None:
                self._set(self.policy.log_z, 0, zeta.mean())
                return new
            assert self.policy.log_z_of_strata is not None
            for g in index.tolist():
                if self.follows or not self.started[g]:
                    self._set(self.policy.log_z_of_strata[g], g, zeta[torch.from_numpy(strata == g)].mean())
        return new

    def _set(self, log_z: Tensor, g: int, estimate: Tensor) -> None:
        """Move a log Z, in place, to an estimate or towards it; one that is no number changes nothing."""
        if torch.isfinite(estimate):
            memory = LOG_Z_MEMORY if self.started[g] else 0.0
            log_z.copy_(memory * log_z + (1 - memory) * estimate)
            self.started[g] = True

    def draw(self, n: int, rng: np.random.Generator, together: int) -> Ints | None:
        """Draw the strata to train on, int64 [n]; None without strata.

        Every stratum has a log Z of its own, so which are drawn how often changes nothing of the target. Half of the
        draws are spread evenly, half go where the residuals are large.

        Args:
            n: how many.
            rng: source of randomness.
            together: how many stand together of each draw, so that a batch holds several of a stratum.
        """
        if self.policy.strata is None:
            return None
        effort = np.sqrt(self._error)
        share = 0.5 / len(effort) + 0.5 * effort / effort.sum()
        drawn = rng.choice(len(effort), size=-(-n // together), p=share / share.sum())
        return np.repeat(drawn, together)[:n]

    def learn_errors(self, strata: Ints | None, squares: Tensor) -> None:
        """Take in the squared residuals of a batch, float64 [batch]."""
        if strata is None:
            return
        values = squares.detach().numpy()
        for g in np.unique(strata).tolist():
            mean = float(values[strata == g].mean())
            if np.isfinite(mean):
                self._error[g] += _ERROR_RATE * (min(mean, _LARGEST_ERROR) - self._error[g])

    def learn_shares(self, strata: Ints | None, zeta: Tensor) -> None:
        """Let shares that are a power of Z follow what the trajectories of a batch say of log Z.

        The mean of log R + log P_B - log P_F over trajectories of a stratum is log Z less their divergence from the
        target, which vanishes with the loss; it is averaged slowly, for the table of log Z trembles by its own rate.

        Args:
            strata: int64 [batch].
            zeta: log R + log P_B - log P_F of each trajectory, float64 [batch].
        """
        if strata is None or self.policy.strata is None or self.policy.strata.power is None:
            return
        values = zeta.detach().numpy()
        for g in np.unique(strata).tolist():
            mean = float(values[strata == g].mean())
            if np.isfinite(mean):
                self._n_means[g] += 1
                rate = max(1.0 / self._n_means[g], _LEAST_SHARE_RATE)
                self._log_z_mean[g] += rate * (mean - self._log_z_mean[g])
        met = self._n_means > 0
        if met.any():  # a stratum that was not met yet waits with the smallest share
            self.policy.strata.follow(np.where(met, self._log_z_mean, self._log_z_mean[met].min()))

    def value(self, condition: Tensor | None, strata: Ints | None) -> Tensor:
        """The learned log Z, a scalar or float64 [batch]."""
        if strata is None:
            return self.policy.log_partition(condition)
        assert self.policy.log_z_of_strata is not None
        return self.policy.log_z_of_strata[torch.from_numpy(strata)]

    def of_roots(self, t: Trajectories, strata: Ints) -> Tensor:
        """The learned log Z of the stratum of each member, float64 [batch]: log F of its root where there are flows."""
        if t.log_flow is None:
            return self.value(None, strata)
        return self.log_flow(t, strata)[torch.from_numpy(t.offsets[:-1])]

    def log_flow(self, t: Trajectories, strata: Ints | None) -> Tensor:
        """log F of the state before each step, float64 [step]; that of a root is the log Z of its stratum."""
        assert t.log_flow is not None
        if strata is None:
            return t.log_flow
        return t.log_flow + self.value(None, strata)[torch.from_numpy(t.member)]

    def arrays(self) -> Arrays:
        """Give what a checkpoint holds."""
        if self.policy.strata is None:
            return {"log_z_started": np.array(bool(self.started[0]))}
        arrays = {"log_z_started": self.started, "errors_of_strata": self._error}
        if self.policy.strata.power is None:
            return arrays
        return arrays | {"log_z_means": self._log_z_mean, "log_z_n_means": self._n_means}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self.started = np.atleast_1d(arrays["log_z_started"]).astype(np.bool_)
        if self.policy.strata is not None:
            self._error = np.array(arrays["errors_of_strata"], dtype=np.float64)
            if self.policy.strata.power is not None:
                self._log_z_mean = np.array(arrays["log_z_means"], dtype=np.float64)
                self._n_means = np.array(arrays["log_z_n_means"], dtype=np.int64)
