"""GFlowNet training, one step read top to bottom: roll out, score, search, replay, balance, descend."""

import functools
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.config.run import Config
from oreflow.agent.learners.families.joint import (
    conditions_in_hindsight,
    default_features,
    drawn_conditions,
    make_family,
)
from oreflow.agent.learners.geometry import decorations_of, geometry_loss, geometry_residual, start_at
from oreflow.agent.learners.learner import Descent, LateScore, Score, Update, make_optimizer
from oreflow.agent.learners.partition import LogPartition
from oreflow.agent.learners.replay import ReplayBuffer
from oreflow.agent.learners.schedules import cosine, linear
from oreflow.agent.objectives.balance_losses import (
    detailed_balance,
    log_partition_variance,
    sub_trajectory_balance,
    trajectory_balance,
)
from oreflow.agent.objectives.plugin import ObjectiveBatch, scalar_loss
from oreflow.agent.policy.action_head import Workspace
from oreflow.agent.policy.network import Policy, learned_log_z
from oreflow.agent.policy.prior import Prior
from oreflow.agent.registry import OBJECTIVES
from oreflow.agent.rollout.rollout import backward_rollout, forward_rollout, under_prior
from oreflow.agent.rollout.trajectories import Trajectories, concatenate
from oreflow.agent.search.local_search import local_search
from oreflow.envs.arrays import Arrays, Floats, Ints, States
from oreflow.envs.contract.protocol import TransitionKernel

_TOGETHER = 4  # members of a stratum that a variance is taken of


