"""Sampled crystals as independent programs see them: symmetry, distances, validity of the composition.

    python -m benchmarks.envs.bench_crystals RUN/samples/candidates.parquet [--symprec 1e-4] [-n 10000]

Method: each row's crystal is decoded to the conventional cell and given to spglib and to moyopy. The space group is
kept when every operation of the International Tables, in the standard setting, is among the operations which the
program finds: the group found is then the intended one or a supergroup. Distances are pymatgen's,
between all atoms and their images, against the sums of covalent radii of Cordero et al. 2008. SMACT validity is that of
`smact.screening.smact_validity` with its defaults.
"""

import argparse
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_from_text
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.symmetry.space_groups import DENOMINATOR, space_group

_TRANSLATION_TOLERANCE = 1e-3


def holds_group(number: int, rotations: np.ndarray, translations: np.ndarray) -> bool:
    """Whether all operations of a group's standard setting are among those found."""
    group = space_group(number)
    by_rotation: dict[bytes, list[np.ndarray]] = {}
    for rotation, translation in zip(rotations.astype(np.int8), translations):
        by_rotation.setdefault(rotation.tobytes(), []).append(translation)
    for rotation, translation in zip(group.rotations, group.translations / DENOMINATOR):
        found = by_rotation.get(rotation.tobytes())
        if found is None:
            return False
        away = np.array(found) - translation
        if np.abs(away - np.round(away)).max(axis=1).min() > _TRANSLATION_TOLERANCE:
            return False
    return True


def by_spglib(atoms: Atoms, row: int, symprec: float) -> tuple[int, Any, Any]:
    """Number and operations that spglib finds."""
    import spglib

    first, last = atoms.offsets[row : row + 2]
    cell = atoms.vectors[row], atoms.fractional[first:last], atoms.atomic_numbers[first:last]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = spglib.get_symmetry_dataset(cell, symprec=symprec)
    return dataset.number, dataset.rotations, dataset.translations


def by_moyopy(atoms: Atoms, row: int, symprec: float) -> tuple[int, Any, Any]:
    """Number and operations that moyopy finds."""
    import moyopy

    first, last = atoms.offsets[row : row + 2]
    cell = moyopy.Cell(
        atoms.vectors[row].tolist(), atoms.fractional[first:last].tolist(), atoms.atomic_numbers[first:last].tolist()
    )
    dataset = moyopy.MoyoDataset(cell, symprec=symprec)
    return dataset.number, np.array(dataset.operations.rotations), np.array(dataset.operations.translations)


def symmetry(crystals: Crystals, symprec: float) -> None:
    """Prints what the programs find of each crystal."""
    atoms, wanted = crystals.atoms(primitive=False), crystals.space_group.tolist()
    for name, program in (("spglib", by_spglib), ("moyopy", by_moyopy)):
        counts: Counter[str] = Counter()
        first_miss = ""
        start = time.perf_counter()
        for row, number in enumerate(wanted):
            try:
                found, rotations, translations = program(atoms, row, symprec)
            except Exception as error:
                counts["failed"] += 1
                first_miss = first_miss or f"row {row}: {type(error).__name__}: {error}"
                continue
            held = holds_group(number, rotations, translations)
            counts["intended" if found == number and held else "supergroup" if held else "other"] += 1
            counts["P1 found"] += found == 1
            if not held:
                first_miss = first_miss or f"row {row}: wanted {number}, found {found}"
        n = len(wanted)
        share = (counts["intended"] + counts["supergroup"]) / n
        print(
            f"{name}  intended {counts['intended']}, supergroup {counts['supergroup']}, other {counts['other']}, "
            f"failed {counts['failed']} of {n}: {share:.2%} intended or supergroup; P1 {counts['P1 found'] / n:.2%} "
            f"({time.perf_counter() - start:.0f} s) {first_miss}"
        )
    print(f"intended P1      {np.mean(crystals.space_group == 1):.2%}")


def distances(structures: tuple[Any, ...]) -> None:
    """Prints the shares of structures whose atoms keep apart."""
    radii = covalent_radii()
    shortest, contact = np.full(len(structures), np.inf), np.full(len(structures), np.inf)
    for i, structure in enumerate(structures):
        centres, neighbours, _, lengths = structure.get_neighbor_list(4.0)
        if len(lengths):
            numbers = np.array(structure.atomic_numbers)
            shortest[i] = lengths.min()
            contact[i] = (lengths / (radii[numbers[centres]] + radii[numbers[neighbours]])).min()
    print(
        f"distances        above 0.5 A {np.mean(shortest > 0.5):.2%}, above 0.7 of radii {np.mean(contact > 0.7):.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", type=Path)
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--symprec", type=float, default=1e-4, help="angstrom")
    options = parser.parse_args()
    from smact.screening import smact_validity

    frame = pd.read_parquet(options.candidates).head(options.n)
    crystals = crystal_from_text(frame["structure"].tolist())
    pymatgen_structures(crystals[:1])
    start = time.perf_counter()
    structures = pymatgen_structures(crystals)
    seconds = time.perf_counter() - start
    print(f"rows             {len(frame)}, decoded {len(structures)}, {len(structures) / seconds:.0f} a second")
    symmetry(crystals, options.symprec)
    distances(structures)
    formulas = frame["formula_reduced"].unique()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        valid = {formula: smact_validity(formula) for formula in formulas}
    print(
        f"SMACT validity   {frame['formula_reduced'].map(valid).mean():.2%} of rows, smact_validity with its defaults"
    )
    print(f"charge-neutral   {frame['charge_neutral'].mean():.2%} ({frame['oxidation_table'].iloc[0]})")


if __name__ == "__main__":
    main()
