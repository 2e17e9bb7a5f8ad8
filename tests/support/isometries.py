"""Brute force over all isometries: which crystals of one lattice are the same, and how symmetric each is.

It knows nothing of normalizers, letters or parameters. It expands crystals to atoms, whole numbers of 1/grid in the
primitive cell, and tries every symmetry of the lattice with every shift that takes an atom to the origin, mirror
images included: the smallest list of atoms stands for the crystal, and as often as it comes up, so many symmetries has
the crystal itself.
"""

import itertools

import numpy as np

from oreflow.envs.crystal.kernel import WyckoffKernel
from oreflow.envs.symmetry.space_groups import DENOMINATOR, space_group

Form = tuple[tuple[int, ...], bytes]


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
    """Primitive vectors, atomic numbers (ascending) and coordinates in 1/grid of each state."""
    atoms = kernel.objects(states).atoms()
    places = atoms.fractional * kernel.world.coordinate_grid.grid
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
        row, grid = np.arange(len(x)), kernel.world.coordinate_grid.grid
        best, n = np.full(x.shape[:2], np.iinfo(np.int64).max), np.zeros(len(x), dtype=int)
        for u in lattice_symmetries(vectors):
            y = x @ u
            for anchor in np.flatnonzero(numbers == kinds[np.argmin(counts)]):
                moved = (y - y[:, anchor : anchor + 1]) % grid
                codes = np.sort(moved @ [grid * grid, grid, 1] + numbers * grid**3, axis=1)
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
    group, grid = space_group(int(states[0, 0])), kernel.world.coordinate_grid.grid
    (vectors, numbers, x), (_, _, target) = atoms_on_grid(kernel, states)
    to_conventional, to_primitive = group.primitive, np.linalg.inv(group.primitive)
    matrices = np.rint(to_conventional @ group.rotations.transpose(0, 2, 1) @ to_primitive).astype(int)
    shifts = np.rint(group.translations @ to_primitive).astype(int) * (grid // DENOMINATOR)
    own = {(m.tobytes(), (t % grid).tobytes()) for m, t in zip(matrices, shifts)}
    goal = {(z, *place) for z, place in zip(numbers, (target % grid).tolist())}
    for u in lattice_symmetries(vectors):
        inverse = np.rint(np.linalg.inv(u)).astype(int)
        for end in target[numbers == numbers[0]]:
            shift = end - x[0] @ u
            if {(z, *place) for z, place in zip(numbers, ((x @ u + shift) % grid).tolist())} != goal:
                continue
            conjugate = inverse @ matrices @ u
            moved = shifts @ u + shift - shift @ conjugate
            if {(m.tobytes(), (t % grid).tobytes()) for m, t in zip(conjugate, moved)} == own:
                return True
    return False
