"""Compute the exact probability of every formula of a small world under three samplers, for the README's picture.

    python docs/pictures/measure_proof.py

Trains `runs/configs/tiny_exact.yaml` (610 formulas of Li, Mn and O) three times on one thread: as it ships, by policy
gradient, and by policy gradient without the correction log P_B. The probabilities are computed over all build orders,
none is estimated by counting draws. They go into `proof.csv`, which `draw.py` turns into the picture.
"""

import csv
import tempfile
from pathlib import Path

import numpy as np

from oreflow.agent.config.run import load_config
from oreflow.agent.evaluation.exact import compare_exactly
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_checked, make_scorer
from oreflow.agent.training.loop import train

HERE = Path(__file__).parent
CONFIG = HERE.parent.parent / "runs" / "configs" / "tiny_exact.yaml"
POLICY_GRADIENT = ["sampler.kind=policy_gradient", "sampler.epsilon_start=0.0"]
CHANGES = {
    "gflownet": [],
    "policy_gradient": POLICY_GRADIENT,
    "without_log_p_b": [*POLICY_GRADIENT, "sampler.log_pb_correction=false"],
}


def main() -> None:
    columns: dict[str, np.ndarray] = {}
    formulas: list[str] = []
    for name, changes in CHANGES.items():
        config = load_config(CONFIG, [*changes, "run.threads=1"])
        kernel, reward = make_checked(config, CONFIG.name)
        with tempfile.TemporaryDirectory(prefix="oreflow-proof-") as scratch:
            folder = RunFolder(Path(scratch) / name)
            folder.create(config, overwrite=True, plugins=[])
            train(config, folder, kernel=kernel, reward=reward, quiet=True)
            run = load_run(folder)
            found = compare_exactly(run.kernel, run.policy, make_scorer(kernel, reward))
        formulas = kernel.objects(found.objects).formulas()
        columns["target"] = found.target
        columns[name] = found.learned
        print(f"{name}: total variation {found.total_variation:.4f}", flush=True)
    with (HERE / "proof.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["formula", *columns])
        for row, formula in enumerate(formulas):
            writer.writerow([formula, *(f"{values[row]:.6e}" for values in columns.values())])


if __name__ == "__main__":
    main()
