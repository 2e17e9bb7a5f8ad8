"""Magpie features: equality with matminer, and formulas a second of both, in one process each on one core and on two.

    python -m tests.benchmarks.bench_features [--data formulas.csv] [--formulas 10000] [--rounds 5]

Method: equality is that of every number of all the formulas. Each round then times matminer and ours on the same
formulas, a tenth of them on one core each, and all of them on two: matminer by its own `featurize_many` with two
processes, ours by two threads with half of the batch each. Ours runs ten times as often within a round. The figures are
medians over rounds, the ratios medians of the paired ratios. Compilation, imports and parsing are not timed; matminer's
time on two cores includes starting its processes, which is what its users wait for.
"""

import argparse
import statistics
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from envs.compositions import Compositions
from envs.decode import parse_formulas
from rewards.features import magpie_features
from tests.test_features import random_compositions

_REPEATS = 10


def read(path: str | None, n: int) -> tuple[list[Any], Compositions]:
    """n formulas as matminer and as oreflow take them: a random choice of a table's, or random ones."""
    from pymatgen.core import Composition

    if path is None:
        ours = Compositions.from_dicts(random_compositions(n, seed=0))
        return [Composition(text) for text in ours.formulas()], ours
    texts = pd.read_csv(path, keep_default_na=False, dtype=str)["formula"].to_numpy()
    texts = np.random.default_rng(0).permutation(texts)
    ours, rows, _ = parse_formulas(texts[:n].tolist())
    return [Composition(texts[row]) for row in rows.tolist()], ours


def check_equality(peer: Any, theirs: list[Any], ours: Compositions) -> None:
    """Prints how many rows agree and the largest deviation."""
    features, valid = magpie_features(ours)
    expected = np.array([peer.featurize(composition) for composition in theirs], dtype=np.float64)
    known = valid & ~np.isnan(expected).any(axis=1)
    same_scope = int((valid == ~np.isnan(expected).any(axis=1)).sum())
    scale = np.maximum(np.abs(expected[known]), 1e-4)  # deviations that are zero but for rounding
    deviation = np.abs(features[known] - expected[known]) / scale
    n_equal = int((deviation <= 1e-6).all(axis=1).sum())
    print(f"{len(ours)} formulas: both complete or both not for {same_scope}; of {known.sum()} complete ones")
    print(f"{n_equal} equal matminer's 132 numbers to 1e-6 relative; largest deviation {deviation.max():.1e}")


def seconds(function: Any, repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="CSV, also gzipped, with a column `formula`; random formulas without it")
    parser.add_argument("--formulas", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # pymatgen warns about elements without data
    from matminer.featurizers.composition import ElementProperty

    peer = ElementProperty.from_preset("magpie", impute_nan=False)
    theirs, ours = read(arguments.data, arguments.formulas)
    check_equality(peer, theirs, ours)

    few = len(ours) // 10
    halves = [ours[: len(ours) // 2], ours[len(ours) // 2 :]]
    peer.set_n_jobs(2)
    rates: dict[str, list[float]] = {}

    def note(name: str, n: int, taken: float) -> None:
        rates.setdefault(name, []).append(n / taken)

    with ThreadPoolExecutor(2) as pool:
        for _ in range(arguments.rounds):
            note(
                "matminer, one core",
                few,
                seconds(lambda: [peer.featurize(composition) for composition in theirs[:few]]),
            )
            note("oreflow, one core", len(ours), seconds(lambda: magpie_features(ours), _REPEATS))
            note("matminer, two cores", len(ours), seconds(lambda: peer.featurize_many(theirs, pbar=False)))
            two = seconds(lambda: list(pool.map(magpie_features, halves)), _REPEATS)
            note("oreflow, two cores", len(ours), two)
    for cores in ("one core", "two cores"):
        a, b = rates[f"oreflow, {cores}"], rates[f"matminer, {cores}"]
        ratio = statistics.median(x / y for x, y in zip(a, b))
        print(
            f"{cores:10s} oreflow {statistics.median(a):12,.0f} formulas/s   matminer {statistics.median(b):7,.0f}/s   "
            f"{ratio:6.0f} x"
        )


if __name__ == "__main__":
    main()
