"""GFlowNet objectives as pure functions of log-probabilities."""

from torch import Tensor


def trajectory_balance(log_z: Tensor, log_pf: Tensor, log_pb: Tensor, log_reward: Tensor) -> Tensor:
    """Trajectory balance (Malkin et al. 2022, arXiv:2201.13259, eq. 14), mean over trajectories.

        L = (log Z + sum_t log P_F(s_t+1 | s_t) - log R(x) - sum_t log P_B(s_t | s_t+1))^2

    Args:
        log_z: scalar.
        log_pf, log_pb: sums over each trajectory, [batch].
        log_reward: [batch].
    """
    return (log_z + log_pf - log_pb - log_reward).square().mean()
