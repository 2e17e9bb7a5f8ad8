"""Given crystals as states: back from states, from other descriptions of the same crystal, known structure types."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice

from oreflow.envs.contract.check import check_backward_walk
from oreflow.envs.crystal.finding.reduced_cells import settings
from oreflow.envs.crystal.finding.shapes import nearest_shapes
from oreflow.envs.crystal.grid.lattice import FREE, lattice_grid, shape_allowed, unit_cell
from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.encode import encode_structures
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.symmetry.space_groups import DENOMINATOR, space_group
from tests.envs.crystal.test_find_outside import crystal
from tests.envs.structure_io.test_encode import disguised
from tests.support.prototypes import prototypes

pytestmark = pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # spglib's, in pymatgen

GROUPS = [[1, 2], [3, 5, 8, 14], [16, 19, 47, 62], [29, 36, 99], [143, 155, 160, 166], [186, 194], [216, 221, 225]]
NAMED = ("rock salt", "zinc blende", "fluorite", "rutile", "perovskite", "spinel")
OXIDES = {"elements": ("O", "F", "Mg", "Na", "Al", "S", "Cl", "Ca", "Ti", "Zn", "Sr"), "n_elements": (2, 3)}


def small(groups: list[int], **changes: object) -> WyckoffKernel:
    space = {"elements": ("Na", "Cl", "Ti", "O"), "n_elements": (2, 3), "n_atoms": (2, 8), "grid": 24}
    space |= {"space_groups": groups, "length_bin": 0.05, "axis_ratio_max": 4.0, "volume_a3_per_atom": (4.0, 800.0)}
    return WyckoffKernel(WyckoffSpace(**space | changes))  # type: ignore[arg-type]


def terminal_states(kernel: WyckoffKernel, n: int, rng: np.random.Generator) -> np.ndarray:
    states = kernel.initial(n)
    while not kernel.is_terminal(states).all():
        allowed = kernel.forward_allowed(states)
        actions = np.where(kernel.is_terminal(states), -1, np.argmax(rng.random(allowed.shape) * allowed, axis=1))
        states = kernel.step(states, actions)
    return states


@pytest.fixture(scope="module", params=GROUPS, ids=str)
def kernel(request: pytest.FixtureRequest) -> WyckoffKernel:
    return small(request.param)


def test_states_come_back(kernel: WyckoffKernel, rng: np.random.Generator) -> None:
    states = terminal_states(kernel, 60, rng)
    found, inside, reasons = kernel.find(kernel.objects(states))
    assert inside.all(), [reason for reason in reasons if reason]
    _, expected = kernel.labelings(states)
    assert np.array_equal(kernel.labelings(found)[1], expected)
    assert np.array_equal(found, expected)
    check_backward_walk(kernel, found[:20], rng)


def off_grid(kernel: WyckoffKernel, n: int, rng: np.random.Generator) -> Crystals:
    """Crystals of the world whose geometry lies between bins; large cells, so that none has atoms too close."""
    crystals = kernel.objects(terminal_states(kernel, n, rng))
    system = np.array([space_group(g).crystal_system for g in crystals.space_group.tolist()])
    lattice = crystals.lattice.copy()
    strain = np.exp(rng.normal(size=(n, 3)) * 0.01)
    strain[np.isin(system, ("tetragonal", "trigonal", "hexagonal", "cubic")), 1] = 1
    strain[~np.isin(system, ("triclinic", "monoclinic", "orthorhombic"))] = 1
    lattice[:, :3] *= 1.3 * strain
    lattice[system == "triclinic", 3:] += rng.normal(size=((system == "triclinic").sum(), 3))
    lattice[system == "monoclinic", 4] += rng.normal(size=(system == "monoclinic").sum())
    number = np.repeat(crystals.space_group, np.diff(crystals.site_offsets))
    dof = np.array([space_group(g).dof[letter] for g, letter in zip(number.tolist(), crystals.letter.tolist())])
    moved = crystals.parameters + rng.uniform(-0.4, 0.4, crystals.parameters.shape) / kernel.space.grid
    parameters = np.where(np.arange(3) < dof[:, None], moved, 0.0)
    columns = (crystals.space_group, crystals.site_offsets, crystals.letter, crystals.atomic_number)
    return Crystals(*columns, lattice, parameters)


def relabelled(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Another description of each: an element of the normalizer, another origin, other points of the orbits."""
    letters, parameters = crystals.letter.copy(), crystals.parameters.copy()
    numbers, order = crystals.atomic_number.copy(), np.arange(len(letters))
    for row, number in enumerate(crystals.space_group.tolist()):
        group = space_group(number)
        start, end = crystals.site_offsets[row : row + 2].tolist()
        element, origin = rng.integers(len(group.letter_map)), rng.random(3) * group.polar
        for site in range(start, end):
            letter, p = int(letters[site]), parameters[site]
            p = group.normalizer_matrix[element, letter] @ p + group.normalizer_shift[element, letter] / DENOMINATOR
            letter = int(group.letter_map[element, letter])
            p += np.linalg.pinv(group.basis[letter].astype(float)) @ origin
            one = rng.integers(group.self_start[letter], group.self_start[letter + 1])
            p = group.self_matrix[one] @ p + group.self_shift[one] / DENOMINATOR
            free = np.arange(3) < group.dof[letter]
            letters[site], parameters[site] = letter, np.where(free, p + rng.integers(-2, 3, size=3), 0)
        order[start:end] = rng.permutation(order[start:end])
    columns = (crystals.space_group, crystals.site_offsets, letters[order], numbers[order])
    return Crystals(*columns, crystals.lattice, parameters[order])


