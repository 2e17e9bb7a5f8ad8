"""Training and sampling throughput beside torchgfn's own sampler: same environment, network and batch, in one process.

    python -m benchmarks.agent.throughput [--rounds 5] [--batch 256 1024] [--backward learned]

Network: multilayer perceptron 2 x 256. A training step of ours is a forward rollout, trajectory balance and a clipped
step of fused Adam, with one workspace kept, as `agent/learners/gflownet.py` does it; torchgfn's is its sampler, which
keeps the log-probabilities of its pass, `TBGFlowNet.loss`, and the same clipped step. Both sum up the weights' factors
once a step. Reward: a constant, so that only sampler, loss and descent are timed. Rounds alternate between the two, so
that a change of the machine's speed meets both; medians and the median of the paired ratios are printed. Compilation
and one warm-up step are excluded.

For ours, the share of a training step outside the network is printed too. Network is: summing up the weights' factors,
the bag of embeddings, hidden layers, ReLU, and the products of the output layers' weights with the hidden layer, all
forward and backward, gradients of all parameters included. It is timed alone, on the tokens and numbers of states of
the step just done, turn by turn with whole steps. Outside is all else: masks, transitions, encoding, finding equal
states, softmax, drawing, log-probabilities and their gradient, loss, clipping, Adam.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.records import write_timings
from oreflow.agent.learners.learner import Descent
from oreflow.agent.learners.torchgfn import Heads
from oreflow.agent.objectives.balance_losses import trajectory_balance
from oreflow.agent.policy.action_head import Workspace
from oreflow.agent.policy.network import Policy
from oreflow.agent.rollout import rollout
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.faces.torchgfn_env import TorchGFNEnv

WORLDS = {
    "89 elements, up to 5, counts to 16, no charge rule": CompositionSpace(
        elements=tuple(symbols()[1:90]), n_elements=(1, 5), n_atoms=(1, 80), count=(1, 16), neutrality="off"
    ),
    "the quickstart's world (84 elements, hard neutrality)": CompositionSpace(),
}
_CLIP = 10.0

Work = Callable[[], object]


def make_policy(kernel: CompositionKernel, backward: str) -> Policy:
    """Untrained, with log Z where it belongs: with log Z = 0 it would collapse onto a few objects within seconds."""
    generator = torch.Generator().manual_seed(0)
    learned = backward == "learned"
    policy = Policy(
        kernel.token_factors, kernel.action_factors, kernel.n_backward_actions, [256, 256], learned, generator
    )
    with torch.no_grad():
        t = rollout.forward_rollout(kernel, policy, 1024, np.random.default_rng(1))
        policy.log_z.copy_((t.total(t.log_pb) - t.total(t.log_pf)).mean())
    return policy


def make_descent(policy: Policy) -> Descent:
    return Descent(torch.optim.Adam(policy.parameters(), lr=1e-3, fused=True), _CLIP)


def ours(kernel: CompositionKernel, policy: Policy, batch: int) -> tuple[Work, Work]:
    """A training step, and sampling alone."""
    rng, descent, workspace = np.random.default_rng(0), make_descent(policy), Workspace()
    log_reward = torch.zeros(batch, dtype=torch.float64)

    def train() -> None:
        workspace.clear()
        t = rollout.forward_rollout(kernel, policy, batch, rng, workspace=workspace)
        descent.step(trajectory_balance(policy.log_z, t.total(t.log_pf), t.total(t.log_pb), log_reward))

    def sample() -> None:
        rollout.draw_objects(kernel, policy, batch, rng, workspace=workspace)

    return train, sample


def torchgfn(kernel: CompositionKernel, policy: Policy, batch: int) -> tuple[Work, Work]:
    """The same by torchgfn."""
    env, heads, descent = TorchGFNEnv(kernel), Heads(policy), make_descent(policy)
    model = heads.gflownet("trajectory_balance", env)

    def train() -> None:
        heads.clear()
        trajectories = model.sample_trajectories(env, n=batch, save_logprobs=True)
        descent.step(model.loss(env, trajectories, recalculate_all_logprobs=False))

    def sample() -> None:
        heads.clear()
        with torch.no_grad():
            model.sample_trajectories(env, n=batch, save_logprobs=False)

    return train, sample


class _Products(torch.autograd.Function):
    """The products of an output layer on the way back, part by part, kept logits in the place of their gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, parts: list[Tensor]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.parts = parts
        return x.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        x, weight = ctx.saved_tensors
        dx, dweight, dbias, first = torch.empty_like(x), torch.zeros_like(weight), torch.zeros(len(weight)), 0
        for part in ctx.parts:
            rows = slice(first, first + len(part))
            torch.mm(part, weight, out=dx[rows])
            dweight.addmm_(part.t(), x[rows])
            dbias += part.sum(0)
            first += len(part)
        return dx, dweight, dbias, None


