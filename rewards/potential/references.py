"""From the total energies of a potential to formation energies, by one reference energy for each element."""

import csv
import hashlib
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS, atomic_number
from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.corrections import mp2020_correction
from oreflow.rewards.potential.listing import listed

if TYPE_CHECKING:
    from pymatgen.core import Structure


@dataclass(frozen=True)
class ReferenceEnergies:
    """Energies of the elements that make formation energies of total energies.

    Attributes:
        energies_ev_per_atom: float64 [119], by atomic number; NaN where unknown.
        version: twelve digits that tell one file from another.
        raw: whether the corrections of MP2020 are added to the total energies first.
    """

    energies_ev_per_atom: Floats
    version: str
    raw: bool = False

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
        correction = mp2020_correction(structure) if self.raw else 0.0
        return energy_ev_per_atom + correction - total / n_atoms


def read_references(path: Path, raw: bool = False) -> ReferenceEnergies:
    """Reads a file with the columns `element` and `reference_energy_ev_per_atom`."""
    energies = np.full(N_ELEMENTS + 1, np.nan)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            energies[atomic_number(row["element"])] = float(row["reference_energy_ev_per_atom"])
    energies.setflags(write=False)
    return ReferenceEnergies(energies, hashlib.sha256(path.read_bytes()).hexdigest()[:12], raw)


def shipped_references(name: str = "chgnet") -> ReferenceEnergies:
    """The reference energies of a potential; see `rewards/data/README.md` on those that come with oreflow.

    Raises:
        PotentialError: where none are known.
    """
    found = listed(name)
    if found.references is None:
        raise PotentialError(f"no reference energies of the elements are known for {name}, so no formation energies")
    return _read_once(found.references, found.card.correction == "mp2020")


_read_once = cache(read_references)
