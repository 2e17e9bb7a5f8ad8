"""Writes wyckoff.npz, the tables of the 230 space groups, in this folder.

    python envs/data/build_wyckoff.py

Needs the test extra. Coordinate triplets and letters are those of the International Tables as pyxtal ships them,
site-symmetry symbols those of moyopy. All else (orbits, self maps, normalizers) follows from the triplets by integer
arithmetic in units of 1/24. `envs/symmetry/space_groups.py` reads the file and documents every array.
"""

import ast
import csv
import itertools
import re
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
D = 24  # every fraction is a multiple of 1/24
LETTERS = "abcdefghijklmnopqrstuvwxyzA"
SYSTEMS = ["triclinic"] * 2 + ["monoclinic"] * 13 + ["orthorhombic"] * 59 + ["tetragonal"] * 68
SYSTEMS += ["trigonal"] * 25 + ["hexagonal"] * 27 + ["cubic"] * 36
IDENTITY = np.eye(3, dtype=np.int64)

Affine = tuple[np.ndarray, np.ndarray]


def published_triplets() -> dict[int, list[list[str]]]:
    """Coordinate triplets by group and position, position a first, the general position last."""
    import pyxtal

    csv.field_size_limit(sys.maxsize)
    with (Path(pyxtal.__file__).parent / "database" / "wyckoff_list.csv").open(newline="") as file:
        rows = [(number, text) for number, text in csv.reader(file) if text.startswith("[")]
    return {int(number): ast.literal_eval(text)[::-1] for number, text in rows}


def parse(triplet: str) -> Affine:
    """A triplet such as "x, 2x, z+1/4" as a matrix on (x, y, z) and a shift in units of 1/24."""
    matrix, shift = np.zeros((3, 3), dtype=np.int64), np.zeros(3, dtype=np.int64)
    for row, expression in enumerate(triplet.replace(" ", "").split(",")):
        for sign, number, variable in re.findall(r"([+-]?)([0-9/]*)([xyz]?)", expression):
            if not number and not variable:
                continue
            value = Fraction(number or 1) * (-1 if sign == "-" else 1) * (1 if variable else D)
            if value.denominator != 1:
                raise ValueError(f"expected multiples of 1/{D}, got {triplet!r}")
            if variable:
                matrix[row, "xyz".index(variable)] += int(value)
            else:
                shift[row] += int(value)
    return matrix, shift % D


def compressed(triplet: str) -> Affine:
    """The triplet with its free parameters moved to the front, in the order x, y, z."""
    matrix, shift = parse(triplet)
    used = [column for column in range(3) if matrix[:, column].any()]
    front = np.zeros((3, 3), dtype=np.int64)
    front[:, : len(used)] = matrix[:, used]
    return front, shift


def left_inverse(basis: np.ndarray, dof: int) -> np.ndarray:
    """Integer matrix that takes basis @ p back to p.

    That it exists also shows that an integer basis @ p needs an integer p, so that parameters are equivalent modulo 1
    exactly when the points are.
    """
    inverse = np.zeros((3, 3), dtype=np.int64)
    for rows in itertools.combinations(range(3), dof):
        minor = basis[list(rows), :dof]
        if dof and abs(round(np.linalg.det(minor))) != 1:
            continue
        inverse[:dof, list(rows)] = np.rint(np.linalg.inv(minor)) if dof else 0
        return inverse
    raise ValueError(f"the columns of {basis.tolist()} are not primitive")


def induced(images: Affine, target: Affine, inverse: np.ndarray) -> tuple[np.ndarray, Affine]:
    """The maps p -> M p + b with image(p) = target(M p + b) modulo 1 for a stack of images, and which of them exist."""
    matrices, shifts = inverse @ images[0], (images[1] - target[1]) @ inverse.T % D
    rest = (shifts @ target[0].T + target[1] - images[1]) % D
    exists = (target[0] @ matrices == images[0]).all((1, 2)) & ~rest.any(1)
    return exists, (matrices, shifts)


def distinct(maps: Affine) -> np.ndarray:
    """Numbers of the first occurrences in a stack of maps, rising."""
    rows = np.concatenate([maps[0].reshape(-1, 9), maps[1]], axis=1)
    return np.sort(np.unique(rows, axis=0, return_index=True)[1])


