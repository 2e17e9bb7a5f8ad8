"""How many known crystals `oreflow realise` gives back from their decoration alone, by free coordinates; and its speed.

    python -m benchmarks.agent.bench_realise --data structures.csv.gz [-n 20] [--rank chgnet] [--starts 3] [--all]

Method: crystals of the table, in an order drawn by the seed, of at most `--max-sites` atoms, `--max-hull` eV/atom above
the hull where the table has a column `e_above_hull`, and of formulas that the fit of the pair potentials left out (all
formulas with `--all`), until each class of free coordinates holds n. Space group and elements on Wyckoff positions are
kept, and nothing else. "found" is the share of crystals that pymatgen's StructureMatcher, with its tolerances, takes
for one of the geometries kept; with `--starts`, "relaxed" is the share that it takes for one of these or of the first
so many after a relaxation by CHGNet within its symmetry. The speed is trials (random points, a tenth of which descend
to a minimum of the pair potentials) by CPU time of one core."""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.errors import RealisationError
from oreflow.agent.realisation.frames import free_coordinates
from oreflow.agent.realisation.geometries import Settings, find_geometries
from oreflow.agent.realisation.ranking import default_rank, ranking
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.encode import encode_structures
from oreflow.envs.structure_io.reading.files import read_structure_files
from oreflow.rewards.chemistry.pair_potentials import is_held_out
from oreflow.rewards.errors import PotentialError

CLASSES = {"0": 0, "1 to 2": 2, "3 to 5": 5, "6 to 10": 10, "above": 10**6}


def shuffled(frame: pd.DataFrame, seed: int) -> Iterator[Any]:
    """Yield the structures of a table in random order, read in blocks, as most are not needed."""
    order = np.random.default_rng(seed).permutation(len(frame))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "block.csv"
        for start in range(0, len(order), 200):
            frame.iloc[order[start : start + 200]].to_csv(path, index=False)
            yield from (entry.structure for entry in read_structure_files([path]) if entry.structure is not None)


def known_crystals(arguments: argparse.Namespace) -> Iterator[tuple[str, Crystals, Any]]:
    """Yield class, crystal and structure of those that are asked for."""
    frame = pd.read_csv(arguments.data, keep_default_na=False)
    if "e_above_hull" in frame.columns:
        frame = frame[frame["e_above_hull"].astype(float) <= arguments.max_hull]
    missing = dict.fromkeys(CLASSES, arguments.n)
    for structure in shuffled(frame, arguments.seed):
        if len(structure) > arguments.max_sites:
            continue
        crystals, rows, _ = encode_structures([structure])
        if not len(rows) or not (arguments.all or is_held_out(crystals.compositions.reduced().formulas()[0])):
            continue
        name = next(name for name, most in CLASSES.items() if free_coordinates(crystals) <= most)
        if missing[name]:
            missing[name] -= 1
            yield name, crystals, structure
        if not any(missing.values()):
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-n", type=int, default=20, help="crystals of each class")
    parser.add_argument("--rank", default=default_rank())
    parser.add_argument("--starts", type=int, default=0, help="relax so many geometries of each crystal")
    parser.add_argument("--keep", type=int, default=3)
    parser.add_argument("--effort", type=float, default=1.0)
    parser.add_argument("--max-sites", type=int, default=20)
    parser.add_argument("--max-hull", type=float, default=0.1)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Lattice, Structure

    matcher = StructureMatcher()
    settings = Settings(arguments.keep, arguments.effort, rank=arguments.rank)
    rank = ranking(arguments.rank)
    if arguments.starts:
        from oreflow.rewards.potential.chgnet import Chgnet
        from oreflow.rewards.potential.protocol import cell_of
        from oreflow.rewards.potential.relax import relax

        potential = Chgnet()
    found: dict[str, list[bool]] = {name: [] for name in CLASSES}
    relaxed: dict[str, list[bool]] = {name: [] for name in CLASSES}
    n_trials, cpu_s, search_s = 0, 0.0, 0.0
    for name, crystal, structure in known_crystals(arguments):
        started = time.process_time()
        try:
            result = find_geometries(crystal, settings, rank)
        except RealisationError as error:
            print(f"{structure.formula}: {error}")
            found[name].append(False)
            relaxed[name].append(False)
            continue
        cpu_s += time.process_time() - started
        n_trials, search_s = n_trials + result.n_trials, search_s + result.search_seconds
        structures = [geometry.structure for geometry in result.geometries]
        hit = any(matcher.fit(one, structure) for one in structures)
        found[name].append(hit)
        for one in structures[: arguments.starts]:
            if hit:
                break
            try:
                end = relax(potential, cell_of(one), hold_symmetry=True, steps=300)
            except PotentialError:
                continue
            if end.status != "unphysical":
                hit = matcher.fit(Structure(Lattice(end.vectors), one.species, end.fractional), structure)
        relaxed[name].append(hit)
    n = sum(map(len, found.values()))
    print(f"{n_trials / search_s:.0f} trials a second and core in the search; {cpu_s / n:.2f} s of CPU a decoration")
    print(f"{'free coordinates':20s}" + "".join(f"{name:>10s}" for name in CLASSES))
    for label, shares in (("found", found), ("relaxed", relaxed if arguments.starts else {})):
        if shares:
            print(f"{label:20s}" + "".join(f"{np.mean(shares[name] or [np.nan]):10.0%}" for name in CLASSES))
    print(f"{'crystals':20s}" + "".join(f"{len(found[name]):10d}" for name in CLASSES))


if __name__ == "__main__":
    main()
