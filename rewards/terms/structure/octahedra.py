"""Octahedra that share their corners, as those of perovskites do."""

import numpy as np

from oreflow.envs.chemistry.elements import N_ELEMENTS, electronegativities, symbols
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

TOLERANCE = 1.4


class CornerSharing(Term):
    """How far the atoms of one element stand in a framework of octahedra that share all corners; 1 is a perovskite's.

    The corners are atoms of the most electronegative element. Neighbours of an atom are those nearer than 1.4 times
    the distance to its nearest corner (in the cubic perovskite the next ones are at 2.24 times, and the short and long
    bonds of PbTiO3 differ by 1.35). A corner is shared when exactly one more atom of the same element is as near to it,
    and no other corner leads to that atom: shared edges and faces do not count. An atom's value is the number of such
    corners over that of its neighbours, or over 6 where it has fewer; a crystal's is the mean over the atoms of the
    element for which it is largest, named in the column `corner_sharing_centre`.

    1 in SrTiO3, ReO3 and GdFeO3, tilted or not; 0 in rock salt (edges), rutile (three metals at a corner), 2H BaNiO3
    (faces) and ilmenite (edges and faces).
    """

    name = "corner_sharing"
    unit = "share"
    version = "1"
    citations: tuple[str, ...] = ()
    requires: Requires = "structure"

    def __init__(self, tolerance: float = TOLERANCE) -> None:
        """Sets how far neighbours reach.

        Args:
            tolerance: neighbours are nearer than so many times the distance to the nearest one, from 1 to 2.

        Raises:
            RewardParameterError: for a tolerance out of range.
        """
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 1.0 <= tolerance <= 2.0:
            raise RewardParameterError(f"expected tolerance from 1 to 2, got {tolerance!r}")
        self.tolerance = float(tolerance)

    def __call__(self, batch: Atoms | Crystals) -> TermValues:
        """Share of shared corners of every row."""
        from oreflow.rewards.terms.structure.octahedra_compiled import shared_corners

        atoms = as_atoms(batch)
        n, cell, chi = len(atoms), cell_numbers(atoms), electronegativities()
        counts = np.zeros((n, N_ELEMENTS + 1))
        np.add.at(counts, (cell, atoms.atomic_numbers), 1.0)
        unknown = np.isnan(chi) & (np.arange(N_ELEMENTS + 1) > 0)
        valid = (
            (volumes_per_atom(atoms) >= MIN_VOLUME_A3_PER_ATOM)
            & ((counts > 0).sum(axis=1) > 1)
            & ~(counts[:, unknown] > 0).any(axis=1)
        )
        ligand = np.where(counts > 0, np.nan_to_num(chi, nan=-1.0), -2.0).argmax(axis=1)
        shares = shared_corners(
            atoms.vectors,
            atoms.offsets,
            atoms.atomic_numbers,
            atoms.fractional,
            atoms.orbit,
            valid,
            ligand,
            self.tolerance,
        )
        sums = np.zeros((n, N_ELEMENTS + 1))
        np.add.at(sums, (cell, atoms.atomic_numbers), np.nan_to_num(shares))
        means = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
        values = np.where(valid, means.max(axis=1, initial=0.0), np.nan)
        names = symbols()
        centres = [names[z] if v > 0 else "" for z, v in zip(means.argmax(axis=1).tolist(), values.tolist())]
        reasons = reasons_for(
            atoms,
            valid,
            unknown,
            "electronegativity",
            f"one element alone, or less than {MIN_VOLUME_A3_PER_ATOM} cubic angstrom per atom",
        )
        return TermValues(values, valid, {"corner_sharing_centre": np.array(centres, dtype=object)}, reasons)