def product(first: Affine, then: Affine) -> Affine:
    return then[0] @ first[0], (then[0] @ first[1] + then[1]) % D


def key(map_: Affine) -> bytes:
    return map_[0].astype(np.int8).tobytes() + map_[1].astype(np.int8).tobytes()


class Group:
    """One space group with everything that the file holds of it."""

    def __init__(self, number: int, triplets: list[list[str]]):
        self.number = number
        self.system = SYSTEMS[number - 1]
        operations = [parse(triplet) for triplet in triplets[-1]]
        self.rotations = np.array([rotation for rotation, _ in operations])
        self.translations = np.array([translation for _, translation in operations])
        self.positions = [compressed(orbit[0]) for orbit in triplets]
        self.dof = [int(np.linalg.matrix_rank(basis)) for basis, _ in self.positions]
        self.inverses = [left_inverse(basis, dof) for (basis, _), dof in zip(self.positions, self.dof)]
        self.multiplicity = [len(orbit) for orbit in triplets]
        self.polar = (self.rotations == IDENTITY).all(1).all(0)
        self.allowed: dict[bytes, np.ndarray] = {}  # by rotation, the translations that occur with it
        for rotation, translation in operations:
            self.allowed.setdefault(rotation.tobytes(), np.zeros((D, D, D), dtype=bool))[tuple(translation)] = True
        # The operations that suffice to show that a map normalizes the group: one of each rotation, and the centring.
        first = {rotation.tobytes(): index for index, (rotation, _) in reversed(list(enumerate(operations)))}
        centring = np.flatnonzero((self.rotations == IDENTITY).all((1, 2)))
        self.generating = [operations[index] for index in sorted({*first.values(), *centring.tolist()})]
        self.orbits = [distinct(self.images(position)).tolist() for position in self.positions]
        self.selves = [self.self_maps(letter) for letter in range(len(triplets))]
        self.normalizer = self.euclidean_normalizer()
        self.axes = self.axis_maps()

    def images(self, map_: Affine) -> Affine:
        """The map followed by each operation: [operation, 3, 3] and [operation, 3]."""
        return self.rotations @ map_[0], (self.rotations @ map_[1] + self.translations) % D

    def self_maps(self, letter: int) -> list[Affine]:
        images = self.images(self.positions[letter])
        exists, (matrices, shifts) = induced(images, self.positions[letter], self.inverses[letter])
        matrices, shifts = matrices[exists], shifts[exists]
        return [(matrices[index], shifts[index]) for index in distinct((matrices, shifts))]

    def origin_shifts(self, matrix: np.ndarray) -> np.ndarray:
        """All w [shift, 3], polar components 0, for which x -> matrix x + w normalizes the group."""
        grids = [np.arange(1) if polar else np.arange(D) for polar in self.polar]
        shifts = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, 3)
        inverse = np.rint(np.linalg.inv(matrix)).astype(np.int64)
        for rotation, translation in self.generating:
            conjugate = matrix @ rotation @ inverse
            allowed = self.allowed.get(conjugate.tobytes())
            if allowed is None:
                return shifts[:0]
            moved = (matrix @ translation + shifts @ (IDENTITY - conjugate).T) % D
            shifts = shifts[allowed[tuple(moved.T)]]
        return shifts

    def euclidean_normalizer(self) -> list[Affine]:
        """The simplest element of each coset of the group and its continuous translations, identity first."""
        seen: set[bytes] = set()
        found = []
        for matrix in holohedry(self.system):
            for shift in sorted(
                self.origin_shifts(matrix).tolist(), key=lambda w: (np.count_nonzero(w), sum(w), w[::-1])
            ):
                element = matrix, np.array(shift)
                if key(element) in seen:
                    continue
                found.append(element)
                matrices, moved = self.images(element)
                seen |= {key(map_) for map_ in zip(matrices, np.where(self.polar, 0, moved))}
        return found

    def axis_maps(self) -> list[Affine]:
        """Representatives of the affine normalizer's elements that permute or shear axes, identity first."""
        if self.system == "orthorhombic":
            candidates = [IDENTITY[list(order)] for order in itertools.permutations(range(3))]
        elif self.system == "monoclinic":
            candidates = sheared_axes()
        else:
            candidates = [IDENTITY]
        candidates.sort(key=lambda w: (not (w == IDENTITY).all(), simplicity(w)))
        euclidean = {w.tobytes() for matrix, _ in self.normalizer for w in self.rotations @ matrix}
        seen: set[bytes] = set()
        found = []
        for matrix in candidates:
            if matrix.tobytes() in seen:
                continue
            shifts = self.origin_shifts(matrix)
            if len(shifts):
                best = min(shifts.tolist(), key=lambda w: (np.count_nonzero(w), sum(w), w[::-1]))
                found.append((matrix, np.array(best)))
                seen |= {(matrix @ np.frombuffer(w, dtype=np.int64).reshape(3, 3)).tobytes() for w in euclidean}
        return found

    def action(self, element: Affine) -> tuple[list[int], list[Affine]]:
        """Where a normalizing element sends each letter, and how it moves the parameters."""
        letters, maps = [], []
        for letter, position in enumerate(self.positions):
            images = self.images(product(position, element))
            found = []
            for target in range(len(self.positions)):
                if self.dof[target] != self.dof[letter] or self.multiplicity[target] != self.multiplicity[letter]:
                    continue
                exists, (matrices, shifts) = induced(images, self.positions[target], self.inverses[target])
                found += [(target, (matrices[index], shifts[index])) for index in np.flatnonzero(exists)]
            if len({target for target, _ in found}) != 1:
                raise ValueError(f"group {self.number}: the image of position {LETTERS[letter]} is not one position")
            target, map_ = min(found, key=lambda f: (simplicity(f[1][0], self.dof[letter]), *f[1][1]))
            letters.append(target)
            maps.append(map_)
        return letters, maps


