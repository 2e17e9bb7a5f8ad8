"""What diversity costs: trajectories a second of a diverse policy, and of the same policy collapsed.

    python -m benchmarks.agent.bench_diverse_rollouts [--batch 1024] [--rounds 7]

A policy that repeats itself is fast: states that occur several times in a batch are computed once. A figure of speed
means little without the diversity behind it. The diverse policy is the shipped prior of decorations, the one that
`runs/configs/open_crystals.yaml` draws from; the collapsed ones are that policy's probabilities to the power of
1 / temperature. Timed are rollouts with what a training step adds to them: log-probabilities and their gradient. Rounds
alternate between the temperatures; medians are printed.
"""

import argparse
import statistics
import time
from collections import defaultdict

import numpy as np
import torch

from oreflow.agent.policy.action_head import Workspace
from oreflow.agent.rollout.rollout import forward_rollout
from oreflow.agent.sampling.trained_run import open_prior

TEMPERATURES = (1.0, 0.5, 0.1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    prior = open_prior("decorations")
    assert prior.policy is not None
    prior.policy.requires_grad_(True)
    rng = np.random.default_rng(0)
    workspace = Workspace()
    speed: dict[float, list[float]] = defaultdict(list)
    groups: dict[float, list[int]] = defaultdict(list)
    distinct: dict[float, set[bytes]] = defaultdict(set)
    for round_ in range(-1, options.rounds):  # the first compiles and is not counted
        for temperature in TEMPERATURES:
            workspace.clear()
            started = time.perf_counter()
            t = forward_rollout(
                prior.kernel, prior.policy, options.batch, rng, temperature=temperature, workspace=workspace
            )
            t.total(t.log_pf).mean().backward()
            took = time.perf_counter() - started
            if round_ >= 0:
                speed[temperature].append(options.batch / took)
                crystals = prior.kernel.objects(t.terminal)
                groups[temperature].extend(crystals.space_group.tolist())
                distinct[temperature].update(crystals.key_bytes())
    for temperature in TEMPERATURES:
        _, counts = np.unique(groups[temperature], return_counts=True)
        share = counts / counts.sum()
        print(
            f"temperature {temperature:3g}: {statistics.median(speed[temperature]):7.0f} trajectories a second; "
            f"{len(distinct[temperature]) / counts.sum():6.1%} of {counts.sum()} draws distinct, "
            f"{len(counts)} space groups, entropy {-(share * np.log(share)).sum():.2f} nats"
        )


if __name__ == "__main__":
    main()
