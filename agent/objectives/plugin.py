"""Objectives of your own: `objective(batch: ObjectiveBatch, **objective_params) -> Tensor`, a scalar to minimise."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oreflow.envs.arrays import Ints
from oreflow.rewards.errors import PluginError


@dataclass(frozen=True)
class ObjectiveBatch:
    """What an objective reads. The steps of member m are `offsets[m]` to `offsets[m + 1]`, the last one stops.

    Attributes:
        log_pf: float64 [step], log P_F of each action, with gradient.
        log_pb: float64 [step], log P_B of undoing it; 0 for stop.
        log_reward: float64 [batch].
        log_z: the learned log Z, float64, a scalar or [batch].
        offsets: int64 [batch + 1].
    """

    log_pf: Tensor
    log_pb: Tensor
    log_reward: Tensor
    log_z: Tensor
    offsets: Ints

    def total(self, per_step: Tensor) -> Tensor:
        """Sum [step] within each trajectory, [batch]."""
        member = torch.from_numpy(np.repeat(np.arange(len(self.log_reward)), np.diff(self.offsets)))
        return torch.zeros(len(self.log_reward), dtype=per_step.dtype).index_add(0, member, per_step)


def scalar_loss(name: str, objective: Callable[..., Tensor], batch: ObjectiveBatch) -> Tensor:
    """Call an own objective, and hold what it gives to the contract.

    Raises:
        PluginError: when it fails, or gives something else than a scalar that can be differentiated.
    """
    try:
        loss = objective(batch)
    except Exception as error:
        raise PluginError(f"objective {name!r} failed: {type(error).__name__}: {error}") from error
    if not isinstance(loss, Tensor) or loss.ndim:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise PluginError(f"objective {name!r}: expected a scalar tensor, got {got}; end it with .mean()")
    if not loss.requires_grad:
        raise PluginError(f"objective {name!r}: its loss has no gradient; leave out detach, item and numpy")
    return loss


def check_objective(name: str, objective: Callable[..., Tensor], rng: np.random.Generator, **params: object) -> None:
    """Check an objective on random trajectories: scalar, finite, differentiable, independent of the batch's order.

    Raises:
        PluginError: with the clause that does not hold, and what usually causes it.
    """
    lengths = rng.integers(1, 6, 8)
    steps = [(-rng.random(n), -rng.random(n)) for n in lengths]
    log_reward, log_z = rng.normal(size=8), torch.zeros((), dtype=torch.float64, requires_grad=True)

    def loss_of(order: Ints) -> tuple[Tensor, Tensor]:
        log_pf = torch.from_numpy(np.concatenate([steps[m][0] for m in order])).requires_grad_()
        log_pb = torch.from_numpy(np.concatenate([steps[m][1] for m in order]))
        offsets = np.concatenate([[0], np.cumsum(lengths[order])])
        batch = ObjectiveBatch(log_pf, log_pb, torch.from_numpy(log_reward[order]), log_z, offsets)
        return scalar_loss(name, functools.partial(objective, **params), batch), log_pf

    loss, log_pf = loss_of(np.arange(8))
    if not torch.isfinite(loss):
        raise PluginError(f"objective {name!r}: its loss is {loss.item()}; look for log or sqrt of a negative number")
    (gradient,) = torch.autograd.grad(loss, log_pf, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all():
        raise PluginError(f"objective {name!r}: its gradient by log_pf is missing or not finite; let log_pf count")
    if not torch.allclose(loss, loss_of(np.arange(8)[::-1].copy())[0]):
        raise PluginError(f"objective {name!r}: its loss depends on the batch's order; use offsets, and means")
