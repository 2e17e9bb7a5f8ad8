"""How close atoms come: shortest distance, and the same in units of covalent radii."""

import numpy as np

from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.objects.crystals import Crystals
from oreflow.rewards.contract.protocol import Requires, TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.terms.structure.cells import as_atoms, reasons_for

_NOT_FINITE = "coordinates that are not finite"


class ShortestDistance(Term):
    """Shortest distance between two atoms, images of one atom included, in angstrom.

    Exact for every cell. No compound has atoms nearer than the 0.74 of H2 to each other, and few without hydrogen come
    below 1.1.
    """

    name = "shortest_distance"
    unit = "angstrom"
    version = "1"
    citations: tuple[str, ...] = ()
    requires: Requires = "structure"

    def __call__(self, batch: Atoms | Crystals) -> TermValues:
        """Distance of every row."""
        from oreflow.envs.objects.distances import contacts

        atoms = as_atoms(batch)
        values, _ = contacts(atoms, covalent_radii())
        valid = np.isfinite(values)
        return TermValues(values, valid, reasons=reasons_for(atoms, valid, np.zeros(119, bool), "", _NOT_FINITE))


class ContactRatio(Term):
    """Smallest distance of two atoms in units of the sum of their covalent radii, images of one atom included.

    Around 1 in most compounds; below about 0.6 atoms overlap. Exact for every cell. Invalid where an element has no
    covalent radius, which is so from Bk on.
    """

    name = "contact_ratio"
    unit = "ratio"
    version = "1"
    citations = ("Cordero et al., Dalton Trans. 2832 (2008), doi:10.1039/b801115j",)
    requires: Requires = "structure"

    def __call__(self, batch: Atoms | Crystals) -> TermValues:
        """Ratio of every row."""
        from oreflow.envs.objects.distances import contacts

        atoms, radii = as_atoms(batch), covalent_radii()
        _, values = contacts(atoms, radii)
        valid = np.isfinite(values)
        unknown = np.isnan(radii)
        return TermValues(values, valid, reasons=reasons_for(atoms, valid, unknown, "covalent radius", _NOT_FINITE))
