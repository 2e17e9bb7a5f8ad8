"""Coordination numbers by two named rules."""

import math
from typing import Literal

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.terms.structure.cells import (
    MIN_VOLUME_A3_PER_ATOM,
    as_atoms,
    cell_numbers,
    reasons_for,
    volumes_per_atom,
)

_RULES = {"nearest": 1.1, "radii": 1.2}
_STATISTICS = ("mean", "smallest", "largest")
# Below, all atoms overlap, and counting neighbours within a fixed distance would take minutes.


class Coordination(Term):
    """Coordination number, over all atoms of the cell: their mean, or the smallest or the largest.

    Neighbours are counted by one of two rules:

    - "nearest": what is nearer than 1.1 times the distance to the atom's own nearest neighbour, pymatgen's
      `MinimumDistanceNN`. 6 in rock salt, 4 and 8 in fluorite, 12 in a close packing; but where the bonds of an
      octahedron differ by more than a tenth it counts only the short ones.
    - "radii": what is nearer than 1.2 times the sum of the two covalent radii (Cordero et al., 2008). For covalent and
      metallic compounds; in ionic ones the radii of cations are too large for it, and neighbours too many.

    The columns `coordination_smallest` and `coordination_largest` hold the extremes.
    """

    name = "coordination"
    unit = "neighbours"
    version = "1"
    citations = ("Cordero et al., Dalton Trans. 2832 (2008), doi:10.1039/b801115j",)
    requires: Requires = "structure"

    def __init__(
        self,
        rule: Literal["nearest", "radii"] = "nearest",
        statistic: Literal["mean", "smallest", "largest"] = "mean",
        tolerance: float | None = None,
    ) -> None:
        """Chooses the rule.

        Args:
            rule: "nearest" or "radii".
            statistic: "mean", "smallest" or "largest".
            tolerance: in place of the rule's 1.1 or 1.2, from 1 to 2.

        Raises:
            RewardParameterError: for another rule or statistic, or a tolerance out of range.
        """
        if rule not in _RULES:
            raise RewardParameterError(f"expected rule to be 'nearest' or 'radii', got {rule!r}")
        if statistic not in _STATISTICS:
            raise RewardParameterError(f"expected statistic to be 'mean', 'smallest' or 'largest', got {statistic!r}")
        tolerance = _RULES[rule] if tolerance is None else tolerance
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 1.0 <= tolerance <= 2.0:
            raise RewardParameterError(f"expected tolerance from 1 to 2, got {tolerance!r}")
        self.rule, self.statistic, self.tolerance = rule, statistic, float(tolerance)

    def numbers(self, atoms: Atoms) -> Floats:
        """Neighbours of every atom, int64 [atom]; -1 where an element has no radius, or the cell no volume."""
        from oreflow.rewards.terms.structure.neighbours_compiled import coordination_numbers

        radii = covalent_radii()
        usable = volumes_per_atom(atoms) >= MIN_VOLUME_A3_PER_ATOM
        if self.rule == "radii":
            usable &= np.bincount(cell_numbers(atoms), np.isnan(radii)[atoms.atomic_numbers], len(atoms)) == 0
        return coordination_numbers(
            atoms.vectors,
            atoms.offsets,
            atoms.atomic_numbers,
            atoms.fractional,
            atoms.orbit,
            usable,
            radii,
            self.tolerance,
            self.rule == "radii",
        )

    def __call__(self, batch: Atoms | Crystals) -> TermValues:
        """Coordination number of every row."""
        atoms = as_atoms(batch)
        numbers, n_atoms = self.numbers(atoms), np.diff(atoms.offsets)
        cell = cell_numbers(atoms)
        smallest, largest = np.full(len(atoms), math.inf), np.full(len(atoms), -math.inf)
        np.minimum.at(smallest, cell, numbers)
        np.maximum.at(largest, cell, numbers)
        valid = (n_atoms > 0) & (smallest >= 0)
        mean = np.bincount(cell, numbers, len(atoms)) / np.maximum(n_atoms, 1)
        smallest, largest, mean = (np.where(valid, values, np.nan) for values in (smallest, largest, mean))
        values = {"mean": mean, "smallest": smallest, "largest": largest}[self.statistic]
        unknown = np.isnan(covalent_radii()) & (self.rule == "radii")
        otherwise = f"less than {MIN_VOLUME_A3_PER_ATOM} cubic angstrom per atom, or coordinates that are not finite"
        reasons = reasons_for(atoms, valid, unknown, "covalent radius", otherwise)
        return TermValues(values, valid, {"coordination_smallest": smallest, "coordination_largest": largest}, reasons)
