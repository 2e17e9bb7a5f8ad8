"""Training and sampling throughput beside torchgfn's own sampler: same environment, network and batch, in one process.

    python tests/benchmarks/throughput.py [--rounds 5] [--batch 256]

Rounds alternate between the two, so that a change of the machine's speed meets both; medians and the median of the
paired ratios are printed. Compilation and one warm-up round are excluded. Reward: a constant, so that only sampler and
loss are timed. Uniform P_B on both sides; torchgfn keeps the log-probabilities of its sampling pass.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from gfn.gflownet import TBGFlowNet
from gfn.modules import DiscretePolicyEstimator
from gfn.preprocessors import Preprocessor

from agent.losses import trajectory_balance
from agent.policy import Policy
from agent.rollout import forward_rollout
from envs.composition_kernel import CompositionKernel
from envs.composition_space import CompositionSpace
from envs.elements import symbols
from envs.torchgfn_env import TorchGFNEnv

WORLDS = {
    "89 elements, up to 5, counts to 16, no charge rule": CompositionSpace(
        elements=tuple(symbols()[1:90]), n_elements=(1, 5), n_atoms=(1, 80), count=(1, 16), neutrality="off"
    ),
    "the quickstart's world (84 elements, hard neutrality)": CompositionSpace(),
}


class Tokens(Preprocessor):
    """torchgfn states to the kernel's tokens."""

    def __init__(self, env: TorchGFNEnv) -> None:
        super().__init__(output_dim=env.kernel.max_steps - 1)
        self.env = env

    def preprocess(self, states):
        return torch.from_numpy(self.env.kernel.encode(self.env._kernel_states(states.tensor)))


class Forward(torch.nn.Module):
    """The same network as a torchgfn module."""

    def __init__(self, policy: Policy, input_dim: int) -> None:
        super().__init__()
        self.policy, self.input_dim = policy, input_dim

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.policy(tokens.reshape(-1, tokens.shape[-1]))[0].reshape(*tokens.shape[:-1], -1)


class Uniform(torch.nn.Module):
    """Equal backward logits."""

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.input_dim, self.output_dim = input_dim, output_dim

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*tokens.shape[:-1], self.output_dim)


def make_policy(kernel: CompositionKernel) -> Policy:
    generator = torch.Generator().manual_seed(0)
    return Policy(kernel.token_factors, kernel.action_factors, kernel.n_backward_actions, [256, 256], False, generator)


def ours(kernel: CompositionKernel, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    policy, rng = make_policy(kernel), np.random.default_rng(0)
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3)

    def train() -> None:
        t = forward_rollout(kernel, policy, batch, rng)
        log_reward = torch.zeros(batch, dtype=torch.float64)
        loss = trajectory_balance(policy.log_z, t.total(t.log_pf), t.total(t.log_pb), log_reward)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def sample() -> None:
        with torch.no_grad():
            forward_rollout(kernel, policy, batch, rng)

    return train, sample


def torchgfn(kernel: CompositionKernel, batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    env, policy = TorchGFNEnv(kernel), make_policy(kernel)
    width = kernel.max_steps - 1
    tokens = Tokens(env)
    forward = DiscretePolicyEstimator(Forward(policy, width), kernel.n_actions, preprocessor=tokens)
    uniform = Uniform(width, kernel.n_actions - 1)
    backward = DiscretePolicyEstimator(uniform, kernel.n_actions, preprocessor=tokens, is_backward=True)
    model = TBGFlowNet(pf=forward, pb=backward, init_logZ=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def train() -> None:
        trajectories = model.sample_trajectories(env, n=batch, save_logprobs=True)
        loss = model.loss(env, trajectories, recalculate_all_logprobs=False)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def sample() -> None:
        with torch.no_grad():
            model.sample_trajectories(env, n=batch, save_logprobs=False)

    return train, sample


def rate(work: Callable[[], None], batch: int, seconds: float) -> float:
    """Trajectories a second over at least `seconds`."""
    n, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        work()
        n += batch
    return n / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one timing")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, batch {options.batch}, {options.threads} threads, MLP 2 x 256")
    for label, space in WORLDS.items():
        kernel = CompositionKernel(space)
        pairs = zip(("training", "sampling"), ours(kernel, options.batch), torchgfn(kernel, options.batch))
        for name, mine, theirs in pairs:
            mine()
            theirs()
            rounds = [
                (rate(mine, options.batch, options.seconds), rate(theirs, options.batch, options.seconds))
                for _ in range(options.rounds)
            ]
            median = [statistics.median(column) for column in zip(*rounds)]
            ratio = statistics.median(a / b for a, b in rounds)
            print(f"{label}: {name} {median[0]:,.0f}/s, torchgfn {median[1]:,.0f}/s, ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
