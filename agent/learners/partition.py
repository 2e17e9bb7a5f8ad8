"""What a learner takes for log Z: one number, or one for each stratum where the shares of strata are prescribed."""

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.learners.schedules import LOG_Z_MEMORY
from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout.trajectories import Trajectories
from oreflow.envs.arrays import Arrays, Ints


class LogPartition:
    """Holds the learned log Z of a policy, and starts it at what minimises the first loss.

    Args:
        policy: owns the parameters, `log_z` or `log_z_of_strata`.
        follows: whether log Z goes on following the batches as a mean with memory, where no loss trains it.
    """

    def __init__(self, policy: Policy, follows: bool) -> None:
        self.policy, self.follows = policy, follows
        self.started = np.zeros(1 if policy.strata is None else len(policy.strata), dtype=np.bool_)

    def strata(self, t: Trajectories) -> Ints | None:
        """Name the stratum of each member, int64 [batch]; None without strata."""
        return None if self.policy.strata is None else self.policy.strata.of_roots(t.states[t.offsets[:-1]])

    def start(self, t: Trajectories, log_reward: Tensor, strata: Ints | None) -> bool:
        """Set log Z where it has not begun, from log R + log P_B - log P_F; True where anything was set anew."""
        index = np.zeros(1, dtype=np.int64) if strata is None else strata
        if self.started[index].all() and not self.follows:
            return False
        anew = False
        with torch.no_grad():
            zeta = log_reward + t.total(t.log_pb) - t.total(t.log_pf)
            if strata is None:
                return self._set(self.policy.log_z, 0, zeta.mean())
            assert self.policy.log_z_of_strata is not None
            for g in np.unique(strata).tolist():
                if self.follows or not self.started[g]:
                    mean = zeta[torch.from_numpy(strata == g)].mean()
                    anew = self._set(self.policy.log_z_of_strata[g], g, mean) or anew
        return anew

    def _set(self, log_z: Tensor, g: int, estimate: Tensor) -> bool:
        """Move a log Z, in place, to an estimate or towards it; True the first time."""
        if not torch.isfinite(estimate):
            return False
        memory = LOG_Z_MEMORY if self.started[g] else 0.0
        log_z.copy_(memory * log_z + (1 - memory) * estimate)
        first = not self.started[g]
        self.started[g] = True
        return bool(first)

    def value(self, condition: Tensor | None, strata: Ints | None) -> Tensor:
        """The learned log Z, a scalar or float64 [batch]."""
        if strata is None:
            return self.policy.log_partition(condition)
        assert self.policy.log_z_of_strata is not None
        return self.policy.log_z_of_strata[torch.from_numpy(strata)]

    def log_flow(self, t: Trajectories, strata: Ints | None) -> Tensor:
        """log F of the state before each step, float64 [step]; that of a root is the log Z of its stratum."""
        assert t.log_flow is not None
        if strata is None:
            return t.log_flow
        return t.log_flow + self.value(None, strata)[torch.from_numpy(t.member)]

    def arrays(self) -> Arrays:
        """Give what a checkpoint holds."""
        return {"log_z_started": self.started if self.policy.strata is not None else np.array(bool(self.started[0]))}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self.started = np.atleast_1d(arrays["log_z_started"]).astype(np.bool_)
