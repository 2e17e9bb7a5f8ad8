"""Relaxations a minute of `oreflow relax`, by number of workers.

    python -m benchmarks.agent.bench_relax --data structures.csv.gz [-n 10] [--workers 1 2] [--max-sites 12]

Method: n structures of the table, drawn at random, are strained to between 85 and 115 % of their volume and each atom
is moved by 0.1 angstrom, so that there is something to relax. All of them are relaxed with the command's defaults, once
for each number of workers, in an empty folder. "In all" includes the start of the workers, which load torch and the
model once; "relaxing" is over the time spent on structures only, the sum of all relaxations' times over the workers.
"""

import argparse
import itertools
import statistics
import tempfile
from pathlib import Path

import numpy as np

from oreflow.agent.relaxation.inputs import Candidate
from oreflow.agent.relaxation.relax import Settings, relax_candidates
from oreflow.envs.structure_io.reading.files import read_structure_files


def strained(path: Path, n: int, max_sites: int, seed: int = 0) -> list[Candidate]:
    """Structures of a table, pushed off their minimum."""
    rng = np.random.default_rng(seed)
    read = (entry for entry in read_structure_files([path]) if entry.structure is not None)
    fitting = [e for e in itertools.islice(read, 100 * n) if 2 <= len(e.structure) <= max_sites]
    out = []
    for number in rng.permutation(len(fitting))[:n]:
        structure = fitting[number].structure
        structure.scale_lattice(structure.volume * rng.uniform(0.85, 1.15))
        steps = rng.normal(size=(len(structure), 3))
        for site, step in enumerate(0.1 * steps / np.linalg.norm(steps, axis=1, keepdims=True)):
            structure.translate_sites([site], step, frac_coords=False)
        out.append(Candidate(fitting[number].block, str(path), structure))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--max-sites", type=int, default=12)
    arguments = parser.parse_args()
    candidates = strained(arguments.data, arguments.n, arguments.max_sites)
    n_atoms = statistics.median(len(candidate.structure) for candidate in candidates)
    print(f"{len(candidates)} structures, {n_atoms:g} atoms in the median cell")
    for workers in arguments.workers:
        with tempfile.TemporaryDirectory() as folder:
            found = relax_candidates(candidates, Path(folder), Settings(), workers=workers, quiet=True)
        done = [record for record in found.records if record is not None and "n_steps" in record]
        busy = sum(record["seconds"] for record in done) / workers
        n_converged = sum(record["status"] == "converged" for record in done)
        print(
            f"{workers} workers: {60 * len(done) / found.seconds:5.1f} a minute in all, {60 * len(done) / busy:5.1f} "
            f"relaxing; {n_converged} converged, median {statistics.median(r['n_steps'] for r in done):g} steps",
            flush=True,
        )


if __name__ == "__main__":
    main()
