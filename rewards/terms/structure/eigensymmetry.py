"""Whether a crystal has no more symmetry than the space group it is written in."""

import numpy as np

from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.eigensymmetry import has_more_symmetry
from oreflow.envs.symmetry.flat_tables import group_tables
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.contract.term import Term


class Eigensymmetry(Term):
    """1 when the symmetry of a decoration, its eigensymmetry, is its space group, 0 when it has more.

    Rock salt can be written in F432, too: as another object than rock salt in Fm-3m, and one of half a dozen. A
    sampler in proportion to the reward finds them all; with this verdict it keeps to Fm-3m. The term reads the
    decoration only, so coordinates or axis ratios that happen to be special do not count, nor does an additional
    translation outside the group's Euclidean normalizer (one site on 4a of Pa-3 makes a face-centred cell).
    Of random decorations in all groups moyopy judges more than 99 % alike
    (`tests/envs/symmetry/test_eigensymmetry.py`).
    """

    name = "eigensymmetry"
    unit = "verdict"
    version = "1"
    citations = ("Engel et al., Z. Kristallogr. Suppl. 1 (1984), on non-characteristic orbits",)
    requires: Requires = "structure"
    needs_geometry = False

    def __call__(self, batch: Crystals) -> TermValues:
        """Verdict on every row."""
        more = has_more_symmetry(
            group_tables(), batch.space_group, batch.site_offsets, batch.letter, batch.atomic_number
        )
        valid = np.diff(batch.site_offsets) > 0
        reasons = {int(row): "no occupied position: expected at least one atom" for row in np.flatnonzero(~valid)}
        return TermValues(np.where(valid, 1.0 - more, np.nan), valid, reasons=reasons)
