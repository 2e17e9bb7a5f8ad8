"""What an interatomic potential is: energies, forces and stresses of cells, and a card that says whose they are."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.rewards.errors import PotentialError

if TYPE_CHECKING:
    from pymatgen.core import Structure


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
    """Where the energies of a potential come from.

    Attributes:
        name: as `--potential` takes it.
        version: of the package and of the weights.
        functional: of the calculations that it was fitted to.
        correction: "included", where its energies are corrected as those of the Materials Project are; "mp2020", where
            they are raw and the corrections of MP2020 are to be added; "none".
        licence, citation: of the weights.
        elements: atomic numbers that it knows.
    """

    name: str
    version: str
    functional: str
    correction: str
    licence: str
    citation: str
    elements: frozenset[int]

    def record(self) -> dict[str, Any]:
        """What a summary keeps of it."""
        return asdict(self) | {"elements": len(self.elements)}


class Potential(Protocol):
    """An interatomic potential in this process."""

    card: Card

    def evaluate(self, cells: Sequence[Cell], gradients: bool = True) -> list[Evaluation]:
        """Energies, and forces and stresses where `gradients`, of cells, each as if it were alone.

        Raises:
            PotentialError: when it cannot describe one of them.
        """
        ...
