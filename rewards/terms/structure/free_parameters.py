"""How many numbers a crystal leaves open once its space group and occupied positions are chosen."""

from functools import cache

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, POLAR, group_tables
from oreflow.envs.symmetry.space_groups import space_group
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.contract.term import Term

_OF_CELL = {
    "triclinic": 6,
    "monoclinic": 4,
    "orthorhombic": 3,
    "tetragonal": 2,
    "trigonal": 2,
    "hexagonal": 2,
    "cubic": 1,
}


class FreeParameters(Term):
    """Free lattice parameters and coordinates: 1 in rock salt (a), 3 in rutile (a, c, x), 3 in wurtzite (a, c, z).

    The axes along which a space group leaves the origin free count one coordinate less each. The term reads the
    decoration only.

    It says nothing of how good a crystal is: it is a correction that counted bins need. Under `target.measure: counted`
    every free coordinate multiplies the number of crystals by the number of its bins, and a sampler in proportion to
    the reward spends nearly all of its draws on crystals of the least symmetry. Shaped as `minimise` with
    beta = ln(grid), 3.9 for 48 bins, the term takes that factor out, and the crystals of one decoration weigh as much
    as one of them. Under `target.measure: density` the bins do not count, and the term is not needed.
    """

    name = "free_parameters"
    unit = "parameters"
    version = "1"
    citations: tuple[str, ...] = ()
    requires: Requires = "structure"
    needs_geometry = False

    def __call__(self, batch: Crystals) -> TermValues:
        """Number of free parameters of every row."""
        tables = group_tables()
        n_sites = np.diff(batch.site_offsets)
        crystal = np.repeat(np.arange(len(batch)), n_sites)
        dof = tables.row[tables.group[batch.space_group[crystal], FIRST_ROW] + batch.letter, DOF]
        free_origin = tables.group[batch.space_group, POLAR : POLAR + 3].sum(axis=1)
        values = np.bincount(crystal, weights=dof, minlength=len(batch)) - free_origin + _of_cells()[batch.space_group]
        valid = n_sites > 0
        reasons = {int(row): "no occupied position: expected at least one atom" for row in np.flatnonzero(~valid)}
        return TermValues(np.where(valid, values, np.nan), valid, reasons=reasons)


@cache
def _of_cells() -> Floats:
    """Free lattice parameters by number of the space group, int64 [231]."""
    return np.array([0, *(_OF_CELL[space_group(number).crystal_system] for number in range(1, 231))])
