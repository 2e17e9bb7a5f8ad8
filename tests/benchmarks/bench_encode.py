"""Encoding of real structures: share that comes back as it went in, reasons of those that do not, structures a second.

    python -m tests.benchmarks.bench_encode structures.csv.gz [--max-atoms 20] [-n 2000] [--symprec 0.01] [--seed 0]

Method: structures drawn at random from a table of structures (columns `lattice` and `sites`) with at most so many atoms
are encoded to crystals with continuous coordinates, decoded to primitive cells and compared with what was read by
pymatgen's StructureMatcher with its default tolerances, which scale the volume; beside it with tighter ones that do
not (0.02 of the mean distance between atoms, 1 % of lengths, 1 degree). Rates are of one process without compilation.
"""

import argparse
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

from envs.encode_structure import encode_structures
from envs.structure_files import StructureEntry, read_structure_files
from envs.structures import crystal_from_text, crystal_to_text, pymatgen_structures


def timed(function: Any, *arguments: Any) -> tuple[Any, float]:
    """A function's result and its seconds."""
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def draw(path: Path, max_atoms: int, n: int, seed: int) -> tuple[list[StructureEntry], Counter[str], float]:
    """Entries drawn, the codes of entries that were refused, and entries read a second."""
    entries, seconds = timed(lambda: list(read_structure_files([path], max_atoms)))
    refused = Counter(entry.code for entry in entries if entry.code)
    readable = [entry for entry in entries if not entry.code]
    return random.Random(seed).sample(readable, min(n, len(readable))), refused, len(entries) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--max-atoms", type=int, default=20)
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--symprec", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from pymatgen.analysis.structure_matcher import StructureMatcher

    entries, refused, rate = draw(options.data, options.max_atoms, options.n, options.seed)
    print(f"read            {rate:.0f} entries/s, refused {dict(refused)}")
    structures = [entry.structure for entry in entries]
    encode_structures(structures[:1])  # compiles
    (crystals, rows, errors), seconds = timed(encode_structures, structures, options.symprec)
    print(f"encoded         {len(crystals)} of {len(structures)}, {len(structures) / seconds:.0f} structures/s")
    again = crystal_from_text(crystal_to_text(crystals))
    decoded, seconds = timed(pymatgen_structures, again)
    print(f"decoded         {len(decoded) / seconds:.0f} structures/s, out of text")
    loose = StructureMatcher()
    tight = StructureMatcher(stol=0.02, ltol=0.01, angle_tol=1, scale=False)
    misses = [
        entries[row] for row, structure in zip(rows.tolist(), decoded) if not loose.fit(structures[row], structure)
    ]
    n_tight = sum(tight.fit(structures[row], structure) for row, structure in zip(rows.tolist(), decoded))
    matched = len(crystals) - len(misses)
    total = len(structures)
    print(f"matched         {matched / total:.4%} by default tolerances, {n_tight / total:.4%} by tight ones")
    print(f"not encoded     {dict(Counter(error.code for error in errors if error is not None))}")
    for entry, error in zip(entries, errors):
        if error is not None:
            print(f"  {entry.block} {entry.structure.formula}: {error.code}: {error}")
    for entry in misses:
        print(f"  {entry.block} {entry.structure.formula}: not matched")


if __name__ == "__main__":
    main()
