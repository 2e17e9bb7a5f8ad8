"""From the total energies of CHGNet to formation energies, by one reference energy for each element."""

import csv
import hashlib
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS, atomic_number
from oreflow.rewards.errors import PotentialError

if TYPE_CHECKING:
    from pymatgen.core import Structure

FILE = "data/chgnet_references.csv"
MODEL_VERSION = "0.3.0"  # the model whose energies the file was fitted to
# Mean absolute error of formation energies against the Materials Project, of 240 structures that the fit of the file
# did not use. CHGNet was trained on them, or on ones like them: what nobody has computed yet is predicted less well.
HELD_OUT_MAE_EV_PER_ATOM = 0.024


@dataclass(frozen=True)
class ReferenceEnergies:
    """Energies of the elements that make formation energies of total energies.

    Attributes:
        energies_ev_per_atom: float64 [119], by atomic number; NaN where unknown.
        version: twelve digits that tell one file from another.
    """

    energies_ev_per_atom: Floats
    version: str

    def formation_energy(self, structure: "Structure", energy_ev_per_atom: float) -> float:
        """Formation energy in eV/atom of a structure with this total energy.

        Raises:
            PotentialError: for an element without a reference energy.
        """
        amounts = structure.composition.get_el_amt_dict()
        n_atoms = sum(amounts.values())
        total = 0.0
        for symbol, amount in amounts.items():
            mu = float(self.energies_ev_per_atom[atomic_number(symbol)])
            if math.isnan(mu):
                raise PotentialError(f"no reference energy of {symbol} is known, so no formation energy")
            total += amount * mu
        return energy_ev_per_atom - total / n_atoms


def read_references(path: Path) -> ReferenceEnergies:
    """Reads a file with the columns `element` and `reference_energy_ev_per_atom`."""
    energies = np.full(N_ELEMENTS + 1, np.nan)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            energies[atomic_number(row["element"])] = float(row["reference_energy_ev_per_atom"])
    energies.setflags(write=False)
    return ReferenceEnergies(energies, hashlib.sha256(path.read_bytes()).hexdigest()[:12])


@cache
def shipped_references() -> ReferenceEnergies:
    """The reference energies that come with oreflow, for CHGNet 0.3.0; see `rewards/data/README.md`."""
    return read_references(Path(str(files("oreflow.rewards").joinpath(FILE))))
