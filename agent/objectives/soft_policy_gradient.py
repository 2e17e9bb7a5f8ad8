"""Policy gradient in the soft problem whose optimum is the GFlowNet: advantages and surrogate losses.

Reward of a step: log P_B of undoing it, and log R(x) on the last one; entropy with coefficient 1; no discount. Then the
best policy draws x with probability R(x)/Z and its value of the first state is log Z (Tiapkin et al. 2024,
arXiv:2310.12934; Deleu et al. 2024, arXiv:2402.10309). With g_t = r_t - log pi(a_t | s_t), the advantage of an action
is zero everywhere at that optimum, for each single trajectory, so estimates from few samples become exact there.
"""

import numpy as np
import torch
from torch import Tensor

from oreflow.envs.arrays import Float32s, Floats, Ints
from oreflow.envs.compiled.jit import njit


def soft_step_rewards(log_pf: Float32s, log_pb: Float32s, log_reward: Floats, offsets: Ints, corrected: bool) -> Floats:
    """g = log P_B - log P_F, plus log R on the last step of each member; float64 [step].

    Args:
        corrected: whether log P_B counts. Without it the optimum is P(x) ~ n(x) R(x), n(x) being the number of build
            orders of x: the mistake that this project measures, never a way to sample.
    """
    g = -log_pf.astype(np.float64)
    if corrected:
        g += log_pb
    g[offsets[1:] - 1] += log_reward
    return g


@njit
def generalised_advantages(g: Floats, values: Floats, offsets: Ints, lamda: float) -> Floats:
    """Generalised advantage estimates (Schulman et al. 2016, arXiv:1506.02438) without discount, float64 [step].

        delta_t = g_t + V(s_t+1) - V(s_t),  A_t = delta_t + lambda A_t+1,  V = 0 after the last step

    lambda = 1 is the return minus a learned baseline: unbiased whatever the values are.

    Args:
        g: soft rewards [step]; values: V(s_t) [step].
    """
    out = np.empty(len(g))
    for m in range(len(offsets) - 1):
        following_value, following_advantage = 0.0, 0.0
        for t in range(offsets[m + 1] - 1, offsets[m] - 1, -1):
            delta = g[t] + following_value - values[t]
            following_advantage = delta + lamda * following_advantage
            following_value = values[t]
            out[t] = following_advantage
    return out


def policy_gradient(log_pf: Tensor, advantages: Tensor, batch: int) -> Tensor:
    """Minus the sum of log P_F times advantage over all steps, a trajectory; its gradient ascends the soft return."""
    return -(log_pf.double() * advantages).sum() / batch


def entropic_ppo(
    log_pf: Tensor, old_log_pf: Tensor, advantages: Tensor, clip: float, kl_weight: float, batch: int
) -> Tensor:
    """Clipped surrogate with a penalty on the distance from the policy that sampled, a trajectory.

        L = -sum_t [min(rho A, clip(rho, 1 - c, 1 + c) A) - w (rho log rho - rho + 1)],  rho = pi(a|s) / pi_old(a|s)

    The penalty is an estimate of KL(pi || pi_old) that is zero and flat at pi = pi_old. It is no heuristic: with w =
    1 and no clipping the best pi is pi_old exp(A), A measured with pi_old's own entropy, which is one exact step of
    soft policy iteration (Zykova-Myzina et al. 2026, arXiv:2606.15793). Several steps on a batch keep the target R/Z.

    Args:
        log_pf: under the policy that learns, [step].
        old_log_pf, advantages: of the policy that sampled, [step], without gradient.
    """
    log_ratio = log_pf.double() - old_log_pf.double()
    ratio = log_ratio.exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    penalty = ratio * log_ratio - ratio + 1
    return (kl_weight * penalty - surrogate).sum() / batch


def value_loss(values: Tensor, targets: Tensor, batch: int) -> Tensor:
    """Half the squared distance of V(s_t) from its target, [step], summed over the steps of a trajectory."""
    return 0.5 * (values - targets).square().sum() / batch