def test_other_labelings_are_the_same_state(kernel: WyckoffKernel, rng: np.random.Generator) -> None:
    crystals = off_grid(kernel, 40, rng)
    found, inside, reasons = kernel.find(crystals)
    assert inside.sum() >= 8, [reason for reason in reasons if reason]
    check_backward_walk(kernel, found[inside][:10], rng)
    for _ in range(3):
        again, also, _ = kernel.find(relabelled(crystals, rng))
        assert np.array_equal(also, inside)
        assert np.array_equal(again, found)


def test_other_cells_are_the_same_state(kernel: WyckoffKernel, rng: np.random.Generator) -> None:
    """Through structures in skew supercells, turned and shifted, with the space group found anew."""
    crystals = off_grid(kernel, 25, rng)
    found, inside, _ = kernel.find(crystals)
    kept = np.flatnonzero(inside)
    structures = [disguised(structure, rng) for structure in pymatgen_structures(crystals[kept])]
    encoded, rows, _ = encode_structures(structures, symprec=1e-4)
    same_group = encoded.space_group == crystals.space_group[kept[rows]]  # not a crystal of higher symmetry
    assert same_group.sum() >= 8
    again, also, reasons = kernel.find(encoded[same_group])
    assert also.all(), [reason for reason in reasons if reason]
    assert np.array_equal(again, found[kept[rows[same_group]]])


@pytest.mark.parametrize("groups", [[1, 2], [3, 8, 14], [16, 47]], ids=str)
def test_settings_are_the_same_crystal(groups: list[int], rng: np.random.Generator) -> None:
    kernel = small(groups)
    crystals = off_grid(kernel, 12, rng)
    others, source = settings(crystals)
    assert set(source.tolist()) == set(range(12))
    same = StructureMatcher(ltol=1e-4, stol=1e-4, angle_tol=0.01, scale=False, primitive_cell=False)
    for row, other in zip(source.tolist(), pymatgen_structures(others)):
        assert same.fit(pymatgen_structures(crystals[row : row + 1])[0], other)


