"""Magpie features: formulas a second, ours against matminer, in one process.

    python -m tests.benchmarks.bench_features [--formulas 400] [--rounds 5]

Method: each round times matminer on n random compositions of one to seven elements, then ours on the same n and on 100
times as many; the figure is the median over rounds of the paired ratios. Compilation and imports are not timed.
"""

import argparse
import statistics
import time
import warnings

from envs.compositions import Compositions
from rewards.features import magpie_features
from tests.test_features import random_compositions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matminer.featurizers.composition import ElementProperty
        from pymatgen.core import Composition, Element

        peer = ElementProperty.from_preset("magpie", impute_nan=False)
    n = arguments.formulas
    dicts = random_compositions(n, seed=0)
    theirs = [Composition({Element.from_Z(z): count for z, count in d.items()}) for d in dicts]
    ours = Compositions.from_dicts(dicts)
    large = Compositions.concatenate([ours] * 100)
    magpie_features(ours)
    peer.featurize(theirs[0])

    rates: dict[str, list[float]] = {"matminer": [], "oreflow": [], "oreflow, batch x 100": []}
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        for composition in theirs:
            peer.featurize(composition)
        rates["matminer"].append(n / (time.perf_counter() - start))
        for name, batch in (("oreflow", ours), ("oreflow, batch x 100", large)):
            start = time.perf_counter()
            magpie_features(batch)
            rates[name].append(len(batch) / (time.perf_counter() - start))
    for name, values in rates.items():
        ratio = statistics.median(v / m for v, m in zip(values, rates["matminer"]))
        print(f"{name:22s} {statistics.median(values):12,.0f} formulas/s   {ratio:8.1f} x matminer")


if __name__ == "__main__":
    main()
