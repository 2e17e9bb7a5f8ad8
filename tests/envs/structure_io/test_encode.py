"""Structures to crystals and back: known structure types, odd cells, disturbed atoms, reasons of refusal."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from oreflow.envs.errors import EncodeError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import protostructure_labels
from oreflow.envs.structure_io.encode import encode_structure, encode_structures
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.structure_io.reading.checks import Reason
from oreflow.envs.structure_io.writers import representative_points
from oreflow.envs.symmetry.space_groups import space_group
from tests.support.prototypes import Prototype, prototypes

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # spglib's, in pymatgen

PROTOTYPES = prototypes()
SAME = StructureMatcher(ltol=0.01, stol=0.01, angle_tol=0.5, scale=False, primitive_cell=True)
each = pytest.mark.parametrize("prototype", PROTOTYPES, ids=lambda prototype: prototype.name)


def mirror_image(structure: Structure) -> Structure:
    return Structure(structure.lattice, structure.species, -structure.frac_coords)


@each
def test_known_types_come_back(prototype: Prototype) -> None:
    crystal = encode_structure(prototype.structure)
    assert crystal.space_group.tolist() == [prototype.space_group]
    assert protostructure_labels(crystal) == [prototype.protostructure]
    assert crystal.multiplicity.sum() == prototype.n_conventional == len(prototype.structure)
    (primitive,), (conventional,) = pymatgen_structures(crystal), pymatgen_structures(crystal, primitive=False)
    for decoded in (primitive, conventional):
        assert SAME.fit(prototype.structure, decoded)
        assert SpacegroupAnalyzer(decoded, 1e-5).get_space_group_number() == prototype.space_group
    assert len(conventional) == len(prototype.structure)
    assert conventional.density == pytest.approx(prototype.structure.density, rel=1e-9)


def test_free_coordinates_are_those_of_the_tables() -> None:
    crystal = encode_structure(next(p for p in PROTOTYPES if p.name == "pyrite").structure)
    (sulfur,) = crystal.parameters[crystal.atomic_number == 16].tolist()
    # x, -x, x + 1/2 and 1/2 - x describe one structure, from two origins and on two points of an orbit.
    assert min(abs(sulfur[0] - x) for x in (0.3851, 0.6149, 0.8851, 0.1149)) < 1e-9
    assert sulfur[1:] == [0, 0]
    assert crystal.parameters[crystal.atomic_number == 26].tolist() == [[0, 0, 0]]
    assert crystal.lattice[0] == pytest.approx([5.417] * 3 + [90] * 3)


def disguised(structure: Structure, rng: np.random.Generator) -> Structure:
    """The same crystal: a supercell in a skew basis, turned, shifted, its atoms in another order."""
    skew = np.triu(rng.integers(-1, 2, size=(3, 3)), 1) + np.diag(rng.permutation([1, 1, rng.integers(1, 3)]))
    cell = structure.get_primitive_structure() * skew
    turn, triangle = np.linalg.qr(rng.normal(size=(3, 3)))
    turn = turn * np.sign(np.diag(triangle)) * np.sign(np.linalg.det(turn * np.sign(np.diag(triangle))))
    order = rng.permutation(len(cell))
    fractional = (cell.frac_coords + rng.random(3) + rng.integers(-2, 3, size=(len(cell), 3)))[order]
    return Structure(Lattice(cell.lattice.matrix @ turn), [cell.species[i] for i in order], fractional)


@each
def test_the_choice_of_cell_does_not_matter(prototype: Prototype, rng: np.random.Generator) -> None:
    variants = [disguised(prototype.structure, rng) for _ in range(5)]
    crystals, rows, errors = encode_structures(variants)
    assert (rows.tolist(), errors) == (list(range(5)), [None] * 5)
    assert set(crystals.space_group.tolist()) == {prototype.space_group}
    assert set(protostructure_labels(crystals)) == {prototype.protostructure}
    expected = prototype.structure.composition.reduced_composition
    assert all(decoded.composition.reduced_composition == expected for decoded in pymatgen_structures(crystals))
    for variant, decoded in zip(variants, pymatgen_structures(crystals)):
        assert len(decoded) == len(prototype.structure.get_primitive_structure())
        assert SAME.fit(variant, decoded)


def test_enantiomorphs_are_told_apart() -> None:
    quartz = next(p for p in PROTOTYPES if p.name == "alpha quartz").structure
    crystals, _, _ = encode_structures([quartz, mirror_image(quartz)])
    assert crystals.space_group.tolist() == [154, 152]
    # Swapping handedness by taking the crystal's own inversion brings the group back, so it is no accident of the cell.
    (left, right) = pymatgen_structures(crystals)
    assert encode_structure(mirror_image(right)).space_group.tolist() == [154]
    assert SAME.fit(left, mirror_image(right))


def test_small_noise_is_smoothed_and_large_noise_lowers_the_symmetry(rng: np.random.Generator) -> None:
    spinel = next(p for p in PROTOTYPES if p.name == "spinel").structure
    moved = [
        Structure(spinel.lattice, spinel.species, spinel.frac_coords + rng.normal(size=(56, 3)) * sigma / 8.083)
        for sigma in (5e-4, 0.05)
    ]
    crystals, _, errors = encode_structures(moved)
    assert errors == [None, None]
    assert crystals.space_group.tolist()[0] == 227
    assert crystals.space_group.tolist()[1] < 227
    for given_, decoded in zip(moved, pymatgen_structures(crystals, primitive=False)):
        assert SAME.fit(given_, decoded)
        assert SAME.get_rms_dist(given_, decoded)[0] < 1e-3


@given(st.integers(1, 230), st.integers(0, 2**32 - 1))
@settings(max_examples=120)
def test_random_crystals_come_back(number: int, seed: int) -> None:
    """A crystal on two random positions: the group found holds it or is a supergroup, and the atoms are the same."""
    rng = np.random.default_rng(seed)
    group = space_group(number)
    letters = rng.integers(len(group.letters), size=2)
    free = np.arange(3) < group.dof[letters][:, None]
    lattice = {
        "triclinic": [7, 8, 9, 85, 95, 102],
        "monoclinic": [7, 8, 9, 90, 101, 90],
        "orthorhombic": [7, 8, 9, 90, 90, 90],
        "tetragonal": [7, 7, 9, 90, 90, 90],
        "trigonal": [7, 7, 9, 90, 90, 120],
        "hexagonal": [7, 7, 9, 90, 90, 120],
        "cubic": [8, 8, 8, 90, 90, 90],
    }[group.crystal_system]
    crystal = Crystals(
        np.array([number]),
        np.array([0, 2]),
        letters,
        np.array([12, 8]),
        np.array([lattice], dtype=float),
        np.where(free, rng.random((2, 3)), 0.0),
    )
    (structure,) = pymatgen_structures(crystal)
    distances = structure.distance_matrix + 9 * np.eye(len(structure))
    if distances.min() < 0.3:  # atoms that nearly coincide have no clear symmetry
        return
    found, _, errors = encode_structures([structure], symprec=1e-4)
    assert errors == [None]
    assert found.compositions.reduced().formulas() == crystal.compositions.reduced().formulas()
    density, found_density = (
        len(space_group(int(c.space_group[0])).rotations) / c.atoms(primitive=False).volumes[0]
        for c in (crystal, found)
    )
    assert found_density > density * (1 - 1e-9)  # operations in a given volume: none was lost
    (again,) = pymatgen_structures(found)
    if len(structure) > 60:  # the matcher takes too long
        return
    assert StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, scale=False).fit(structure, again)


def test_representatives_lie_on_their_orbit() -> None:
    crystals, _, _ = encode_structures([p.structure for p in PROTOTYPES])
    points, atoms = representative_points(crystals), crystals.atoms(primitive=False)
    first = np.concatenate([[0], np.flatnonzero(np.diff(atoms.orbit)) + 1])
    assert len(first) == len(points)
    difference = points - atoms.fractional[first]
    assert np.abs(difference - np.rint(difference)).max() < 1e-9


@pytest.mark.parametrize(
    ("structure", "code"),
    [
        ((np.eye(3) * 4, np.empty((0, 3)), np.empty(0)), "no_atoms"),
        ((np.eye(3) * np.nan, np.zeros((1, 3)), [26]), "bad_cell"),
        ((np.diag([4.0, 4.0, 0.0]), np.zeros((1, 3)), [26]), "bad_cell"),
        ((np.eye(3) * 4, np.zeros((2, 3)), [26]), "bad_coordinates"),
        ((np.eye(3) * 4, np.zeros((2, 3)), [26, 26]), "no_symmetry"),
        (Structure(Lattice.cubic(3), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]]), "partial_occupancy"),
    ],
)
def test_what_cannot_be_encoded_has_a_code_and_stops_nothing(structure: Any, code: str) -> None:
    iron = (np.eye(3) * 2.8, np.array([[0.1, 0.2, 0.3], [0.6, 0.7, 0.8]]), np.array([26, 26]))
    crystals, rows, errors = encode_structures([iron, structure, iron])
    assert rows.tolist() == [0, 2]
    assert crystals.space_group.tolist() == [229, 229]
    error = errors[1]
    assert isinstance(error, EncodeError)
    assert error.code == code in list(Reason)
    with pytest.raises(EncodeError, match=str(error).split(",")[0][:20]):
        encode_structure(structure)


def test_no_structures_make_an_empty_batch() -> None:
    crystals, rows, errors = encode_structures([])
    assert (len(crystals), len(rows), errors) == (0, 0, [])
