"""Complete trajectories as flat, ragged arrays without padding, with their log-probabilities."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oreflow.envs.arrays import Bools, Ints, States


@dataclass(frozen=True)
class Trajectories:
    """A batch of complete trajectories. `step` axes run over the steps of the first member, then of the second, ...

    Attributes:
        terminal: [batch, *state_shape], the objects built.
        offsets: int64 [batch + 1]; the steps of member m are `offsets[m]` to `offsets[m + 1]`, the last one stops.
        states: [step, *state_shape], before the action.
        actions: int64 [step].
        log_pf: float32 [step], log P_F of the action under the policy (not under the exploring behaviour).
        log_pb: float32 [step], log P_B of undoing it; 0 for stop.
        log_flow: float64 [step], log F of the state before the action; None where the policy has no head for it.
        condition: float32 [batch, n_conditions], what each member was built for; None without conditions.
    """

    terminal: States
    offsets: Ints
    states: States
    actions: Ints
    log_pf: Tensor
    log_pb: Tensor
    log_flow: Tensor | None = None
    condition: Tensor | None = None

    def __len__(self) -> int:
        return len(self.terminal)

    @property
    def member(self) -> Ints:
        """int64 [step], which trajectory a step belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def total(self, per_step: Tensor) -> Tensor:
        """Sums [step] within each trajectory, float64 [batch]."""
        out = torch.zeros(len(self), dtype=torch.float64)
        return out.index_add(0, torch.from_numpy(self.member), per_step.double())

    def select(self, keep: Bools) -> "Trajectories":
        """The members where `keep`, bool [batch], is true."""
        if keep.all():
            return self
        steps = keep[self.member]
        mask = torch.from_numpy(steps)
        return Trajectories(
            self.terminal[keep],
            np.concatenate([[0], np.cumsum(np.diff(self.offsets)[keep])]),
            self.states[steps],
            self.actions[steps],
            self.log_pf[mask],
            self.log_pb[mask],
            None if self.log_flow is None else self.log_flow[mask],
            None if self.condition is None else self.condition[torch.from_numpy(keep)],
        )


def concatenate(parts: list[Trajectories]) -> Trajectories:
    """Several batches of one policy as one."""
    if len(parts) == 1:
        return parts[0]
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    flows = [part.log_flow for part in parts if part.log_flow is not None]
    conditions = [part.condition for part in parts if part.condition is not None]
    return Trajectories(
        np.concatenate([part.terminal for part in parts]),
        np.concatenate([[0], np.cumsum(lengths)]),
        np.concatenate([part.states for part in parts]),
        np.concatenate([part.actions for part in parts]),
        torch.cat([part.log_pf for part in parts]),
        torch.cat([part.log_pb for part in parts]),
        torch.cat(flows) if flows else None,
        torch.cat(conditions) if conditions else None,
    )
