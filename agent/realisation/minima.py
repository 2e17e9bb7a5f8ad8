"""Minima of the search as geometries: those that are different crystals, and whose atoms keep apart."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from oreflow.agent.realisation.distinct import fingerprint, same_crystal
from oreflow.agent.realisation.energy_compiled import Frame
from oreflow.agent.realisation.frames import crystals_of
from oreflow.agent.realisation.potentials import Potential
from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.distances import contacts
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures

_MOST_LOOKED_AT = 3
_LEAST_CONTACT_RATIO = 0.4
# Minima this near in energy and volume are one, reached from two starts.
_SAME_ENERGY_EV_PER_ATOM, _SAME_LOG_VOLUME = 3e-4, 1e-3


@dataclass(frozen=True)
class Geometry:
    """One geometry of a decoration.

    Attributes:
        crystal: a batch of one.
        structure: the same as a pymatgen `Structure`, of the primitive cell.
        fingerprint: of the structure, see `oreflow.agent.realisation.distinct`.
        potential: in which it is a minimum.
        pair_energy: of that potential, eV/atom above the lowest minimum that the search found in it.
        energy: eV/atom of the ranking potential; NaN where there is none.
    """

    crystal: Crystals
    structure: Any
    fingerprint: Floats
    potential: Potential
    pair_energy: float
    energy: float = float("nan")


def distinct_minima(
    decoration: Crystals, frame: Frame, energies: Floats, minima: Floats, potential: Potential, n: int
) -> list[Geometry]:
    """Take the lowest n minima that are different crystals and whose atoms keep apart.

    Args:
        energies: float64 [minimum], eV/atom, ascending; minima: float64 [minimum, parameter].
    """
    kept: list[Geometry] = []
    places: list[int] = []
    seen = 0
    crystals = crystals_of(decoration, frame, minima)
    if not len(crystals):
        return kept
    _, ratios = contacts(crystals.atoms(), covalent_radii())
    for place in np.flatnonzero(ratios >= _LEAST_CONTACT_RATIO).tolist():
        gaps = [(energies[place] - energies[i], abs(minima[place, -1] - minima[i, -1])) for i in places]
        if any(e < _SAME_ENERGY_EV_PER_ATOM and v < _SAME_LOG_VOLUME for e, v in gaps):
            continue
        seen += 1
        if seen > _MOST_LOOKED_AT * n:  # crowds of nearly equal minima would take all the time
            break
        crystal = crystals[place : place + 1]
        (structure,) = pymatgen_structures(crystal)
        geometry = Geometry(crystal, structure, fingerprint(structure), potential, float(energies[place] - energies[0]))
        if any(_same(geometry, other) for other in kept):
            continue
        kept.append(geometry)
        places.append(place)
        if len(kept) == n:
            break
    return kept


def merge_pools(pools: list[list[Geometry]]) -> list[Geometry]:
    """Join the minima of all potentials in turn, lowest first, without those that are the same crystal."""
    merged: list[Geometry] = []
    for rank in range(max(map(len, pools), default=0)):
        for pool in pools:
            if rank < len(pool) and not any(
                pool[rank].potential != geometry.potential and _same(pool[rank], geometry) for geometry in merged
            ):
                merged.append(pool[rank])
    return merged


def _same(one: Geometry, other: Geometry) -> bool:
    return same_crystal(one.structure, one.fingerprint, other.structure, other.fingerprint)
