"""Geometries with a normaliser of their own: P(x) = P(D) R_c(c | D) / Z_D, D the decoration of x and c its geometry.

Each trajectory is two: one that builds the decoration, balanced with the factors of R that read the decoration alone,
and one that goes on from there, balanced with the others. log Z_D is a head of the network; the flow into a decoration
is then whatever its own factors say, however many geometries it has and however few of them are good.
"""

import numpy as np
import torch
from torch import Tensor

from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout.trajectories import Trajectories
from oreflow.envs.arrays import Bools, Ints, States
from oreflow.envs.contract.protocol import BuildsGeometry, TransitionKernel

_SQUARE = 3.0  # nats; beyond, the loss is a line
_SCALE = 10.0  # nats in a unit of the head: decorations differ by tens of nats, and log Z_D learns faster than all else


def decorations_of(kernel: TransitionKernel, t: Trajectories) -> Trajectories:
    """The part of each trajectory that builds the decoration, the action that closes it included."""
    first = _of_decoration(kernel, t)
    steps = torch.from_numpy(first)
    return Trajectories(
        t.terminal,
        np.concatenate([[0], np.cumsum(first)])[t.offsets],
        t.states[first],
        t.actions[first],
        t.log_pf[steps],
        t.log_pb[steps],
        None if t.log_flow is None else t.log_flow[steps],
        t.condition,
    )


def geometry_residual(kernel: TransitionKernel, policy: Policy, t: Trajectories, log_reward: Tensor) -> Tensor:
    """log Z_D + log P_F(c | D) - log R_c of each trajectory, float64 [batch]; 0 for a perfect sampler.

    Args:
        log_reward: log R_c, what a geometry is sampled in proportion to, float64 [batch].
    """
    geometry = torch.from_numpy(~_of_decoration(kernel, t))
    return log_normaliser(kernel, policy, t.terminal) + t.total(t.log_pf * geometry) - log_reward


def geometry_loss(residual: Tensor) -> Tensor:
    """Square of each residual, beyond some nats going on as a line: untrained geometries are no reason to forget.

    The network starts as a copy of a prior, and its layers serve decorations and geometries alike.
    """
    return 2.0 * torch.nn.functional.huber_loss(residual, torch.zeros_like(residual), reduction="none", delta=_SQUARE)


def log_normaliser(kernel: TransitionKernel, policy: Policy, terminal: States) -> Tensor:
    """The learned log Z_D of the decorations of terminal states, float64 [batch]."""
    assert isinstance(kernel, BuildsGeometry)
    assert policy.geometry_head is not None
    hidden = policy.trunk(torch.from_numpy(kernel.encode(kernel.decorations(terminal))))
    log_z: Tensor = policy.geometry_head(hidden).squeeze(-1).double()
    return _SCALE * log_z


@torch.no_grad()
def start_at(policy: Policy, residual: Tensor) -> None:
    """Set log Z_D of all decorations to what balances a first batch best."""
    assert policy.geometry_head is not None
    policy.geometry_head.bias.sub_(residual.mean().float() / _SCALE)


def _of_decoration(kernel: TransitionKernel, t: Trajectories) -> Bools:
    """Tell which steps build the decoration, bool [step]: all until one closes it."""
    assert isinstance(kernel, BuildsGeometry)
    closes = kernel.closes(t.actions)
    before: Ints = np.cumsum(closes) - closes
    first: Bools = before == before[t.offsets[:-1]][t.member]
    return first
