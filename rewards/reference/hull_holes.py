"""Where a hull has holes: compositions whose competing compounds a list of known phases lacks.

A list without LiCl makes lithium and chlorine side by side the products of Li3YCl6, and the compound seems 1.2 eV/atom
more stable than it is. A search that is paid for low energies finds such places.
"""

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols
from oreflow.envs.chemistry.smact_data import smact_elements
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.reference.convex_hull import HullEnergies

LOWEST_TRUSTED = -0.1
"""eV/atom. New phases lie hardly below a hull that is known well; below this the list is more likely to lack one."""
_STEEPNESS = 10.0  # what is 0.01 eV/atom too low counts as 0 eV/atom: no better than a mixture of what is known
_PAIR_PENALTY = 1.0  # eV for each atom of the pairs of metal and non-metal that a missing compound would hold
_NON_METALS = ("H", "C", "N", "O", "F", "P", "S", "Cl", "Se", "Br", "I")


def uncombined(hull: HullEnergies) -> tuple[Floats, list[str]]:
    """How much of a composition decomposes into a metal and a non-metal element side by side.

    Returns:
        share: float64 [batch], twice the smaller of the two shares of atoms.
        pairs: their symbols, such as "Li + Cl"; "" where there is no pair.
    """
    metal, names = smact_elements("is_metal"), symbols()
    share, pairs = np.zeros(len(hull.products)), [""] * len(hull.products)
    elements = (hull.products >= 0) & (hull.products < N_ELEMENTS) & (hull.amounts > 0)
    for row in np.flatnonzero(elements.sum(axis=1) > 1).tolist():
        amounts = {int(z) + 1: float(x) for z, x in zip(hull.products[row], hull.amounts[row]) if 0 <= z < N_ELEMENTS}
        metals = {z: x for z, x in amounts.items() if x > 0 and metal[z]}
        others = {z: x for z, x in amounts.items() if x > 0 and names[z] in _NON_METALS}
        if metals and others:
            share[row] = 2 * min(sum(metals.values()), sum(others.values()))
            pairs[row] = " + ".join(names[z] for z in (*metals, *others))
    return share, pairs


def holes(batch: Compositions, hull: HullEnergies, energies: Floats, lowest: float) -> tuple[list[str], Floats]:
    """Say where a value above the hull is not to be trusted, and what a search is paid for in its place.

    Args:
        energies: float64 [batch], eV/atom above the hull.
        lowest: the lowest value that is trusted, eV/atom.

    Returns:
        reasons: a phrase a row, "" where nothing speaks against the value.
        scored: float64 [batch]. Values below `lowest` count as ten times as far above it as they are below; on top
            comes 1 eV for each atom of a metal and a non-metal element that stand side by side among the products.
    """
    share, pairs = uncombined(hull)
    n_elements = batch.n_elements
    reasons = []
    for energy, pair, n_known, n in zip(energies.tolist(), pairs, hull.n_competing.tolist(), n_elements.tolist()):
        said = []
        if pair:
            said.append(f"{pair} side by side among the products")
        if n > 1 and n_known < n - 1:
            said.append(f"{n_known} competing compounds known")
        if energy < lowest:
            said.append(f"more than {-lowest:g} eV/atom below the hull")
        reasons.append("; ".join(said))
    mirrored = np.where(energies < lowest, lowest + _STEEPNESS * (lowest - energies), energies)
    return reasons, mirrored + _PAIR_PENALTY * share