@pytest.mark.parametrize("groups", [[1, 2], [3, 8], [16, 47]], ids=str)
def test_settings_that_fit_alike_are_one_state(groups: list[int], rng: np.random.Generator) -> None:
    """The cell is a cube, though the group asks for less: several settings lie equally near to the grid."""
    kernel = small(groups, min_distance_a=0.1, min_contact=0.0)
    crystals = off_grid(kernel, 12, rng)
    lattice = np.repeat(np.cbrt(200.0 * crystals.compositions.n_atoms)[:, None], 6, axis=1)
    lattice[:, 3:] = 90.0
    crystals = replace(crystals, lattice=lattice)
    others, source = settings(crystals)
    assert len(others) >= 2 * len(crystals)
    found, inside, _ = kernel.find(crystals)
    assert inside.sum() >= 6
    some = rng.permutation(len(others))[:30]
    noise = 1 + 1e-8 * rng.normal(size=(len(some), 6))  # of numbers in files
    again, also, _ = kernel.find(replace(others[some], lattice=others.lattice[some] * noise))
    assert np.array_equal(also, inside[source[some]])
    assert np.array_equal(again, found[source[some]])


@pytest.mark.parametrize(("group", "angle_bin_deg"), [(1, 10.0), (3, 10.0), (5, 10.0), (143, 2.0)])
def test_the_shape_is_the_one_that_strains_the_cell_least(
    group: int, angle_bin_deg: float, rng: np.random.Generator
) -> None:
    """Of all shapes, by |L^-1 G L^-T - 1| with the cell's vectors L and the shape's metric G, both of volume 1.

    That norm is the same for all choices of vectors of one lattice.
    """
    kernel = small([group], length_bin=0.3, axis_ratio_max=2.5, angle_bin_deg=angle_bin_deg)
    crystals = off_grid(kernel, 8, rng)
    lattices, axes = crystals.lattice.copy(), 2 if group == 143 else slice(3)
    lattices[:, axes] *= np.exp(rng.uniform(-0.12, 0.12, lattices[:, axes].shape))  # up to half a bin of 26 %
    shapes, strains = np.zeros((8, 5), dtype=np.int64), np.zeros(8)
    nearest_shapes(kernel.world, crystals.space_group.astype(np.int64), lattices, shapes, strains)
    assert np.isfinite(strains).sum() >= 5
    system = space_group(group).crystal_system
    grid, n_bins = lattice_grid(kernel.space), kernel.world.lattice_grid.n_ratios
    bins = [range(n_bins)] * 2 + [range(len(grid.angles))] * 3
    trials = [np.zeros(5, dtype=np.int64)]
    for column in FREE[system]:
        trials = [
            np.where(np.arange(5) == column, b + 1, trial)
            for trial in trials
            for b in bins[column]
            if shape_allowed(grid, group, trial, column, b)
        ]
    cell, metrics = np.empty(6), []
    for trial in trials:
        unit_cell(grid, group, trial, cell)
        metrics.append(Lattice.from_parameters(*cell).metric_tensor)
    for row in np.flatnonzero(np.isfinite(strains)).tolist():
        lattice = Lattice.from_parameters(*lattices[row])
        inverse = np.linalg.inv(lattice.matrix / lattice.volume ** (1 / 3))
        norms = np.linalg.norm(inverse @ np.array(metrics) @ inverse.T - np.eye(3), axis=(1, 2))
        assert strains[row] == pytest.approx(norms.min(), abs=1e-6)
        assert norms[next(i for i, trial in enumerate(trials) if (trial == shapes[row]).all())] == norms.min()


@pytest.fixture(scope="module")
def known() -> WyckoffKernel:
    return WyckoffKernel(WyckoffSpace(space_groups=[136, 216, 221, 225, 227], n_atoms=(2, 14), **OXIDES))  # type: ignore[arg-type]


def labelings_of(crystal: Crystals) -> Crystals:
    """A crystal under all elements of its group's normalizer."""
    group, letters = space_group(int(crystal.space_group[0])), crystal.letter
    copies = []
    for element in range(len(group.letter_map)):
        matrix = group.normalizer_matrix[element, letters].astype(float)
        moved = np.einsum("sij,sj->si", matrix, crystal.parameters)
        moved += group.normalizer_shift[element, letters] / DENOMINATOR
        columns = (crystal.space_group, crystal.site_offsets, group.letter_map[element, letters], crystal.atomic_number)
        copies.append(Crystals(*columns, crystal.lattice, moved))
    return Crystals.concatenate(copies)


