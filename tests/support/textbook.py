"""Textbook crystals as pymatgen structures, cells and coordinates from R. W. G. Wyckoff, Crystal Structures (1963)."""

from functools import cache

import numpy as np
from pymatgen.core import Lattice, Structure

from oreflow.envs.objects.atoms import Atoms


def _from_group(group: str, lattice: Lattice, sites: list[tuple[str, list[float]]]) -> Structure:
    """All atoms from one of each orbit; the site property `orbit` numbers the orbits."""
    species, at = zip(*sites)
    return Structure.from_spacegroup(group, lattice, species, at, site_properties={"orbit": list(range(len(sites)))})


@cache
def textbook() -> dict[str, Structure]:
    """Conventional cells by name."""
    third, u = 1 / 3, 0.375
    return {
        "rock salt": _from_group("Fm-3m", Lattice.cubic(5.6402), [("Na", [0, 0, 0]), ("Cl", [0.5, 0.5, 0.5])]),
        "periclase": _from_group("Fm-3m", Lattice.cubic(4.2112), [("Mg", [0, 0, 0]), ("O", [0.5, 0.5, 0.5])]),
        "cesium chloride": _from_group("Pm-3m", Lattice.cubic(4.123), [("Cs", [0, 0, 0]), ("Cl", [0.5, 0.5, 0.5])]),
        "fluorite": _from_group("Fm-3m", Lattice.cubic(5.4626), [("Ca", [0, 0, 0]), ("F", [0.25, 0.25, 0.25])]),
        "zinc blende": _from_group("F-43m", Lattice.cubic(5.4093), [("Zn", [0, 0, 0]), ("S", [0.25, 0.25, 0.25])]),
        "wurtzite": _from_group(
            "P6_3mc", Lattice.hexagonal(3.8114, 6.2345), [("Zn", [third, 2 * third, 0]), ("S", [third, 2 * third, u])]
        ),
        "diamond": _from_group("F-43m", Lattice.cubic(5.4307), [("Si", [0, 0, 0]), ("Si", [0.25, 0.25, 0.25])]),
        "rutile": _from_group(
            "P4_2/mnm", Lattice.tetragonal(4.594, 2.959), [("Ti", [0, 0, 0]), ("O", [0.306, 0.306, 0])]
        ),
        "perovskite": _from_group(
            "Pm-3m", Lattice.cubic(3.9051), [("Sr", [0, 0, 0]), ("Ti", [0.5, 0.5, 0.5]), ("O", [0.5, 0.5, 0])]
        ),
        "spinel": _from_group(  # origin choice 1, as pymatgen has it
            "Fd-3m",
            Lattice.cubic(8.0800),
            [("Mg", [0, 0, 0]), ("Al", [0.625, 0.625, 0.625]), ("O", [0.387, 0.387, 0.387])],
        ),
        "magnetite": _from_group(
            "Fd-3m",
            Lattice.cubic(8.3970),
            [("Fe", [0, 0, 0]), ("Fe", [0.625, 0.625, 0.625]), ("O", [0.379, 0.379, 0.379])],
        ),
        "quartz": _from_group(
            "P3_221", Lattice.hexagonal(4.9134, 5.4052), [("Si", [0.4697, 0, 2 / 3]), ("O", [0.4135, 0.2669, 0.7858])]
        ),
        "magnesium": _from_group("P6_3/mmc", Lattice.hexagonal(3.2094, 5.2105), [("Mg", [third, 2 * third, 0.25])]),
        "iron": _from_group("Im-3m", Lattice.cubic(2.8665), [("Fe", [0, 0, 0])]),
        "copper": _from_group("Fm-3m", Lattice.cubic(3.6147), [("Cu", [0, 0, 0])]),
    }


def atoms_of(structures: list[Structure], *, symmetry: bool = False) -> Atoms:
    """A batch of cells; with symmetry atoms keep the orbits of `textbook`, else each is an orbit of its own."""
    sizes = [len(structure) for structure in structures]
    orbit, first = [], 0
    for structure in structures:
        own = structure.site_properties["orbit"] if symmetry else range(len(structure))
        orbit += [first + k for k in own]
        first = orbit[-1] + 1
    return Atoms(
        np.array([structure.lattice.matrix for structure in structures]),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.array([site.specie.Z for structure in structures for site in structure], dtype=np.int16),
        np.concatenate([structure.frac_coords for structure in structures]),
        np.array(orbit),
    )