def simplicity(matrix: np.ndarray, size: int = 3) -> tuple:
    """Sorts the identity first, then the inversion, then by size of the entries."""
    one = IDENTITY * (np.arange(3) < size)
    off = matrix - np.diag(np.diag(matrix))
    rank = 0 if (matrix == one).all() else 1 if (matrix == -one).all() else 2
    return (rank, int(np.abs(off).sum()), int(np.abs(matrix).sum()), int((matrix < 0).sum()), tuple(-matrix.ravel()))


def holohedry(system: str) -> list[np.ndarray]:
    """Point group of a generic lattice of the crystal system.

    In the hexagonal axes of a rhombohedral group, the elements that do not keep the centring drop out later, as they do
    not normalize it.
    """
    generators = {
        "triclinic": [],
        "monoclinic": ["-x,y,-z"],
        "orthorhombic": ["-x,y,-z", "-x,-y,z"],
        "tetragonal": ["-y,x,z", "-x,y,-z"],
        "trigonal": ["x-y,x,z", "y,x,-z"],
        "hexagonal": ["x-y,x,z", "y,x,-z"],
        "cubic": ["-y,x,z", "-x,y,-z", "z,x,y"],
    }
    matrices = [parse(triplet)[0] for triplet in ["-x,-y,-z", *generators[system]]]
    found = {IDENTITY.tobytes(): IDENTITY}
    new = [IDENTITY]
    while new:
        products = [m @ g for m in new for g in matrices]
        new = list({p.tobytes(): p for p in products if p.tobytes() not in found}.values())
        found |= {p.tobytes(): p for p in new}
    return sorted(found.values(), key=simplicity)


def sheared_axes() -> list[np.ndarray]:
    """Unimodular changes of a and c with entries from -2 to 2; reversing b or a and c is left to the holohedry."""
    found = []
    for entries in itertools.product(range(-2, 3), repeat=4):
        if abs(entries[0] * entries[3] - entries[1] * entries[2]) == 1:
            matrix = IDENTITY.copy()
            matrix[np.ix_([0, 2], [0, 2])] = np.reshape(entries, (2, 2))
            found.append(matrix)
    return found


