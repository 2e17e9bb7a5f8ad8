"""Fits `element_volumes.csv`: what volume the atoms of each element take up, and how that depends on the others.

The volume expected of a cell is the sum over its atoms of v + w (X - x): x is the atom's Pauling electronegativity, X
the mean over all atoms of the cell. Of w only differences count, for the deviations X - x add up to zero; the ridge
makes it small.

Run from the repository root: `python rewards/data/build_volumes.py STRUCTURES.csv.gz`, a table with the columns
`formula`, `lattice` (a b c in angstrom, alpha beta gamma in degrees), `sites` (symbols, each with coordinates, `;`
between them) and `e_above_hull` (eV/atom).

The fit is by least squares of the relative error, |sum / volume - 1|, so that small cells weigh as much as large ones;
a ridge keeps w small where there is little to learn it from. The errors printed are of a fit to nine tenths of the
chemical systems, on the others; the table is of a fit to all.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from oreflow.envs.chemistry.elements import atomic_number, electronegativities, symbols

MAX_E_ABOVE_HULL_EV_PER_ATOM = 0.1
RIDGE = 1e-3
MIN_STRUCTURES = 5  # an element that occurs in fewer gets no volume


def read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts by atomic number, float64 [structure, 119], volumes in cubic angstrom, and chemical systems as text."""
    frame = pd.read_csv(path, keep_default_na=False)
    frame = frame[frame["e_above_hull"].astype(float) <= MAX_E_ABOVE_HULL_EV_PER_ATOM]
    counts, systems = np.zeros((len(frame), 119)), []
    for row, sites in enumerate(frame["sites"]):
        numbers = [atomic_number(site.split()[0]) for site in sites.split(";")]
        np.add.at(counts[row], numbers, 1.0)
        systems.append("-".join(symbols()[z] for z in sorted(set(numbers))))
    lattice = np.array([text.split() for text in frame["lattice"]], dtype=np.float64)
    x, y, z = np.cos(np.radians(lattice[:, 3:])).T
    volumes = lattice[:, :3].prod(axis=1) * np.sqrt(1 + 2 * x * y * z - x * x - y * y - z * z)
    return counts, volumes, np.array(systems)


def features(counts: np.ndarray) -> np.ndarray:
    """What v and w of each element are multiplied with, float64 [structure, 238]."""
    chi = np.nan_to_num(electronegativities())
    mean = counts @ chi / counts.sum(axis=1)
    return np.concatenate([counts, counts * (mean[:, None] - chi)], axis=1)


def fit(counts: np.ndarray, volumes: np.ndarray, ridge: float = RIDGE) -> np.ndarray:
    """v and w by atomic number, float64 [2, 119]; NaN for elements that are too rare or have no electronegativity."""
    known = ((counts > 0).sum(axis=0) >= MIN_STRUCTURES) & ~np.isnan(electronegativities())
    rows = counts[:, ~known].sum(axis=1) == 0
    design = features(counts[rows])[:, np.tile(known, 2)] / volumes[rows, None]
    penalty = np.diag(np.repeat([0.0, ridge], known.sum()))
    out = np.full((2, 119), np.nan)
    solution = np.linalg.lstsq(design.T @ design + penalty, design.sum(axis=0), rcond=None)[0]
    out[:, known] = solution.reshape(2, -1)
    return out


def relative_errors(counts: np.ndarray, volumes: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """|expected / volume - 1| of the structures whose elements all have a volume."""
    usable = counts[:, np.isnan(fitted[0])].sum(axis=1) == 0
    return np.abs(features(counts[usable]) @ np.nan_to_num(fitted).ravel() / volumes[usable] - 1.0)


def main() -> None:
    """Write the table of element volumes."""
    counts, volumes, systems = read(sys.argv[1])
    names = np.unique(systems)
    held_out = np.isin(systems, np.random.default_rng(0).permutation(names)[: len(names) // 10])
    errors = relative_errors(counts[held_out], volumes[held_out], fit(counts[~held_out], volumes[~held_out]))
    print(f"{len(volumes)} structures, {held_out.sum()} held out in {len(names) // 10} chemical systems")
    quantiles = np.quantile(errors, [0.5, 0.9, 0.99])
    print(
        "held out: relative error mean {:.4f}, median {:.4f}, 90 % {:.4f}, 99 % {:.4f}".format(
            errors.mean(), *quantiles
        )
    )
    fitted = fit(counts, volumes)
    with Path(__file__).with_name("element_volumes.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["atomic_number", "symbol", "volume_a3", "volume_change_a3", "n_structures"])
        for z in np.flatnonzero(~np.isnan(fitted[0])).tolist():
            n = int((counts[:, z] > 0).sum())
            writer.writerow([z, symbols()[z], f"{fitted[0, z]:.3f}", f"{fitted[1, z]:.3f}", n])


if __name__ == "__main__":
    main()
