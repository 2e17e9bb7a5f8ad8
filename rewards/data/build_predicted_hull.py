"""Builds `predicted_hull.npz`: the convex hull of the shipped model's own predictions.

Run from the repository root: `python rewards/data/build_predicted_hull.py` (about four minutes on one core). Predicted
are all binaries of the model's elements with up to 12 atoms in the reduced formula, neutral or not, and all ternaries
with up to 16 atoms that are charge-neutral by the table `pymatgen_common`, each element in one state. Kept are the
formulas on the hull of all of them: no other can be part of it.

`python rewards/data/build_predicted_hull.py FORMULAS STRUCTURES`, of the tables that the models of formulas and of
crystals were fitted to, writes `predicted_hull_shifts.csv` in its place: one shift an element that puts formation
energies of the first on the scale of the second, fitted on the formulas that both hold.
"""

import itertools
import math
import sys
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.chemistry.oxidation import oxidation_states
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.models.composition.model import DEFAULT_MODEL, EnergyModel
from oreflow.rewards.reference.alignment import align
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.known_phases import Reference, read_reference
from oreflow.rewards.reference.predicted_hull import FILE, PREDICTED, SHIFTS_FILE, STEP_EV_PER_ATOM

MOST_ATOMS_BINARY, MOST_ATOMS_TERNARY = 12, 16
TABLE = "pymatgen_common"
BATCH = 20_000
ON_HULL = 1e-9  # eV/atom


def ratios(n: int, most_atoms: int) -> Ints:
    """List the reduced stoichiometries of n elements, int64 [ratio, n]."""
    every = itertools.product(range(1, most_atoms), repeat=n)
    return np.array([counts for counts in every if sum(counts) <= most_atoms and math.gcd(*counts) == 1])


def binaries(elements: Iterable[int]) -> Compositions:
    """List all binaries of the elements."""
    pairs, counts = np.array(list(itertools.combinations(elements, 2))), ratios(2, MOST_ATOMS_BINARY)
    return Compositions(np.repeat(pairs, len(counts), axis=0), np.tile(counts, (len(pairs), 1)))


def neutral_ternaries(elements: Iterable[int]) -> Compositions:
    """List the ternaries of the elements whose charges can add up to 0."""
    states, counts = oxidation_states(TABLE), ratios(3, MOST_ATOMS_TERNARY)
    systems, found = [], []
    for zs in itertools.combinations(elements, 3):
        charges = list(itertools.product(*(states.get(z, ()) for z in zs)))
        if charges:
            neutral = (counts @ np.array(charges).T == 0).any(axis=1)
            systems.append(np.tile(zs, (int(neutral.sum()), 1)))
            found.append(counts[neutral])
    return Compositions(np.concatenate(systems), np.concatenate(found))


def shifts(formulas: Path, structures: Path) -> None:
    """Fit and write the shifts, and print what they leave."""
    found = align(read_reference(formulas), read_reference(structures))
    path = Path(str(files("oreflow.rewards").joinpath(SHIFTS_FILE)))
    lines = [f"{symbols()[z]},{found.shifts[z]:.4f}" for z in np.flatnonzero(found.fitted).tolist()]
    path.write_text("\n".join(["element,shift_ev_per_atom", *lines]) + "\n", encoding="utf-8")
    print(found.sentence)


def hull() -> None:
    """Predict, keep the hull, write the file, and print its size."""
    model = EnergyModel.load(DEFAULT_MODEL)
    elements = sorted(atomic_number(symbol) for symbol in model.card["elements"])
    batch = Compositions.concatenate([binaries(elements), neutral_ternaries(elements)])
    energies = np.concatenate([model.predict(batch[i : i + BATCH]).mean for i in range(0, len(batch), BATCH)])
    lowest = CompetingPhases(Reference(Path(PREDICTED), "", batch, energies, (), {})).hull(batch).energies
    on_hull = (energies < 0) & (energies <= lowest + ON_HULL)
    kept, energies_of_kept = batch[on_hull], energies[on_hull]
    order = np.lexsort([*kept.counts.T, *kept.atomic_numbers.T])  # neighbours are alike, so that they pack well
    path = Path(str(files("oreflow.rewards").joinpath(FILE)))
    np.savez_compressed(
        path,
        atomic_numbers=kept.atomic_numbers[order].astype(np.uint8),
        counts=kept.counts[order].astype(np.uint8),
        steps=np.round(energies_of_kept[order] / STEP_EV_PER_ATOM).astype(np.int16),
        model=np.array(f"{model.directory.name}-{model.card['weights_sha256'][:12]}"),
    )
    print(f"{len(batch)} formulas predicted, {len(kept)} on the hull: {path.name}, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        shifts(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        hull()
