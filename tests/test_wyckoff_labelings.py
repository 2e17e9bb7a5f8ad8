"""One crystal, one object: labelings of crystals with coordinates against brute force over all isometries.

The oracle knows nothing of normalizers, letters or parameters. It expands crystals to atoms, whole numbers of 1/24 in
the primitive cell, and tries every symmetry of the lattice with every shift that takes an atom to the origin, mirror
images included: the smallest list of atoms stands for the crystal, and as often as it comes up, so many symmetries has
the crystal itself.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pytest

from envs.wyckoff_kernel import WyckoffKernel
from envs.wyckoff_space import WyckoffSpace
from envs.wyckoff_tables import space_group

Form = tuple[tuple[int, ...], bytes]


class Case(NamedTuple):
    """A world of one space group, thinned out: what is left is closed under all symmetries that could matter.

    Attributes:
        n_atoms: in the primitive cell.
        stride: coordinates are multiples of stride/24.
        angles: free angles of the cell, degrees, in order; None leaves them open.
    """

    group: int
    composition: str
    n_atoms: int
    stride: int
    angles: list[tuple[float, ...]] | None = None


OBLIQUE: list[tuple[float, ...]] = [(90.0,), (100.0,)]
TRICLINIC: list[tuple[float, ...]] = [
    (90, 90, 90),
    (90, 90, 100),
    (90, 100, 90),
    (100, 90, 90),
    (90, 100, 100),
    (80, 80, 80),
]
RATIO_BINS = [3, 4]  # b/a = 1.22 and c/a = 1.66, in a state
CASES = [
    Case(1, "Na2Cl", 3, 6, TRICLINIC),
    Case(1, "Na", 3, 6, TRICLINIC),
    Case(2, "Na2Cl", 3, 2, TRICLINIC),
    Case(2, "NaCl", 4, 6, TRICLINIC),
    Case(3, "Na2Cl", 3, 2, OBLIQUE),
    Case(4, "NaCl", 4, 4, OBLIQUE),
    Case(5, "Na2Cl", 3, 2, OBLIQUE),
    Case(6, "Na2Cl", 3, 2, OBLIQUE),
    Case(7, "NaCl", 4, 4, OBLIQUE),
    Case(8, "Na2Cl", 3, 2, OBLIQUE),
    Case(9, "NaCl", 4, 4, OBLIQUE),
    Case(14, "Na2Cl", 6, 2, OBLIQUE),
    Case(15, "Na2Cl", 6, 2, OBLIQUE),
    Case(19, "NaCl", 8, 6),
    Case(33, "NaCl", 8, 6),
    Case(36, "NaCl", 4, 2),
    Case(62, "NaCl", 8, 3),
    Case(75, "Na2Cl", 6, 3),
    Case(99, "NaCl2", 3, 1),
    Case(129, "NaCl", 4, 1),
    Case(136, "NaCl2", 6, 1),
    Case(144, "NaCl", 6, 4),
    Case(160, "NaCl2", 3, 1),
    Case(166, "NaCl2", 3, 1),
    Case(186, "NaCl", 4, 1),
    Case(194, "NaCl2", 6, 1),
    Case(198, "NaCl", 8, 1),
    Case(205, "NaCl2", 12, 1),
    Case(216, "NaCl4", 5, 1),
    Case(221, "NaCl6", 7, 1),
    Case(227, "NaCl4", 10, 1),
]


def kernel_of(case: Case, **options: Any) -> WyckoffKernel:
    bins = {"grid": 24, "length_bin": 0.5, "angle_bin_deg": 10, "axis_ratio_max": 2.3, "volume_a3_per_atom": (9, 12)}
    return WyckoffKernel(
        WyckoffSpace(
            space_groups=[case.group],
            composition=case.composition,
            n_atoms=(case.n_atoms, case.n_atoms),
            neutrality="off",
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
            free = bins[:, world.is_free[world.cell[case.group, 0], 2:]]
            wanted = [[0, *(1 + np.searchsorted(world.angles, a) for a in angles)] for angles in case.angles]
            fits = [((free == 0) | (free == w[1:])).all(axis=1) for w in wanted]
            keep &= np.any(fits, axis=0)
        states = states[keep]
        ended = kernel.is_terminal(states)
        finished.append(states[ended])
        states = states[~ended]
    return np.concatenate(finished)


def lattice_symmetries(vectors: np.ndarray) -> list[np.ndarray]:
    """Integer matrices U with det +-1 such that x -> x U, x a row of primitive coordinates, keeps all lengths."""
    gram = vectors @ vectors.T
    gram /= gram[0, 0]
    rows = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    squares = np.einsum("ni,ij,nj->n", rows, gram, rows)
    choices = [rows[np.abs(squares - gram[i, i]) < 1e-6] for i in range(3)]
    found = []
    for u in map(np.array, itertools.product(*choices)):
        if np.abs(u @ gram @ u.T - gram).max() < 1e-6:
            found.append(u)
    return found


def atoms_on_grid(kernel: WyckoffKernel, states: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Primitive vectors, atomic numbers (ascending) and coordinates in 1/24 of each state."""
    atoms = kernel.objects(states).atoms()
    places = atoms.fractional * 24
    assert np.abs(places - np.rint(places)).max() < 1e-6
    out = []
    for vectors, first, last in zip(atoms.vectors, atoms.offsets[:-1], atoms.offsets[1:]):
        order = np.argsort(atoms.atomic_numbers[first:last], kind="stable") + first
        out.append((vectors, atoms.atomic_numbers[order].astype(int), np.rint(places[order]).astype(int)))
    return out


