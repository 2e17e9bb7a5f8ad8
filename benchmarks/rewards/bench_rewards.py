"""The reward of a search, all of it: compositions a second, import time and first call.

    python -m benchmarks.rewards.bench_rewards [--threads 2] [--batch 4096] [--rounds 7]

Method: charge balance, electronegativity balance and formation energy (132 Magpie features and the ensemble) of random
compositions of two to five elements, none seen before in the process; median of the rounds after one that compiles.
The peer, in the same rounds, is what one would write without oreflow: SMACT's verdict and matminer's features, one
formula after the other, without any energy model. Import and first call are those of fresh processes, median of five.
"""

import argparse
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np
from tests.rewards.chemistry.test_magpie import random_compositions

from oreflow.envs.objects.compositions import Compositions

_TERMS = (
    '[{"name": "charge_balance", "shape": {"kind": "minimise", "beta": 1.0}},'
    ' {"name": "electronegativity_balance", "shape": {"kind": "verdict", "log_penalty": 1.0}},'
    ' {"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]'
)
_FRESH = {
    "python -c pass": "",
    "import oreflow.rewards": "import oreflow.rewards",
    "first reward of 256 compositions, kernels compiled before": (
        "from oreflow import rewards; from oreflow.envs.objects.compositions import Compositions; "
        f"rewards.build({_TERMS})(Compositions.from_dicts([{{11: 1, 17: n}} for n in range(1, 257)]))"
    ),
}


def new_compositions(n: int, seed: int) -> Compositions:
    """Random compositions of two to five elements."""
    dicts = [d for d in random_compositions(2 * n, seed=seed) if 2 <= len(d) <= 5]
    return Compositions.from_dicts(dicts[:n])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer-formulas", type=int, default=100)
    arguments = parser.parse_args()
    for name, code in _FRESH.items():
        subprocess.run([sys.executable, "-c", code], check=True)  # compiles, warms the disk cache
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            seconds.append(time.perf_counter() - start)
        print(f"{name:60s} {statistics.median(seconds):6.3f} s")

    from oreflow import rewards  # before torch: it sets how threads wait

    import torch  # isort: skip

    torch.set_num_threads(arguments.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from matminer.featurizers.composition import ElementProperty
        from pymatgen.core import Composition
        from smact.screening import smact_validity

        featurizer = ElementProperty.from_preset("magpie", impute_nan=False)
        reward = rewards.build(eval(_TERMS))
        reward(new_compositions(arguments.batch, seed=0))
        ours, ratios = [], []
        for i in range(arguments.rounds):
            batch = new_compositions(arguments.batch, seed=1 + i)
            start = time.perf_counter()
            result = reward(batch)
            ours.append(len(batch) / (time.perf_counter() - start))
            assert np.isfinite(result.log_reward[result.valid]).all()
            peers = [Composition(text) for text in batch[: arguments.peer_formulas].formulas()]
            start = time.perf_counter()
            for composition in peers:
                smact_validity(composition)
                featurizer.featurize(composition)
            ratios.append(ours[-1] * (time.perf_counter() - start) / len(peers))
    print(
        f"charge, electronegativity, features, ensemble: {statistics.median(ours):,.0f} new compositions/s "
        f"({min(ours):,.0f} to {max(ours):,.0f}), {arguments.threads} threads, batch {arguments.batch}"
    )
    print(f"against SMACT and matminer, without an energy model: {statistics.median(ratios):,.0f} times")


if __name__ == "__main__":
    main()
