"""Pair potentials of a composition: what likes to be how far from what, with and without Coulomb forces between ions.

- "mean_force": kT times -ln of the pair distributions of known crystals (`oreflow.rewards.chemistry.pair_potentials`).
- "mean_force_coulomb": the same, and Coulomb forces between scaled oxidation states with a repulsion that balances them
  at the bond-valence length of a bond in sixfold coordination. It decides where like ions go in ionic compounds.
"""

import math
from functools import cache
from typing import Literal

import numpy as np

from oreflow.agent.errors import RealisationError
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.chemistry.elements import electronegativities, symbols
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.rewards.chemistry.pair_potentials import is_known, mean_force_potential
from oreflow.rewards.terms.structure.bond_valence import SOFTNESS_ANGSTROM, bond_lengths
from oreflow.rewards.terms.structure.packing import element_volumes

Potential = Literal["mean_force", "mean_force_coulomb"]
SPACING_A, CUTOFF_A = 0.02, 6.0
STIFFNESS_EV = 20.0
_KT_EV: dict[str, float] = {"mean_force": 0.3, "mean_force_coulomb": 0.6}
_COULOMB_EV_A = 14.399645  # e^2 / (4 pi epsilon_0)
_DAMPING_PER_A = 0.25
_CHARGE_SCALE = 0.6  # of oxidation states
_CHARGE_PER_ELECTRONEGATIVITY = 1.3
_POWER = 8
_MADELUNG, _COORDINATION = 1.75, 6
_LEAST_REPULSION_EV = 0.15


def distances() -> Floats:
    """Distances at which potentials are tabulated, float64 [point], angstrom."""
    return np.arange(round(CUTOFF_A / SPACING_A) + 1) * SPACING_A


def expected_volume(numbers: Ints) -> float:
    """Volume in cubic angstrom that atoms of these atomic numbers usually take, as the term `volume_ratio` has it.

    Raises:
        RealisationError: for elements of which too few crystals are known.
    """
    (volume, change), chi = element_volumes(), electronegativities()
    unknown = np.isnan(volume[numbers]) | ~is_known(numbers)
    if unknown.any():
        names = ", ".join(symbols()[z] for z in np.unique(numbers[unknown]).tolist())
        raise RealisationError(f"too few crystals of {names} are known to say how far its atoms are from others")
    mean = chi[numbers].mean()
    return float((volume[numbers] + change[numbers] * (mean - chi[numbers])).sum())


def pair_tables(numbers: Ints, potential: Potential) -> Floats:
    """Potential in eV and slope in eV/angstrom of each pair of elements, float64 [kind, kind, point, 2].

    Args:
        numbers: int64 [atom], atomic numbers of a whole cell; kinds are its elements in ascending order.
        potential: which one, see the module.
    """
    kinds = np.unique(numbers)
    charges = _charges(numbers) if potential == "mean_force_coulomb" else np.zeros(len(kinds))
    table = np.empty((len(kinds), len(kinds), len(distances()), 2))
    for a, z1 in enumerate(kinds.tolist()):
        for b, z2 in enumerate(kinds.tolist()):
            values = _KT_EV[potential] * _mean_force(min(z1, z2), max(z1, z2))
            if potential == "mean_force_coulomb":
                values = values + _ionic(z1, z2, charges[a], charges[b])
            table[a, b, :, 0], table[a, b, :, 1] = values, np.gradient(values, SPACING_A)
    return table


@cache
def _mean_force(z1: int, z2: int) -> Floats:
    values = mean_force_potential(z1, z2, distances())
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 4.0) ** 2)  # takes the kinks out of the linear interpolation
    padded = np.pad(values, 12, mode="edge")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def _charges(numbers: Ints) -> Floats:
    """Charge of each element in e: the oxidation states that are commonest, else by electronegativity; scaled."""
    kinds, counts = np.unique(numbers, return_counts=True)
    states = _common_states(tuple(kinds.tolist()), tuple((counts // np.gcd.reduce(counts)).tolist()))
    if states is not None:
        return _CHARGE_SCALE * np.array(states)
    chi = electronegativities()
    mean = chi[numbers].mean()
    return _CHARGE_SCALE * _CHARGE_PER_ELECTRONEGATIVITY * np.nan_to_num(mean - chi[kinds])


@cache
def _common_states(kinds: tuple[int, ...], counts: tuple[int, ...]) -> list[float] | None:
    from pymatgen.core import Composition

    names = [symbols()[z] for z in kinds]
    guesses = Composition(dict(zip(names, counts))).oxi_state_guesses()
    return [float(guesses[0][name]) for name in names] if guesses else None


def _ionic(z1: int, z2: int, charge1: float, charge2: float) -> Floats:
    """Damped, shifted Coulomb potential and repulsion, eV, float64 [point].

    The Coulomb part is that of Fennell and Gezelter, J. Chem. Phys. 124, 234104 (2006), eq. 18. The repulsion B (d/r)^8
    keeps a lattice of Madelung constant 1.75 and coordination 6 at the bond length d; below d/2 both go on as lines.
    """
    product = charge1 * charge2
    length = covalent_radii()[z1] + covalent_radii()[z2]
    strength = 0.0
    if product < 0:
        if np.isfinite(bond_lengths()[z1, z2]):
            valence = min(abs(charge1), abs(charge2)) / _CHARGE_SCALE / _COORDINATION
            length = bond_lengths()[z1, z2] - SOFTNESS_ANGSTROM * math.log(max(valence, 0.1))
        strength = -_COULOMB_EV_A * product * _MADELUNG / (length * _POWER * _COORDINATION)
    strength = max(strength, _LEAST_REPULSION_EV)
    core = 0.5 * length
    r = np.maximum(distances(), core)
    inside = np.minimum(distances() - core, 0.0)
    wall = strength * (length / r) ** _POWER * (1.0 - _POWER * inside / core)
    edge = strength * (length / CUTOFF_A) ** _POWER
    wall -= edge - _POWER / CUTOFF_A * edge * (r - CUTOFF_A)
    screened = np.array([math.erfc(_DAMPING_PER_A * x) / x for x in r.tolist()])
    last = math.erfc(_DAMPING_PER_A * CUTOFF_A) / CUTOFF_A
    slope = last / CUTOFF_A + 2 * _DAMPING_PER_A / math.sqrt(math.pi) / CUTOFF_A * math.exp(
        -((_DAMPING_PER_A * CUTOFF_A) ** 2)
    )
    return wall + _COULOMB_EV_A * product * (screened - last + slope * (r - CUTOFF_A))
