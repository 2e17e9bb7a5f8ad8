"""GFlowNet training by torchgfn's own sampler and losses, on our policy: the referee plays a whole match.

Needs `pip install oreflow[torchgfn]`. Checkpoints, sampling and exactness are those of every other run.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oreflow.agent.config.run import Config
from oreflow.agent.learners.learner import Descent, Score, Update, make_optimizer
from oreflow.agent.learners.schedules import LOG_Z_MEMORY, cosine, linear
from oreflow.agent.policy.network import Policy, learned_log_z
from oreflow.envs.arrays import Arrays
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.faces.torchgfn_env import (
    TorchGFNEnv,
    log_partition_estimates,
    make_gflownet,
    terminal_states,
    with_rewards,
)


class Heads:
    """What torchgfn asks a policy for, from tokens int64 [state, token].

    The weights' factors are summed up once for all calls until `clear`, as our own rollout does it.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._weights: tuple[Tensor, Tensor] | None = None

    def clear(self) -> None:
        """To be called whenever parameters have changed or a gradient has been taken."""
        self._weights = None

    def _pass(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The last hidden layer [state, hidden] and the rows of the forward head."""
        if self._weights is None or (torch.is_grad_enabled() and not self._weights[0].requires_grad):
            self._weights = self.policy.weights()
        return self.policy.trunk(tokens, self._weights), self._weights[1]

    def forward_logits(self, tokens: Tensor) -> Tensor:
        """Logits [state, n_actions]."""
        x, weight = self._pass(tokens)
        return nn.functional.linear(x, weight, self.policy.head_bias)

    def backward_logits(self, tokens: Tensor) -> Tensor:
        """Logits [state, n_backward_actions]."""
        assert self.policy.backward_head is not None
        logits: Tensor = self.policy.backward_head(self._pass(tokens)[0])
        return logits

    def log_flow(self, tokens: Tensor) -> Tensor:
        """log F, float64 [state]."""
        return self.policy.log_flow(self._pass(tokens)[0])

    def gflownet(self, objective: str, env: TorchGFNEnv, sub_trajectory_lambda: float = 0.9) -> Any:
        """torchgfn's GFlowNet over these heads; uniform P_B where the policy has no head for it."""
        return make_gflownet(
            objective,
            env,
            self.forward_logits,
            None if self.policy.backward_head is None else self.backward_logits,
            log_z=self.policy.log_z,
            log_flow=None if self.policy.flow_head is None else self.log_flow,
            sub_trajectory_lambda=sub_trajectory_lambda,
        )


class TorchGFNLearner:
    """Trains `policy` with torchgfn's sampler and its loss of the config's objective; the descent is ours."""

    def __init__(self, config: Config, kernel: TransitionKernel, policy: Policy, rng: np.random.Generator) -> None:
        self.sampler = config.sampler
        self.kernel = kernel
        self.policy = policy
        self.rng = rng
        self.optimizer = make_optimizer(policy, config)
        self.log_z_started = False
        self.env = TorchGFNEnv(kernel)
        self.heads = Heads(policy)
        self.model = self.heads.gflownet(self.sampler.objective, self.env, self.sampler.sub_trajectory_lambda)
        self._descent = Descent(self.optimizer, self.sampler.gradient_clip)

    def step(self, step: int, score: Score) -> Update:
        """Build a batch, ask `score` for its rewards, and learn from them."""
        s = self.sampler
        done = step / max(s.steps - 1, 1)
        self._descent.schedule(cosine(s.final_learning_rate_share, done))
        self.heads.clear()

        # Roll out, and score. What an exploring behaviour has drawn is evaluated anew under the policy itself.
        epsilon = linear(s.epsilon_start, s.epsilon_end, done)
        anew = epsilon > 0
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(not anew):
            torch.default_generator.manual_seed(int(self.rng.integers(2**63)))
            drawn = self.model.sample_trajectories(self.env, n=s.batch, save_logprobs=not anew, epsilon=epsilon)
        states = terminal_states(drawn)
        values = score(states)
        if not values.valid.any():
            return Update(states, values, math.nan, skipped=True)
        t = with_rewards(drawn, values.log_share, values.valid)

        # Balance, and descend
        if not self.log_z_started or s.objective == "log_partition_variance":
            estimate = log_partition_estimates(self.model, t, anew).double().mean()
            memory = LOG_Z_MEMORY if self.log_z_started else 0.0
            if torch.isfinite(estimate):
                with torch.no_grad():
                    self.policy.log_z.copy_(memory * self.policy.log_z + (1 - memory) * estimate)
                self.log_z_started = True
        loss = self.model.loss_from_trajectories(self.env, t, recalculate_all_logprobs=anew)
        stepped = self._descent.step(loss)
        return Update(states, values, float(loss.detach()), not stepped)

    def arrays(self) -> Arrays:
        """Give what a checkpoint holds beside weights, moments and random state, by name."""
        return {"log_z_started": np.array(self.log_z_started)}

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self.log_z_started = bool(arrays["log_z_started"])

    def log_z(self) -> float | None:
        """Give the learned log Z; None for samplers that have none."""
        return learned_log_z(self.policy, torch.from_numpy(self.kernel.encode(self.kernel.initial(1))))
