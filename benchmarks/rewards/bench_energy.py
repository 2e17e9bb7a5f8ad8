"""Shipped property model: speed by batch size, and, with the table it was fitted on, its errors beside a peer's.

    python -m benchmarks.rewards.bench_energy [--model energy_v2] [--threads 2] [--rounds 5]
    python -m benchmarks.rewards.bench_energy --data compositions.csv.gz [--seed 0] [--peer-iterations 1000]
    python -m benchmarks.rewards.bench_energy --config runs/configs/quickstart.yaml

Speed: random compositions of two to five elements, as a search proposes them; the best and the median of the rounds
after one that is not timed. The resident memory at the end tells whether chunking keeps it flat.

Errors: the table is split as `fit_energy` splits it, the stored weights predict the two test parts, and scikit-learn's
HistGradientBoostingRegressor (absolute error) is fitted to the 132 Magpie features of the same training rows, with
early stopping on a part of them.

Distance: the share of uniform random objects of a config's world that are farther from the training data than the
model's threshold; a search that starts there would lose it if the threshold were its `max_distance`.
"""

import argparse
import resource
import statistics
import time
from pathlib import Path

import numpy as np
from tests.rewards.chemistry.test_magpie import random_compositions

from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.chemistry.magpie import magpie_features
from oreflow.rewards.models.composition.data import read_property_table
from oreflow.rewards.models.composition.fit import TEST_CHEMSYS_SHARE, TEST_SHARE, VALIDATION_SHARE
from oreflow.rewards.models.composition.model import DEFAULT_MODEL, EnergyModel
from oreflow.rewards.models.ensemble.metrics import error_metrics
from oreflow.rewards.models.ensemble.tables import split_table


def speed(model: EnergyModel, rounds: int) -> None:
    dicts = [d for d in random_compositions(20_000, seed=0) if 2 <= len(d) <= 5]
    pool = Compositions.from_dicts(dicts)
    for n in (1, 32, 256, 1024, 8192, 65536):
        batch = pool[np.arange(n) % len(pool)]
        model.predict(batch)
        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            model.predict(batch)
            seconds.append(time.perf_counter() - start)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"batch {n:6d}: median {n / statistics.median(seconds):10,.0f}, best {n / min(seconds):10,.0f} "
            f"compositions/s, peak memory {memory:6.0f} MiB"
        )


def errors(model: EnergyModel, data: Path, formula_column: str, seed: int, peer_iterations: int) -> None:
    table = read_property_table(
        data,
        formula_column=formula_column,
        target_column=model.target_name,
        formation_energy=model.is_formation_energy,
    )
    if table.report["sha256"] != model.card["data"]["sha256"]:
        print(f"{data} is not the table the model was fitted on: some of its rows may have been fitted")
    seed_split = np.random.SeedSequence(seed).spawn(1)[0]
    split = split_table(
        table, seed_split, validation=VALIDATION_SHARE, test=TEST_SHARE, test_chemsys=TEST_CHEMSYS_SHARE
    )
    parts = {"random formulas": split.test, "new chemical systems": split.test_chemsys}
    for name, rows in parts.items():
        m = error_metrics(model, table.compositions[rows], table.values[rows])
        print(
            f"{model.directory.name:12s} {name:22s} MAE {m['mae']:.4f} {model.unit}, 90 % interval "
            f"{100 * m['coverage_90']:.1f} %, Spearman of std and |error| {m['spearman_std_error']:.3f} ({m['n']} rows)"
        )
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError:
        print("no peer: scikit-learn is not installed (`pip install scikit-learn`)")
        return
    peer = HistGradientBoostingRegressor(
        loss="absolute_error", max_iter=peer_iterations, learning_rate=0.1, max_leaf_nodes=63, early_stopping=True,
        validation_fraction=0.05, n_iter_no_change=30, random_state=0,
    )  # fmt: skip
    start = time.perf_counter()
    peer.fit(magpie_features(table.compositions[split.train], np.float32)[0], table.values[split.train])
    seconds = time.perf_counter() - start
    for name, rows in parts.items():
        predicted = peer.predict(magpie_features(table.compositions[rows], np.float32)[0])
        error = np.abs(predicted - table.values[rows]).mean()
        print(f"{'boosted trees':12s} {name:22s} MAE {error:.4f} {model.unit} ({len(rows)} rows)")
    print(f"boosted trees: {peer.n_iter_} iterations on {len(split.train)} rows in {seconds:.0f} s")


def share_far(model: EnergyModel, config: Path, n: int = 10_000) -> None:
    # Not above: the package agent changes how OpenMP's threads wait, and with it the speed that is measured here.
    from oreflow.agent.config.run import load_config
    from oreflow.envs.composition.kernel import CompositionKernel

    kernel = CompositionKernel(load_config(config).world.space())
    prediction = model.predict(kernel.objects(kernel.sample_uniform(n, np.random.default_rng(0))))
    distance = prediction.distance[prediction.in_scope]
    beyond = 100 * (distance > model.distance_threshold).mean()
    quantiles = ", ".join(f"{100 * q:g} % {np.quantile(distance, q):.3f}" for q in (0.5, 0.9, 0.99, 0.999))
    print(
        f"{len(distance)} of {n} uniform random objects of {config} in scope; "
        f"{beyond:.1f} % beyond the distance {model.distance_threshold:.3f}; "
        f"quantiles of the distance: {quantiles}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data", type=Path, help="table that the model was fitted on: errors instead of speed")
    parser.add_argument("--config", type=Path, help="config of a world: distances of its random objects")
    parser.add_argument("--formula-column", default="formula")
    parser.add_argument("--seed", type=int, default=0, help="seed of the fit, for the same split")
    parser.add_argument("--peer-iterations", type=int, default=1000)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    model = EnergyModel.load(arguments.model)
    print(f"{arguments.model}: {model.card['n_parameters']:,} parameters, {arguments.threads} threads")
    if arguments.config is not None:
        share_far(model, arguments.config)
    elif arguments.data is None:
        speed(model, arguments.rounds)
    else:
        errors(model, arguments.data, arguments.formula_column, arguments.seed, arguments.peer_iterations)


if __name__ == "__main__":
    main()
