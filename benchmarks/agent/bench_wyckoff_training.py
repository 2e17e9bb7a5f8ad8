"""Training and sampling throughput in the open crystal world, and where the time goes.

    python -m benchmarks.agent.bench_wyckoff_training [--steps 20] [--batch 512] [--threads 2] [--world large]

Training is `agent.learners.gflownet.GFlowNetLearner` with the default network and trajectory balance, rewarded for the
predicted formation energy of the composition; sampling is `agent.rollout.rollout.draw_objects` with batches of 1024
under the policy just trained. Compilation, kernel and a few steps to warm up are excluded. Other work on the machine
slows both, so the best step counts beside the median. Parts are timed without what they call in other parts; `masks`
are the
kernel's forward masks, `network forward` is encoding, hidden layers and logits, `choice` softmax and drawing on them,
`network backward` all of the gradient, `optimizer` clipping and Adam, `rest` transitions, finding equal states,
bookkeeping.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.records import write_timings
from oreflow import rewards
from oreflow.agent.config.run import validate_config
from oreflow.agent.learners.gflownet import GFlowNetLearner
from oreflow.agent.policy.action_blocks import ActionBlocks
from oreflow.agent.policy.action_head import Choices, Workspace
from oreflow.agent.rollout.rollout import draw_objects
from oreflow.agent.runtime.seeds import stream
from oreflow.agent.training.build import make_policy, set_threads
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace

WORLDS = {
    "large": WyckoffSpace(),
    "small": WyckoffSpace(space_groups=["cubic"], elements=("Na", "Cl", "Ti", "O"), n_elements=(2, 3), n_atoms=(2, 10)),
}
_TERM = {"name": "formation_energy", "shape": {"kind": "minimise", "beta": 4.0}}
_SAMPLED = 1024


class Parts:
    """Seconds by part of functions that call one another, each without those inside it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside: list[float] = []

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, whose time counts as that of `name`."""

        def run(*args: Any, **options: Any) -> Any:
            self._inside.append(0.0)
            started = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                elapsed = time.perf_counter() - started
                self.seconds[name] += elapsed - self._inside.pop()
                if self._inside:
                    self._inside[-1] += elapsed

        return run

    def watch(self, owner: object, method: str, name: str) -> None:
        """Times a method of an object or a class from now on."""
        setattr(owner, method, self.timed(name, getattr(owner, method)))


def best_and_median(work: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Seconds of one call."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found), statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=5, help="steps before the first that counts")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--world", choices=list(WORLDS), default="large")
    parser.add_argument("--json", type=Path, help="metrics.json of a record to write")
    options = parser.parse_args()
    set_threads(options.threads)
    began = time.perf_counter()
    config = validate_config(
        {
            "schema_version": 1,
            "world": {"kind": "composition"},  # of no influence: the kernel is given
            "reward": {"terms": [_TERM]},
            "sampler": {"batch": options.batch},
        },
        "benchmark",
    )
    kernel, reward = WyckoffKernel(WORLDS[options.world]), rewards.build([_TERM])
    policy = make_policy(config, kernel)
    learner = GFlowNetLearner(config, kernel, policy, stream(0, "training"))
    step = 0

    def score(states: np.ndarray) -> rewards.RewardValues:
        return reward(kernel.objects(states))

    def train() -> None:
        nonlocal step
        learner.step(step, score)
        step += 1

    workspace, rng = Workspace(), np.random.default_rng(0)

    def sample() -> None:
        draw_objects(kernel, policy, _SAMPLED, rng, workspace=workspace)

    for _ in range(options.warm_up):
        train()
    sample()
    runs: dict[str, dict[str, float]] = {}
    print(f"{options.world}: {kernel.n_actions} actions, {kernel.n_tokens} tokens, {options.threads} threads")
    timings = (("training", train, options.batch, options.steps), ("sampling", sample, _SAMPLED, options.steps // 2))
    for name, work, n, rounds in timings:
        best, median = best_and_median(work, max(rounds, 1))
        runs[name] = {"per_second": n / median, "best_per_second": n / best}
        print(f"{name}: {n / median:,.0f}/s in the median, {n / best:,.0f}/s at best", flush=True)

    parts = Parts()
    for owner, method, part in (
        (kernel, "forward_allowed", "masks"),
        (kernel, "backward_allowed", "backward masks"),
        (kernel, "encode", "network forward"),
        (policy, "weights", "network forward"),
        (policy, "trunk", "network forward"),
        (ActionBlocks, "write_logits", "network forward"),
        (Choices, "make", "choice"),
        (torch.Tensor, "backward", "network backward"),
        (learner._descent, "step", "optimizer"),
    ):
        parts.watch(owner, method, part)
    score = parts.timed("reward", score)
    for name, work, n, rounds in timings:
        parts.seconds.clear()
        whole = parts.timed("rest", work)
        for _ in range(max(rounds, 1)):
            whole()
        print(f"{name}, milliseconds a batch of {n}:")
        for part, seconds in parts.seconds.most_common():
            runs[name][f"{part}_ms"] = 1000 * seconds / max(rounds, 1)
            print(f"  {part:17} {1000 * seconds / max(rounds, 1):8.1f}")
    if options.json:
        arguments = ["--steps", options.steps, "--batch", options.batch, "--world", options.world]
        write_timings(options.json, "bench_wyckoff_training", arguments, runs, options.threads, began)


if __name__ == "__main__":
    main()
