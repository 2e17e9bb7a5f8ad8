"""What the training loop drives: something that builds objects, has them scored, and learns from them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.config.run import Config
from oreflow.agent.learners.adam import Adam
from oreflow.agent.policy.network import Policy
from oreflow.envs.arrays import Arrays, Floats, States
from oreflow.rewards import RewardValues

Score = Callable[[States], RewardValues]


@runtime_checkable
class LateScore(Protocol):
    """A `Score` whose rewards may come steps later: until then objects are not valid, and in `arrived` after that."""

    def __call__(self, states: States) -> RewardValues:
        """The rewards that are there."""
        ...

    def arrived(self, *, wait: bool) -> tuple[States, Floats]:
        """Terminal states of earlier calls whose rewards have come, and their log R, shared out among labelings.

        Args:
            wait: for at least one, where any is to come.
        """
        ...


@dataclass
class Update:
    """One step of a learner.

    Attributes:
        states: the terminal states scored in this step, [n, *state_shape].
        values: their rewards.
        loss: the objective before the step; None for a sampler that learns nothing.
        skipped: whether the step was left out because loss or gradient were not finite.
        figures: further figures for the log.
    """

    states: States
    values: RewardValues
    loss: float | None = None
    skipped: bool = False
    figures: dict[str, float] = field(default_factory=dict)


class Learner(Protocol):
    """A sampler in training. All its randomness comes from `rng`."""

    rng: np.random.Generator

    @property
    def policy(self) -> Policy | None:
        """What learns."""
        ...

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """What makes it learn."""
        ...

    def step(self, step: int, score: Score) -> Update:
        """Builds a batch, asks `score` for its rewards, and learns."""
        ...

    def arrays(self) -> Arrays:
        """What a checkpoint holds beside weights, moments and random state."""
        ...

    def load_arrays(self, arrays: Arrays) -> None:
        """The inverse of `arrays`."""
        ...

    def log_z(self) -> float | None:
        """The learned log Z, None where there is none."""
        ...


def make_optimizer(policy: Policy, config: Config) -> Adam:
    """Adam with a separate, larger learning rate for log Z; how log Z depends on a condition learns as the network."""
    network = [
        parameter
        for name, parameter in policy.named_parameters()
        if not name.startswith("log_z_of") and name != "log_z"
    ]
    partition = [policy.log_z if policy.log_z_of_strata is None else policy.log_z_of_strata]
    return Adam(
        [
            {"params": network, "lr": config.sampler.learning_rate},
            {"params": partition, "lr": config.sampler.log_z_learning_rate},
        ],
        fused=True,
    )


class Descent:
    """Clipped steps of an optimizer under a schedule; a poisoned batch leaves weights and moments untouched."""

    def __init__(self, optimizer: torch.optim.Optimizer, gradient_clip: float) -> None:
        self._optimizer, self._clip = optimizer, gradient_clip
        self._rates = [group["lr"] for group in optimizer.param_groups]

    def schedule(self, share: float) -> None:
        """Sets all learning rates to a share of their start."""
        for group, rate in zip(self._optimizer.param_groups, self._rates):
            group["lr"] = share * rate

    def step(self, loss: Tensor) -> bool:
        """Follows the gradient of `loss`; False when loss or gradient were not finite and nothing was done."""
        self._optimizer.zero_grad(set_to_none=True)
        if not loss.requires_grad:
            return False
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._optimizer.param_groups[0]["params"], self._clip)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            return False
        self._optimizer.step()
        return True


def no_arrays(arrays: dict[str, Any]) -> None:
    """`load_arrays` of a learner without any."""