class Passes:
    """The tokens of each pass through the hidden layers in one training step: those of the rollout, which draws from
    the forward head, and that of the gradient, which also feeds the backward head."""

    def __init__(self) -> None:
        self.levels: list[Tensor] = []
        self.last = torch.empty(0)

    @contextlib.contextmanager
    def recorded(self, policy: Policy) -> Iterator[None]:
        """Takes note of all passes of `policy` in the block."""
        trunk = policy.trunk

        def noting_trunk(tokens: Tensor, *rest: Any) -> Tensor:
            if torch.is_grad_enabled():
                self.last = tokens
            else:
                self.levels.append(tokens)
            return trunk(tokens, *rest)

        policy.trunk = noting_trunk  # type: ignore[assignment,method-assign]
        try:
            yield
        finally:
            del policy.trunk

    def repeat(self, policy: Policy, workspace: Workspace) -> None:
        """The network's share of the step, forward and backward."""
        workspace.clear()
        policy.zero_grad(set_to_none=True)
        weights = policy.weights()
        parts = []
        with torch.no_grad():
            for tokens in self.levels:
                parts.append(workspace.take(len(tokens), len(weights[1])))
                torch.addmm(policy.head_bias, policy.trunk(tokens, weights), weights[1].t(), out=parts[-1])
        x = policy.trunk(self.last, weights)
        n = sum(map(len, parts))  # the rows with a choice; which of all rows they are makes no difference
        total = _Products.apply(x if n == len(x) else x[:n], weights[1], policy.head_bias, parts)
        if policy.backward_head is not None:
            head = policy.backward_head
            logits = workspace.take(len(x), len(head.weight))
            with torch.no_grad():
                torch.addmm(head.bias, x, head.weight.t(), out=logits)
            total = total + _Products.apply(x, head.weight, head.bias, [logits])
        total.backward()


def share_outside(policy: Policy, train: Work, seconds: float) -> float:
    """Share of a training step's time outside the network, over at least `seconds`."""
    steps, alone = [], []
    workspace = Workspace()
    while len(steps) < 2 or sum(steps) + sum(alone) < seconds:
        passes = Passes()
        with passes.recorded(policy):
            steps.append(_seconds(train))
        alone.append(_seconds(lambda passes=passes: passes.repeat(policy, workspace)))
    return 1 - sum(alone[1:]) / sum(steps[1:])  # the first repetition allocates its memory


def _seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rate(work: Work, batch: int, seconds: float) -> float:
    """Trajectories a second over at least `seconds`."""
    n, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        work()
        n += batch
    return n / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[256])
    parser.add_argument("--backward", choices=["learned", "uniform"], default="learned", help="backward policy P_B")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one timing")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="metrics.json of a record to write")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    runs: dict[str, dict[str, float]] = {}
    started = time.perf_counter()
    print(f"torch {torch.__version__}, {options.threads} threads, MLP 2 x 256, {options.backward} P_B")
    for label, space in WORLDS.items():
        kernel = CompositionKernel(space)
        for batch in options.batch:
            mine, theirs = (make_policy(kernel, options.backward) for _ in range(2))
            works = zip(("training", "sampling"), ours(kernel, mine, batch), torchgfn(kernel, theirs, batch))
            for name, work, other in works:
                work()
                other()
                rounds = [
                    (rate(work, batch, options.seconds), rate(other, batch, options.seconds))
                    for _ in range(options.rounds)
                ]
                median = [statistics.median(column) for column in zip(*rounds)]
                ratio = statistics.median(a / b for a, b in rounds)
                where = f"{label}, batch {batch}"
                print(f"{where}: {name} {median[0]:,.0f}/s, torchgfn {median[1]:,.0f}/s, ratio {ratio:.1f}", flush=True)
                found = {"per_second": median[0], "torchgfn_per_second": median[1], "ratio": ratio}
                runs[f"{where}: {name}"] = found
                if name == "training":
                    shares = [share_outside(mine, work, options.seconds) for _ in range(options.rounds)]
                    found["share_outside_network"] = statistics.median(shares)
                    print(f"{where}: {statistics.median(shares):.0%} of a step outside the network")
    if options.json:
        arguments = ["--rounds", options.rounds, "--batch", *options.batch, "--backward", options.backward]
        write_timings(options.json, "throughput", arguments, runs, options.threads, started)


if __name__ == "__main__":
    main()
