"""Structures to crystals: the space group by moyopy, the Wyckoff positions and free coordinates by our own tables.

The group's standard setting and the symmetrised cell come from moyopy. Its letters are not used: each orbit is held
against the positions of `wyckoff_tables`, the crystal is rebuilt from what was found, and every atom of the given
structure must lie where the rebuilt crystal has one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from envs.crystals import Crystals
from envs.errors import EncodeError
from envs.structure_checks import Reason
from envs.wyckoff_tables import DENOMINATOR, SpaceGroup, space_group

SYMPREC_A = 0.01
# A cell whose symmetry holds only within a wide tolerance may be inconsistent; a narrower one finds a subgroup.
_NARROWER = (1.0, 0.1, 0.01)


@dataclass(frozen=True)
class _Tables:
    """What the kernels need of a group, as float64."""

    rotations: np.ndarray
    translations: np.ndarray
    basis: np.ndarray
    origin: np.ndarray
    inverses: np.ndarray
    least_squares: np.ndarray


def encode_structures(
    structures: Sequence[Any], symprec: float = SYMPREC_A, angle_tolerance: float | None = None
) -> tuple[Crystals, np.ndarray, list[EncodeError | None]]:
    """Structures to crystals, those that cannot be encoded set aside.

    Args:
        structures: pymatgen `Structure` objects, or tuples (lattice vectors as rows in angstrom, fractional
            coordinates, atomic numbers).
        symprec: distance in angstrom within which atoms count as symmetric.
        angle_tolerance: radians, for the lattice; None lets symprec decide.

    Returns:
        crystals: the encoded ones, in order.
        rows: int64, the position of each in `structures`.
        errors: by position in `structures`, None where encoded.
    """
    parts: list[tuple[int, list[int], list[int], list[float], np.ndarray]] = []
    rows: list[int] = []
    errors: list[EncodeError | None] = []
    for row, structure in enumerate(structures):
        try:
            parts.append(_encode(*_arrays(structure), symprec, angle_tolerance))
            rows.append(row)
            errors.append(None)
        except EncodeError as error:
            errors.append(error)
    counts = [len(part[1]) for part in parts]
    crystals = Crystals(
        np.array([part[0] for part in parts], dtype=np.int16),
        np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        np.array([letter for part in parts for letter in part[1]], dtype=np.int8),
        np.array([z for part in parts for z in part[2]], dtype=np.int16),
        np.array([part[3] for part in parts], dtype=np.float64).reshape(len(parts), 6),
        np.concatenate([np.empty((0, 3)), *(part[4] for part in parts)]),
    )
    return crystals, np.array(rows, dtype=np.int64), errors


def encode_structure(structure: Any, symprec: float = SYMPREC_A, angle_tolerance: float | None = None) -> Crystals:
    """One structure as a batch of one crystal; see `encode_structures`.

    Raises:
        EncodeError: with a code from `Reason`.
    """
    crystals, _, errors = encode_structures([structure], symprec, angle_tolerance)
    if errors[0] is not None:
        raise errors[0]
    return crystals


def _arrays(structure: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(structure, tuple):
        vectors, fractional, numbers = structure
    else:
        if not structure.is_ordered:
            raise EncodeError(Reason.PARTIAL_OCCUPANCY, f"expected full occupancy, got {structure.formula}")
        vectors, fractional, numbers = structure.lattice.matrix, structure.frac_coords, structure.atomic_numbers
    vectors = np.asarray(vectors, dtype=np.float64)
    fractional = np.asarray(fractional, dtype=np.float64).reshape(-1, 3)
    numbers = np.asarray(numbers, dtype=np.int64)
    if not len(numbers):
        raise EncodeError(Reason.NO_ATOMS, "expected at least one atom, got none")
    if len(numbers) != len(fractional) or vectors.shape != (3, 3):
        raise EncodeError(
            Reason.BAD_COORDINATES,
            f"expected vectors of shape (3, 3) and as many positions as atomic numbers, got {vectors.shape}, "
            f"{len(fractional)} and {len(numbers)}",
        )
    if not (np.isfinite(vectors).all() and np.isfinite(fractional).all()) or not abs(np.linalg.det(vectors)) > 0:
        raise EncodeError(Reason.BAD_CELL, "expected finite numbers and a cell with a volume")
    return vectors, fractional, numbers


def _encode(
    vectors: np.ndarray, fractional: np.ndarray, numbers: np.ndarray, symprec: float, angle_tolerance: float | None
) -> tuple[int, list[int], list[int], list[float], np.ndarray]:
    first: EncodeError | None = None
    for factor in _NARROWER:
        try:
            return _encode_within(vectors, fractional, numbers, symprec, factor * symprec, angle_tolerance)
        except EncodeError as error:
            first = first or error
    assert first is not None
    raise first


def _encode_within(
    vectors: np.ndarray,
    fractional: np.ndarray,
    numbers: np.ndarray,
    tolerance: float,
    symprec: float,
    angle_tolerance: float | None,
) -> tuple[int, list[int], list[int], list[float], np.ndarray]:
    """Space group, letters, atomic numbers, lattice, and parameters [site, 3]."""
    import moyopy

    from envs.orbit_kernels import find_orbits, find_position, largest_displacement

    try:
        cell = moyopy.Cell(vectors.tolist(), fractional.tolist(), numbers.tolist())
        found = moyopy.MoyoDataset(
            cell, symprec=symprec, angle_tolerance=angle_tolerance, setting=moyopy.Setting.standard()
        )
    except BaseException as error:  # a panic of moyopy is a BaseException, and no reason to stop the others
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise EncodeError(Reason.NO_SYMMETRY, f"moyopy finds no space group at symprec {symprec:g}: {error}") from None
    standard = found.std_cell
    group, tables = space_group(found.number), _tables(found.number)
    lattice = symmetrised_lattice(np.array(standard.basis), group.crystal_system)
    metric = _metric(lattice)
    positions, atomic_numbers = np.array(standard.positions), np.array(standard.numbers, dtype=np.int64)
    orbit = find_orbits(positions, atomic_numbers, metric, tables.rotations, tables.translations, tolerance)
    if not len(orbit):
        message = f"space group {found.number} at symprec {symprec:g} does not map the atoms onto atoms"
        raise EncodeError(Reason.BROKEN_ORBIT, message)
    letters, elements, rows, points = [], [], [], []
    for number in range(orbit.max() + 1):
        members = np.flatnonzero(orbit == number)
        parameters = np.empty(3)
        letter = find_position(
            positions[members],
            tables.basis,
            tables.origin,
            tables.inverses,
            tables.least_squares,
            group.multiplicity,
            metric,
            tolerance,
            parameters,
        )
        if letter < 0:
            message = f"no position of space group {found.number} holds an orbit of {len(members)} atoms"
            raise EncodeError(Reason.NO_POSITION, message)
        letters.append(letter)
        elements.append(int(atomic_numbers[members[0]]))
        rows.append(parameters)
        points.append(_orbit(group, tables, letter, parameters))
    linear, shift = np.array(found.std_linear), np.array(found.std_origin_shift)
    given = (fractional - shift) @ np.linalg.inv(linear).T
    n_rebuilt = sum(map(len, points))
    displacement = largest_displacement(
        given, numbers, np.concatenate(points), np.repeat(elements, [len(p) for p in points]), metric
    )
    if n_rebuilt != round(len(numbers) * abs(np.linalg.det(linear))) or not displacement <= 2 * tolerance:
        message = (
            f"expected atoms within {2 * tolerance:g} angstrom of space group {found.number}, got one off by "
            f"{displacement:.3g}; try another symprec"
        )
        raise EncodeError(Reason.DISPLACED, message)
    return found.number, letters, elements, lattice, np.array(rows)


def symmetrised_lattice(vectors: np.ndarray, crystal_system: str) -> list[float]:
    """a, b, c in angstrom and alpha, beta, gamma in degrees, exactly as the crystal system wants them.

    Args:
        vectors: float64 [3, 3], rows, of a conventional cell in standard setting that has the symmetry up to rounding.
        crystal_system: as `SpaceGroup.crystal_system`; trigonal cells have hexagonal axes.
    """
    a, b, c = np.linalg.norm(vectors, axis=1).tolist()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.clip([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]], -1, 1)
    alpha, beta, gamma = np.degrees(np.arccos(cosines)).tolist()
    if crystal_system == "triclinic":
        return [a, b, c, alpha, beta, gamma]
    if crystal_system == "monoclinic":
        return [a, b, c, 90.0, beta, 90.0]
    if crystal_system == "orthorhombic":
        return [a, b, c, 90.0, 90.0, 90.0]
    if crystal_system == "cubic":
        mean = (a + b + c) / 3
        return [mean, mean, mean, 90.0, 90.0, 90.0]
    mean = (a + b) / 2
    return [mean, mean, c, 90.0, 90.0, 90.0 if crystal_system == "tetragonal" else 120.0]


def _metric(lattice: Sequence[float]) -> np.ndarray:
    lengths = np.array(lattice[:3])
    cosines = np.cos(np.radians(lattice[3:]))
    angles = np.eye(3)
    angles[1, 2] = angles[2, 1] = cosines[0]
    angles[0, 2] = angles[2, 0] = cosines[1]
    angles[0, 1] = angles[1, 0] = cosines[2]
    return angles * np.outer(lengths, lengths)


def _orbit(group: SpaceGroup, tables: _Tables, letter: int, parameters: np.ndarray) -> np.ndarray:
    """float64 [multiplicity, 3], the points of a position."""
    operations = group.orbit_operation[group.orbit_start[letter] : group.orbit_start[letter + 1]]
    point = tables.basis[letter] @ parameters + tables.origin[letter]
    return tables.rotations[operations] @ point + tables.translations[operations]


@cache
def _tables(number: int) -> _Tables:
    group = space_group(number)
    basis = group.basis.astype(np.float64)
    return _Tables(
        group.rotations.astype(np.float64),
        group.translations / DENOMINATOR,
        basis,
        group.origin / DENOMINATOR,
        np.array([_left_inverse(b, int(dof)) for b, dof in zip(basis, group.dof)]),
        np.ascontiguousarray(np.linalg.pinv(basis)),
    )


def _left_inverse(basis: np.ndarray, dof: int) -> np.ndarray:
    """Integer matrix that takes basis @ p to p, so that points are found modulo lattice translations."""
    inverse = np.zeros((3, 3))
    for rows in combinations(range(3), dof):
        minor = basis[list(rows), :dof]
        if dof and abs(round(np.linalg.det(minor))) == 1:
            inverse[:dof, list(rows)] = np.rint(np.linalg.inv(minor))
            break
    return inverse
