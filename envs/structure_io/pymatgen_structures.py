"""Crystals as pymatgen's Structure objects."""

from functools import cache
from typing import Any

import numpy as np

from oreflow.envs.objects.crystals import Crystals


def pymatgen_structures(crystals: Crystals, primitive: bool = True) -> tuple:
    """One pymatgen `Structure` each, of the primitive cell or the conventional one; orbits stand together.

    Raises:
        ValueError: for crystals without geometry.
    """
    from pymatgen.core import Lattice, Structure

    atoms = crystals.atoms(primitive)
    present = np.unique(atoms.atomic_numbers).tolist()
    species = dict(zip(present, map(_composition, present)))
    each = [species[z] for z in atoms.atomic_numbers.tolist()]
    bounds = atoms.offsets.tolist()
    return tuple(
        Structure(Lattice(vectors), each[start:end], atoms.fractional[start:end])
        for vectors, start, end in zip(atoms.vectors, bounds[:-1], bounds[1:])
    )


@cache
def _composition(z: int) -> Any:
    """A site's content, made once: pymatgen would make it anew for each site."""
    from pymatgen.core import Composition, Element

    return Composition({Element.from_Z(z): 1})
