"""Environment steps a second under uniform random legal actions.

    python -m benchmarks.envs.bench_env [--threads 2] [--rounds 7] [--seconds 1.0] [--num-envs 1024 4096]

Counted: transitions, that is rows on which an action was carried out; the rows that a NEXT_STEP environment spends on
resetting are not. Included: drawing the actions from the masks, legality checks, transitions, masks, the scorer (a
constant), ends and automatic resets. Excluded: compilation and one round to warm up. The median of the rounds is
printed, with and without copies of observations and masks.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.records import write_timings
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.composition.kernel import CompositionKernel
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.random_actions import random_allowed_actions
from oreflow.envs.faces.vector import KernelVectorEnv

WORLDS = {
    "89 elements, up to 5, counts to 16, no charge rule": CompositionSpace(
        elements=tuple(symbols()[1:90]), n_elements=(1, 5), n_atoms=(1, 80), count=(1, 16), neutrality="off"
    ),
    "the default world (84 elements, hard neutrality)": CompositionSpace(),
}


class RandomSteps:
    """A vector environment under random legal actions, over several calls."""

    def __init__(self, kernel: CompositionKernel, num_envs: int, copy: bool) -> None:
        self.env = KernelVectorEnv(kernel, num_envs=num_envs, copy=copy)
        self.rng = np.random.default_rng(0)
        self.mask = self.env.reset(seed=0)[1]["action_mask"]
        self.resting = np.zeros(num_envs, dtype=np.bool_)

    def rate(self, seconds: float) -> float:
        """Transitions a second over at least `seconds`."""
        n, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            actions = random_allowed_actions(self.mask, self.rng.random(len(self.mask)))
            _, _, ends, _, info = self.env.step(actions)
            n += len(actions) - int(self.resting.sum())
            self.mask, self.resting = info["action_mask"], ends
        return n / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of one round")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[1024, 4096, 8192])
    parser.add_argument("--json", type=Path, help="metrics.json of a record to write")
    options = parser.parse_args()
    runs: dict[str, dict[str, float]] = {}
    started = time.perf_counter()
    import numba

    numba.set_num_threads(options.threads)
    print(f"{os.cpu_count()} cores, {options.threads} threads, median of {options.rounds} rounds")
    for label, space in WORLDS.items():
        kernel = CompositionKernel(space)
        print(f"{label}, {kernel.n_actions} actions")
        for num_envs in options.num_envs:
            for copy in (False, True):
                steps = RandomSteps(kernel, num_envs, copy)
                steps.rate(options.seconds)
                rates = [steps.rate(options.seconds) for _ in range(options.rounds)]
                print(
                    f"  num_envs {num_envs:6d}, copy={copy!s:5}  {statistics.median(rates):11,.0f} steps/s "
                    f"({min(rates):,.0f} to {max(rates):,.0f})",
                    flush=True,
                )
                runs[f"{label}, {num_envs} rows, copy={copy}"] = {"per_second": statistics.median(rates)}
    if options.json:
        arguments = ["--rounds", options.rounds, "--num-envs", *options.num_envs]
        write_timings(options.json, "bench_env", arguments, runs, options.threads, started)


if __name__ == "__main__":
    main()
