"""What makes text a usable structure: reason codes, and checks that cost nothing before the expensive work begins."""

import math
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import StructureError
from oreflow.envs.suggestions import nearest

MAX_ATOMS = 1000
MIN_DISTANCE_A = 0.5
SAME_PLACE_A = 0.01
FULL_OCCUPANCY_TOLERANCE = 1e-3
_MAX_LENGTH_A = 1000.0
_MIN_RELATIVE_VOLUME = 1e-3

_ISOTOPES = {"D": "deuterium", "T": "tritium"}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?(?:\(\d+\))?")
_CHARGE = re.compile(r"\d*\.?\d*[+-]|[+-]\d*\.?\d*|")


class Reason(StrEnum):
    """Why an entry of a structure file was not read, or a structure not encoded."""

    UNREADABLE = "unreadable"  # the file cannot be opened
    FILE_TOO_LARGE = "file_too_large"
    EMPTY_FILE = "empty_file"
    NOT_TEXT = "not_text"
    UNKNOWN_FORMAT = "unknown_format"
    NO_STRUCTURE = "no_structure"
    PARSE_ERROR = "parse_error"
    UNTERMINATED_LOOP = "unterminated_loop"
    NO_ATOMS = "no_atoms"
    NO_LATTICE = "no_lattice"
    BAD_CELL = "bad_cell"
    BAD_COORDINATES = "bad_coordinates"
    TOO_MANY_ATOMS = "too_many_atoms"
    UNKNOWN_ELEMENT = "unknown_element"
    UNKNOWN_SPACE_GROUP = "unknown_space_group"
    OCCUPANCY_ABOVE_ONE = "occupancy_above_one"
    PARTIAL_OCCUPANCY = "partial_occupancy"
    IMPLICIT_HYDROGENS = "implicit_hydrogens"
    FORMULA_MISMATCH = "formula_mismatch"  # the file's formula has elements that its sites have not
    OVERLAPPING_ATOMS = "overlapping_atoms"
    NOT_PERIODIC = "not_periodic"
    MAGNETIC = "magnetic"
    MODULATED = "modulated"
    NO_SYMMETRY = "no_symmetry"  # the search itself failed
    BROKEN_ORBIT = "broken_orbit"  # atoms do not map onto atoms
    NO_POSITION = "no_position"  # no Wyckoff position holds an orbit
    DISPLACED = "displaced"  # rebuilt atoms lie too far from the given ones


