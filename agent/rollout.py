"""Forward rollouts over any kernel: one pass a time step for all members, trajectories as flat ragged arrays."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.policy import Policy, masked_log_softmax
from envs.errors import DeadEndError
from envs.jit import njit
from envs.protocol import TransitionKernel


@dataclass(frozen=True)
class Trajectories:
    """A batch of complete trajectories. `step` axes run over all steps of all members, ordered by time.

    Attributes:
        terminal: [batch, *state_shape], the objects built.
        member: int64 [step], which trajectory a step belongs to.
        states: [step, *state_shape], before the action.
        actions: int64 [step].
        log_pf: float32 [step], log P_F of the action under the policy (not under the exploring behaviour).
        log_pb: float32 [step], log P_B of undoing it.
    """

    terminal: np.ndarray
    member: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    log_pf: Tensor
    log_pb: Tensor

    def __len__(self) -> int:
        return len(self.terminal)

    def total(self, per_step: Tensor) -> Tensor:
        """Sums [step] within each trajectory, float64 [batch]."""
        out = torch.zeros(len(self), dtype=torch.float64)
        return out.index_add(0, torch.from_numpy(self.member), per_step.double())


def forward_rollout(
    kernel: TransitionKernel, policy: Policy, batch: int, rng: np.random.Generator, *, epsilon: float = 0.0
) -> Trajectories:
    """Builds `batch` objects. Gradients flow through `log_pf` and `log_pb` unless torch.no_grad() is on.

    Args:
        epsilon: with this probability an action is drawn uniformly from the allowed ones instead of from the policy.

    Raises:
        DeadEndError: if a state has no allowed action, which would be a defect of the kernel.
    """
    final = kernel.initial(batch)
    active, states = np.arange(batch), kernel.initial(batch)
    member, visited, taken, log_pf = [], [], [], []
    # P_B of a step is read off the state it leads to, one pass later: flat step indices, then values.
    backward_rows, backward_values = [], []
    weights = policy.weights()
    n_steps = 0
    came_by = np.empty(0, dtype=np.int64)
    arrivals = np.empty(0, dtype=np.int64)
    while len(states):
        allowed = kernel.forward_allowed(states)
        logits, backward_logits = policy(torch.from_numpy(kernel.encode(states)), weights)
        if len(arrivals):
            backward_rows.append(arrivals)
            backward_values.append(_log_backward(kernel, backward_logits, states, came_by))
        log_p = masked_log_softmax(logits, torch.from_numpy(allowed))
        actions = draw_actions(log_p.detach().exp().numpy(), allowed, rng.random((len(states), 2)), epsilon)
        if (actions < 0).any():
            raise DeadEndError(f"no action is allowed in state {kernel.describe(states[actions < 0])[0]!r}")
        member.append(active)
        visited.append(states)
        taken.append(actions)
        log_pf.append(log_p.gather(1, torch.from_numpy(actions)[:, None]).squeeze(1))
        after = kernel.step(states, actions)
        done = kernel.is_terminal(after)
        final[active[done]] = after[done]
        arrivals = n_steps + np.flatnonzero(~done)
        came_by = kernel.inverse_action(actions)[~done]
        n_steps += len(states)
        active, states = active[~done], after[~done]
    # A terminal state's only parent is the state before the stop, so the last step of each member keeps log P_B = 0.
    log_pb = torch.zeros(n_steps)
    if backward_rows:
        log_pb = log_pb.index_put((torch.from_numpy(np.concatenate(backward_rows)),), torch.cat(backward_values))
    return Trajectories(
        final, np.concatenate(member), np.concatenate(visited), np.concatenate(taken), torch.cat(log_pf), log_pb
    )


def _log_backward(kernel: TransitionKernel, logits: Tensor | None, states: np.ndarray, actions: np.ndarray) -> Tensor:
    """log P_B [batch] of backward actions: uniform over the parents when there are no logits."""
    allowed = kernel.backward_allowed(states)
    if logits is None:
        return torch.from_numpy(-np.log(allowed.sum(axis=1, dtype=np.float32)))
    log_p = masked_log_softmax(logits, torch.from_numpy(allowed))
    return log_p.gather(1, torch.from_numpy(actions)[:, None]).squeeze(1)


@njit
def draw_actions(probabilities: np.ndarray, allowed: np.ndarray, uniform: np.ndarray, epsilon: float) -> np.ndarray:
    """One action a row, int64 [batch]; -1 where nothing is allowed.

    Args:
        probabilities: float32 [batch, action], zero where forbidden; need not sum to exactly one.
        uniform: [batch, 2] random numbers in [0, 1): the first picks the action, the second decides on exploring.
        epsilon: probability of a uniform choice among the allowed actions.
    """
    out = np.full(len(allowed), -1, dtype=np.int64)
    for i in range(len(allowed)):
        explore = uniform[i, 1] < epsilon
        total = 0.0
        for j in range(allowed.shape[1]):
            if allowed[i, j]:
                total += 1.0 if explore else probabilities[i, j]
        target = uniform[i, 0] * total
        running = 0.0
        for j in range(allowed.shape[1]):
            if allowed[i, j]:
                weight = 1.0 if explore else probabilities[i, j]
                running += weight
                if weight > 0.0:
                    out[i] = j  # also the answer when rounding leaves `running` just below the target
                if running > target:
                    break
    return out
