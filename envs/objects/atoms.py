"""`Atoms`: all atoms of a batch of crystals, one row an atom."""

from dataclasses import dataclass

import numpy as np


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

    vectors: np.ndarray
    offsets: np.ndarray
    atomic_numbers: np.ndarray
    fractional: np.ndarray
    orbit: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def volumes(self) -> np.ndarray:
        """float64 [batch], cubic angstrom."""
        return np.abs(np.linalg.det(self.vectors))