def site_symmetries(group: Group) -> list[str]:
    """Oriented symbols, read off a probe crystal with an orbit of another element on every position.

    Raises:
        ValueError: if moyopy's multiplicities or first triplets are not pyxtal's.
    """
    import moyopy

    metrics: dict[str, Any] = {
        "triclinic": [[6.1, 0, 0], [0.7, 7.2, 0], [1.1, 0.9, 8.9]],
        "monoclinic": [[6.1, 0, 0], [0, 7.2, 0], [1.1, 0, 8.9]],
        "orthorhombic": np.diag([6.1, 7.2, 8.9]),
        "tetragonal": np.diag([6.1, 6.1, 8.9]),
        "trigonal": [[6.1, 0, 0], [-3.05, 6.1 * 3**0.5 / 2, 0], [0, 0, 8.9]],
        "hexagonal": [[6.1, 0, 0], [-3.05, 6.1 * 3**0.5 / 2, 0], [0, 0, 8.9]],
        "cubic": np.diag([6.1, 6.1, 6.1]),
    }
    random = np.random.default_rng(group.number)
    letters = range(len(group.positions))
    points, numbers = [], []
    # One general orbit of a small group may have more symmetry than the group: two more of them.
    for number, letter in enumerate([*letters, letters[-1], letters[-1]], start=1):
        basis, origin = group.positions[letter]
        point, orbit = basis @ random.random(3) + origin / D, group.orbits[letter]
        points += list((group.rotations[orbit] @ point + group.translations[orbit] / D) % 1)
        numbers += [number] * len(orbit)
    cell = moyopy.Cell(basis=metrics[group.system], positions=points, numbers=numbers)
    data = moyopy.MoyoDataset(cell, symprec=1e-5, setting=moyopy.Setting.standard())
    # The standard cell that moyopy finds may differ by an element of the normalizer, which only exchanges letters.
    found = {wyckoff.letter: wyckoff for wyckoff in data.normalizer_wyckoff_positions().wyckoffs}
    symbols = []
    for letter in letters:
        wyckoff = found[LETTERS[letter]]
        if key(compressed(wyckoff.coordinates)) != key(group.positions[letter]) or (
            wyckoff.multiplicity != group.multiplicity[letter]
        ):
            raise ValueError(f"moyopy and pyxtal differ on position {LETTERS[letter]} of group {group.number}")
        symbols.append(wyckoff.site_symmetry)
    return symbols


def main() -> None:
    import moyopy

    columns: dict[str, list[Any]] = {}

    def add(name: str, values: list[Any]) -> int:
        columns.setdefault(name, []).extend(values)
        return len(columns[name])

    def add_maps(prefix: str, suffixes: tuple[str, str], maps: list[Affine]) -> int:
        add(f"{prefix}_{suffixes[0]}", [map_[0] for map_ in maps])
        return add(f"{prefix}_{suffixes[1]}", [map_[1] for map_ in maps])

    for number, triplets in published_triplets().items():
        group = Group(number, triplets)
        add("symbol", [moyopy.SpaceGroupType(number).hm_short.replace(" ", "")])
        add("polar", [group.polar])
        add(
            "operation_end",
            [add_maps("operation", ("rotation", "translation"), list(zip(group.rotations, group.translations)))],
        )
        add_maps("position", ("basis", "origin"), group.positions)
        add("position_dof", group.dof)
        add("position_multiplicity", group.multiplicity)
        add("position_end", [add("position_site_symmetry", site_symmetries(group))])
        for orbit, maps in zip(group.orbits, group.selves):
            add("orbit_end", [add("orbit_operation", orbit)])
            add("self_end", [add_maps("self", ("matrix", "shift"), maps)])
        for prefix, elements in [("normalizer", group.normalizer), ("axis", group.axes)]:
            add(f"{prefix}_end", [add_maps(prefix, ("rotation", "translation"), elements)])
            for element in elements:
                letters, maps = group.action(element)
                add(f"{prefix}_letter_map", letters)
                add_maps(prefix, ("matrix", "shift"), maps)
        print(number, columns["symbol"][-1], len(group.positions), len(group.normalizer), len(group.axes), flush=True)

    arrays = {}
    for name, values in columns.items():
        array = np.array(values)
        if array.dtype == np.int64:
            array = array.astype(np.int32 if name.endswith("_end") else np.int16 if array.max() > 127 else np.int8)
        arrays[name] = array
    np.savez_compressed(HERE / "wyckoff.npz", **arrays)


if __name__ == "__main__":
    main()
