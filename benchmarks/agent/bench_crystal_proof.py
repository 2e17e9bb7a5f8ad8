"""Exact distance from R/Z over crystals: GFlowNets and policy gradient in a world of 302 crystals.

    python -m benchmarks.agent.bench_crystal_proof [--steps 3000] [--seed 0] [--out DIR] [--runs DIR]

Protocol: `runs/configs/tiny_crystals.yaml` as it ships, one thread, trained once by each sampler; then the probability
of every crystal is computed by pushing mass through all build orders and summed over the crystal's labelings
(`oreflow.agent.evaluation.exact`), none is sampled.

A sampler that took each labeling for a crystal of its own would end at n(x) R(x) / Z', n(x) being the number of
labelings. How far that is from R / Z is computed without training.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.agent.bench_proof import in_words, trained
from benchmarks.records import ROOT, command_line, machine, today, write_record
from oreflow.agent.config.run import Config, load_config
from oreflow.agent.evaluation.exact import compare_exactly, jensen_shannon, total_variation
from oreflow.agent.storage.checkpoint import load_policy, read_state
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_checked, make_policy, make_scorer, set_threads

CONFIG = Path("runs") / "configs" / "tiny_crystals.yaml"
# What each run changes in the config.
CHANGES: dict[str, list[str]] = {
    "trajectory_balance": [],
    "log_partition_variance": ["sampler.objective=log_partition_variance"],
    "policy_gradient": ["sampler.kind=policy_gradient", "sampler.objective=gae", "sampler.epsilon_start=0.0"],
}


def config_of(name: str, steps: int | None, seed: int) -> Config:
    """The config of one run."""
    changes = [*CHANGES[name], "run.threads=1"]
    if steps is not None:
        changes.append(f"sampler.steps={steps}")
    return load_config(ROOT / CONFIG, changes, seed)


def judge(config: Config, folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """Trains and compares; figures of the run, and of the world, which no training changes."""
    checkpoint = trained(config, folder)
    state = read_state(checkpoint)
    set_threads(config.run.threads)
    kernel, reward = make_checked(config, str(CONFIG))
    policy = make_policy(config, kernel)
    load_policy(checkpoint, policy)
    exact = compare_exactly(kernel, policy, make_scorer(kernel, reward, of_states=True))
    assert exact.n_invalid == 0
    assert abs(exact.learned.sum() - 1.0) < 1e-9
    labelings = kernel.labelings(exact.objects)[0]  # type: ignore[union-attr]  # a world of crystals
    counted = labelings * exact.target / (labelings * exact.target).sum()
    run = {
        "total_variation": exact.total_variation,
        "jensen_shannon_nats": exact.jensen_shannon,
        "log_z_error": exact.log_z_error,
        "total_variation_from_counted_target": total_variation(exact.learned, counted),
        "reward_calls": state["metrics"]["n_objects"],
        "steps": config.sampler.steps,
        "seconds": sum(json.loads(line)["seconds"] for line in folder.timings_path.read_text().splitlines()),
    }
    world = {
        "n_crystals": len(exact.objects),
        "n_labelings": int(labelings.sum()),
        "n_crystals_by_labelings": {int(n): int((labelings == n).sum()) for n in np.unique(labelings)},
        "log_z": exact.log_z,
        "total_variation_of_counted_target": total_variation(counted, exact.target),
        "jensen_shannon_nats_of_counted_target": jensen_shannon(counted, exact.target),
    }
    return run, world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="in place of the config's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder of the record")
    parser.add_argument("--runs", type=Path, help="folder that keeps the trained runs")
    options = parser.parse_args()
    runs, world = {}, {}
    with tempfile.TemporaryDirectory(prefix="oreflow-bench-") as scratch:
        for name in CHANGES:
            config = config_of(name, options.steps, options.seed)
            found, world = judge(config, RunFolder((options.runs or Path(scratch)) / name))
            runs[name] = {"changes": CHANGES[name]} | found
            print(f"{name}: {in_words(found)}", flush=True)
    print(
        f"{world['n_crystals']} crystals of {world['n_labelings']} labelings; n R / Z' is "
        f"{world['total_variation_of_counted_target']:.4f} from R / Z"
    )
    if options.out is None:
        return
    arguments: list[object] = ["--seed", options.seed]
    if options.steps is not None:
        arguments += ["--steps", options.steps]
    metrics = {
        "date": today(),
        "machine": machine(threads=1),
        "seconds": sum(run["seconds"] for run in runs.values()),
        "seed": options.seed,
        "config": CONFIG.as_posix(),
        "world": world,
        "runs": runs,
    }
    command = command_line("benchmarks.agent.bench_crystal_proof", *arguments, "--out", options.out.as_posix())
    write_record(options.out / "metrics.json", command, metrics, config_of("trajectory_balance", None, options.seed))


if __name__ == "__main__":
    main()
