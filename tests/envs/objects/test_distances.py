"""Distances under periodic boundaries against pymatgen's neighbour lists, in cells of any shape."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import Element, Lattice, Structure

from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.objects.distances import (
    contact,
    contacts,
    images_within,
    nearest_image,
    reduce_cell,
    shortest_lattice_vector,
)
from tests.support.textbook import atoms_of, textbook
from tests.whole.test_layers import ROOT

NUMBERS = np.array([1, 8, 55, 26, 92, 17], dtype=np.int16)


@st.composite
def cells(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Lattice vectors and fractional coordinates: a box of 2 to 9 angstrom, sheared by fractions and whole vectors."""
    edges = draw(arrays(np.float64, 3, elements=st.floats(2.0, 9.0)))
    shear = draw(arrays(np.float64, 3, elements=st.floats(-3.0, 3.0)))
    vectors = np.diag(edges)
    vectors[1] += shear[0] * vectors[0]
    vectors[2] += shear[1] * vectors[0] + shear[2] * vectors[1]
    vectors[0] += draw(st.integers(-2, 2)) * vectors[2]
    n = draw(st.integers(1, 5))
    return vectors, draw(arrays(np.float64, (n, 3), elements=st.floats(-2.0, 2.0)))


def neighbours(vectors: np.ndarray, at: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pymatgen's list of all pairs within a radius: centres, neighbours, distances."""
    structure = Structure(Lattice(vectors), NUMBERS[: len(at)].tolist(), at)
    centres, others, _, distances = structure.get_neighbor_list(radius, exclude_self=False)
    itself = (centres == others) & (distances < 1e-8)
    return centres[~itself], others[~itself], distances[~itself]


@settings(max_examples=60)
@given(cells())
def test_closest_contact_is_that_of_pymatgens_neighbour_list(cell: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, at = cell
    n, radii = len(at), covalent_radii()
    distance, ratio = contact(vectors, NUMBERS[:n], at, np.arange(n), radii)
    # The radius reaches all that could be nearer by either measure, if what is found here were too long.
    reach = max(distance, ratio * 2 * radii[NUMBERS[:n]].max()) + 0.01
    i, j, d = neighbours(vectors, at, reach)
    assert distance == pytest.approx(d.min(), abs=1e-7)
    assert ratio == pytest.approx((d / (radii[NUMBERS[i]] + radii[NUMBERS[j]])).min(), abs=1e-7)


@settings(max_examples=40)
@given(cells(), st.floats(1.0, 7.0))
def test_images_within_a_radius_are_those_of_pymatgen(cell: tuple[np.ndarray, np.ndarray], radius: float) -> None:
    vectors, at = cell
    i, j, d = neighbours(vectors, at, radius)
    if (abs(d - radius) < 1e-6).any() or (d < 1e-5).any():
        return  # on the edge either answer is right
    own, moved = reduce_cell(vectors, at)
    for a in range(len(at)):
        for b in range(len(at)):
            number, total = images_within(own, *(moved[b] - moved[a]), radius, 2.0, 0.37)
            distances = d[(i == a) & (j == b)]
            assert number == len(distances)
            assert total == pytest.approx(np.exp((2.0 - distances) / 0.37).sum(), rel=1e-6)


@settings(max_examples=60)
@given(cells())
def test_reduction_keeps_the_lattice(cell: tuple[np.ndarray, np.ndarray]) -> None:
    """Same volume, same shortest vector by brute force, short edges; and each atom is where it was, up to a vector."""
    vectors, at = cell
    own, moved = reduce_cell(vectors, at)
    assert np.allclose(np.triu(own, 1), 0.0)
    assert np.linalg.det(own) == pytest.approx(abs(np.linalg.det(vectors)), rel=1e-9)
    grid = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    lengths = np.sort(np.linalg.norm(grid @ own, axis=1))  # of a reduced cell the shortest are within reach
    assert shortest_lattice_vector(own) == pytest.approx(lengths[1], abs=1e-9)
    for b in range(1, len(at)):
        image = grid + (moved[b] - moved[0])
        direct = np.linalg.norm(image @ own, axis=1).min()
        assert nearest_image(own, *(moved[b] - moved[0]), 100.0) == pytest.approx(direct, abs=1e-7)


def test_a_cell_skewed_by_many_vectors_gives_the_same() -> None:
    rng = np.random.default_rng(0)
    vectors, at = np.diag([4.0, 5.0, 6.0]) + rng.normal(size=(3, 3)), rng.random((6, 3))
    expected = contact(vectors, NUMBERS, at, np.arange(6), covalent_radii())
    change = np.array([[1, 17, 0], [0, 1, -40], [0, 0, 1]]) @ np.array([[1, 0, 0], [9, 1, 0], [-5, 23, 1]])
    skewed = contact(change @ vectors, NUMBERS, at @ np.linalg.inv(change), np.arange(6), covalent_radii())
    assert skewed == pytest.approx(expected, rel=1e-9)


def test_first_atoms_of_orbits_are_enough() -> None:
    """With and without symmetry, in a batch and alone, and against pymatgen's distance matrix."""
    structures, radii = list(textbook().values()), covalent_radii()
    distances, ratios = contacts(atoms_of(structures, symmetry=True), radii)
    plain = contacts(atoms_of(structures), radii)
    assert np.allclose(distances, plain[0], rtol=1e-12)
    assert np.allclose(ratios, plain[1], rtol=1e-12)
    for structure, distance, ratio in zip(structures, distances, ratios):
        _, _, _, found = structure.get_neighbor_list(3.6)
        assert distance == pytest.approx(found.min(), abs=1e-8)
        alone = contacts(atoms_of([structure], symmetry=True), radii)
        assert (alone[0][0], alone[1][0]) == (distance, ratio)


@pytest.mark.parametrize(
    "vectors", [np.zeros((3, 3)), np.ones((3, 3)), np.full((3, 3), np.nan), np.diag([3.0, 3.0, np.inf])]
)
def test_a_cell_without_volume_has_no_distances(vectors: np.ndarray) -> None:
    found = contact(vectors, NUMBERS[:2], np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]), np.arange(2), covalent_radii())
    assert np.isnan(found).all()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_coordinate_that_is_no_number_ends_the_search(wrong: float) -> None:
    at = np.array([[0.0, 0.0, 0.0], [0.5, wrong, 0.5]])
    assert np.isnan(contact(np.eye(3) * 5.0, NUMBERS[:2], at, np.arange(2), covalent_radii())).all()


def test_atoms_on_one_point_and_unknown_radii() -> None:
    at = np.array([[0.25, 0.0, 0.0], [-0.75, 0.0, 1.0]])
    assert contact(np.eye(3) * 4.0, NUMBERS[:2], at, np.arange(2), covalent_radii()) == (0.0, 0.0)
    distance, ratio = contact(np.eye(3) * 4.0, np.array([8, 118]), at * 2, np.arange(2), covalent_radii())
    assert distance == pytest.approx(0.0)
    assert np.isnan(ratio)


def test_radii_are_those_of_cordero() -> None:
    """Against pymatgen's copy, and some values of the paper's table 2."""
    radii = covalent_radii()
    for z in range(1, 119):
        expected = CovalentRadius.radius.get(Element.from_Z(z).symbol, np.nan)
        assert radii[z] == pytest.approx(expected, nan_ok=True)
    assert radii[[1, 8, 17, 55, 92]].tolist() == [0.31, 0.66, 1.02, 2.44, 1.96]
    with Path(ROOT / "envs" / "data" / "covalent_radii.csv").open(encoding="utf-8") as file:
        assert [row["symbol"] for row in csv.DictReader(file)] == list(CovalentRadius.radius)
