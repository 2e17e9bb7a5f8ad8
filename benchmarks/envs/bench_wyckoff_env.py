"""Random trajectories a second in the open crystal world, by part, without a network.

    python -m benchmarks.envs.bench_wyckoff_env [--threads 2] [--batch 512] [--rounds 7]

The world: all 230 groups, 84 elements, up to 20 atoms, hard neutrality, shape, coordinates and volume. A batch of
trajectories under uniform random legal actions is built once to fix its states; then masks, steps and tokens of these
states, level by level as in a rollout, are timed each on their own. An ended trajectory costs nothing. Excluded:
the world's tables, compilation and drawing actions. The fastest round is printed, as other programs only slow it down,
beside the median.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.records import write_timings
from oreflow.envs.contract.random_actions import random_allowed_actions
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace


def levels_of(kernel: WyckoffKernel, batch: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """States of random trajectories and the actions taken in them, level by level; ended trajectories left out."""
    states, levels = kernel.initial(batch), []
    while len(states):
        actions = random_allowed_actions(kernel.forward_allowed(states), rng.random(len(states)))
        levels.append((states, actions))
        states = kernel.step(states, actions)
        states = states[~kernel.is_terminal(states)]
    return levels


def seconds_of(work: Callable[[], object], rounds: int) -> list[float]:
    """Wall time of each round."""
    found = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="metrics.json of a record to write")
    options = parser.parse_args()
    import numba

    numba.set_num_threads(options.threads)
    started = time.perf_counter()
    kernel = WyckoffKernel(WyckoffSpace())
    tables = time.perf_counter() - started
    first = time.perf_counter()
    kernel.forward_allowed(kernel.initial(64))
    print(
        f"{options.threads} threads, {kernel.n_actions} actions, {kernel.n_tokens} tokens; tables {tables:.1f} s, "
        f"first masks {time.perf_counter() - first:.1f} s (compilation included, unless cached)"
    )
    levels = levels_of(kernel, options.batch, np.random.default_rng(0))
    n_states = sum(len(states) for states, _ in levels)
    mask = np.empty((options.batch, kernel.n_actions), dtype=np.bool_)
    parts: dict[str, Callable[[], object]] = {
        "masks": lambda: [kernel.forward_allowed(states, mask[: len(states)]) for states, _ in levels],
        "steps": lambda: [kernel.step(states, actions) for states, actions in levels],
        "tokens": lambda: [kernel.encode(states) for states, _ in levels],
    }
    print(f"{options.batch} trajectories, {n_states:,} states in {len(levels)} levels")
    runs, all_parts = {}, 0.0
    for name, work in parts.items():
        work()
        seconds = seconds_of(work, options.rounds)
        all_parts += min(seconds)
        runs[name] = {"seconds": min(seconds), "per_second": options.batch / min(seconds)}
        print(
            f"  {name:7} {min(seconds):7.4f} s (median {statistics.median(seconds):.4f}), "
            f"{options.batch / min(seconds):9,.0f} trajectories/s, {n_states / min(seconds):11,.0f} states/s"
        )
    runs["all parts"] = {"seconds": all_parts, "per_second": options.batch / all_parts}
    print(f"  all     {all_parts:7.4f} s, {options.batch / all_parts:26,.0f} trajectories/s")
    if options.json:
        arguments = ["--batch", options.batch, "--rounds", options.rounds]
        write_timings(options.json, "bench_wyckoff_env", arguments, runs, options.threads, started)


if __name__ == "__main__":
    main()
