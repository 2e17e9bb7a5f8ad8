"""Encoding of real structures: share that comes back as it went in, reasons of those that do not, structures a second.

    python -m tests.benchmarks.bench_encode structures.csv.gz [--max-atoms 20] [-n 2000] [--symprec 0.01] [--seed 0]
        [--grid 48] [--length-bin 0.03] [--angle-bin 2] [--continuous-only]

Method: structures drawn at random from a table of structures (columns `lattice` and `sites`) with at most so many atoms
(-n 0: all of them) are encoded to crystals with continuous coordinates, decoded to primitive cells and compared with
what was read by pymatgen's StructureMatcher with its default tolerances, which scale the volume; beside it with tighter
ones that do not (0.02 of the mean distance between atoms, 1 % of lengths, 1 degree). Rates are of one process without
compilation.

Then the same with geometry on the grid: crystals are looked up (`WyckoffKernel.find`) in a world of all space groups
and all elements that occur, with any number of elements and no rule of charge, and decoded from its states. Once with
the default rules of contact, once without (0.01 angstrom), which tells what rounding costs from what the rules exclude.
"""

import argparse
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from envs.crystals import Crystals
from envs.elements import symbols
from envs.encode_structure import encode_structures
from envs.structure_files import StructureEntry, read_structure_files
from envs.structures import crystal_from_text, crystal_to_text, pymatgen_structures, wyckoff_labels
from envs.wyckoff_kernel import WyckoffKernel
from envs.wyckoff_space import WyckoffSpace


def timed(function: Any, *arguments: Any) -> tuple[Any, float]:
    """A function's result and its seconds."""
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def draw(path: Path, max_atoms: int, n: int, seed: int) -> tuple[list[StructureEntry], Counter[str], float]:
    """Entries drawn, the codes of entries that were refused, and entries read a second."""
    entries, seconds = timed(lambda: list(read_structure_files([path], max_atoms)))
    refused = Counter(entry.code for entry in entries if entry.code)
    readable = [entry for entry in entries if not entry.code]
    chosen = random.Random(seed).sample(readable, min(n, len(readable))) if n else readable
    return chosen, refused, len(entries) / seconds


def on_grid(
    crystals: Crystals,
    originals: list[Any],
    options: argparse.Namespace,
    matcher: Any,
    total: int,
    contact: dict[str, float],
) -> None:
    """Prints the share that comes back from the states of a world, and why the others do not."""
    names = symbols()
    space = WyckoffSpace(
        elements=tuple(names[z] for z in np.unique(crystals.atomic_number).tolist()),
        n_elements=(1, 8),
        n_atoms=(1, options.max_atoms),
        neutrality="off",
        grid=options.grid,
        length_bin=options.length_bin,
        angle_bin_deg=options.angle_bin,
        **contact,
    )
    kernel, seconds = timed(WyckoffKernel, space)
    print(f"world           {seconds:.1f} s, min_distance_a {space.min_distance_a}, min_contact {space.min_contact}")
    kernel.find(crystals[:300])  # compiles
    (states, inside, reasons), seconds = timed(kernel.find, crystals)
    print(f"found           {inside.sum()} of {len(crystals)}, {len(crystals) / seconds:.0f} crystals/s")
    for reason in [r for r in reasons if r and not r.startswith("too_close")][:20]:
        print(f"  {reason}")
    objects = kernel.objects(states[inside])
    decoded = pymatgen_structures(objects)
    kept, lost = np.flatnonzero(inside).tolist(), []
    for row, structure in zip(kept, decoded):
        if not matcher.fit(originals[row], structure):
            lost.append(row)
    labels = wyckoff_labels(crystals[np.array(lost, dtype=np.int64)])
    for row, label in zip(lost, labels):
        print(f"  {originals[row].formula}: not matched, {label}")
    volumes = np.log([d.volume / (originals[r].volume * len(d) / len(originals[r])) for r, d in zip(kept, decoded)])
    raised = np.mean(volumes > 1.01 * np.log1p(options.length_bin) / 2)
    print(f"volume raised   {raised:.2%} of those found, to keep atoms apart after rounding")
    print(f"outside, by reason {dict(Counter(r.partition(':')[0] for r in reasons if r))}, not matched {len(lost)}")
    print(f"matched         {(inside.sum() - len(lost)) / total:.4%} on the grid by default tolerances")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--max-atoms", type=int, default=20)
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--symprec", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", type=int, default=48)
    parser.add_argument("--length-bin", type=float, default=0.03)
    parser.add_argument("--angle-bin", type=float, default=2.0)
    parser.add_argument("--continuous-only", action="store_true")
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
    if not options.continuous_only:
        originals = [structures[row] for row in rows.tolist()]
        on_grid(crystals, originals, options, loose, total, {"min_distance_a": 0.01, "min_contact": 0.0})
        on_grid(crystals, originals, options, loose, total, {})


if __name__ == "__main__":
    main()
