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
from oreflow.agent.policy.network import FactoredWeights, Policy
from oreflow.agent.rollout.rollout import backward_rollout
from oreflow.envs.arrays import Arrays, States
from oreflow.envs.contract.protocol import TransitionKernel

_SCORED = 32  # objects of a batch whose rewards are asked for: nothing is learned from them
_EVERY = 50  # steps between two looks at the objects that are watched
_MOST_WATCHED = 1000


def split(states: States, config: Config) -> tuple[States, States]:
    """Part known objects into those held out and those fitted, the same way for the same list and seed."""
    order = np.random.default_rng(config.seed).permutation(len(states))
    n_held_out = round(config.sampler.held_out * len(states))
    return states[order[:n_held_out]], states[order[n_held_out:]]


class PriorLearner:
    """Fits `policy` to known objects by maximum likelihood, against overfitting by three means.

    Hidden units drop out of each step's gradient; weights are averaged over steps; and of the averages that one is kept
    under which objects that are watched, and never fitted, are likeliest. What is held out is not looked at at all.

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
        held_out, fitted = split(states, config)
        n_watched = min(_MOST_WATCHED, len(held_out))
        self.watched, self.fitted = fitted[:n_watched], fitted[n_watched:]
        with torch.no_grad():  # what no object has shown is as that which it shares its factors with
            for rows in policy.modules():
                if isinstance(rows, FactoredWeights):
                    rows.own.zero_()
        self.optimizer = make_optimizer(policy, config)
        self._descent = Descent(self.optimizer, self.sampler.gradient_clip)
        self._workspace = Workspace()
        self._averaged = {name: value.clone() for name, value in policy.state_dict().items()}
        self._best = self._averaged
        self._nats = self._least_nats = math.nan

    def step(self, step: int, score: Score) -> Update:
        """Take a batch of known objects apart, and raise the likelihood of building them."""
        s = self.sampler
        self._descent.schedule(cosine(s.final_learning_rate_share, step / max(s.steps - 1, 1)))
        self._workspace.clear()
        batch = self.fitted[self.rng.integers(len(self.fitted), size=s.batch)]
        self.policy.noise = torch.Generator().manual_seed(int(self.rng.integers(2**62)))
        t = backward_rollout(self.kernel, self.policy, batch, self.rng, workspace=self._workspace)
        self.policy.noise = None
        bound = t.total(t.log_pf) - t.total(t.log_pb)
        loss = -bound.mean()
        stepped = self._descent.step(loss)
        self._average(step)
        last = step == s.steps - 1
        if len(self.watched) and (step % _EVERY == 0 or last):
            self._watch(step)
        if last:
            self.policy.load_state_dict(self._best if len(self.watched) else self._averaged)
        figures = {"nats_per_object": float(loss.detach()), "nats_per_watched_object": self._nats}
        return Update(batch[:_SCORED], score(batch[:_SCORED]), float(loss.detach()), not stepped, figures)

    def _average(self, step: int) -> None:
        """Move the averages towards the weights; at first they follow closely."""
        share = max(1 - self.sampler.averaging, 9 / (10 + step))
        for name, value in self.policy.state_dict().items():
            if value.is_floating_point():
                self._averaged[name] = torch.lerp(self._averaged[name], value, share)

    def _watch(self, step: int) -> None:
        """Measure minus the bound of the log-likelihood of a watched object under the averages; keep the best of them.

        Their orders are drawn apart from all else.
        """
        now = {name: value.clone() for name, value in self.policy.state_dict().items()}
        self.policy.load_state_dict(self._averaged)
        with torch.no_grad():
            t = backward_rollout(self.kernel, self.policy, self.watched, np.random.default_rng([self._seed, step]))
            self._nats = -float((t.total(t.log_pf) - t.total(t.log_pb)).mean())
        self.policy.load_state_dict(now)
        if not self._nats >= self._least_nats:  # the first is the best so far
            self._least_nats, self._best = self._nats, dict(self._averaged)

    def arrays(self) -> Arrays:
        """Give what a checkpoint holds beside weights, moments and random state, by name."""
        kept = {"averaged": self._averaged, "best": self._best}
        weights = {f"{kind}.{name}": value.numpy() for kind, of in kept.items() for name, value in of.items()}
        return weights | {"nats_watched": np.array([self._nats, self._least_nats])}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self._nats, self._least_nats = arrays["nats_watched"].tolist()
        self._averaged, self._best = (
            {name: torch.from_numpy(arrays[f"{kind}.{name}"].copy()) for name in self._averaged}
            for kind in ("averaged", "best")
        )

    def log_z(self) -> None:
        """Nothing is normalised here but the policy itself."""
