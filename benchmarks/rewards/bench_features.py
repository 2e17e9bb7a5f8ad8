"""Magpie features: equality with matminer, and formulas a second of both on one core and on two, in one process.

    python -m benchmarks.rewards.bench_features [--data formulas.csv] [--formulas 10000] [--rounds 5]

Method: equality is that of every number of all the formulas. Each round then times matminer on a tenth of the formulas,
and ours ten times on all of them, with one thread and with two that take half of the batch each. On two cores matminer
is credited with twice its rate on one, which its own two processes do not reach: they are started anew for each call.
The figures are medians over rounds, the ratios medians of the paired ratios. Compilation, imports and parsing are not
timed.
"""

import argparse
import statistics
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from tests.rewards.chemistry.test_magpie import random_compositions

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.chemistry.magpie import magpie_features

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

    few = theirs[: len(theirs) // 10]
    halves = [ours[: len(ours) // 2], ours[len(ours) // 2 :]]
    rates = []
    with ThreadPoolExecutor(2) as pool:
        for _ in range(arguments.rounds):
            matminer = len(few) / seconds(lambda: [peer.featurize(composition) for composition in few])
            one = len(ours) / seconds(lambda: magpie_features(ours), _REPEATS)
            two = len(ours) / seconds(lambda: list(pool.map(magpie_features, halves)), _REPEATS)
            rates.append((matminer, one, two))
    for cores in (1, 2):
        peers, own = [cores * rate[0] for rate in rates], [rate[cores] for rate in rates]
        ratio = statistics.median(a / b for a, b in zip(own, peers))
        print(
            f"{cores} core{'s' if cores > 1 else ' '}  oreflow {statistics.median(own):11,.0f} formulas/s   "
            f"matminer {statistics.median(peers):7,.0f}/s   {ratio:6.0f} x"
        )


if __name__ == "__main__":
    main()