class GFlowNetLearner:
    """Trains `policy` until P(x) is proportional to R(x), by the objective of the config.

    Args:
        known: gives the terminal states that the replay buffer starts from; asked before the first step alone.
        prior: whose law P0 the target is multiplied by; its log-probabilities take the place of log P_B.
    """

    def __init__(
        self,
        config: Config,
        kernel: TransitionKernel,
        policy: Policy,
        rng: np.random.Generator,
        known: Callable[[], States | None] = lambda: None,
        prior: Prior | None = None,
    ) -> None:
        self.known, self.prior = known, prior
        self.sampler, self.tau = config.sampler, config.target.tau
        self.kernel = kernel
        self.policy = policy
        self.rng = rng
        self.family = make_family(config)
        self.optimizer = make_optimizer(policy, config)
        self.partition = LogPartition(policy, follows=config.sampler.objective == "log_partition_variance")
        self._own: Callable[..., Tensor] | None = None
        if self.sampler.objective not in OBJECTIVES.built_in:
            objective = OBJECTIVES.find(self.sampler.objective)
            self._own = functools.partial(objective, **self.sampler.objective_params)
        self.buffer: ReplayBuffer | None = None
        if self.sampler.replay.share:
            replay = self.sampler.replay
            dtype = kernel.initial(1).dtype
            self.buffer = ReplayBuffer(replay.capacity, replay.priority, kernel.state_shape, dtype)
        self._descent = Descent(self.optimizer, self.sampler.gradient_clip)
        self._workspace = Workspace()

    def step(self, step: int, score: Score) -> Update:
        """Build a batch, ask `score` for its rewards, and learn from them."""
        s = self.sampler
        known = self.known() if step == 0 and self.buffer is not None else None
        if known is not None and self.buffer is not None:
            if self.policy.strata is not None:  # what has no share is no part of the target
                known = known[self.policy.strata.of_objects(self.kernel, known) >= 0]
            values = score(known)
            self.buffer.add(known[values.valid], values.log_share[values.valid])
        done = step / max(s.steps - 1, 1)
        self._descent.schedule(cosine(s.final_learning_rate_share, done))
        self._workspace.clear()

        # Roll out, and score
        n_replayed = 0
        if self.buffer is not None and len(self.buffer):
            n_replayed = min(round(s.replay.share * s.batch), s.batch - 1)  # something new is always drawn
        features, log_reward_of = drawn_conditions(self.family, s.batch - n_replayed, self.rng)
        drawn = forward_rollout(
            self.kernel,
            self.policy,
            s.batch - n_replayed,
            self.rng,
            epsilon=linear(s.epsilon_start, s.epsilon_end, done),
            epsilon_first=linear(s.epsilon_first, s.epsilon_end, done),
            temperature=linear(s.temperature_start, s.temperature_end, done),
            condition=features,
            workspace=self._workspace,
            strata=self.partition.draw(
                s.batch - n_replayed, self.rng, _TOGETHER if s.objective == "log_partition_variance" else 1
            ),
        )
        values = score(drawn.terminal)
        parts, log_rewards = [drawn.select(values.valid)], [log_reward_of(values)[values.valid]]

        # What came late, hindsight, local search, and replay
        if isinstance(score, LateScore) and self.buffer is not None:
            late, log_reward = score.arrived(wait=not values.valid.any() and not len(self.buffer))
            self._append(parts, log_rewards, late, log_reward)
            n_replayed += max(int((~values.valid).sum()) - len(late), 0)  # in place of what waits
        again = conditions_in_hindsight(s.family, self.family, values, self.rng)
        if again is not None:
            which, features, log_reward = again
            self._append(parts, log_rewards, drawn.terminal[which], log_reward, features)
        found = parts[0].terminal
        if s.local_search.rounds and len(found):
            better, log_reward = local_search(
                self.kernel,
                found,
                log_rewards[0],
                lambda states: score(states).log_share,
                s.local_search.rounds,
                s.local_search.go_on,
                self.rng,
                rollout=self._finish,
            )
            moved = log_reward > log_rewards[0]
            self._append(parts, log_rewards, better[moved], log_reward[moved])
        if self.buffer is not None:
            for part, values_of_part in zip(parts, log_rewards):
                self.buffer.add(part.terminal, values_of_part)
            if n_replayed and len(self.buffer):
                self._append(parts, log_rewards, *self.buffer.draw(n_replayed, self.rng))

        # Balance, and descend
        trajectories = concatenate(parts)
        if not len(trajectories):
            return Update(drawn.terminal, values, math.nan, skipped=True)
        if self.prior is not None:
            trajectories = under_prior(self.prior, trajectories)
        wanted = torch.from_numpy(np.concatenate(log_rewards)) / self.tau
        of_geometry = None
        if self.policy.geometry_head is not None:  # with neither search nor replay there is but what was drawn
            log_decoration = torch.as_tensor(values.log_decoration)[torch.from_numpy(values.valid)] / self.tau
            given = self.kernel, self.policy, trajectories, wanted - log_decoration
            if step == 0:
                start_at(self.policy, geometry_residual(*given))
            of_geometry = geometry_loss(geometry_residual(*given))
            trajectories, wanted = decorations_of(self.kernel, trajectories), log_decoration
        loss = self._loss(trajectories, wanted, of_geometry)
        stepped = self._descent.step(loss)
        return Update(drawn.terminal, values, float(loss.detach()), not stepped)

    def _finish(
        self, kernel: TransitionKernel, states: States, rng: np.random.Generator
    ) -> tuple[States, Floats, Ints]:
        """The policy's way to finish partial objects, for the local search."""
        with torch.no_grad():
            t = forward_rollout(kernel, self.policy, len(states), rng, start=states)
        return t.terminal, t.total(t.log_pf).numpy(), np.diff(t.offsets)

    def _append(
        self,
        parts: list[Trajectories],
        log_rewards: list[Floats],
        terminal: States,
        log_reward: Floats,
        condition: Tensor | None = None,
    ) -> None:
        """Adds objects along build orders drawn from P_B, under conditions [batch, n_conditions] where there are."""
        if len(terminal):
            given = self.kernel, self.policy, terminal, self.rng
            parts.append(backward_rollout(*given, condition=condition, workspace=self._workspace))
            log_rewards.append(log_reward)

    def _loss(self, t: Trajectories, log_reward: Tensor, of_geometry: Tensor | None = None) -> Tensor:
        """The objective's loss, and that of the geometries [batch] where they have a normaliser of their own."""
        if of_geometry is None:
            return self._balance(t, log_reward, 0.0)
        return self._balance(t, log_reward, of_geometry.detach()) + of_geometry.mean()

    def _balance(self, t: Trajectories, log_reward: Tensor, further: Tensor | float) -> Tensor:
        log_pf, log_pb = t.total(t.log_pf), t.total(t.log_pb)
        strata = self.partition.strata(t)
        self.partition.start(t, log_reward, strata)
        if strata is not None:
            residual = self.partition.of_roots(t, strata) + log_pf - log_pb - log_reward
            self.partition.learn_errors(strata, residual.square() + further)
            self.partition.learn_shares(strata, log_reward + log_pb - log_pf)
        match self.sampler.objective:
            case "trajectory_balance":
                return trajectory_balance(self.partition.value(t.condition, strata), log_pf, log_pb, log_reward)
            case "log_partition_variance":
                return log_partition_variance(log_pf, log_pb, log_reward, strata)
        if self._own is not None:
            log_z = self.partition.value(t.condition, strata)
            batch = ObjectiveBatch(t.log_pf.double(), t.log_pb.double(), log_reward, log_z, t.offsets)
            return scalar_loss(self.sampler.objective, self._own, batch)
        log_flow = self.partition.log_flow(t, strata)
        if self.sampler.objective == "detailed_balance":
            return detailed_balance(log_flow, t.log_pf.double(), t.log_pb.double(), log_reward, t.offsets)
        return sub_trajectory_balance(
            log_flow, t.log_pf, t.log_pb, log_reward, t.offsets, self.sampler.sub_trajectory_lambda
        )

    def arrays(self) -> Arrays:
        """Give what a checkpoint holds beside weights, moments and random state, by name."""
        return self.partition.arrays() | (self.buffer.arrays() if self.buffer is not None else {})

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up what `arrays` gave."""
        self.partition.load_arrays(arrays)
        if self.buffer is not None:
            self.buffer.load_arrays(arrays)

    def log_z(self) -> float | None:
        """Under the default condition where there is a family; None where each stratum has its own."""
        if self.policy.strata is not None:
            return None
        initial = torch.from_numpy(self.kernel.encode(self.kernel.initial(1)))
        return learned_log_z(self.policy, initial, default_features(self.family))
