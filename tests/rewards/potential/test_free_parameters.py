"""Motions that keep a symmetry: as many as crystallography counts, exact, and with the right gradient."""

from typing import Any

import numpy as np
import pytest
import spglib

from oreflow.rewards.potential.ase_calculator import AsePotential
from oreflow.rewards.potential.free_parameters import FreeParameters, reduce, without_symmetry
from oreflow.rewards.potential.protocol import Card, Cell, cell_of

ANY = Card("test", "", "", "none", "", "", frozenset(range(1, 119)))

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # of spglib


def crystal(group: str, lattice: Any, species: list[str], sites: list[list[float]]) -> Any:
    from pymatgen.core import Structure

    return Structure.from_spacegroup(group, lattice, species, sites)


def crystals() -> list[tuple[Any, int, int]]:
    """Conventional cells, with the atoms of a primitive cell and the free parameters as their Wyckoff positions say."""
    from pymatgen.core import Lattice

    return [
        (crystal("Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]), 2, 1),  # a
        (
            crystal("P4_2/mnm", Lattice.tetragonal(4.6, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]),
            6,
            3,  # a, c, x
        ),
        (
            crystal("P6_3mc", Lattice.hexagonal(3.25, 5.2), ["Zn", "O"], [[1 / 3, 2 / 3, 0], [1 / 3, 2 / 3, 0.38]]),
            4,
            3,  # a, c, and z of one against the other: the origin is free along z
        ),
        (
            crystal(
                "Fd-3m", Lattice.cubic(8.1), ["Mg", "Al", "O"], [[0, 0, 0], [0.625] * 3, [0.3874] * 3]
            ),
            14,
            2,  # a, u
        ),
        (
            crystal(
                "P2_1/c", Lattice.monoclinic(5.1, 5.2, 5.3, 99.0), ["Zr", "O", "O"],
                [[0.276, 0.04, 0.208], [0.07, 0.332, 0.345], [0.45, 0.757, 0.479]],
            ),
            12,
            4 + 9,
        ),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(5))
def test_free_parameters_are_those_of_the_wyckoff_positions(number: int) -> None:
    structure, n_atoms, n_free = crystals()[number]
    reduced = reduce(cell_of(structure), 0.01)
    space = FreeParameters(reduced)
    assert (len(reduced.cell.numbers), space.size) == (n_atoms, n_free)
    free = FreeParameters(without_symmetry(cell_of(structure)))
    assert free.size == 3 * len(structure) + 3

    def group(cell: Cell) -> int:
        return spglib.get_symmetry_dataset((cell.vectors, cell.fractional, cell.numbers), symprec=1e-4).number

    rng = np.random.default_rng(number)
    moved = space.cell(rng.normal(0, 0.3, space.size))
    assert group(moved) == group(cell_of(structure))
    assert abs(moved.volume / reduced.cell.volume - 1) > 1e-3
    any_way = free.cell(rng.normal(0, 0.3, free.size))
    assert group(any_way) == 1


@pytest.mark.parametrize("number", range(5))
def test_the_way_back_from_a_primitive_cell_moves_every_atom(number: int) -> None:
    structure, _, _ = crystals()[number]
    structure.translate_sites([0], [1, -2, 0], to_unit_cell=False)
    cell = cell_of(structure)
    reduced = reduce(cell, 0.01)
    vectors, fractional = reduced.expand(reduced.cell.vectors, reduced.cell.fractional)
    np.testing.assert_allclose(vectors, cell.vectors, atol=1e-9)
    np.testing.assert_allclose(fractional, cell.fractional, atol=1e-5)
    space = FreeParameters(reduced)
    moved = space.cell(np.random.default_rng(1).normal(0, 0.3, space.size))
    vectors, fractional = reduced.expand(moved.vectors, moved.fractional)
    # The moved conventional cell is the moved primitive one, repeated: spglib finds the same atoms and volume.
    found = spglib.find_primitive((vectors, fractional, cell.numbers), symprec=1e-4)
    assert len(found[2]) == len(moved.numbers)
    assert abs(np.linalg.det(found[0])) == pytest.approx(moved.volume, rel=1e-6)


def test_what_a_crystal_misses_its_symmetry_by_is_averaged_out() -> None:
    structure, _, _ = crystals()[1]
    rng = np.random.default_rng(0)
    structure.perturb(0.002, seed=1)
    cell = cell_of(structure)
    strained = Cell(cell.vectors @ (np.eye(3) + rng.normal(0, 2e-4, (3, 3))), cell.fractional, cell.numbers)
    reduced = reduce(strained, 0.05)
    exact = reduced.cell
    found = spglib.get_symmetry_dataset((exact.vectors, exact.fractional, exact.numbers), symprec=1e-6)
    assert found.number == 136
    vectors, fractional = reduced.expand(exact.vectors, exact.fractional)
    np.testing.assert_allclose(vectors, strained.vectors, atol=5e-3)
    np.testing.assert_allclose(fractional, strained.fractional, atol=2e-3)
    assert np.abs(fractional - strained.fractional).max() > 1e-4


@pytest.mark.parametrize("held", [True, False])
def test_gradients_are_slopes_of_the_energy(held: bool) -> None:
    """With an analytical potential in double precision, against differences."""
    from ase.calculators.lj import LennardJones

    structure, _, _ = crystals()[4 if held else 1]
    potential = AsePotential(LennardJones(sigma=2.0, epsilon=0.1, rc=6.0, smooth=True), ANY)
    cell = cell_of(structure)
    space = FreeParameters(reduce(cell, 0.01) if held else without_symmetry(cell))
    q = np.random.default_rng(2).normal(0, 0.05, space.size) if held else np.zeros(space.size)
    if held:
        q[:4] = 0.0  # of strains the gradient is exact where there is none so far

    def energy(at: np.ndarray) -> float:
        return potential.evaluate([space.cell(at)], gradients=False)[0].energy

    slope = space.gradient(space.cell(q), potential.evaluate([space.cell(q)])[0])
    step = 1e-4
    wanted = [(energy(q + step * e) - energy(q - step * e)) / (2 * step) for e in np.eye(space.size)]
    np.testing.assert_allclose(slope, wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(slope).max() > 0.01
