"""Relaxations a core-minute with CHGNet: the held track, against FIRE on all atoms and the cell.

    python -m benchmarks.agent.bench_relax --data structures.csv.gz [-n 40] [--max-sites 20] [--free] [--without-fire]

Method: n structures of the table, drawn at random, are pushed off their minimum inside their symmetry, as proposals of
a known decoration are: volume times 0.85 to 1.25, the other strains by up to 5 %, each free coordinate by up to 0.25
angstrom; starts with atoms closer than 1 angstrom are left out. Each is relaxed to the same fmax by the held track
(free parameters on the primitive cell) and by ASE's FIRE with `FrechetCellFilter` and chgnet's own calculator, all in
this process, on one thread, by processor time. `--free` adds the free track after the rattle.
"""

import argparse
import itertools
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.agent.relaxation.tracks import rattled
from oreflow.envs.structure_io.reading.files import read_structure_files
from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.chgnet import Chgnet
from oreflow.rewards.potential.free_parameters import FreeParameters, reduce
from oreflow.rewards.potential.protocol import Cell, cell_of, neighbours
from oreflow.rewards.potential.relax import relax

FMAX, FREE_FMAX = 0.1, 0.02


def pushed(cell: Cell, rng: np.random.Generator) -> Cell:
    """A crystal off its minimum, inside its symmetry."""
    space = FreeParameters(reduce(cell, 0.01))
    strains = np.abs(space.strains).max(axis=(1, 2))
    moves = np.abs(space.displacements).max(axis=(1, 2))
    q = np.where(strains > 0, 0.05 / np.maximum(strains, 1e-9), 0.25 / np.maximum(moves, 1e-9))
    q *= rng.uniform(-1, 1, space.size)
    q[0] = 0.0  # the volume
    start = space.cell(q)
    factor = rng.uniform(0.85, 1.25) * space.reduced.cell.volume / start.volume
    return Cell(start.vectors * factor ** (1 / 3), start.fractional, start.numbers)


def starts(path: Path, n: int, max_sites: int, seed: int = 0) -> list[Cell]:
    """Starts of relaxations from the structures of a table."""
    rng = np.random.default_rng(seed)
    read = (entry for entry in read_structure_files([path]) if entry.structure is not None)
    fitting = [e for e in itertools.islice(read, 100 * n) if len(e.structure) <= max_sites]
    out: list[Cell] = []
    for number in rng.permutation(len(fitting)):
        start = pushed(cell_of(fitting[number].structure), rng)
        i, j, image, _ = neighbours(start, 1.0)
        if not ((i != j) | image.any(axis=1)).any():
            out.append(start)
        if len(out) == n:
            break
    return out


def fire(calculator: Any, cell: Cell) -> float:
    """Relaxes with ASE; returns eV/atom."""
    from ase import Atoms
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    atoms = Atoms(numbers=cell.numbers, cell=cell.vectors, scaled_positions=cell.fractional, pbc=True)
    atoms.calc = calculator
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=FMAX, steps=500)
    return float(atoms.get_potential_energy()) / len(atoms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-n", type=int, default=40)
    parser.add_argument("--max-sites", type=int, default=20)
    parser.add_argument("--free", action="store_true")
    parser.add_argument("--without-fire", action="store_true")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cells, potential = starts(arguments.data, arguments.n, arguments.max_sites), Chgnet()
    n_atoms = statistics.median(len(cell.numbers) for cell in cells)
    print(f"{len(cells)} structures, {n_atoms:g} atoms in the median primitive cell")

    def told(name: str, seconds: float, more: str) -> None:
        print(f"{name}: {60 * len(cells) / seconds:6.1f} relaxations a core-minute; {more}", flush=True)

    relax(potential, cells[0], hold_symmetry=True, steps=1)  # loads what is loaded once
    began = time.process_time()
    ends = [relax(potential, cell, hold_symmetry=True, fmax=FMAX) for cell in cells]
    ours = time.process_time() - began
    n_converged = sum(end.status == "converged" for end in ends)
    n_energies = statistics.mean(end.n_energies for end in ends)
    told("held", ours, f"{n_converged} converged, {n_energies:.1f} energies each")
    if arguments.free:
        began, free = time.process_time(), []
        for end, cell in zip(ends, cells):
            vectors, fractional = rattled(end.vectors, end.fractional, 0.05, 0.01)
            try:
                shaken = Cell(vectors, fractional, cell.numbers)
                free.append(relax(potential, shaken, hold_symmetry=False, fmax=FREE_FMAX))
            except PotentialError:
                continue
        n_converged = sum(end.status == "converged" for end in free)
        n_energies = statistics.mean(end.n_energies for end in free)
        seconds = time.process_time() - began
        told("free", seconds, f"{n_converged} converged, {n_energies:.1f} energies each")
        told("both", ours + seconds, "structures through both tracks")
    if not arguments.without_fire:
        from chgnet.model.dynamics import CHGNetCalculator

        calculator = CHGNetCalculator(use_device="cpu")
        began = time.process_time()
        energies = [fire(calculator, cell) for cell in cells]
        theirs = time.process_time() - began
        higher = np.array([end.energy_ev_per_atom for end in ends]) - energies
        told("FIRE", theirs, f"ratio {theirs / ours:.1f}")
        print(f"held less FIRE: median {1000 * np.median(higher):.2f}, most {1000 * higher.max():.2f} meV/atom")


if __name__ == "__main__":
    main()
