"""`Atoms`: all atoms of a batch of crystals, one row an atom."""

from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import Floats, Int16s, Ints


@dataclass(frozen=True)
class Atoms:
    """Periodic cells with all their atoms, ragged.

    Attributes:
        vectors: float64 [batch, 3, 3], the rows are lattice vectors in angstrom.
        offsets: int64 [batch + 1], the atoms of cell i are offsets[i]:offsets[i + 1].
        atomic_numbers: int16 [atom].
        fractional: float64 [atom, 3].
        orbit: int64 [atom], atoms that symmetry maps onto each other share a number; they stand together, and numbers
            rise by one along the batch. Without symmetry every atom is an orbit of its own.
    """

    vectors: Floats
    offsets: Ints
    atomic_numbers: Int16s
    fractional: Floats
    orbit: Ints

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def volumes(self) -> Floats:
        """float64 [batch], cubic angstrom."""
        return np.abs(np.linalg.det(self.vectors))