def isometry_forms(kernel: WyckoffKernel, states: np.ndarray) -> tuple[list[Form], np.ndarray]:
    """What equal crystals in equal cells share, and how many symmetries each has modulo lattice translations."""
    forms: list[Form] = [((), b"")] * len(states)
    n_symmetries = np.zeros(len(states), dtype=int)
    crystals = atoms_on_grid(kernel, states)
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, (state, (_, numbers, _)) in enumerate(zip(states, crystals)):
        bins = [*state[kernel.world.shape : kernel.world.coordinate], state[kernel.world.volume]]
        alike.setdefault((*map(int, bins), *numbers.tolist()), []).append(i)
    for key, members in alike.items():
        vectors, numbers, _ = crystals[members[0]]
        x = np.stack([crystals[i][2] for i in members])
        kinds, counts = np.unique(numbers, return_counts=True)
        row = np.arange(len(x))
        best, n = np.full(x.shape[:2], np.iinfo(np.int64).max), np.zeros(len(x), dtype=int)
        for u in lattice_symmetries(vectors):
            y = x @ u
            for anchor in np.flatnonzero(numbers == kinds[np.argmin(counts)]):
                moved = (y - y[:, anchor : anchor + 1]) % 24
                codes = np.sort(moved @ [24 * 24, 24, 1] + numbers * 24**3, axis=1)
                differs = codes != best
                first = np.argmax(differs, axis=1)
                same = ~differs.any(axis=1)
                less = codes[row, first] < best[row, first]
                n = np.where(less, 1, n + same)
                best[less] = codes[less]
        for i, codes, number in zip(members, best, n):
            forms[i], n_symmetries[i] = (key, codes.tobytes()), number
    return forms, n_symmetries


def some_isometry_keeps_the_group(kernel: WyckoffKernel, states: np.ndarray) -> bool:
    """Whether an isometry takes the first of two crystals to the second and their space group to itself."""
    group = space_group(int(states[0, 0]))
    (vectors, numbers, x), (_, _, target) = atoms_on_grid(kernel, states)
    to_conventional, to_primitive = group.primitive, np.linalg.inv(group.primitive)
    matrices = np.rint(to_conventional @ group.rotations.transpose(0, 2, 1) @ to_primitive).astype(int)
    shifts = np.rint(group.translations @ to_primitive).astype(int)
    own = {(m.tobytes(), (t % 24).tobytes()) for m, t in zip(matrices, shifts)}
    goal = {(z, *place) for z, place in zip(numbers, (target % 24).tolist())}
    for u in lattice_symmetries(vectors):
        inverse = np.rint(np.linalg.inv(u)).astype(int)
        for end in target[numbers == numbers[0]]:
            shift = end - x[0] @ u
            if {(z, *place) for z, place in zip(numbers, ((x @ u + shift) % 24).tolist())} != goal:
                continue
            conjugate = inverse @ matrices @ u
            moved = shifts @ u + shift - shift @ conjugate
            if {(m.tobytes(), (t % 24).tobytes()) for m, t in zip(conjugate, moved)} == own:
                return True
    return False


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.group}-{case.composition}")
def test_labelings_are_those_of_brute_force(case: Case, rng: np.random.Generator) -> None:
    kernel = kernel_of(case)
    states = terminal_states(kernel, case)
    n, canonical = kernel.labelings(states)
    objects, object_of, count = np.unique(canonical, axis=0, return_inverse=True, return_counts=True)
    object_of = object_of.reshape(-1)

    # As many labelings as counted, the canonical one among them
    assert np.array_equal(count[object_of], n)
    assert {row.tobytes() for row in objects} <= {row.tobytes() for row in states}
    assert np.array_equal(kernel.labelings(objects)[1], objects)

    # Equal labels, equal crystals. Different labels, different crystals, or none of the isometries keeps the group.
    forms, n_symmetries = isometry_forms(kernel, states)
    group = space_group(case.group)
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
