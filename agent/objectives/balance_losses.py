"""GFlowNet objectives as pure functions of log-probabilities, log-flows and log-rewards.

Trajectories are ragged: `offsets` int64 [batch + 1] marks where the steps of each member begin, `[step]` arrays run
over all steps of the first member, then of the second, and so on. The last step of a member stops and has log P_B = 0.
All of them vanish exactly when the sampler draws each object x with probability R(x)/Z along every trajectory.
"""

import numpy as np
import torch
from torch import Tensor

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.compiled.jit import njit


def trajectory_balance(log_z: Tensor, log_pf: Tensor, log_pb: Tensor, log_reward: Tensor) -> Tensor:
    """Trajectory balance (Malkin et al. 2022, arXiv:2201.13259, eq. 14), mean over trajectories.

        L = (log Z + sum_t log P_F(s_t+1 | s_t) - log R(x) - sum_t log P_B(s_t | s_t+1))^2

    Args:
        log_z: scalar, or [batch] where each member has its own.
        log_pf, log_pb: sums over each trajectory, [batch].
        log_reward: [batch].
    """
    return (log_z + log_pf - log_pb - log_reward).square().mean()


def log_partition_variance(log_pf: Tensor, log_pb: Tensor, log_reward: Tensor, strata: Ints | None = None) -> Tensor:
    """Variance over the batch of what log Z would be by each trajectory (Zhang et al. 2023, arXiv:2302.05446).

        L = mean((zeta - mean(zeta))^2), zeta = log P_F(tau) - log P_B(tau | x) - log R(x)

    Arguments as for `trajectory_balance`; all members must share one reward, for their mean stands for log Z.

    Args:
        log_pf, log_pb, log_reward: as there.
        strata: int64 [batch], what each member belongs to where every stratum has a log Z of its own. The variances are
            then those within strata, without bias, so a stratum of one member adds nothing.
    """
    zeta = log_pf - log_pb - log_reward
    if strata is None:
        return (zeta - zeta.mean()).square().mean()
    index = torch.from_numpy(strata)
    n = torch.bincount(index).to(zeta.dtype)
    means = torch.zeros_like(n).index_add(0, index, zeta) / n.clamp(min=1)
    unbiased = torch.where(n > 1, n / (n - 1).clamp(min=1), 0.0)
    return ((zeta - means[index]).square() * unbiased[index]).mean()


def detailed_balance(log_flow: Tensor, log_pf: Tensor, log_pb: Tensor, log_reward: Tensor, offsets: Ints) -> Tensor:
    """Detailed balance (Bengio et al. 2023, arXiv:2111.09266, section 3.2), mean over all transitions.

        L = (log F(s) + log P_F(s' | s) - log F(s') - log P_B(s | s'))^2,  with F(x) = R(x) once stopped

    Args:
        log_flow: log F of the state before each step, [step].
        log_pf, log_pb: [step].
        log_reward: [batch].
    """
    return (log_flow + log_pf - log_pb - next_values(log_flow, log_reward, offsets)).square().mean()


def next_values(values: Tensor, at_end: Tensor, offsets: Ints) -> Tensor:
    """The value of the state after each step, [step]: that of the member's next step, or `at_end` [batch]."""
    last = torch.from_numpy(offsets[1:] - 1)
    return torch.cat([values[1:], values[:1]]).index_put((last,), at_end.to(values.dtype))


def sub_trajectory_balance(
    log_flow: Tensor, log_pf: Tensor, log_pb: Tensor, log_reward: Tensor, offsets: Ints, lamda: float
) -> Tensor:
    """Sub-trajectory balance (Madan et al. 2023, arXiv:2209.12782, eq. 11), mean over trajectories.

        L = sum_{i<j} w_ij (log F(s_i) + sum_{i<=t<j} (log P_F - log P_B)_t - log F(s_j))^2,  w_ij ~ lambda^(j-i)

    Arguments as for `detailed_balance`.
    """
    start, end, weight = _pairs(offsets, lamda)
    # With u_k = log F(s_k) - sum_{t<k} (log P_F - log P_B)_t the residual of a sub-trajectory is u_i - u_j. Sums run on
    # through all members; their starting points cancel.
    sums = torch.cat([torch.zeros(1, dtype=torch.float64), (log_pf.double() - log_pb.double()).cumsum(0)])
    at_start = log_flow.double() - sums[:-1]
    at_end = log_reward.double() - sums[torch.from_numpy(offsets[1:])]
    u = torch.cat([at_start, at_end])
    residual = u[torch.from_numpy(start)] - u[torch.from_numpy(end)]
    return (torch.from_numpy(weight) * residual.square()).sum()


@njit
def _pairs(offsets: Ints, lamda: float) -> tuple[Ints, Ints, Floats]:
    """Start and end of all sub-trajectories, ends of trajectories numbered after all steps, and their weights."""
    batch, n_steps = len(offsets) - 1, offsets[-1]
    n_pairs = 0
    for m in range(batch):
        length = offsets[m + 1] - offsets[m]
        n_pairs += length * (length + 1) // 2
    start, end = np.empty(n_pairs, dtype=np.int64), np.empty(n_pairs, dtype=np.int64)
    weight = np.empty(n_pairs)
    p = 0
    for m in range(batch):
        length = offsets[m + 1] - offsets[m]
        first, total = p, 0.0
        for i in range(length):
            for j in range(i + 1, length + 1):
                start[p] = offsets[m] + i
                end[p] = offsets[m] + j if j < length else n_steps + m
                weight[p] = lamda ** (j - i)
                total += weight[p]
                p += 1
        for q in range(first, p):
            weight[q] /= total * batch
    return start, end, weight
