"""Formation-energy model: compositions a second, features included, by batch size.

    python -m tests.benchmarks.bench_energy [--model energy_v1] [--threads 2] [--rounds 5]

Method: random compositions of two to five elements, as a search proposes them; the best and the median of the rounds
after one that is not timed. The resident memory at the end tells whether chunking keeps it flat.
"""

import argparse
import resource
import statistics
import time

import numpy as np

from envs.compositions import Compositions
from rewards.energy_model import EnergyModel
from tests.test_features import random_compositions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="energy_v1")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    model = EnergyModel.load(arguments.model)
    dicts = [d for d in random_compositions(20_000, seed=0) if 2 <= len(d) <= 5]
    pool = Compositions.from_dicts(dicts)
    print(f"{arguments.model}: {model.card['n_parameters']:,} parameters, {arguments.threads} threads")
    for n in (1, 32, 256, 1024, 8192, 65536):
        batch = pool[np.arange(n) % len(pool)]
        model.predict(batch)
        seconds = []
        for _ in range(arguments.rounds):
            start = time.perf_counter()
            model.predict(batch)
            seconds.append(time.perf_counter() - start)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"batch {n:6d}: median {n / statistics.median(seconds):10,.0f}, best {n / min(seconds):10,.0f} "
            f"compositions/s, peak memory {memory:6.0f} MiB"
        )


if __name__ == "__main__":
    main()
