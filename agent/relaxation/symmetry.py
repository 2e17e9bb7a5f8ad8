"""Whether a relaxed crystal still has the symmetry it was designed with.

A relaxation moves atoms and strains the cell, but keeps the order of the atoms and the choice of the axes. So the
operations of the design can be applied to the result as they stand: the symmetry is kept when every one of them still
maps the relaxed crystal onto itself. The relaxed crystal then has the space group of the design, or a supergroup.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats, Ints

DESIGN_TOLERANCE_A = 0.01
"""Within which the operations of the input are found."""
KEPT_TOLERANCE_A = 0.1
"""How far an operation of the design may miss the relaxed crystal."""


@dataclass(frozen=True)
class Operations:
    """Symmetry operations of a crystal, each with the atom that it moves each atom to.

    Attributes:
        rotations: int64 [operation, 3, 3], on columns of fractional coordinates.
        images: int64 [operation, atom], the atom that stands where the operation takes each atom.
    """

    rotations: Floats
    images: Ints

    def __len__(self) -> int:
        return len(self.rotations)


def space_group_number(vectors: Floats, fractional: Floats, atomic_numbers: Ints, tolerance_a: float) -> int:
    """Number of the space group that spglib finds within a tolerance; 0 where it finds none."""
    dataset = _dataset(vectors, fractional, atomic_numbers, tolerance_a)
    return 0 if dataset is None else int(dataset.number)


def operations(
    vectors: Floats,
    fractional: Floats,
    atomic_numbers: Ints,
    tolerance_a: float = DESIGN_TOLERANCE_A,
) -> Operations:
    """All operations that spglib finds within a tolerance; the identity alone where it finds none.

    Args:
        vectors: float64 [3, 3], rows are lattice vectors in angstrom.
        fractional: float64 [atom, 3].
        atomic_numbers: int [atom].
    """
    dataset = _dataset(vectors, fractional, atomic_numbers, tolerance_a)
    identity = np.eye(3, dtype=np.int64)[None], np.zeros((1, 3))
    rotations, translations = identity if dataset is None else (dataset.rotations, dataset.translations)
    images = np.empty((len(rotations), len(fractional)), dtype=np.int64)
    other = atomic_numbers[:, None] != atomic_numbers[None, :]
    for number, (rotation, translation) in enumerate(zip(rotations, translations)):
        moved = fractional @ rotation.T + translation
        images[number] = np.where(other, np.inf, _distances(moved, fractional, vectors)).argmin(axis=1)
    return Operations(np.asarray(rotations, dtype=np.int64), images)


def deviation_a(
    kept: Operations,
    vectors: Floats,
    fractional: Floats,
    relaxed_vectors: Floats,
    relaxed_fractional: Floats,
) -> float:
    """How far the operations of a crystal miss its relaxed self, in angstrom: the farthest that any of them is off.

    A cell is invariant under an operation when its lattice vectors are turned into ones of the same lengths and angles;
    the atoms are when the displacements of symmetric atoms are turned into each other. A shift of the whole crystal
    does not count.

    Args:
        kept: operations of the crystal before.
        vectors, fractional: the crystal before, [3, 3] and [atom, 3].
        relaxed_vectors, relaxed_fractional: the crystal after, atoms in the same order.
    """
    moved = relaxed_fractional - fractional
    moved -= moved[:1].copy()  # first, so that a shift by half a cell puts no two atoms on different sides
    moved -= np.round(moved)
    moved -= moved.mean(axis=0)
    worst = 0.0
    for rotation, image in zip(kept.rotations, kept.images):
        missed = (moved[image] - moved @ rotation.T) @ relaxed_vectors
        turned = rotation.T @ relaxed_vectors
        worst = max(worst, float(np.linalg.norm(missed, axis=1).max()), _misfit_a(turned, relaxed_vectors))
    return worst


def _dataset(vectors: Floats, fractional: Floats, atomic_numbers: Ints, tolerance_a: float) -> Any:
    """What spglib finds; None where it finds nothing, as with atoms closer than the tolerance."""
    import spglib

    with warnings.catch_warnings():  # it announces that failures will one day be raised
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return spglib.get_symmetry_dataset((vectors, fractional, atomic_numbers), symprec=tolerance_a)
        except spglib.error.SpglibError:
            return None


def _misfit_a(turned: Floats, vectors: Floats) -> float:
    """How far two triples of vectors are from having the same lengths and angles, in angstrom."""
    lengths, turned_lengths = np.linalg.norm(vectors, axis=1), np.linalg.norm(turned, axis=1)
    worst = float(np.abs(turned_lengths - lengths).max())
    for i, j in ((1, 2), (0, 2), (0, 1)):
        angle = np.arccos(np.clip(vectors[i] @ vectors[j] / (lengths[i] * lengths[j]), -1, 1))
        other = np.arccos(np.clip(turned[i] @ turned[j] / (turned_lengths[i] * turned_lengths[j]), -1, 1))
        worst = max(worst, float(abs(angle - other) * (lengths[i] + lengths[j]) / 2))
    return worst


def _distances(a: Floats, b: Floats, vectors: Floats) -> Floats:
    """float64 [a, b], angstrom, exact where shorter than half the shortest lattice vector."""
    difference = a[:, None] - b[None]
    difference -= np.round(difference)
    return np.linalg.norm(difference @ vectors, axis=2)
