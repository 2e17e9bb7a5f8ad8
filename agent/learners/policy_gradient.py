"""Policy-gradient training, one step read top to bottom: roll out, score, estimate advantages, ascend."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.config.run import Config
from oreflow.agent.learners.families.joint import default_features, drawn_conditions, make_family
from oreflow.agent.learners.geometry import decorations_of, geometry_loss, geometry_residual, start_at
from oreflow.agent.learners.learner import Descent, Score, Update, make_optimizer
from oreflow.agent.learners.partition import LogPartition
from oreflow.agent.learners.schedules import cosine
from oreflow.agent.objectives.soft_policy_gradient import (
    entropic_ppo,
    generalised_advantages,
    policy_gradient,
    soft_step_rewards,
    value_loss,
)
from oreflow.agent.policy.action_head import Workspace
from oreflow.agent.policy.network import Policy, learned_log_z
from oreflow.agent.policy.prior import Prior
from oreflow.agent.rollout.rollout import evaluate, forward_rollout, under_prior
from oreflow.agent.rollout.trajectories import Trajectories
from oreflow.envs.arrays import Arrays, Floats
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.rewards import RewardValues


class PolicyGradientLearner:
    """Trains `policy` to the highest soft return, which is reached where P(x) is proportional to R(x).

    A learned P_B climbs the same return: the sum of log P_B along what was drawn.
    """

    def __init__(
        self,
        config: Config,
        kernel: TransitionKernel,
        policy: Policy,
        rng: np.random.Generator,
        prior: Prior | None = None,
    ) -> None:
        self.sampler, self.prior, self.tau = config.sampler, prior, config.target.tau
        self.kernel = kernel
        self.policy = policy
        self.rng = rng
        self.family = make_family(config)
        self.optimizer = make_optimizer(policy, config)
        self.partition = LogPartition(policy, follows=False)
        self._descent = Descent(self.optimizer, self.sampler.gradient_clip)
        self._workspace = Workspace()

    def step(self, step: int, score: Score) -> Update:
        """Build a batch, ask `score` for its rewards, and learn from them."""
        s = self.sampler
        clipped = s.objective == "entropic_ppo"
        self._descent.schedule(cosine(s.final_learning_rate_share, step / max(s.steps - 1, 1)))
        self._workspace.clear()

        features, log_reward_of = drawn_conditions(self.family, s.batch, self.rng)

        # Roll out, and score; several epochs evaluate anew what is drawn here without gradient
        with torch.set_grad_enabled(not clipped):
            drawn = forward_rollout(
                self.kernel,
                self.policy,
                s.batch,
                self.rng,
                condition=features,
                workspace=self._workspace,
                strata=self.partition.draw(s.batch, self.rng, 1),
            )
        values = score(drawn.terminal)
        t = drawn.select(values.valid)
        if not len(t):
            return Update(drawn.terminal, values, math.nan, skipped=True)
        log_reward = log_reward_of(values)[values.valid] / self.tau
        whole = self._under_prior(t)
        log_reward, rest = self._factors(values, log_reward)
        t, of_geometry = self._parts(whole, rest, start=step == 0)
        strata = self.partition.strata(t)
        if self.partition.start(t, torch.from_numpy(log_reward), strata):  # values start at the size of the returns
            with torch.set_grad_enabled(not clipped):
                t, of_geometry = self._parts(self._evaluate(whole), rest)

        # Advantages
        old_log_pf, old_values = t.log_pf.detach(), self.partition.log_flow(t, strata).detach()
        g = soft_step_rewards(old_log_pf.numpy(), t.log_pb.detach().numpy(), log_reward, t.offsets, s.log_pb_correction)
        lamda = 1.0 if s.objective == "baseline" else s.gae_lambda
        a = generalised_advantages(g, old_values.numpy(), t.offsets, lamda)
        advantages, targets = torch.from_numpy(a), torch.from_numpy(a + old_values.numpy())

        # Ascend
        losses = []
        for _ in range(s.ppo_epochs if clipped else 1):
            if clipped:
                t, of_geometry = self._parts(self._evaluate(whole), rest)
                actor = entropic_ppo(t.log_pf, old_log_pf, advantages, s.ppo_clip, s.kl_weight, len(t))
            else:
                actor = policy_gradient(t.log_pf, advantages, len(t))
            loss = (
                actor + s.value_weight * value_loss(self.partition.log_flow(t, strata), targets, len(t)) + of_geometry
            )
            if self.policy.backward_head is not None and s.log_pb_correction:
                loss = loss - t.log_pb.double().sum() / len(t)
            losses.append(float(loss.detach()))
            if not self._descent.step(loss):
                return Update(drawn.terminal, values, losses[-1], skipped=True)
        returns = np.add.reduceat(g, t.offsets[:-1])
        if strata is not None:
            residual = torch.from_numpy(returns) - old_values[torch.from_numpy(t.offsets[:-1])]
            self.partition.learn_errors(strata, residual.square())
            self.partition.learn_shares(strata, torch.from_numpy(returns))
        balance = float(np.mean(returns))
        figures = {"soft_return": balance, "mean_square_advantage": float(np.mean(a**2))}
        return Update(drawn.terminal, values, float(np.mean(losses)), figures=figures)

    def _evaluate(self, t: Trajectories) -> Trajectories:
        self._workspace.clear()
        given = t.terminal, t.offsets, t.states, t.actions
        again = evaluate(self.kernel, self.policy, *given, condition=t.condition, workspace=self._workspace)
        return again if self.prior is None else replace(again, log_pb=t.log_pb)

    def _factors(self, values: RewardValues, log_reward: Floats) -> tuple[Floats, Tensor | None]:
        """log R, and None; or its factors of decoration and geometry where geometries have their own normaliser."""
        if self.policy.geometry_head is None:
            return log_reward, None
        log_decoration = np.asarray(values.log_decoration)[values.valid] / self.tau
        return log_decoration, torch.from_numpy(log_reward - log_decoration)

    def _parts(self, whole: Trajectories, rest: Tensor | None, start: bool = False) -> tuple[Trajectories, Tensor]:
        """What the advantages are of, and the loss of the geometries, which balances them by their own log Z_D."""
        if rest is None:
            return whole, torch.zeros(())
        if start:
            start_at(self.policy, geometry_residual(self.kernel, self.policy, whole, rest))
        loss = geometry_loss(geometry_residual(self.kernel, self.policy, whole, rest)).mean()
        return decorations_of(self.kernel, whole), loss

    def _under_prior(self, t: Trajectories) -> Trajectories:
        return t if self.prior is None else under_prior(self.prior, t)

    def arrays(self) -> Arrays:
        """Give what a checkpoint holds beside weights, moments and random state, by name."""
        return self.partition.arrays()

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self.partition.load_arrays(arrays)

    def log_z(self) -> float | None:
        """Under the default condition where there is a family; None where each stratum has its own."""
        if self.policy.strata is not None:
            return None
        initial = torch.from_numpy(self.kernel.encode(self.kernel.initial(1)))
        return learned_log_z(self.policy, initial, default_features(self.family))