def test_known_types_are_found_and_match(known: WyckoffKernel) -> None:
    chosen = [p for p in prototypes() if p.name in NAMED]
    assert [p.name for p in chosen] == list(NAMED)
    crystals, _, errors = encode_structures([p.structure for p in chosen])
    assert errors == [None] * 6
    states, inside, reasons = known.find(crystals)
    assert inside.all(), reasons
    for prototype, decoded in zip(chosen, pymatgen_structures(known.objects(states))):
        assert StructureMatcher().fit(prototype.structure, decoded), prototype.name
    decorations = WyckoffKernel(
        WyckoffSpace(space_groups=[136, 216, 221, 225, 227], n_atoms=(2, 14), geometry=False, **OXIDES)  # type: ignore[arg-type]
    )
    for row in range(6):
        every = labelings_of(crystals[row : row + 1])
        found, all_inside, _ = known.find(every)
        assert all_inside.all()
        assert np.array_equal(found, np.repeat(states[row : row + 1], len(every), axis=0))
        keys, all_inside, _ = decorations.find(every)
        assert all_inside.all()
        assert len(np.unique(keys, axis=0)) == 1
        assert decorations.describe(keys[:1])[0] == known.describe(found[:1])[0].split(" |")[0]


def test_a_sheared_monoclinic_cell_is_the_same_state() -> None:
    """P2 with c + 2 a for c: x - 2 z for x, and all letters stay."""
    kernel = small([3], min_distance_a=0.01, min_contact=0.0, neutrality="off")
    cell, general = Lattice.from_parameters(5, 6, 7, 90, 100, 90), np.array([0.21, 0.32, 0.13])
    a, b, c = cell.matrix
    sheared, moved = Lattice([a, b, c + 2 * a]), general - [2 * general[2], 0, 0]
    both = [
        crystal(3, [("a", 11, [0.1]), ("e", 17, place.tolist())], lattice.parameters)
        for lattice, place in ((cell, general), (sheared, moved))
    ]
    states, inside, reasons = kernel.find(Crystals.concatenate(both))
    assert inside.all(), reasons
    assert np.array_equal(states[0], states[1])


def test_of_two_sites_in_one_bin_the_nearer_one_stays() -> None:
    """On (x, 0, 0) with 24 bins, sodium at 6.002 and chlorine at 6.29, whichever comes first; chlorine goes to 7."""
    kernel = small([47], min_distance_a=0.01, min_contact=0.0)
    sites = [("i", 11, [6.002 / 24]), ("i", 17, [6.29 / 24])]
    both = Crystals.concatenate([crystal(47, order, [16, 5, 5, 90, 90, 90]) for order in (sites, sites[::-1])])
    states, inside, reasons = kernel.find(both)
    assert inside.all(), reasons
    assert np.array_equal(states[0], states[1])
    decoded = kernel.objects(states[:1])
    place = {z: 24 * x for z, x in zip(decoded.atomic_number.tolist(), decoded.parameters.max(axis=1).tolist())}
    assert place[11] % 12 == pytest.approx(6)  # half a period is a choice of origin, and so is the sign
    assert abs(place[17] - place[11]) % 12 == pytest.approx(1)


def test_crowded_sites_take_up_to_two_bins_on_either_side() -> None:
    """Five sites between 7 and 8 of 24 bins find a place; a sixth one has none, see NO_ROOM above."""
    kernel = small([47], n_atoms=(1, 13), neutrality="off", min_distance_a=0.01, min_contact=0.0)
    sites = [("i", 11, [0.3 + 0.001 * k]) for k in range(5)] + [("a", 17, [])]
    states, inside, reasons = kernel.find(crystal(47, sites, [16, 5, 5, 90, 90, 90]))
    assert inside.all(), reasons
    decoded = kernel.objects(states)
    places = np.sort(24 * decoded.parameters.max(axis=1)[decoded.atomic_number == 11])
    assert np.allclose(np.diff(places), 1)


