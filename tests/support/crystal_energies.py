"""Decorations and tables of structures for the tests of the crystal energy model."""

from pathlib import Path

import numpy as np

from oreflow.envs.chemistry.elements import atomic_number, electronegativities
from oreflow.envs.objects.crystals import Crystals

# Prototype: lattice angles in degrees, sites as (place of the element in the formula, fractional coordinates).
_CUBIC = (60.0, 60.0, 60.0)
PROTOTYPES = {
    "rock salt": (_CUBIC, [(0, "0 0 0"), (1, "0.5 0.5 0.5")]),
    "zinc blende": (_CUBIC, [(0, "0 0 0"), (1, "0.25 0.25 0.25")]),
    "caesium chloride": ((90.0, 90.0, 90.0), [(0, "0 0 0"), (1, "0.5 0.5 0.5")]),
    "fluorite": (_CUBIC, [(0, "0 0 0"), (1, "0.25 0.25 0.25"), (1, "0.75 0.75 0.75")]),
}
OF_PROTOTYPE_EV = {"rock salt": 0.0, "zinc blende": 0.4, "caesium chloride": -0.4, "fluorite": 0.2}


def decorations(*crystals: tuple[int, str]) -> Crystals:
    """From (space group, "Na a, Cl b")."""
    sites = [[site.split() for site in text.split(", ")] for _, text in crystals]
    flat = [site for crystal in sites for site in crystal]
    letters = [26 if letter == "A" else ord(letter) - ord("a") for _, letter in flat]
    offsets = np.concatenate([[0], np.cumsum([len(crystal) for crystal in sites])])
    nothing = (np.full((len(crystals), 6), np.nan), np.full((len(flat), 3), np.nan))
    numbers = np.array([atomic_number(symbol) for symbol, _ in flat], dtype=np.int16)
    return Crystals(np.array([group for group, _ in crystals]), offsets, np.array(letters), numbers, *nothing)


def write_structures(path: Path, seed: int, n: int) -> Path:
    """A table of binary structures whose energy is a law of the elements and of the prototype.

    Every pair of elements has two prototypes, so that compositions alone cannot give the energies.
    """
    metals = ("Li", "Na", "K", "Rb", "Mg", "Ca", "Sr", "Ba", "Sc", "Y", "Ti", "Zr", "Mn", "Fe", "Zn", "Cd", "Al", "Ga")
    others = ("O", "S", "Se", "Te", "F", "Cl", "Br", "I", "N", "P", "As")
    rng, chi = np.random.default_rng(seed), electronegativities()
    rows = ["material_id,formation_energy_per_atom,lattice,sites"]
    pairs = [(a, b) for a in metals for b in others]
    for k in rng.permutation(len(pairs)).tolist():
        elements = pairs[k]
        salt = -0.5 * float(chi[atomic_number(elements[1])] - chi[atomic_number(elements[0])])
        for name in rng.choice(list(PROTOTYPES), size=2, replace=False).tolist():
            (alpha, beta, gamma), sites = PROTOTYPES[name]
            place = "; ".join(f"{elements[which]} {xyz}" for which, xyz in sites)
            length = 3.5 + 0.5 * rng.random()
            lattice = f"{length:.5f} {length:.5f} {length:.5f} {alpha} {beta} {gamma}"
            rows.append(f"x-{len(rows)},{salt + OF_PROTOTYPE_EV[name]:.5f},{lattice},{place}")
    path.write_text("\n".join(rows[: n + 1]) + "\n", encoding="utf-8")
    return path
