"""Faults that should not happen, injected: a state without actions (R13), extreme log-probabilities (R15)."""

from typing import Any

import numpy as np
import pytest
import torch

from oreflow.agent.objectives.balance_losses import trajectory_balance
from oreflow.agent.policy.action_head import Workspace, choose
from oreflow.agent.policy.network import Policy, masked_log_softmax
from oreflow.agent.rollout.rollout import forward_rollout
from oreflow.agent.rollout.trajectories import Trajectories
from oreflow.envs.errors import DeadEndError
from oreflow.envs.faces.single import KernelEnv
from oreflow.envs.faces.vector import KernelVectorEnv
from tests.support.worlds import kernel


class WithDeadEnd:
    """A kernel whose mask forbids everything in states with a lithium atom."""

    def __init__(self) -> None:
        self._kernel = kernel("off")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    def forward_allowed(self, states: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        allowed = self._kernel.forward_allowed(states, out)
        allowed[states[:, 0] > 0] = False
        return allowed


def lithium_first(world: WithDeadEnd) -> int:
    states = world.initial(1)
    actions = np.flatnonzero(world.forward_allowed(states)[0])
    return next(int(a) for a in actions if world.step(states, np.array([a]))[0, 0] > 0)


def test_a_dead_end_is_an_error_that_prints_the_state() -> None:
    world = WithDeadEnd()
    message = r"no action is allowed in states? \[?'Li"
    action = lithium_first(world)
    single = KernelEnv(world)  # type: ignore[arg-type]
    single.reset(seed=0)
    with pytest.raises(DeadEndError, match=message):
        single.step(action)
    vector = KernelVectorEnv(world, num_envs=3)  # type: ignore[arg-type]
    vector.reset(seed=0)
    with pytest.raises(DeadEndError, match=message):
        vector.step(np.array([action] * 3))
    policy = Policy(
        world.token_factors,
        world.action_factors,
        world.n_backward_actions,
        [8],
        False,
        torch.Generator().manual_seed(0),
    )
    with pytest.raises(DeadEndError, match=message):
        forward_rollout(world, policy, 64, np.random.default_rng(0))  # type: ignore[arg-type]


def test_sums_of_long_trajectories_keep_float64() -> None:
    n = 100_000
    per_step = torch.full((n,), -103.97207641601562, dtype=torch.float32)
    empty = np.zeros((1, 1), dtype=np.int64)
    trajectories = Trajectories(empty, np.array([0, n]), empty, empty[0], per_step, per_step)
    total = trajectories.total(per_step)
    assert total.dtype == torch.float64
    assert total.item() == pytest.approx(n * -103.97207641601562, rel=1e-12)  # float32 would be off by 1e-4


def test_loss_and_gradient_stay_finite_at_extreme_log_z() -> None:
    log_z = torch.tensor(1e6, dtype=torch.float64, requires_grad=True)
    log_pf = torch.tensor([-1e5, -1e-30], dtype=torch.float64, requires_grad=True)
    loss = trajectory_balance(log_z, log_pf, torch.tensor([-1e5, 0.0]), torch.tensor([200.0, -50.0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(log_z.grad)
    assert torch.isfinite(log_pf.grad).all()
    assert loss.item() == pytest.approx(((1e6 - 200.0) ** 2 + (1e6 + 50.0) ** 2) / 2, rel=1e-12)


def test_underflow_is_neither_drawn_nor_nan() -> None:
    """Probabilities below the smallest float32 are zero: never drawn, and their log stays finite."""
    logits = torch.tensor([[0.0, -500.0, 1e4, 3.0]])
    allowed = torch.tensor([[True, True, False, False]])
    log_p = masked_log_softmax(logits, allowed)
    assert log_p[0, :2].tolist() == [0.0, -500.0]
    assert log_p[0, 2:].tolist() == [-np.inf, -np.inf]
    uniform = np.stack([np.linspace(0, 1, 1000, endpoint=False), np.full(1000, 0.5)], axis=1)
    head = (torch.zeros(1, 1), torch.zeros(4, 1), logits[0], allowed.numpy())
    drawn_log_p, drawn = choose(*head, np.zeros(1000, dtype=np.int64), Workspace(), uniform=uniform)
    assert set(drawn.tolist()) == {0}
    assert (drawn_log_p == 0).all()
    given, _ = choose(*head, np.zeros(2, dtype=np.int64), Workspace(), actions=np.array([0, 1]))
    assert given.tolist() == [0.0, -500.0]
