"""Small crystals that relaxations are tried on."""

from typing import Any


def rock_salt(a: float, cation: str = "Na") -> Any:
    from pymatgen.core import Lattice, Structure

    half = a / 2
    lattice = Lattice([[0, half, half], [half, 0, half], [half, half, 0]])
    return Structure(lattice, [cation, "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def perovskite(a: float = 3.905, along_z: float = 0.0) -> Any:
    """SrTiO3; `along_z` moves titanium, in angstrom."""
    from pymatgen.core import Lattice, Structure

    sites = [[0, 0, 0], [0.5, 0.5, 0.5 + along_z / a], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(Lattice.cubic(a), ["Sr", "Ti", "O", "O", "O"], sites)


def salt_crystals() -> Any:
    """NaCl in rock salt and MgO, as the environment holds crystals."""
    from oreflow.envs.structure_io.encode import encode_structures

    magnesia = rock_salt(4.21, "Mg")
    magnesia.replace(1, "O")
    crystals, rows, errors = encode_structures([rock_salt(5.64), magnesia])
    assert rows.tolist() == [0, 1]
    assert not any(errors)
    return crystals