def number(text: str, what: str, code: Reason) -> float:
    """A finite number as CIF writes it, such as "5.640(2)".

    Raises:
        StructureError: with the given code.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        value = float(text.partition("(")[0].lower().replace("d", "e"))
        if math.isfinite(value):
            return value
    hint = "; write a decimal point, not a comma" if re.fullmatch(r"[+-]?\d+,\d+", text) else ""
    raise StructureError(code, f"expected a finite number for {what}, got {text[:40]!r}{hint}")


def read_element(text: str, notes: list[str]) -> str:
    """The element of a species such as "Na", "Na1+", "O2-" or "CL"; D and T count as H, and `notes` says so.

    Raises:
        StructureError: partial_occupancy for a mixture, unknown_element otherwise.
    """
    text = text.strip().strip("'\"")
    if "," in text or " + " in text:
        raise StructureError(Reason.PARTIAL_OCCUPANCY, f"expected one element on each site, got {text[:60]!r}")
    match = re.match(r"(\d*)([A-Za-z]{1,3})", text)
    if match and _CHARGE.fullmatch(text[match.end() :]):
        mass, symbol = match[1], match[2].capitalize()
        if symbol in _ISOTOPES:
            mass, isotope = "", _ISOTOPES[symbol]
            _note(notes, f"{isotope} read as H")
            symbol = "H"
        if symbol in symbols()[1:]:
            if mass:
                _note(notes, f"isotope {mass}{symbol} read as {symbol}")
            return symbol
    hint = nearest(match[2] if match else text[:20], symbols()[1:])
    hint = hint if hint.startswith("did") else "dummy atoms and vacancies have no place in a crystal of elements"
    raise StructureError(
        Reason.UNKNOWN_ELEMENT, f"expected an element symbol such as 'Na' or 'Na1+', got {text[:40]!r}; {hint}"
    )


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)


def check_occupancy(occupancy: float, where: str) -> None:
    """Every site must be full, within 0.001.

    Raises:
        StructureError: occupancy_above_one, or partial_occupancy.
    """
    if occupancy > 1 + FULL_OCCUPANCY_TOLERANCE:
        raise StructureError(Reason.OCCUPANCY_ABOVE_ONE, f"expected an occupancy of 1, got {occupancy:g} on {where}")
    if not occupancy >= 1 - FULL_OCCUPANCY_TOLERANCE:
        message = f"expected full occupancy, got {occupancy:g} on {where}; order the structure first"
        raise StructureError(Reason.PARTIAL_OCCUPANCY, message)


def check_n_atoms(n_atoms: int, max_atoms: int, what: str = "atoms") -> None:
    """Refuse a structure without atoms, or with too many.

    Raises:
        StructureError: no_atoms, or too_many_atoms.
    """
    if n_atoms < 1:
        raise StructureError(Reason.NO_ATOMS, f"expected at least one atom, got no {what}")
    if n_atoms > max_atoms:
        raise StructureError(Reason.TOO_MANY_ATOMS, f"expected at most {max_atoms} atoms, got {n_atoms} {what}")


def check_cell_parameters(parameters: Sequence[float], longest_a: float = _MAX_LENGTH_A) -> None:
    """Lengths from 0.5 angstrom, angles strictly between 0 and 180 degrees that close to a cell with a volume.

    Args:
        parameters: a, b, c in angstrom, alpha, beta, gamma in degrees.
        longest_a: the largest length, angstrom.

    Raises:
        StructureError: bad_cell.
    """
    for name, length in zip("abc", parameters[:3]):
        if not MIN_DISTANCE_A <= length <= longest_a:
            message = f"expected {name} from {MIN_DISTANCE_A:g} to {longest_a:g} angstrom, got {length:g}"
            raise StructureError(Reason.BAD_CELL, message)
    for name, angle in zip(("alpha", "beta", "gamma"), parameters[3:]):
        if not 0 < angle < 180:
            raise StructureError(Reason.BAD_CELL, f"expected {name} between 0 and 180 degrees, got {angle:g}")
    x, y, z = np.cos(np.radians(np.asarray(parameters[3:], dtype=float)))
    square = 1 - x * x - y * y - z * z + 2 * x * y * z
    if not square > _MIN_RELATIVE_VOLUME**2:
        angles = ", ".join(f"{angle:g}" for angle in parameters[3:])
        raise StructureError(Reason.BAD_CELL, f"expected a cell with a volume, got a flat one of angles {angles}")


def check_vectors(vectors: Floats) -> None:
    """The same for lattice vectors, float64 [3, 3], rows in angstrom.

    Raises:
        StructureError: bad_cell.
    """
    if vectors.shape != (3, 3) or not np.isfinite(vectors).all():
        raise StructureError(Reason.BAD_CELL, f"expected three finite lattice vectors, got {vectors.tolist()}")
    lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.all():
        raise StructureError(Reason.BAD_CELL, "expected lattice vectors of positive length, got one of length 0")
    unit = vectors / lengths[:, None]
    cosines = np.clip([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]], -1, 1)
    check_cell_parameters([*lengths.tolist(), *np.degrees(np.arccos(cosines)).tolist()])


def make_structure(lattice: Any, species: Sequence[str], fractional: Floats, notes: list[str]) -> Any:
    """A pymatgen structure whose atoms keep their distance.

    Atoms of one element within 0.01 angstrom of each other are one atom listed twice and become one; after that no two
    may be closer than 0.5 angstrom, periodic images included.

    Args:
        lattice: pymatgen `Lattice`, or vectors.
        species: element symbols.
        fractional: float64 [atom, 3].
        notes: gets a line where atoms were merged.

    Raises:
        StructureError: bad_coordinates, bad_cell, overlapping_atoms.
    """
    from pymatgen.core import Lattice, Structure

    fractional = np.asarray(fractional, dtype=np.float64).reshape(-1, 3)
    if not np.isfinite(fractional).all() or np.abs(fractional).max(initial=0.0) > 1e6:
        raise StructureError(Reason.BAD_COORDINATES, "expected finite coordinates, got NaN, infinite or huge ones")
    if not isinstance(lattice, Lattice):
        check_vectors(np.asarray(lattice, dtype=np.float64))
        lattice = Lattice(lattice)
    fractional = fractional % 1.0
    distances = lattice.get_all_distances(fractional, fractional)
    first, second = np.nonzero(np.triu(distances < MIN_DISTANCE_A, k=1))
    if len(first):
        keep = np.ones(len(species), dtype=np.bool_)
        for i, j in zip(first.tolist(), second.tolist()):
            if species[i] != species[j] or distances[i, j] > SAME_PLACE_A:
                raise StructureError(
                    Reason.OVERLAPPING_ATOMS,
                    f"expected atoms at least {MIN_DISTANCE_A:g} angstrom apart, got {species[i]} and {species[j]} "
                    f"at {distances[i, j]:.3f}",
                )
            keep[j] = False
        _note(notes, f"{(~keep).sum()} atoms listed twice were merged")
        species = [s for s, kept in zip(species, keep) if kept]
        fractional = fractional[keep]
    _check_shortest_vector(lattice)
    return Structure(lattice, species, fractional)


def _check_shortest_vector(lattice: Any) -> None:
    """In a skew cell the shortest lattice vector may be shorter than a, b and c."""
    shortest = min(lattice.get_lll_reduced_lattice().abc)
    if shortest < MIN_DISTANCE_A:
        message = f"expected lattice vectors of at least {MIN_DISTANCE_A:g} angstrom, got one of {shortest:.3f}"
        raise StructureError(Reason.BAD_CELL, message)
