"""Whether exploration, replay and local search pay: exact total variation at equal reward calls.

    python -m benchmarks.agent.bench_recipes [--recipe NAME ...] [--steps 4000] [--seeds 2] [--out DIR]

Protocol: `runs/configs/exact_energy.yaml` (23 842 formulas, trajectory balance, 256 trajectories a step) with fewer
steps, so that the learning rate falls earlier, and one thread. A recipe that spends reward calls elsewhere rolls out
less, or replays on top: with replay 256 trajectories of a step are new and 85 old; local search takes 128 and tries to
better each once. Calls are counted, not assumed.

`--out` writes the record after each run, and runs that are in it already are not repeated.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.agent.bench_proof import CONFIG, coverage
from benchmarks.records import ROOT, command_line, earlier_runs, machine, today, write_record
from oreflow.agent.config.run import Config, load_config
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.storage.checkpoint import load_policy
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_checked, make_policy, make_scorer
from oreflow.agent.training.loop import train

# What each recipe changes in the config.
RECIPES: dict[str, list[str]] = {
    "exploration": ["sampler.epsilon_start=0.05"],
    "no_exploration": ["sampler.epsilon_start=0.0"],
    "replay": ["sampler.epsilon_start=0.05", "sampler.replay.share=0.25", "sampler.batch=341"],
    "local_search": ["sampler.epsilon_start=0.05", "sampler.local_search.rounds=1", "sampler.batch=128"],
}


def config_of(recipe: str, steps: int, seed: int) -> Config:
    """The config of one run."""
    return load_config(ROOT / CONFIG, [*RECIPES[recipe], f"sampler.steps={steps}", "run.threads=1"], seed)


def run(config: Config) -> dict[str, Any]:
    """One training and its exact figures."""
    kernel, reward = make_checked(config, str(CONFIG))
    with tempfile.TemporaryDirectory(prefix="oreflow-bench-") as scratch:
        folder = RunFolder(Path(scratch) / "run")
        folder.create(config, overwrite=False, plugins=[])
        result = train(config, folder, kernel=kernel, reward=reward, quiet=True)
        if result.stopped_by is not None:
            raise SystemExit(f"stopped by {result.stopped_by}")
        seconds = sum(json.loads(line)["seconds"] for line in folder.timings_path.read_text().splitlines())
        policy = make_policy(config, kernel)
        load_policy(result.checkpoint, policy)
    exact = compare_exactly(kernel, policy, make_scorer(kernel, reward))
    return {
        "total_variation": exact.total_variation,
        "jensen_shannon_nats": exact.jensen_shannon,
        "log_z_error": result.metrics["log_z"] - exact.log_z,
        **coverage(exact.learned, exact.target),
        "reward_calls": result.metrics["n_objects"],
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", nargs="*", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder of the record")
    options = parser.parse_args()
    base = config_of("exploration", options.steps, seed=0)
    header = {"machine": machine(threads=1), "config": CONFIG.as_posix(), "steps": options.steps}
    record = options.out / "metrics.json" if options.out is not None else None
    runs = earlier_runs(record, header)
    for recipe in options.recipe:
        row = runs.setdefault(recipe, {"changes": RECIPES[recipe], "by_seed": {}})
        for seed in range(options.seeds):
            if str(seed) not in row["by_seed"]:
                row["by_seed"][str(seed)] = run(config_of(recipe, options.steps, seed))
            if record is not None:
                arguments: list[object] = ["--steps", options.steps, "--seeds", options.seeds]
                if list(runs) != list(RECIPES):
                    arguments += ["--recipe", *runs]
                arguments += ["--out", options.out.as_posix()]
                total = sum(found["seconds"] for row in runs.values() for found in row["by_seed"].values())
                metrics = header | {"date": today(), "seconds": total, "runs": runs}
                write_record(record, command_line("benchmarks.agent.bench_recipes", *arguments), metrics, base)
        found = list(row["by_seed"].values())
        print(
            f"{recipe:12s} total variation {statistics.median(r['total_variation'] for r in found):.4f} (median of "
            f"{[round(r['total_variation'], 4) for r in found]}), log Z errors "
            f"{[round(r['log_z_error'], 3) for r in found]}, {statistics.median(r['reward_calls'] for r in found):.0f} "
            f"reward calls, {statistics.median(r['seconds'] for r in found):.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
