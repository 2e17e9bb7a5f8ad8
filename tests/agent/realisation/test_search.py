"""The compiled search: energies against pymatgen's distances, slopes against differences, textbook crystals found."""

import json
from typing import Any

import numpy as np
import pytest

from oreflow.agent.errors import RealisationError
from oreflow.agent.realisation.distinct import fingerprint, same_crystal
from oreflow.agent.realisation.energy_compiled import N_SHAPE, Frame, energy
from oreflow.agent.realisation.frames import crystals_of, draw_points, free_coordinates, make_frame, n_parameters
from oreflow.agent.realisation.geometries import Settings, find_geometries
from oreflow.agent.realisation.potentials import SPACING_A, expected_volume, pair_tables
from oreflow.agent.realisation.search_compiled import descend
from oreflow.envs.arrays import Floats
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_from_text, crystal_to_text
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.symmetry.lattices import metric_of_cell
from oreflow.envs.symmetry.space_groups import DENOMINATOR, space_group

STIFFNESS, CUTOFF, DECAY, HEIGHT = 1.5, 6.0, 0.3, 1000.0
# One of each crystal system, centred and not, positions of no to three free coordinates.
DECORATIONS = {
    "cubic": (227, [("d", "Ti"), ("e", "O")]),
    "rhombohedral": (167, [("c", "Al"), ("e", "O")]),
    "hexagonal": (186, [("b", "Zn"), ("b", "S"), ("c", "Al")]),
    "tetragonal": (140, [("a", "Cu"), ("h", "Al")]),
    "orthorhombic": (36, [("a", "Sr"), ("b", "Si")]),
    "monoclinic": (15, [("e", "Ca"), ("f", "O")]),
    "triclinic": (2, [("a", "K"), ("i", "I"), ("i", "O")]),
}


def decoration(number: int, sites: list[tuple[str, str]]) -> Crystals:
    text = {"sg": number, "lattice": None, "sites": [[letter, symbol, None] for letter, symbol in sites]}
    return crystal_from_text([json.dumps(text)])


def decaying(n_kinds: int) -> Floats:
    """1000 exp(-r / 0.3), lowered and tilted to end flat at the cutoff, for all pairs alike."""
    r = np.arange(round(CUTOFF / SPACING_A) + 1) * SPACING_A
    values = HEIGHT * np.exp(-r / DECAY)
    slopes = -values / DECAY
    table = np.stack([values - values[-1] - slopes[-1] * (r - CUTOFF), slopes - slopes[-1]], axis=-1)
    return np.tile(table, (n_kinds, n_kinds, 1, 1))


def frame_and_point(name: str) -> tuple[Crystals, Frame, Floats]:
    crystal = decoration(*DECORATIONS[name])
    kinds = np.unique(crystal.atomic_number).astype(np.int64)
    frame = make_frame(crystal, 90.0, kinds, decaying(len(kinds)), SPACING_A, STIFFNESS)
    point = draw_points(frame, 1, np.random.default_rng(1))[0]
    point[-1] = 0.1
    return crystal, frame, point


def energy_at(frame: Frame, point: Floats, with_slope: bool = False) -> tuple[float, Floats]:
    gradient = np.empty(len(point))
    scratch = np.empty((3, 3)), np.empty((3, 3)), np.empty((int(frame.first[-1]), 3))
    return energy(frame, point, gradient, *scratch, with_slope), gradient