def test_the_origin_along_a_polar_axis_is_where_atoms_move_least() -> None:
    """P4mm with 24 bins along c: two oxygens at 0.6, one sodium at 8.95, one chlorine at 17.28 bins.

    Each way to round is tried here. An atom counts by itself: by sites, sodium would go to 9.
    """
    bins, atoms = np.array([0.6, 8.95, 17.28]), np.array([2, 1, 1])

    def cost(rounded: tuple[int, ...]) -> float:  # at the shift that suits these best
        moved = np.array(rounded) - bins
        return float((atoms * (moved - np.average(moved, weights=atoms)) ** 2).sum())

    expected = np.array(min(product((0, 1), (8, 9), (17, 18)), key=cost))
    expected = (expected - expected[0])[1:]
    kernel = small([99], min_distance_a=0.01, min_contact=0.0, neutrality="off")
    sites = [(letter, z, [place / 24]) for letter, z, place in zip("cab", (8, 11, 17), bins.tolist())]
    states, inside, reasons = kernel.find(crystal(99, sites, [6, 6, 9, 90, 90, 90]))
    assert inside.all(), reasons
    decoded = kernel.objects(states)
    place = dict(zip(decoded.atomic_number.tolist(), (24 * decoded.parameters[:, 0]).tolist()))
    found = np.array([place[11] - place[8], place[17] - place[8]])
    assert any(np.allclose((sign * found - expected + 0.5) % 24, 0.5) for sign in (1, -1))  # c may point either way


@pytest.mark.parametrize(("edge", "outward"), [(10.75, 1), (-11.25, -1)])
def test_axis_ratios_reach_to_the_outer_edge_of_the_last_bin(edge: float, outward: int) -> None:
    """Bins of c/a are steps of 10 %, 11 on either side as 1.1^11 < 3 < 1.1^12; their edges lie at 0.75, 1.75, ..."""
    kernel = small([123], axis_ratio_max=3.0, length_bin=0.1, min_contact=0.0, min_distance_a=0.01)
    cells = [[5, 5, 5 * 1.1 ** (edge + outward * beyond), 90, 90, 90] for beyond in (-0.01, 0.01)]
    both = Crystals.concatenate([crystal(123, [("a", 11, []), ("d", 17, [])], cell) for cell in cells])
    states, inside, reasons = kernel.find(both)
    assert inside.tolist() == [True, False]
    assert reasons[1] is not None
    assert reasons[1].startswith("axis_ratio")
    lattice = kernel.objects(states[:1]).lattice[0]
    assert lattice[2] / lattice[0] == pytest.approx(1.1 ** (edge - outward * 0.5))


def test_nothing_to_find() -> None:
    kernel = small([225])
    empty = kernel.objects(kernel.initial(0))
    states, inside, reasons = kernel.find(empty)
    assert (states.shape, inside.shape, reasons) == ((0, *kernel.state_shape), (0,), [])


@pytest.mark.parametrize(("angle_bin", "ratio"), [(2.0, 16.0), (10.0, 16.0), (0.7, 100.0), (5.0, 3.0)])
def test_every_shape_can_be_completed(angle_bin: float, ratio: float) -> None:
    """Triclinic cells keep Niggli's conditions bin by bin; no bin may leave the next angle without any."""
    grid = lattice_grid(WyckoffSpace(angle_bin_deg=angle_bin, axis_ratio_max=ratio, length_bin=0.3))
    assert np.abs(grid.angles - 90).min() == pytest.approx(angle_bin / 2)
    rng = np.random.default_rng(0)
    n_bins = [grid.n_ratios] * 2 + [len(grid.angles)] * 3
    for _ in range(300):
        shape = np.zeros(5, dtype=np.int64)
        for column in FREE["triclinic"]:
            allowed = [b for b in range(n_bins[column]) if shape_allowed(grid, 2, shape, column, b)]
            assert allowed, shape
            # bins at the ends come up often: they leave the least room
            shape[column] = 1 + (rng.choice(allowed) if rng.random() < 0.5 else allowed[-int(rng.integers(2))])
