"""Encoding of real structures: share that comes back as it went in, reasons of those that do not, structures a second.

    python -m benchmarks.envs.bench_encode structures.csv.gz [--max-atoms 20] [-n 2000] [--symprec 0.01] [--seed 0]
        [--grid 48] [--length-bin 0.03] [--angle-bin 2] [--only continuous]

Method: structures drawn at random from a table of structures (columns `lattice` and `sites`) with at most so many atoms
(-n 0: all of them) are encoded to crystals with continuous coordinates, decoded to primitive cells and compared with
what was read by pymatgen's StructureMatcher with its default tolerances, which scale the volume; beside it with tighter
ones that do not (0.02 of the mean distance between atoms, 1 % of lengths, 1 degree). Rates are of one process without
compilation.

Then the same with geometry on the grid: crystals are looked up (`WyckoffKernel.find`) in a world of all space groups
and all elements that occur, with any number of elements and no rule of charge, and decoded from its states. Once with
the default rules of contact, once without (0.01 angstrom), which tells what rounding costs from what the rules exclude.
Misses are counted by code: those of `wyckoff_find.Outside`; `primitive_cell` where the cells match as they are and only
the matcher's own search for a primitive cell, within 0.25 angstrom, ends differently; `unlike` for the rest.
"""

import argparse
import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import wyckoff_labels
from oreflow.envs.structure_io.crystal_text import crystal_from_text, crystal_to_text
from oreflow.envs.structure_io.encode import encode_structures
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.structure_io.reading.files import StructureEntry, read_structure_files


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


def on_grid(crystals: Crystals, originals: list[Any], options: argparse.Namespace, matcher: Any, total: int) -> None:
    """Prints the share that comes back from the states of a world, and why the others do not, for both rules."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    names = symbols()
    space = WyckoffSpace(
        elements=tuple(names[z] for z in np.unique(crystals.atomic_number).tolist()),
        n_elements=(1, 8),
        n_atoms=(1, options.max_atoms),
        neutrality="off",
        grid=options.grid,
        length_bin=options.length_bin,
        angle_bin_deg=options.angle_bin,
    )
    as_given = StructureMatcher(primitive_cell=False)
    verdicts: dict[tuple[int, bytes], bool] = {}  # most states are the same under both rules
    for rules in ({}, {"min_distance_a": 0.01, "min_contact": 0.0}):
        world = replace(space, **rules)
        kernel, seconds = timed(WyckoffKernel, world)
        print(
            f"world           {seconds:.1f} s, min_distance_a {world.min_distance_a}, min_contact {world.min_contact}"
        )
        kernel.find(crystals[:300])  # compiles
        (states, inside, reasons), seconds = timed(kernel.find, crystals)
        print(f"found           {inside.sum()} of {len(crystals)}, {len(crystals) / seconds:.0f} crystals/s")
        kept, lost = np.flatnonzero(inside).tolist(), []
        decoded = dict(zip(kept, pymatgen_structures(kernel.objects(states[inside]))))
        for row, structure in decoded.items():
            key = (row, states[row].tobytes())
            if key not in verdicts:
                verdicts[key] = matcher.fit(originals[row], structure)
            if not verdicts[key]:
                lost.append(row)
        for row, reason in enumerate(reasons):
            if reason is not None:
                print(f"  {originals[row].formula}: {reason}")
        by_reason = Counter(reason.partition(":")[0] for reason in reasons if reason)
        for row, label in zip(lost, wyckoff_labels(crystals[np.array(lost, dtype=np.int64)])):
            code = "primitive_cell" if as_given.fit(originals[row], decoded[row]) else "unlike"
            by_reason[code] += 1
            print(f"  {originals[row].formula}: {code}: not matched, {label}")
        ratio = [decoded[row].density / originals[row].density for row in kept]
        raised = np.mean(-np.log(ratio) > 1.01 * np.log1p(options.length_bin) / 2)
        print(f"volume raised   {raised:.2%} of those found, to keep atoms apart after rounding")
        print(f"missed          {dict(by_reason)}")
        print(f"matched         {(len(kept) - len(lost)) / total:.4%} on the grid by default tolerances")


def continuous(entries: list[StructureEntry], crystals: Crystals, rows: np.ndarray, matcher: Any) -> None:
    """Prints the share that comes back from crystals with continuous coordinates."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    decoded, seconds = timed(pymatgen_structures, crystal_from_text(crystal_to_text(crystals)))
    print(f"decoded         {len(decoded) / seconds:.0f} structures/s, out of text")
    tight = StructureMatcher(stol=0.02, ltol=0.01, angle_tol=1, scale=False)
    pairs = [(entries[row], structure) for row, structure in zip(rows.tolist(), decoded)]
    misses = [entry for entry, structure in pairs if not matcher.fit(entry.structure, structure)]
    n_tight = sum(tight.fit(entry.structure, structure) for entry, structure in pairs)
    matched, total = len(crystals) - len(misses), len(entries)
    print(f"matched         {matched / total:.4%} by default tolerances, {n_tight / total:.4%} by tight ones")
    for entry in misses:
        print(f"  {entry.block} {entry.structure.formula}: not matched")


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
    parser.add_argument("--only", choices=("continuous", "grid"))
    options = parser.parse_args()
    from pymatgen.analysis.structure_matcher import StructureMatcher

    entries, refused, rate = draw(options.data, options.max_atoms, options.n, options.seed)
    print(f"read            {rate:.0f} entries/s, refused {dict(refused)}")
    structures = [entry.structure for entry in entries]
    encode_structures(structures[:1])  # compiles
    (crystals, rows, errors), seconds = timed(encode_structures, structures, options.symprec)
    print(f"encoded         {len(crystals)} of {len(structures)}, {len(structures) / seconds:.0f} structures/s")
    print(f"not encoded     {dict(Counter(error.code for error in errors if error is not None))}")
    for entry, error in zip(entries, errors):
        if error is not None:
            print(f"  {entry.block} {entry.structure.formula}: {error.code}: {error}")
    matcher = StructureMatcher()
    if options.only != "grid":
        continuous(entries, crystals, rows, matcher)
    if options.only != "continuous":
        originals = [structures[row] for row in rows.tolist()]
        on_grid(crystals, originals, options, matcher, len(structures))


if __name__ == "__main__":
    main()