@pytest.mark.parametrize("name", DECORATIONS)
def test_energies_are_those_of_pymatgens_distances_and_slopes_those_of_differences(name: str) -> None:
    crystal, frame, point = frame_and_point(name)
    (structure,) = pymatgen_structures(crystals_of(crystal, frame, point[None]))
    assert structure.volume == pytest.approx(90.0 * np.exp(0.1), rel=1e-9)
    assert len(structure) == frame.first[-1]
    distances = structure.get_neighbor_list(CUTOFF)[3]
    last = np.exp(-CUTOFF / DECAY)
    pairs = np.exp(-distances / DECAY) - last + last / DECAY * (distances - CUTOFF)
    expected = HEIGHT * pairs.sum() / 2 + len(structure) * STIFFNESS * 0.1**2
    found, gradient = energy_at(frame, point, with_slope=True)
    assert found == pytest.approx(expected, rel=2e-6)  # cubic interpolation between points of the table
    steps = 1e-5 * np.eye(len(point))
    numeric = [(energy_at(frame, point + h)[0] - energy_at(frame, point - h)[0]) / 2e-5 for h in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize("name", ["orthorhombic", "triclinic"])
def test_descents_end_where_slopes_vanish_and_never_higher(name: str) -> None:
    _, frame, point = frame_and_point(name)
    start, _ = energy_at(frame, point)
    end, n = descend(frame, point, 500)
    found, gradient = energy_at(frame, point, with_slope=True)
    assert end == pytest.approx(found)
    assert end < start
    assert n > 3
    # 0.02 eV/angstrom, and no coordinate moves atoms by more than 20 angstrom a unit
    assert np.abs(gradient).max() < 0.4


def maps_onto_itself(crystal: Crystals) -> bool:
    """Whether all operations of the space group keep the metric and map atoms onto atoms of their kind."""
    group = space_group(int(crystal.space_group[0]))
    metric = metric_of_cell(crystal.lattice[0].tolist())
    atoms = crystal.atoms(primitive=False)
    for rotation, translation in zip(group.rotations.astype(float), group.translations / DENOMINATOR):
        if not np.allclose(rotation.T @ metric @ rotation, metric, rtol=1e-8, atol=1e-8 * metric.max()):
            return False
        moved = atoms.fractional @ rotation.T + translation
        gaps = moved[:, None] - atoms.fractional[None]
        gaps = np.abs(gaps - np.round(gaps)).max(axis=2)
        gaps[atoms.atomic_numbers[:, None] != atoms.atomic_numbers[None]] = 1.0
        if gaps.min(axis=1).max() > 1e-6:
            return False
    return True


@pytest.mark.parametrize("name", DECORATIONS)
def test_geometries_keep_the_decoration_its_symmetry_and_about_its_volume(name: str) -> None:
    crystal = decoration(*DECORATIONS[name])
    found = find_geometries(crystal, Settings(keep=5, effort=0.1))
    assert 1 <= len(found.geometries) <= 5
    numbers = np.array(found.geometries[0].structure.atomic_numbers)
    for geometry in found.geometries:
        bare = geometry.crystal
        assert bare.space_group.tolist() == crystal.space_group.tolist()
        assert bare.letter.tolist() == crystal.letter.tolist()
        assert bare.atomic_number.tolist() == crystal.atomic_number.tolist()
        assert maps_onto_itself(bare)
        assert geometry.structure.volume == pytest.approx(expected_volume(numbers), rel=0.4)
    assert found.geometries[0].structure.volume == pytest.approx(expected_volume(numbers), rel=0.2)
    for i, one in enumerate(found.geometries):
        assert not any(
            same_crystal(one.structure, one.fingerprint, o.structure, o.fingerprint) for o in found.geometries[:i]
        )


def best(number: int, sites: list[tuple[str, str]], **settings: Any) -> Crystals:
    return find_geometries(decoration(number, sites), Settings(**settings)).geometries[0].crystal


def test_textbook_crystals_are_found() -> None:
    """Lattice parameters in angstrom, ratios and coordinates of Wyckoff, Crystal Structures (1963)."""
    salt = best(225, [("a", "Na"), ("b", "Cl")])
    assert salt.lattice[0, 0] == pytest.approx(5.640, rel=0.05)
    perovskite = best(221, [("a", "Sr"), ("b", "Ti"), ("c", "O")])
    assert perovskite.lattice[0, 0] == pytest.approx(3.905, rel=0.05)
    rutile = best(136, [("a", "Ti"), ("f", "O")])
    assert rutile.lattice[0, 2] / rutile.lattice[0, 0] == pytest.approx(0.644, rel=0.07)
    x = rutile.parameters[1, 0] % 0.5  # x and 1 - x, and half a cell on, are one crystal
    assert min(x, 0.5 - x) == pytest.approx(0.195, abs=0.02)
    spinel = best(227, [("a", "Mg"), ("d", "Al"), ("e", "O")])
    u = spinel.parameters[2, 0]
    # the tetrahedra's shortest distance, with a at (1/8, 1/8, 1/8): 1.92 angstrom at 8.08
    assert abs((u - 0.125 + 0.5) % 1 - 0.5) * np.sqrt(3) == pytest.approx(0.2376, rel=0.06)


def test_the_order_of_sites_and_what_was_searched_before_do_not_matter() -> None:
    sites = [("a", "Sr"), ("b", "Si")]
    settings = Settings(effort=0.2)
    first = find_geometries(decoration(36, sites), settings).geometries
    find_geometries(decoration(136, [("a", "Ti"), ("f", "O")]), settings)
    again = find_geometries(decoration(36, sites), settings).geometries
    turned = find_geometries(decoration(36, sites[::-1]), settings).geometries
    texts = [crystal_to_text(geometry.crystal)[0] for geometry in first]
    assert [crystal_to_text(geometry.crystal)[0] for geometry in again] == texts
    for one, other in zip(first, turned, strict=True):
        assert other.crystal.atomic_number.tolist() == one.crystal.atomic_number.tolist()[::-1]
        np.testing.assert_array_equal(other.crystal.parameters, one.crystal.parameters[::-1])
        np.testing.assert_array_equal(other.crystal.lattice, one.crystal.lattice)
    elsewhere = find_geometries(decoration(36, sites), Settings(effort=0.2, seed=1)).geometries
    assert [crystal_to_text(geometry.crystal)[0] for geometry in elsewhere] != texts


def test_a_rank_decides_which_come_first() -> None:
    crystal = decoration(36, [("a", "Sr"), ("b", "Si")])
    plain = find_geometries(crystal, Settings(keep=99, effort=0.2)).geometries
    assert len(plain) >= 3

    def by_place(structures: Any) -> Floats:
        energies = np.arange(len(structures), 0.0, -1.0)
        energies[0] = np.nan
        return energies

    ranked = find_geometries(crystal, Settings(keep=99, effort=0.2), by_place).geometries
    expected = [crystal_to_text(g.crystal)[0] for g in [*plain[:0:-1], plain[0]]]
    assert [crystal_to_text(g.crystal)[0] for g in ranked] == expected  # without an energy last


def test_free_parameters_and_how_many_are_kept() -> None:
    for name, (n_free, n_shape) in {"cubic": (1, 0), "hexagonal": (3, 1), "triclinic": (6, 5)}.items():
        crystal, frame, _ = frame_and_point(name)
        assert free_coordinates(crystal) == n_free  # of the hexagonal one four, less the free origin along z
        assert N_SHAPE[frame.system] == n_shape
        assert n_parameters(frame) == int(frame.parameter[-1]) + n_shape + 1
    kept = [find_geometries(decoration(*DECORATIONS[n]), Settings(effort=0.1)) for n in ("cubic", "triclinic")]
    assert [(found.n_free_parameters, len(found.geometries)) for found in kept] == [(1, 1), (11, 3)]


def test_what_cannot_be_realised_says_why() -> None:
    with pytest.raises(RealisationError, match="too few crystals of Rn are known"):
        find_geometries(decoration(225, [("a", "Na"), ("b", "Rn")]), Settings())
    with pytest.raises(RealisationError, match="at most 200 atoms in the primitive cell, got 576"):
        find_geometries(decoration(229, [("l", "Na")] * 12), Settings())


def test_fingerprints_tell_crystals_apart_and_not_descriptions() -> None:
    rutile = find_geometries(decoration(136, [("a", "Ti"), ("f", "O")]), Settings(keep=9, effort=0.2)).geometries
    one = rutile[0]
    moved = one.structure.copy()
    moved.translate_sites(list(range(len(moved))), [0.3, 0.1, 0.2])
    moved.scale_lattice(1.3 * moved.volume)
    np.testing.assert_allclose(fingerprint(moved), one.fingerprint, atol=1e-6 * one.fingerprint.max())
    assert same_crystal(one.structure, one.fingerprint, moved, fingerprint(moved))
    squeezed = one.structure.copy()
    squeezed.apply_strain([0.0, 0.0, 0.6])
    assert not same_crystal(one.structure, one.fingerprint, squeezed, fingerprint(squeezed))


def test_pair_tables_hold_slopes_of_their_values() -> None:
    numbers = np.array([8, 8, 22])
    for potential in ("mean_force", "mean_force_coulomb"):
        table = pair_tables(numbers, potential)
        assert table.shape == (2, 2, 301, 2)
        np.testing.assert_allclose(table[0, 1], table[1, 0])
        assert np.abs(table[:, :, -1, 0]).max() < 1e-3  # nothing jumps at the cutoff
        bond = SPACING_A * np.argmin(table[0, 1, :150, 0])
        assert bond == pytest.approx(1.95, abs=0.12)  # Ti-O in rutile 1.949 and 1.980
        slopes, values = table[0, 1, 60:, 1], table[0, 1, 60:, 0]
        rise = np.cumsum((slopes[1:] + slopes[:-1]) / 2) * SPACING_A
        np.testing.assert_allclose(rise, values[1:] - values[0], atol=0.02 * np.abs(slopes).max())


@pytest.mark.parametrize("log_ratio", [-0.45, 0.5, 0.9])
def test_where_the_cell_alone_is_free_the_ranking_energy_decides_its_shape(log_ratio: float) -> None:
    """Pair potentials have one minimum of c/a here; an energy that wants another shape gets it, within a rung."""

    def wants_ratio(structures: list[Any]) -> Floats:
        return np.array([abs(np.log(one.lattice.c / one.lattice.a) - log_ratio) for one in structures])

    crystal = decoration(187, [("a", "Ag"), ("d", "Au")])
    by_pairs = find_geometries(crystal, Settings(keep=1)).geometries[0]
    best = find_geometries(crystal, Settings(keep=1), wants_ratio).geometries[0]
    assert wants_ratio([best.structure])[0] < 0.16 < wants_ratio([by_pairs.structure])[0]
    # what the search hands out has the volume that such a composition is expected to have
    assert best.structure.volume == pytest.approx(expected_volume(np.array([47, 79])), rel=1e-6)


def test_points_have_the_moments_of_known_cells() -> None:
    rhombohedral, tetragonal, cubic = (decoration(number, [("a", "Na")]) for number in (166, 139, 225))
    moments = []
    for crystal in (rhombohedral, tetragonal):
        kinds = np.unique(crystal.atomic_number).astype(np.int64)
        frame = make_frame(crystal, 40.0, kinds, decaying(1), SPACING_A, STIFFNESS)
        drawn = crystals_of(crystal, frame, draw_points(frame, 4000, np.random.default_rng(3)))
        ratio = np.log(drawn.lattice[:, 2] / drawn.lattice[:, 0])
        moments.append((ratio.mean(), ratio.std()))
    # ln(c/a): 1.21 and 0.78 of 423 rhombohedral crystals, 0.62 and 0.61 of 589 body-centred tetragonal ones
    np.testing.assert_allclose(moments, [(1.21, 0.78), (0.62, 0.61)], atol=0.05)
    frame = make_frame(cubic, 40.0, np.array([11]), decaying(1), SPACING_A, STIFFNESS)
    assert not draw_points(frame, 5, np.random.default_rng(3)).any()
