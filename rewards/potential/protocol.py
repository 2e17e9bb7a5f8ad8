"""What an interatomic potential is: energies, forces and stresses of cells, and a card that says whose they are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.rewards.errors import PotentialError

if TYPE_CHECKING:
    from pymatgen.core import Structure

# Closer than this no two atoms of any solid are; the shortest bond, of H2, is 0.74 angstrom.
MIN_DISTANCE_A = 0.5


@dataclass(frozen=True)
class Cell:
    """A periodic cell.

    Attributes:
        vectors: float64 [3, 3], rows are lattice vectors in angstrom.
        fractional: float64 [atom, 3].
        numbers: int64 [atom], atomic numbers.
    """

    vectors: Floats
    fractional: Floats
    numbers: Ints

    @property
    def volume(self) -> float:
        """Cubic angstrom."""
        return abs(float(np.linalg.det(self.vectors)))


@dataclass(frozen=True)
class Evaluation:
    """What a potential says of a cell.

    Attributes:
        energy: of the whole cell, eV.
        forces: float64 [atom, 3], eV/angstrom; None where they were not asked for.
        stress: float64 [3, 3], symmetric, dE/dstrain over the volume, eV/angstrom^3; positive where the cell would
            shrink. None where it was not asked for.
    """

    energy: float
    forces: Floats | None
    stress: Floats | None


@dataclass(frozen=True)
class Card:
    """Whose energies a potential gives.

    Attributes:
        name: as `--potential` takes it.
        version: of the weights.
        functional: of the calculations that it was fitted to.
        correction: "included" where its energies are corrected as those of the Materials Project are, "mp2020" where
            they are that project's before the corrections of MP2020, and "none" where they are on another scale.
        licence, citation: of the weights.
        elements: atomic numbers that it knows.
    """

    name: str
    version: str
    functional: str
    correction: Literal["included", "mp2020", "none"]
    licence: str
    citation: str
    elements: frozenset[int]

    def record(self) -> dict[str, Any]:
        """What a summary keeps of it."""
        return asdict(self) | {"elements": spoken(self.elements)}


class Potential(Protocol):
    """An interatomic potential that is loaded in this process."""

    card: Card

    def evaluate(self, cells: Sequence[Cell], gradients: bool = True) -> list[Evaluation]:
        """Energies, and where `gradients` forces and stresses, of cells, each as if it were alone.

        Raises:
            PotentialError: when it cannot describe one of them.
        """
        ...


def cell_of(structure: "Structure") -> Cell:
    """A pymatgen structure as arrays.

    Raises:
        PotentialError: for sites that are partly occupied.
    """
    if not structure.is_ordered:
        raise PotentialError("sites are partly occupied; expected one element on every site")
    numbers = np.array([site.specie.Z for site in structure], dtype=np.int64)
    return Cell(np.array(structure.lattice.matrix), np.array(structure.frac_coords).reshape(-1, 3), numbers)


def energies_per_atom(potential: Potential, structures: "Sequence[Structure]") -> Floats:
    """Potential energies of structures as they are, float64 [structure], eV/atom.

    Raises:
        PotentialError: when the potential cannot describe one of them.
    """
    cells = [cell_of(structure) for structure in structures]
    for cell in cells:
        check_cell(cell, potential.card)
    found = potential.evaluate(cells, gradients=False) if cells else []
    return np.array([one.energy / len(cell.numbers) for one, cell in zip(found, cells)])


def check_cell(cell: Cell, card: Card) -> None:
    """Raises PotentialError for a cell that a potential cannot describe."""
    from oreflow.envs.chemistry.elements import symbols

    if not len(cell.numbers):
        raise PotentialError("it has no atoms")
    unknown = sorted({symbols()[z] for z in cell.numbers.tolist() if z not in card.elements})
    if unknown:
        raise PotentialError(f"{card.name} knows {spoken(card.elements)}, not {', '.join(unknown)}")
    if not (np.isfinite(cell.vectors).all() and cell.volume > 0):
        raise PotentialError("the cell has no volume")
    if too_close(cell):
        raise PotentialError(f"two atoms are closer than {MIN_DISTANCE_A:g} angstrom")


def too_close(cell: Cell) -> bool:
    """Whether two atoms, or an atom and its image, are closer than any two in a solid."""
    i, j, image, _ = neighbours(cell, MIN_DISTANCE_A)
    return bool(((i != j) | image.any(axis=1)).any())


def neighbours(cell: Cell, reach_a: float) -> tuple[Ints, Ints, Ints, Floats]:
    """Pairs of atoms within reach, their images int64 [pair, 3] and distances; each atom is its own neighbour too."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    points = np.ascontiguousarray(cell.fractional @ cell.vectors)
    lattice, periodic = np.ascontiguousarray(cell.vectors), np.ones(3, dtype=np.int64)
    i, j, image, distance = find_points_in_spheres(points, points, reach_a, periodic, lattice, 1e-8)
    return i, j, image.astype(np.int64), distance


def spoken(elements: frozenset[int]) -> str:
    """Elements as a message names them."""
    from oreflow.envs.chemistry.elements import symbols

    names, ordered = symbols(), sorted(elements)
    if len(ordered) <= 12:
        return ", ".join(names[z] for z in ordered)
    gaps = [z for z in range(ordered[0], ordered[-1]) if z not in elements]
    left_out = f" without {', '.join(names[z] for z in gaps)}" if gaps else ""
    return f"the elements {names[ordered[0]]} to {names[ordered[-1]]}{left_out}"
