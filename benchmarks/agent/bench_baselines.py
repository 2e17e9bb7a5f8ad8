"""The samplers that learn nothing, at equal reward calls: what their proposals are worth.

    python -m benchmarks.agent.bench_baselines --data FILE [--config FILE] [--steps N] [--batch N] [--seeds N]

World and reward are those of a config of formulas, by default quickstart's, without its prior. `--data` is a table of
known formulas: what ion exchange and decoration start from, and what counts as known. All steps * batch proposals of
a search are looked at, repeats included.
"""

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np

from oreflow.agent.config.run import load_config
from oreflow.agent.config.sampler import FROM_KNOWN
from oreflow.agent.tables.candidates import verdicts
from oreflow.agent.tables.formulas import is_known, read_reference
from oreflow.agent.training.build import make_kernel, make_learner, make_reward, set_threads
from oreflow.agent.training.ledgers.failures import RewardFailures
from oreflow.agent.training.ledgers.ledger import RewardLedger
from oreflow.envs.objects.compositions import Compositions

KINDS = ("random", "metropolis_hastings", "genetic", *FROM_KNOWN)
GOOD = -2.0  # log R


def figures(kind: str, seed: int, known: Compositions, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Search once, and look at all that was proposed."""
    path = arguments.data if kind in FROM_KNOWN else "null"
    changes = [
        f"sampler.kind={kind}",
        "sampler.epsilon_start=0",
        "target.prior=null",
        f"sampler.batch={arguments.batch}",
    ]
    changes += [f"sampler.steps={arguments.steps}", f"sampler.warm_start.path={path}"]
    config = load_config(arguments.config, changes, seed)
    set_threads(1)
    kernel, reward = make_kernel(config), make_reward(config)
    learner = make_learner(config, kernel)
    ledger = RewardLedger(kernel, reward, RewardFailures(folder / "failures.jsonl"), 1.0, config.target)
    updates = [learner.step(step, ledger) for step in range(arguments.steps)]
    assert ledger.n_objects == arguments.steps * arguments.batch
    objects = kernel.objects(np.concatenate([update.states for update in updates]))
    log_reward = np.concatenate([np.where(u.values.valid, u.values.log_reward, np.nan) for u in updates])
    rule = config.world.charge_rule()
    assert rule is not None
    neutral, ordered = verdicts(objects, rule.table, rule.mixed_valence)
    new, keys = ~is_known(objects, known), objects.key_bytes()
    good = {key for key, is_new, value in zip(keys, new, log_reward) if is_new and value > GOOD}
    return {
        "mean log R": float(np.nanmean(log_reward)),
        "distinct": len(set(keys)) / len(keys),
        "new": float(new.mean()),
        "neutral": float(np.mean(neutral.fillna(False))),
        "in order": float(np.mean(ordered.fillna(False))),
        f"new, log R > {GOOD:g}": float(len(good)),
    }


def main() -> None:
    """Print a line for each sampler: every figure as its range over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="table of known formulas")
    parser.add_argument("--config", default="runs/configs/quickstart.yaml")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    known, _ = read_reference(arguments.data)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in KINDS:
            found = [figures(kind, seed, known, arguments, Path(folder)) for seed in range(arguments.seeds)]
            ranges = {name: [one[name] for one in found] for name in found[0]}
            shown = (f"{name} {min(values):.4g} to {max(values):.4g}" for name, values in ranges.items())
            print(f"{kind}: {'; '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
