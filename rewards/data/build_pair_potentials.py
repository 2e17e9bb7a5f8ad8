"""Fits `pair_potentials.npz`: how much likelier than by chance two elements are at each distance in known crystals.

The potential of a pair of elements is -ln g(r), with the pair distribution g: the number of atoms of one at the
distance r from atoms of the other over the number that the mean densities would give, summed over all structures, each
with the weight 1 / number of atoms. Distances are smoothed by a Gaussian of 0.08 angstrom. Pairs that few structures
have are drawn towards the g of their class, at equal distances in units of the summed covalent radii: a class holds the
pairs of like difference in electronegativity, and among those of little difference of like mean. The class weighs as
much as ten structures.

Run from the repository root: `python rewards/data/build_pair_potentials.py STRUCTURES.csv.gz`, a table with the columns
`formula`, `lattice` (a b c in angstrom, alpha beta gamma in degrees), `sites` (symbols, each with coordinates, `;`
between them) and `e_above_hull` (eV/atom). Formulas for which `is_held_out` are left out, one in ten, so that what the
table is worth can be measured on crystals that it has not seen.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from oreflow.envs.chemistry.elements import electronegativities
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.chemistry.pair_potentials import (
    N_BINS,
    N_NUMBERS,
    SPACING_A,
    STEP,
    is_held_out,
    pair_classes,
)

MAX_E_ABOVE_HULL_EV_PER_ATOM = 0.1
MAX_ATOMS = 32
SMOOTHING_A = 0.08
CLASS_WEIGHT = 10.0
FLOOR = 2e-3
CENTRES = (np.arange(N_BINS) + 0.5) * SPACING_A
REDUCED = np.arange(0, 4, 0.01)


def read(path: str) -> Iterator[tuple[np.ndarray, np.ndarray, float, np.ndarray]]:
    """Yield atomic numbers, pairs of atoms int64 [pair, 2], the volume, and the pairs' distances of each structure."""
    from pymatgen.core import Lattice, Structure

    frame = pd.read_csv(path, keep_default_na=False)
    frame = frame[frame["e_above_hull"].astype(float) <= MAX_E_ABOVE_HULL_EV_PER_ATOM]
    for lattice, sites in zip(frame["lattice"], frame["sites"]):
        parts = [site.split() for site in sites.split(";")]
        if len(parts) > MAX_ATOMS:
            continue
        cell = Lattice.from_parameters(*map(float, lattice.split()))
        structure = Structure(cell, [p[0] for p in parts], [[float(x) for x in p[1:4]] for p in parts])
        numbers = np.array(structure.atomic_numbers)
        counts = dict(zip(*(a.tolist() for a in np.unique(numbers, return_counts=True))))
        if numbers.max() >= N_NUMBERS or is_held_out(Compositions.from_dicts([counts]).reduced().formulas()[0]):
            continue
        i, j, _, distances = structure.get_neighbor_list(N_BINS * SPACING_A)
        yield numbers, np.stack([i, j], axis=1), structure.volume, distances


def count(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Histograms [119, 119, bin] of pairs with ascending numbers, densities by chance and structures [119, 119]."""
    shape = (N_NUMBERS, N_NUMBERS)
    found, chance, n_structures = np.zeros((*shape, N_BINS)), np.zeros(shape), np.zeros(shape)
    n = 0
    for numbers, pairs, volume, distances in read(path):
        n += 1
        low, high = numbers[pairs].T
        kept = low <= high
        bins = np.minimum((distances[kept] / SPACING_A).astype(int), N_BINS - 1)
        np.add.at(found, (low[kept], high[kept], bins), 1.0 / len(numbers))
        present, amounts = np.unique(numbers, return_counts=True)
        both = np.ix_(present, present)
        chance[both] += np.outer(amounts, amounts) / volume / len(numbers)
        n_structures[both] += 1
    return found, chance, n_structures, n


def distributions(found: np.ndarray, chance: np.ndarray, n_structures: np.ndarray) -> np.ndarray:
    """Pair distributions [119, 119, bin], those of rare pairs drawn towards their class."""
    sigma = SMOOTHING_A / SPACING_A
    shell = gaussian_filter1d(4 * np.pi * CENTRES**2 * SPACING_A, sigma)
    found, expected = gaussian_filter1d(found, sigma, axis=-1, mode="nearest"), chance[..., None] * shell
    radii = np.nan_to_num(covalent_radii()[:N_NUMBERS], nan=1.7)
    sums, classes = radii[:, None] + radii, pair_classes(electronegativities()[:N_NUMBERS])
    prior = np.ones_like(found)
    for number in np.unique(classes):
        above, below = np.full(len(REDUCED), 1e-9), np.full(len(REDUCED), 1e-9)
        for i, j in np.argwhere((classes == number) & (n_structures > 0)).tolist():
            if i > j:
                continue
            near = sums[i, j] * REDUCED < N_BINS * SPACING_A
            above[near] += np.interp(REDUCED[near] * sums[i, j], CENTRES, found[i, j])
            below[near] += np.interp(REDUCED[near] * sums[i, j], CENTRES, expected[i, j])
        curve = gaussian_filter1d(above, 3) / gaussian_filter1d(below, 3)
        curve[:5] = 0
        for i, j in np.argwhere(classes == number).tolist():
            prior[i, j] = np.interp(CENTRES / sums[i, j], REDUCED, curve)
    one = np.where(n_structures[..., None] > 0, expected / np.maximum(n_structures, 1)[..., None], 1.0)
    values = (found + CLASS_WEIGHT * one * prior) / (expected + CLASS_WEIGHT * one)
    upper = np.triu_indices(N_NUMBERS)
    values[upper[1], upper[0]] = values[upper]
    return values


def main() -> None:
    """Write the table of pair potentials."""
    found, chance, n_structures, n = count(sys.argv[1])
    values = -np.log(np.maximum(distributions(found, chance, n_structures), FLOOR))
    upper = np.triu_indices(N_NUMBERS)
    steps = np.clip(np.rint(values[upper] / STEP), -128, 127).astype(np.int8)
    path = Path(__file__).with_name("pair_potentials.npz")
    np.savez_compressed(path, steps=steps, n_structures=n_structures[upper].astype(np.int16))
    print(f"{n} structures, {(n_structures[upper] > 0).sum()} of {len(steps)} pairs seen, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
