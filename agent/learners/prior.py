"""Maximum likelihood: a policy learns what known objects look like, walked backward to the beginning.

An object that can be built in several orders has the likelihood of all of them together. The mean over orders drawn
from P_B of log P_F - log P_B is a lower bound of its logarithm, and that is what is climbed.
"""

import math
from collections.abc import Callable

import numpy as np
import torch

from oreflow.agent.config.run import Config
from oreflow.agent.learners.learner import Descent, Score, Update, make_optimizer
from oreflow.agent.learners.schedules import cosine
from oreflow.agent.policy.action_head import Workspace
from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout.rollout import backward_rollout
from oreflow.envs.arrays import Arrays, States
from oreflow.envs.contract.protocol import TransitionKernel

_SCORED = 32  # objects of a batch whose rewards are asked for: nothing is learned from them
_EVERY = 50  # steps between two looks at the objects held out
_MOST_HELD_OUT = 1000


def split(states: States, config: Config) -> tuple[States, States]:
    """Part known objects into those held out and those fitted, the same way for the same list and seed."""
    order = np.random.default_rng(config.seed).permutation(len(states))
    n_held_out = round(config.sampler.held_out * len(states))
    return states[order[:n_held_out]], states[order[n_held_out:]]


class PriorLearner:
    """Fits `policy` to known objects by maximum likelihood, and watches those that it never sees.

    Args:
        config: of which `sampler` says how to learn, `sampler.held_out` what share is kept apart.
        kernel: builds the objects.
        policy: what learns.
        rng: source of all randomness.
        known: gives the terminal states of the known objects.

    Raises:
        ConfigError: as `known` raises it.
    """

    def __init__(
        self,
        config: Config,
        kernel: TransitionKernel,
        policy: Policy,
        rng: np.random.Generator,
        known: Callable[[], States | None],
    ) -> None:
        self.sampler, self.kernel, self.policy, self.rng = config.sampler, kernel, policy, rng
        self._seed = config.seed
        states = known()
        assert states is not None
        held_out, self.fitted = split(states, config)
        self.held_out = held_out[:_MOST_HELD_OUT]
        self.optimizer = make_optimizer(policy, config)
        self._descent = Descent(self.optimizer, self.sampler.gradient_clip)
        self._workspace = Workspace()
        self._nats_held_out = math.nan

    def step(self, step: int, score: Score) -> Update:
        """Take a batch of known objects apart, and raise the likelihood of building them."""
        s = self.sampler
        self._descent.schedule(cosine(s.final_learning_rate_share, step / max(s.steps - 1, 1)))
        self._workspace.clear()
        batch = self.fitted[self.rng.integers(len(self.fitted), size=s.batch)]
        t = backward_rollout(self.kernel, self.policy, batch, self.rng, workspace=self._workspace)
        bound = t.total(t.log_pf) - t.total(t.log_pb)
        loss = -bound.mean()
        stepped = self._descent.step(loss)
        if len(self.held_out) and (step % _EVERY == 0 or step == s.steps - 1):
            self._nats_held_out = self._nats(step)
        figures = {"nats_per_object": float(loss.detach()), "nats_per_held_out_object": self._nats_held_out}
        return Update(batch[:_SCORED], score(batch[:_SCORED]), float(loss.detach()), not stepped, figures)

    def _nats(self, step: int) -> float:
        """Minus the bound of the log-likelihood of a held-out object; its orders are drawn apart from all else."""
        rng = np.random.default_rng([self._seed, step])
        with torch.no_grad():
            t = backward_rollout(self.kernel, self.policy, self.held_out, rng)
            return -float((t.total(t.log_pf) - t.total(t.log_pb)).mean())

    def arrays(self) -> Arrays:
        """Give what a checkpoint holds beside weights, moments and random state, by name."""
        return {"nats_held_out": np.array(self._nats_held_out)}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self._nats_held_out = float(arrays["nats_held_out"])

    def log_z(self) -> None:
        """Nothing is normalised here but the policy itself."""
