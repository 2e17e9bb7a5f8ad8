"""How much room atoms have: volume per atom, density, and the volume relative to what the elements usually take.

Data: `rewards/data/element_volumes.csv`, see `rewards/data/README.md` for its origin. Loaded once, on first use.
"""

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS, electronegativities
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.chemistry.element_data import atomic_masses
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.terms.structure.cells import as_atoms, element_means, reasons_for, volumes_per_atom

U_PER_A3_IN_G_PER_CM3 = 1.66053906660  # CODATA 2018: 1 u = 1.66053906660e-24 g; 1 cubic angstrom = 1e-24 cm3
_NONE_UNKNOWN = np.zeros(N_ELEMENTS + 1, dtype=np.bool_)


@cache
def element_volumes() -> Floats:
    """Volume v of an atom and its change w with electronegativity, float64 [2, 119], cubic angstrom; NaN where unknown.

    The volume expected of a cell is the sum over its atoms of v + w (X - x), with the atom's electronegativity x and
    the mean X over all atoms.
    """
    values = np.full((2, N_ELEMENTS + 1), np.nan)
    with files("oreflow.rewards").joinpath("data/element_volumes.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values[:, int(row["atomic_number"])] = float(row["volume_a3"]), float(row["volume_change_a3"])
    values.setflags(write=False)
    return values


def expected_volumes(atoms: Atoms) -> Floats:
    """Volume per atom expected of the composition, cubic angstrom, float64 [batch]; NaN where an element is unknown."""
    (volume, change), chi = element_volumes(), electronegativities()
    return element_means(atoms, volume - change * chi) + element_means(atoms, change) * element_means(atoms, chi)


class VolumePerAtom(Term):
    """Volume of the cell per atom, in cubic angstrom."""

    name = "volume_per_atom"
    unit = "a3_per_atom"
    version = "1"
    citations: tuple[str, ...] = ()
    requires: Requires = "structure"

    def __call__(self, batch: Atoms | Crystals) -> TermValues:
        """Volume of every row."""
        atoms = as_atoms(batch)
        values = volumes_per_atom(atoms)
        valid = np.isfinite(values)
        return TermValues(values, valid, reasons=reasons_for(atoms, valid, _NONE_UNKNOWN, ""))


class Density(Term):
    """Mass of the cell over its volume, in g/cm3, with standard atomic masses."""

    name = "density"
    unit = "g/cm3"
    version = "1"
    citations: tuple[str, ...] = ()
    requires: Requires = "structure"

    def __call__(self, batch: Atoms | Crystals) -> TermValues:
        """Density of every row."""
        atoms, masses = as_atoms(batch), atomic_masses()
        values = element_means(atoms, masses) / volumes_per_atom(atoms) * U_PER_A3_IN_G_PER_CM3
        valid = np.isfinite(values)
        return TermValues(values, valid, reasons=reasons_for(atoms, valid, np.isnan(masses), "atomic mass"))


class VolumeRatio(Term):
    """Volume of the cell over the volume expected of its composition: far below 1 is crushed, far above empty.

    The expected volume is a sum over the atoms, of a volume for each element and a share that grows with how much more
    electronegative its surroundings are, fitted to computed structures. In chemical systems that the fit has not seen
    it is off by 4 % in the median and by more than 14 % for one compound in ten. Invalid where an element occurs too
    rarely there: He, Ne, Ar, Po, At, Rn, Fr, Ra, and Am and beyond.

    The column `expected_volume_a3_per_atom` holds that volume per atom.
    """

    name = "volume_ratio"
    unit = "ratio"
    version = "1"
    citations = ("Jain et al., APL Mater. 1, 011002 (2013), doi:10.1063/1.4812323",)
    requires: Requires = "structure"

    def __call__(self, batch: Atoms | Crystals) -> TermValues:
        """Ratio of every row."""
        atoms = as_atoms(batch)
        expected = expected_volumes(atoms)
        values = volumes_per_atom(atoms) / expected
        valid = np.isfinite(values)
        reasons = reasons_for(atoms, valid, np.isnan(element_volumes()[0]), "expected volume")
        return TermValues(values, valid, {"expected_volume_a3_per_atom": expected}, reasons)
