"""Rebuilds `NAME_references.csv`: the energies of the elements that make formation energies of a potential's energies.

Run from the repository root, with the potential installed and a table of relaxed structures:
`python rewards/data/build_potential_references.py structures.csv.gz --potential 7net-0`; a potential of your own takes
`--plugin FILE.py` and `--out FILE.csv`. Energies before the corrections of MP2020 are corrected first. The table has
the columns `formula`, `nsites`, `formation_energy_per_atom` (eV/atom), `lattice` (a b c alpha beta gamma) and `sites`
(symbol and three fractional coordinates, `;` between sites). It takes one to three minutes on one core.
"""

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.potential.corrections import mp2020_correction
from oreflow.rewards.potential.listing import require_potential
from oreflow.rewards.potential.protocol import energies_per_atom
from oreflow.rewards.reference.tables import read_table
from oreflow.rewards.registry import load_plugin

COLUMNS = ("element", "reference_energy_ev_per_atom", "n_structures", "median_absolute_residual_ev_per_atom")
MAX_SITES = 12
HUBER_EV_PER_ATOM = 0.03  # residuals beyond this count linearly, so that single misjudged structures pull little
SEED = 20_261_121


def select(fractions: np.ndarray, formulas: list[str], n: int, rng: np.random.Generator) -> np.ndarray:
    """Rows, of distinct formulas, that cover all elements about equally: each time one of the rarest element so far."""
    present = fractions > 0
    order = rng.permutation(len(fractions))
    waiting = {z: [row for row in order.tolist() if present[row, z]] for z in np.flatnonzero(present.any(axis=0))}
    count = np.zeros(fractions.shape[1])
    taken: list[int] = []
    seen: set[str] = set()
    while len(taken) < n and waiting:
        z = min(waiting, key=lambda z: (count[z], z))
        while waiting[z] and formulas[waiting[z][-1]] in seen:
            waiting[z].pop()
        if not waiting[z]:
            del waiting[z]
            continue
        row = waiting[z].pop()
        seen.add(formulas[row])
        taken.append(row)
        count += present[row]
    return np.array(taken)


def fit(fractions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Least squares with Huber's loss: the elements' energies μ in targets = fractions @ μ, NaN for absent elements."""
    used = fractions.any(axis=0)
    matrix, weights = fractions[:, used], np.ones(len(targets))
    for _ in range(100):
        root = np.sqrt(weights)
        mu = np.linalg.lstsq(matrix * root[:, None], targets * root, rcond=None)[0]
        weights = np.minimum(1.0, HUBER_EV_PER_ATOM / np.maximum(np.abs(targets - matrix @ mu), 1e-9))
    out = np.full(fractions.shape[1], np.nan)
    out[used] = mu
    return out


def structure(row: Any) -> Any:
    """A row of the table as a pymatgen Structure."""
    from pymatgen.core import Lattice, Structure

    sites = [site.split() for site in row.sites.split(";")]
    lattice = Lattice.from_parameters(*map(float, row.lattice.split()))
    return Structure(lattice, [site[0] for site in sites], [[float(x) for x in site[1:4]] for site in sites])


def main() -> None:
    """Write the reference energies of the elements under a potential."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--potential", default="chgnet")
    parser.add_argument("--plugin", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--n-fit", type=int, default=720)
    parser.add_argument("--n-held-out", type=int, default=240)
    arguments = parser.parse_args()

    frame = read_table(arguments.table)
    frame = frame[frame["nsites"].astype(int) <= MAX_SITES].reset_index(drop=True)
    counts = []
    for text in frame["sites"]:
        elements = [atomic_number(site.split()[0]) for site in text.split(";")]
        counts.append({z: elements.count(z) for z in set(elements)})
    batch = Compositions.from_dicts(counts)
    fractions = batch.dense() / batch.n_atoms[:, None]
    formulas = batch.reduced().formulas()
    rng = np.random.default_rng(SEED)
    # Held out first, at random, so that it looks like the table; its formulas never enter the fit.
    held_out = rng.permutation(len(frame))[: arguments.n_held_out]
    kept = {formulas[row] for row in held_out}
    rest = np.array([row for row, formula in enumerate(formulas) if formula not in kept])
    chosen = rest[select(fractions[rest], [formulas[row] for row in rest], arguments.n_fit, rng)]

    if arguments.plugin is not None:
        load_plugin(arguments.plugin)
    potential = require_potential(arguments.potential, "this script").load()
    known = np.isin(np.arange(fractions.shape[1]), list(potential.card.elements))
    chosen, held_out = (part[~fractions[part][:, ~known].any(axis=1)] for part in (chosen, held_out))
    rows = np.concatenate([chosen, held_out])
    totals = np.empty(len(rows))
    for start in range(0, len(rows), 32):
        part = rows[start : start + 32]
        structures = [structure(frame.iloc[row]) for row in part]
        totals[start : start + 32] = energies_per_atom(potential, structures)
        if potential.card.correction == "mp2020":
            totals[start : start + 32] += [mp2020_correction(one) for one in structures]
        print(f"{start + len(part)}/{len(rows)}", file=sys.stderr, flush=True)
    targets = totals - frame["formation_energy_per_atom"].astype(float).to_numpy()[rows]
    n = len(chosen)
    mu = fit(fractions[chosen], targets[:n])
    residuals = np.abs(targets - fractions[rows] @ np.nan_to_num(mu))
    told = ~(np.isnan(mu) & (fractions[held_out] > 0)).any(axis=1)
    for name, values in (("fit", residuals[:n]), ("held out", residuals[n:][told])):
        print(
            f"{name}: {len(values)} structures, mean absolute error {values.mean():.4f}, "
            f"median {np.median(values):.4f}, 95 % below {np.quantile(values, 0.95):.4f} eV/atom"
        )
    out = arguments.out or Path(__file__).with_name(f"{arguments.potential}_references.csv")
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for z in np.flatnonzero(~np.isnan(mu)).tolist():
            with_z = fractions[chosen][:, z] > 0
            writer.writerow([symbols()[z], f"{mu[z]:.4f}", with_z.sum(), f"{np.median(residuals[:n][with_z]):.4f}"])


if __name__ == "__main__":
    main()
