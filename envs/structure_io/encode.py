"""Structures to crystals: the space group by moyopy, the Wyckoff positions and free coordinates by our own tables.

The group's standard setting and the symmetrised cell come from moyopy. Its letters are not used: each orbit is held
against the positions of `wyckoff_tables`, the crystal is rebuilt from what was found, and every atom of the given
structure must lie where the rebuilt crystal has one.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats, Int16s, Ints
from oreflow.envs.errors import EncodeError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.reading.checks import Reason
from oreflow.envs.symmetry.lattices import SIGNIFICANT_DIGITS, metric_of_cell, symmetrised_lattice
from oreflow.envs.symmetry.space_groups import DENOMINATOR, SpaceGroup, space_group

SYMPREC_A = 0.01
# A cell whose symmetry holds only within a wide tolerance may be inconsistent; a narrower one finds a subgroup.
_NARROWER = (1.0, 0.1, 0.01)


@dataclass(frozen=True)
class _Tables:
    """What the kernels need of a group, as float64."""

    rotations: Floats
    translations: Floats
    basis: Floats
    origin: Floats
    inverses: Floats
    least_squares: Floats


def encode_structures(
    structures: Sequence[Any], symprec: float = SYMPREC_A, angle_tolerance: float | None = None
) -> tuple[Crystals, Ints, list[EncodeError | None]]:
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
    parts: list[tuple[int, list[int], list[int], list[float], Floats]] = []
    rows: list[int] = []
    errors: list[EncodeError | None] = []
    with _quiet_moyo():
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


@contextlib.contextmanager
def _quiet_moyo() -> Iterator[None]:
    """Context without moyo's remarks on operations of odd supercells, which nothing here reads."""
    logger = logging.getLogger("moyo")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _arrays(structure: Any) -> tuple[Floats, Floats, Ints]:
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
    vectors: Floats, fractional: Floats, numbers: Ints, symprec: float, angle_tolerance: float | None
) -> tuple[int, list[int], list[int], list[float], Floats]:
    first: EncodeError | None = None
    for factor in _NARROWER:
        try:
            return _encode_within(vectors, fractional, numbers, symprec, factor * symprec, angle_tolerance)
        except EncodeError as error:
            first = first or error
    assert first is not None
    raise first


def _encode_within(
    vectors: Floats,
    fractional: Floats,
    numbers: Ints,
    tolerance: float,
    symprec: float,
    angle_tolerance: float | None,
) -> tuple[int, list[int], list[int], list[float], Floats]:
    """Space group, letters, atomic numbers, lattice, and parameters [site, 3]."""
    import moyopy

    from oreflow.envs.structure_io.orbits import find_orbits, find_position, largest_displacement

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
    metric = metric_of_cell(lattice)
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
    return found.number, letters, elements, lattice, np.round(rows, SIGNIFICANT_DIGITS) % 1.0


def _orbit(group: SpaceGroup, tables: _Tables, letter: int, parameters: Floats) -> Floats:
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


def _left_inverse(basis: Floats, dof: int) -> Floats:
    """Integer matrix that takes basis @ p to p, so that points are found modulo lattice translations."""
    inverse = np.zeros((3, 3))
    for rows in combinations(range(3), dof):
        minor = basis[list(rows), :dof]
        if dof and abs(round(np.linalg.det(minor))) == 1:
            inverse[:dof, list(rows)] = np.rint(np.linalg.inv(minor))
            break
    return inverse


def found_space_groups(crystals: Crystals, symprec: float = 1e-4) -> Int16s:
    """The space groups that moyopy finds within `symprec` angstrom, int16 [batch], 0 where it finds none.

    That of the crystal, or a supergroup where lattice and coordinates happen to have more symmetry.
    """
    import moyopy

    atoms = crystals.atoms()
    out = np.zeros(len(crystals), dtype=np.int16)
    bounds = atoms.offsets.tolist()
    for row, vectors in enumerate(atoms.vectors):
        here = slice(bounds[row], bounds[row + 1])
        try:
            cell = moyopy.Cell(vectors.tolist(), atoms.fractional[here].tolist(), atoms.atomic_numbers[here].tolist())
            out[row] = moyopy.MoyoDataset(cell, symprec=symprec).number
        except KeyboardInterrupt:
            raise
        except BaseException:  # a panic of moyopy is a BaseException; one crystal's is no reason to stop the others
            out[row] = 0
    return out
