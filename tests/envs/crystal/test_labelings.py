"""One crystal, one object: labelings of crystals with coordinates against brute force over all isometries."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest

from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.errors import EmptyWorldError
from oreflow.envs.symmetry.space_groups import space_group
from tests.support.isometries import Form, isometry_forms, some_isometry_keeps_the_group


class Case(NamedTuple):
    """A world of one space group, thinned out: what is left is closed under all symmetries that could matter.

    Attributes:
        n_atoms: in the primitive cell.
        stride: coordinates are multiples of stride/grid.
        angles: free angles of the cell, degrees, in order; None leaves them open.
    """

    group: int
    composition: str
    n_atoms: int
    stride: int
    angles: list[tuple[float, ...]] | None = None
    grid: int = 24


OBLIQUE: list[tuple[float, ...]] = [(95.0,), (105.0,)]
TRICLINIC: list[tuple[float, ...]] = [(85, 85, 85), (95, 95, 95), (95, 95, 105), (105, 95, 95)]
RATIO_BINS = [3, 4]  # b/a = 1.22 and c/a = 1.66, in a state
CASES = [
    Case(1, "Na2Cl", 3, 8, TRICLINIC),
    Case(1, "Na", 3, 6, TRICLINIC[:2]),
    Case(2, "Na", 2, 3, TRICLINIC),
    Case(2, "NaCl", 4, 6, TRICLINIC),
    Case(3, "Na2Cl", 3, 2, OBLIQUE),
    Case(4, "NaCl", 4, 4, OBLIQUE),
    Case(5, "Na2Cl", 3, 2, OBLIQUE),
    Case(6, "Na2Cl", 3, 4, OBLIQUE),
    Case(7, "NaCl", 4, 4, OBLIQUE),
    Case(8, "Na2Cl", 3, 3, OBLIQUE),
    Case(9, "NaCl", 4, 2, OBLIQUE),
    Case(14, "Na2Cl", 6, 2, OBLIQUE),
    Case(15, "Na2Cl", 6, 2, OBLIQUE),
    Case(19, "NaCl", 8, 6),
    Case(33, "NaCl", 8, 6),
    Case(36, "NaCl", 4, 2),
    Case(62, "NaCl", 8, 3),
    Case(75, "Na2Cl", 6, 4),
    Case(99, "NaCl2", 3, 1),
    Case(99, "NaCl2", 3, 2, grid=72),
    Case(129, "NaCl", 4, 1),
    Case(136, "NaCl", 8, 1),
    Case(144, "NaCl", 6, 4),
    Case(152, "Na", 6, 2),
    Case(160, "NaCl2", 3, 1),
    Case(166, "NaCl", 4, 1),
    Case(186, "NaCl", 4, 1, grid=48),
    Case(194, "NaCl2", 6, 1),
    Case(198, "NaCl", 8, 1),
    Case(205, "NaCl", 16, 1),
    Case(216, "Na", 6, 1),
    Case(221, "Na", 12, 1),
    Case(227, "Na", 12, 1),
]
ONE_LABELING = (229, 230)  # their own normalizers


def kernel_of(case: Case, **options: Any) -> WyckoffKernel:
    bins = {"length_bin": 0.5, "angle_bin_deg": 10, "axis_ratio_max": 2.3, "volume_a3_per_atom": (9, 12)}
    return WyckoffKernel(
        WyckoffSpace(
            space_groups=[case.group],
            composition=case.composition,
            n_atoms=(case.n_atoms, case.n_atoms),
            neutrality="off",
            grid=case.grid,
            **{**bins, **options},
        )
    )


def terminal_states(kernel: WyckoffKernel, case: Case) -> np.ndarray:
    """All terminal states of a case, level by level."""
    world, finished, states = kernel.world, [], kernel.initial(1)
    while len(states):
        row, action = np.nonzero(kernel.forward_allowed(states))
        states = np.unique(kernel.step(states[row], action), axis=0)
        places = states[:, world.coordinate : world.volume]
        ratios = states[:, world.shape : world.shape + 2]
        keep = ((ratios == 0) | (ratios == RATIO_BINS)).all(axis=1)
        keep &= (np.where(places > 0, places - 1, 0) % case.stride == 0).all(axis=1)
        if case.angles:
            bins = states[:, world.shape + 2 : world.coordinate]
            free = bins[:, world.lattice_grid.is_free[world.lattice_grid.cell[case.group, 0], 2:]]
            wanted = [[1 + world.lattice_grid.angles.tolist().index(a) for a in angles] for angles in case.angles]
            fits = [((free == 0) | (free == w)).all(axis=1) for w in wanted]
            keep &= np.any(fits, axis=0)
        states = states[keep]
        ended = kernel.is_terminal(states)
        finished.append(states[ended])
        states = states[~ended]
    return np.concatenate(finished)


def check_labelings(kernel: WyckoffKernel, states: np.ndarray, rng: np.random.Generator) -> None:
    """Everything `labelings` and `every_labeling` promise, of all terminal states of a world of one space group."""
    n, canonical = kernel.labelings(states)
    objects, object_of, count = np.unique(canonical, axis=0, return_inverse=True, return_counts=True)
    object_of = object_of.reshape(-1)

    # As many labelings as counted, the canonical one among them
    assert np.array_equal(count[object_of], n)
    assert {row.tobytes() for row in objects} <= {row.tobytes() for row in states}
    assert np.array_equal(kernel.labelings(objects)[1], objects)
    check_every_labeling(kernel, states, object_of, rng.permutation(len(states))[:300])

    # Equal labels, equal crystals. Different labels, different crystals, or none of the isometries keeps the group.
    forms, n_symmetries = isometry_forms(kernel, states)
    group = space_group(int(states[0, 0]))
    order = len(group.rotations) // group.n_centring
    assert (n_symmetries % order == 0).all()
    first_state = np.unique(object_of, return_index=True)[1]
    assert all(forms[i] == forms[first_state[o]] for i, o in enumerate(object_of))
    by_form: dict[Form, list[int]] = {}
    for i in first_state:
        by_form.setdefault(forms[i], []).append(i)
    split = [members for members in by_form.values() if len(members) > 1]
    assert all(n_symmetries[i] > order for members in split for i in members)
    pairs = [pair for members in split for pair in itertools.combinations(members, 2)]
    for k in rng.permutation(len(pairs))[:20]:
        assert not some_isometry_keeps_the_group(kernel, states[list(pairs[k])])


def check_every_labeling(kernel: WyckoffKernel, states: np.ndarray, object_of: np.ndarray, some: np.ndarray) -> None:
    """`every_labeling` of `states[some]` are all the states of the same objects, each once."""
    labelings, row = kernel.every_labeling(states[some])
    assert (np.diff(row) >= 0).all()
    members = np.split(np.argsort(object_of, kind="stable"), np.cumsum(np.bincount(object_of))[:-1])
    found = np.split(labelings, np.searchsorted(row, np.arange(1, len(some))))
    for state, rows in zip(some, found):
        expected = states[members[object_of[state]]]
        assert sorted(r.tobytes() for r in rows) == sorted(r.tobytes() for r in expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}-{case.composition}-{case.grid}")
def test_labelings_are_those_of_brute_force(case: Case, rng: np.random.Generator) -> None:
    kernel = kernel_of(case)
    states = terminal_states(kernel, case)
    assert kernel.labelings(states)[0].max() > 1
    if case.angles:
        bins = states[:, kernel.world.shape + 2 : kernel.world.coordinate]
        assert len(np.unique(bins, axis=0)) == len(case.angles)
    check_labelings(kernel, states, rng)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 231))
def test_labelings_of_every_space_group_are_those_of_brute_force(number: int, rng: np.random.Generator) -> None:
    """The smallest cell of it in which some crystal has several labelings."""
    angles = TRICLINIC if number < 3 else OBLIQUE if number < 16 else None
    stride = 6 if number < 3 else 4 if number in (9, 14) else 2 if number == 229 else 1
    n = np.zeros(0)
    for n_atoms, composition in itertools.product((2, 3, 4, 6, 8, 12, 16, 24, 32, 48), ("NaCl", "Na")):
        case = Case(number, composition, n_atoms, stride, angles)
        try:
            kernel = kernel_of(case)
        except EmptyWorldError:
            continue
        states = terminal_states(kernel, case)
        n = kernel.labelings(states)[0]
        free = states[:, kernel.world.coordinate : kernel.world.volume]
        if n.max(initial=0) > 1 or (number in ONE_LABELING and free.any()):
            break
    assert (n.max() > 1) == (number not in ONE_LABELING)
    check_labelings(kernel, states, rng)


@pytest.mark.parametrize(
    "options",
    [{"space_groups": [160, 164], "n_atoms": (2, 2)}, {"space_groups": [2, 225], "n_atoms": (2, 3), "geometry": False}],
    ids=["crystals", "decorations"],
)
def test_every_labeling_is_all_of_the_enumerated_world(options: dict[str, Any]) -> None:
    """Space groups and formulas mixed, and every one of the terminal states."""
    bins = {"grid": 24, "length_bin": 0.5, "axis_ratio_max": 2.3, "volume_a3_per_atom": (9, 12)}
    kernel = WyckoffKernel(
        WyckoffSpace(elements=("Na", "Cl"), n_elements=(1, 2), neutrality="off", **{**bins, **options})
    )
    world = kernel.enumerate()
    states = world.states[world.can_stop]
    states = kernel.step(states, np.full(len(states), kernel.n_actions - 1))
    n, canonical = kernel.labelings(states)
    objects, object_of = np.unique(canonical, axis=0, return_inverse=True)
    assert (n.max() > 1) == kernel.world.geometry
    assert (len(objects) < len(states)) == kernel.world.geometry
    check_every_labeling(kernel, states, object_of.reshape(-1), np.arange(len(states)))
