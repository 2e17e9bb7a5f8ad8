"""The motions of a crystal that keep its symmetry: strains of the cell and displacements of atoms, as a vector.

A cubic perovskite has one such parameter, its lattice constant, and a P1 cell of n atoms has 3n + 3. A relaxation in
these alone keeps the symmetry exactly, and has less to learn about the curvature.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.rewards.potential.protocol import Cell, Evaluation

# Guesses of curvatures, by which parameters are scaled so that all have about that of 1 eV. Bulk and shear modulus of a
# typical solid, eV/angstrom^3 (100 and 40 GPa), and the force constant of an atom among fixed others, eV/angstrom^2.
BULK_MODULUS, SHEAR_MODULUS, FORCE_CONSTANT = 0.62, 0.25, 10.0


@dataclass(frozen=True)
class Reduced:
    """A primitive cell of a crystal, symmetric to the last digit, and the way back to the cell that was given.

    Attributes:
        cell: the primitive cell.
        rotations: int64 [operation, 3, 3], on columns of fractional coordinates of the primitive cell.
        images: int64 [operation, atom], where each operation takes each atom.
        supercell: float64 [3, 3], whole numbers; the given lattice vectors are `supercell @ cell.vectors`.
        source: int64 [given atom], the atom of the primitive cell that each is a copy of.
        shifts: float64 [given atom, 3], what is added to its coordinates in the primitive cell.
    """

    cell: Cell
    rotations: Ints
    images: Ints
    supercell: Floats
    source: Ints
    shifts: Floats

    def expand(self, vectors: Floats, fractional: Floats) -> tuple[Floats, Floats]:
        """Lattice vectors and fractional coordinates as given of a primitive cell that has moved."""
        return self.supercell @ vectors, (fractional[self.source] + self.shifts) @ np.linalg.inv(self.supercell)


def without_symmetry(cell: Cell) -> Reduced:
    """The cell as it is, with the identity for its only operation."""
    n = len(cell.numbers)
    identity = np.eye(3, dtype=np.int64)[None]
    return Reduced(cell, identity, np.arange(n)[None], np.eye(3), np.arange(n), np.zeros((n, 3)))


def reduce(cell: Cell, tolerance_a: float) -> Reduced:
    """Find the primitive cell and its symmetry with spglib; without any where spglib finds none.

    Args:
        tolerance_a: within which operations are found, angstrom; what they miss by is averaged out.
    """
    found = _dataset(cell, tolerance_a)
    if found is None:
        return without_symmetry(cell)
    supercell = cell.vectors @ np.linalg.inv(found.primitive_lattice)
    if np.linalg.det(supercell) < 0:
        supercell = -supercell
    supercell = np.round(supercell)
    vectors = np.linalg.solve(supercell, cell.vectors)
    source, first = np.unique(found.mapping_to_primitive, return_index=True)
    place = np.searchsorted(source, found.mapping_to_primitive)
    inside = cell.fractional @ supercell
    primitive = Cell(vectors, inside[first], cell.numbers[first])
    n_copies = len(cell.numbers) // len(first)
    inner = _dataset(primitive, tolerance_a) if len(cell.numbers) == n_copies * len(first) else None
    if inner is None:
        return without_symmetry(cell)
    rotations = np.asarray(inner.rotations, dtype=np.int64)
    images, misses = _images(primitive, rotations, inner.translations)
    if (np.sort(images, axis=1) != np.arange(len(first))).any():
        return without_symmetry(cell)
    symmetric = _symmetrised(primitive, rotations, images, misses)
    shifts = np.round(inside - primitive.fractional[place])
    return Reduced(symmetric, rotations, images, supercell, place, shifts)


def _dataset(cell: Cell, tolerance_a: float) -> Any:
    import warnings

    import spglib

    with warnings.catch_warnings():  # it announces that failures will one day be raised
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return spglib.get_symmetry_dataset((cell.vectors, cell.fractional, cell.numbers), symprec=tolerance_a)
        except spglib.error.SpglibError:
            return None


def _images(cell: Cell, rotations: Ints, translations: Floats) -> tuple[Ints, Floats]:
    """The atom that stands where an operation takes an atom, and by how much it misses, fractional."""
    moved = np.einsum("gab,nb->gna", rotations, cell.fractional) + translations[:, None]
    gap = cell.fractional[None, None] - moved[:, :, None]
    gap -= np.round(gap)
    distance = np.linalg.norm(gap @ cell.vectors, axis=3)
    distance[:, cell.numbers[:, None] != cell.numbers[None]] = np.inf
    images = distance.argmin(axis=2)
    return images, np.take_along_axis(gap, images[:, :, None, None], axis=2)[:, :, 0]


def _symmetrised(cell: Cell, rotations: Ints, images: Ints, misses: Floats) -> Cell:
    """The mean over all operations, so that each holds to the last digit and not within a tolerance only."""
    metric = np.einsum("gca,cd,gdb->ab", rotations, cell.vectors @ cell.vectors.T, rotations) / len(rotations)
    inverse = np.linalg.inv(cell.vectors)
    squares, axes = np.linalg.eigh(inverse @ metric @ inverse.T)
    vectors = cell.vectors @ (axes * np.sqrt(squares)) @ axes.T
    # An operation takes atom i to within `miss` of atom j; j then stands where its image says, less the miss.
    back = np.zeros_like(cell.fractional)
    for image, miss in zip(images, misses):
        back[image] -= miss
    return Cell(vectors, cell.fractional + back / len(rotations), cell.numbers)


class FreeParameters:
    """Coordinates along the motions that keep the symmetry, scaled so that curvatures are about 1 eV.

    A crystal with coordinates q has lattice vectors `vectors @ expm(strain)` and fractional coordinates
    `fractional + displacement`, both linear in q. Displacements are those of atoms in a cell that is not strained.

    Args:
        reduced: the crystal at q = 0.

    Attributes:
        size: number of free parameters.
        strains: float64 [size, 3, 3], the strain of each parameter.
        displacements: float64 [size, atom, 3], angstrom.
    """

    def __init__(self, reduced: Reduced) -> None:
        self.reduced, cell = reduced, reduced.cell
        rotations = np.einsum("ba,gbc,dc->gad", cell.vectors, reduced.rotations, np.linalg.inv(cell.vectors))
        strains = _invariant_strains(rotations)
        shear = np.array([np.linalg.norm(e - np.trace(e) / 3 * np.eye(3)) ** 2 for e in strains])
        stiffness = cell.volume * (3 * BULK_MODULUS * (1 - shear) + 2 * SHEAR_MODULUS * shear)
        strains /= np.sqrt(stiffness)[:, None, None]
        moves = _invariant_displacements(rotations, reduced.images) / np.sqrt(FORCE_CONSTANT)
        n_strains, n_moves = len(strains), len(moves)
        self.size = n_strains + n_moves
        self.strains = np.concatenate([strains, np.zeros((n_moves, 3, 3))])
        self.displacements = np.concatenate([np.zeros((n_strains, *cell.fractional.shape)), moves])
        self._fractional = self.displacements @ np.linalg.inv(cell.vectors)

    def cell(self, q: Floats) -> Cell:
        """The crystal with coordinates q, float64 [size]."""
        start = self.reduced.cell
        values, axes = np.linalg.eigh(np.tensordot(q, self.strains, 1))
        vectors = start.vectors @ (axes * np.exp(values)) @ axes.T
        return Cell(vectors, start.fractional + np.tensordot(q, self._fractional, 1), start.numbers)

    def gradient(self, cell: Cell, found: Evaluation) -> Floats:
        """dE/dq, eV, float64 [size].

        That of strains is exact where the strain so far and the next commute, as for cubic, hexagonal and tetragonal
        cells, and else to first order in the strain so far.
        """
        assert found.forces is not None
        assert found.stress is not None
        by_cell = cell.volume * np.tensordot(self.strains, found.stress, 2)
        return by_cell - np.tensordot(self._fractional @ cell.vectors, found.forces, 2)

    def symmetric(self, cell: Cell, found: Evaluation) -> tuple[Floats, Floats]:
        """Forces, eV/angstrom, and gradient of the cell, eV/atom, without what noise puts across the symmetry."""
        assert found.forces is not None
        assert found.stress is not None
        rotations = np.einsum("ba,gbc,dc->gad", cell.vectors, self.reduced.rotations, np.linalg.inv(cell.vectors))
        forces = np.zeros_like(found.forces)
        for rotation, image in zip(rotations, self.reduced.images):
            forces[image] += found.forces @ rotation.T
        stress = np.einsum("gab,bc,gdc->ad", rotations, found.stress, rotations) / len(rotations)
        forces /= len(rotations)
        return forces - forces.mean(axis=0), cell.volume * stress / len(forces)


def _invariant_strains(rotations: Floats) -> Floats:
    """Orthonormal symmetric matrices that all rotations leave as they are, float64 [strain, 3, 3]."""
    mean = np.einsum("gab,gcd->acbd", rotations, rotations).reshape(9, 9) / len(rotations)
    swap = np.eye(9).reshape(3, 3, 9).transpose(1, 0, 2).reshape(9, 9)
    uniform = np.eye(3).ravel() / np.sqrt(3)  # first of all, as it is stiffer than the others
    mean = mean @ (np.eye(9) + swap) / 2 - np.outer(uniform, uniform)
    values, vectors = np.linalg.eigh((mean + mean.T) / 2)
    return np.vstack([uniform, vectors[:, values > 0.5].T]).reshape(-1, 3, 3)


def _invariant_displacements(rotations: Floats, images: Ints) -> Floats:
    """Orthonormal displacements of all atoms that all operations leave as they are, without shifts of the whole.

    Returns:
        float64 [displacement, atom, 3].
    """
    n = images.shape[1]
    mean = np.zeros((n, 3, n, 3))
    atoms = np.arange(n)
    for rotation, image in zip(rotations, images):
        mean[image, :, atoms, :] += rotation
    mean = mean.reshape(3 * n, 3 * n) / len(rotations)
    shift = np.kron(np.full((n, n), 1 / n), np.eye(3))
    mean = mean @ (np.eye(3 * n) - shift)
    values, vectors = np.linalg.eigh((mean + mean.T) / 2)
    return vectors[:, values > 0.5].T.reshape(-1, n, 3)
