"""Exact total variation on the 16 x 16 hypergrid after 32 000 reward calls, through the objectives of this project.

    python -m benchmarks.agent.bench_hypergrid [--seeds 5] [--objective NAME ...] [--json FILE]

Protocol of torchgfn's notebook on policy gradients: R0 = 0.1, R1 = 0.5, R2 = 2, uniform P_B, 16 trajectories a step,
2000 steps, multilayer perceptron 2 x 256. The terminating distribution is computed, not sampled.

`--json` writes the record to FILE after each run, its protocol and command beside it; runs that are in it already are
not repeated, so that it can be stopped and go on.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.hypergrid import HypergridKernel, HypergridReward

from benchmarks.records import command_line, earlier_runs, machine, today, write_record
from oreflow.agent.config.run import Config, validate_config
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.storage.checkpoint import load_policy
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_policy
from oreflow.agent.training.loop import train

# Keys that differ from the config's defaults, by objective; chosen on seeds 100 and 101, which are not reported.
SETTINGS: dict[str, dict[str, Any]] = {
    "trajectory_balance": {"learning_rate": 3e-3},
    "detailed_balance": {"learning_rate": 3e-3},
    "sub_trajectory_balance": {"learning_rate": 3e-3},
    "log_partition_variance": {"learning_rate": 3e-3},
    "baseline": {"learning_rate": 1e-3},
    "gae": {"learning_rate": 1e-3},
    "entropic_ppo": {"learning_rate": 1e-3},
}
POLICY_GRADIENT = ("baseline", "gae", "entropic_ppo")


def config_of(objective: str, seed: int, **changes: Any) -> Config:
    """The config of one run; the world it names stands for nothing, the kernel is given."""
    sampler = {
        "kind": "policy_gradient" if objective in POLICY_GRADIENT else "gflownet",
        "objective": objective,
        "batch": 16,
        "steps": 2000,
    }
    if objective not in POLICY_GRADIENT:
        sampler["epsilon_start"] = 0.0
    return validate_config(
        {
            "schema_version": 1,
            "seed": seed,
            "world": {"elements": ["Li", "O"], "neutrality": "off"},
            "reward": {"terms": [{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 1.0}}]},
            "sampler": sampler | SETTINGS[objective] | changes,
            "run": {"threads": 1, "log_every_steps": 1000, "checkpoint_every_steps": 100_000},
        },
        "hypergrid",
    )


def total_variation(objective: str, seed: int, **changes: Any) -> dict[str, float]:
    """One training and its exact figures."""
    config, kernel, reward = config_of(objective, seed, **changes), HypergridKernel(), HypergridReward()
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(Path(scratch) / "run")
        folder.create(config, overwrite=False, plugins=[])
        started = time.perf_counter()
        result = train(config, folder, kernel=kernel, reward=reward, quiet=True)  # type: ignore[arg-type]
        seconds = time.perf_counter() - started
        if result.stopped_by is not None:
            raise SystemExit(f"stopped by {result.stopped_by}")
        policy = make_policy(config, kernel)
        load_policy(result.checkpoint, policy)
    exact = compare_exactly(kernel, policy, lambda states: reward(kernel.objects(states)).log_reward)
    return {
        "total_variation": exact.total_variation,
        "log_z_error": result.metrics["log_z"] - exact.log_z,
        "reward_calls": result.metrics["n_objects"],
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--objective", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--set", nargs="*", default=[], help="keys of sampler, name=value in JSON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the record, a metrics.json in a folder of its own")
    options = parser.parse_args()
    changes = {name: json.loads(value) for name, _, value in (text.partition("=") for text in options.set)}
    header = {"machine": machine(threads=1), "changes": changes}
    objectives = earlier_runs(options.json, header)
    for objective in options.objective:
        row = objectives.setdefault(objective, {"by_seed": {}})
        seeds = [str(seed) for seed in range(options.first_seed, options.first_seed + options.seeds)]
        for seed in seeds:
            if seed not in row["by_seed"]:
                row["by_seed"][seed] = total_variation(objective, int(seed), **changes)
            if options.json is not None:
                _write(options.json, header, objectives, changes)
        print(f"{objective}: {_line([row['by_seed'][seed] for seed in seeds])}", flush=True)


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """The figures of one objective over its seeds."""
    return {
        "median_total_variation": statistics.median(run["total_variation"] for run in runs),
        "largest_total_variation": max(run["total_variation"] for run in runs),
        "largest_log_z_error": max(abs(run["log_z_error"]) for run in runs),
        "reward_calls": runs[0]["reward_calls"],
        "median_seconds": statistics.median(run["seconds"] for run in runs),
    }


def _line(runs: list[dict[str, float]]) -> str:
    found = summary(runs)
    return (
        f"median {found['median_total_variation']:.4f} of "
        f"{np.round(sorted(run['total_variation'] for run in runs), 4).tolist()}, largest log Z error "
        f"{found['largest_log_z_error']:.3f}, {found['reward_calls']:.0f} reward calls, {found['median_seconds']:.0f} s"
    )


def _write(path: Path, header: dict[str, Any], objectives: dict[str, Any], changes: dict[str, Any]) -> None:
    """The record of all runs so far."""
    for row in objectives.values():
        row |= summary(list(row["by_seed"].values()))
    seconds = sum(run["seconds"] for row in objectives.values() for run in row["by_seed"].values())
    seeds = sorted({int(seed) for row in objectives.values() for seed in row["by_seed"]})
    arguments: list[object] = ["--seeds", len(seeds)]
    if seeds[0]:
        arguments += ["--first-seed", seeds[0]]
    if list(objectives) != list(SETTINGS):
        arguments += ["--objective", *objectives]
    if changes:
        arguments += ["--set", *(f"{name}={json.dumps(value)}" for name, value in changes.items())]
    command = command_line("benchmarks.agent.bench_hypergrid", *arguments, "--json", path.as_posix())
    reward = HypergridReward()
    protocol = {
        "world": {"kind": "hypergrid", "side": reward.side, "r0": reward.r0, "r1": reward.r1, "r2": reward.r2},
        "seeds": seeds,
        "sampler": {
            objective: config_of(objective, 0, **changes).sampler.model_dump(mode="json") for objective in objectives
        },
    }
    write_record(path, command, header | {"date": today(), "seconds": seconds, "runs": objectives}, protocol)


if __name__ == "__main__":
    main()
