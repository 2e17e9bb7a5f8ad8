"""Reads the table of structures that a crystal energy model is fitted on, and finds each structure's symmetry."""

import csv
import io
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.space_groups import LETTERS
from oreflow.rewards.chemistry.magpie import elements_with_all_properties
from oreflow.rewards.models.crystal.site_tables import site_tables
from oreflow.rewards.models.ensemble.tables import (
    ROWS_NAMED,
    EnergyDataError,
    check_units,
    columns_of,
    parse_value,
    read_text,
    rows_of,
)
from oreflow.rewards.reference.known_phases import EnergyRangeError, check_formation_energy

LATTICE_COLUMN, SITES_COLUMN = "lattice", "sites"
MIN_STRUCTURES = 100
SYMPREC = 0.01
# Where the first tolerance finds contradictory operations, the next is tried.
_SYMPRECS = (SYMPREC, 0.02, 0.005, 0.05)


@dataclass(frozen=True)
class CrystalTable:
    """Energies of crystals, one row per structure.

    Attributes:
        crystals: decorations; lattice and coordinates are not kept.
        compositions: reduced.
        values: float64 [row], in the unit of the table.
        report: counts of what was read and left out, with line numbers; plain types, for `model.json`.
    """

    crystals: Crystals
    compositions: Compositions
    values: Floats
    report: dict[str, Any]

    def __len__(self) -> int:
        return len(self.values)


def has_structures(path: str | Path) -> bool:
    """Whether a CSV table has the columns `lattice` and `sites`.

    Raises:
        EnergyDataError: when the file cannot be read.
    """
    text, _ = read_text(Path(path))
    header = next(csv.reader(io.StringIO(text, newline="")), [])
    return {LATTICE_COLUMN, SITES_COLUMN} <= set(header)


def _numbers(text: str, n: int, what: str) -> list[float]:
    """Exactly n finite numbers. Raises ValueError with the reason as a phrase."""
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != n or not all(map(math.isfinite, numbers)):
        raise ValueError(f"expected {n} numbers as {what}, got {text[:60]!r}")
    return numbers


def _vectors(text: str) -> Floats:
    """Lattice vectors as rows, angstrom, from a b c alpha beta gamma."""
    a, b, c, *angles = _numbers(text, 6, "a lattice (a b c in angstrom, alpha beta gamma in degrees)")
    cos_a, cos_b, cos_c = np.cos(np.radians(angles))
    sin_c = math.sin(math.radians(angles[2]))
    if min(a, b, c) <= 0 or sin_c <= 0:
        raise ValueError(f"lattice {text!r} is not that of a cell")
    y = (cos_a - cos_b * cos_c) / sin_c
    squared = 1.0 - cos_b**2 - y**2
    if squared <= 1e-9:
        raise ValueError(f"lattice {text!r} is not that of a cell: its angles do not fit together")
    return np.array([[a, 0, 0], [b * cos_c, b * sin_c, 0], [c * cos_b, c * y, c * math.sqrt(squared)]])


def _atoms(text: str, number_of: dict[str, int]) -> tuple[list[int], Floats]:
    """Atomic numbers and fractional coordinates from "Na 0 0 0; Cl 0.5 0.5 0.5"."""
    known = elements_with_all_properties()
    numbers, coordinates = [], []
    for site in text.split(";"):
        symbol, _, place = site.strip().partition(" ")
        if symbol not in number_of:
            raise ValueError(f"expected an element and three fractional coordinates, got the site {site.strip()!r}")
        if number_of[symbol] not in known:
            raise ValueError(f"{symbol} has no Magpie properties")
        numbers.append(number_of[symbol])
        coordinates.append(_numbers(place, 3, f"fractional coordinates of {symbol}"))
    return numbers, np.array(coordinates)


def decoration(vectors: Floats, coordinates: Floats, numbers: list[int]) -> tuple[int, list[tuple[int, int]]]:
    """Space-group number of a structure, and letter index and atomic number of each occupied position.

    Raises:
        ValueError: with a phrase, when no symmetry is found.
    """
    import moyopy

    # It warns of cells that are not primitive, through a logger that prints unless someone has set logging up.
    logging.getLogger("moyo").setLevel(logging.ERROR)
    for symprec in _SYMPRECS:
        try:
            cell = moyopy.Cell(vectors.tolist(), coordinates.tolist(), list(numbers))
            found = moyopy.MoyoDataset(cell, symprec=symprec, setting=moyopy.Setting.standard())
            if len(found.prim_std_cell.numbers) < len(cell.numbers):
                # In a larger cell than the primitive one an orbit of the crystal may be several.
                cell = found.prim_std_cell
                found = moyopy.MoyoDataset(cell, symprec=symprec, setting=moyopy.Setting.standard())
        except (ValueError, RuntimeError):
            continue
        first = sorted(set(found.orbits))
        sites = [(LETTERS.index(found.wyckoffs[k]), int(cell.numbers[k])) for k in first]
        atoms = site_tables().atoms[found.number, [letter for letter, _ in sites]]
        if atoms.sum() == len(cell.numbers):
            return int(found.number), sorted(sites)
    raise ValueError(f"no symmetry found at a tolerance of {SYMPREC} angstrom, nor at others near it")


def read_crystals(path: str | Path, *, target_column: str) -> CrystalTable:
    """Reads a CSV with a header row, plain or compressed, and analyses the symmetry of each structure.

    Columns: `lattice` (a b c in angstrom, alpha beta gamma in degrees), `sites` (element and fractional coordinates,
    ";" between sites), and the target, in eV/atom. Rows that cannot be used are left out and reported with their line
    numbers; pure elements are left out, too.

    Raises:
        EnergyDataError: when the file cannot be read, a column is missing, or too few rows remain.
    """
    path = Path(path)
    text, digest = read_text(path)
    rows = rows_of(csv.reader(io.StringIO(text, newline="")), path)
    header = next(rows, (1, []))[1]
    wanted = columns_of(header, (LATTICE_COLUMN, SITES_COLUMN, target_column), path)
    number_of = {symbols()[z]: z for z in range(1, N_ELEMENTS + 1)}
    groups, n_sites, sites, values = [], [], [], []
    bad_rows: list[dict[str, Any]] = []
    n_out_of_range = 0
    n_rows, n_pure = 0, 0
    for line, cells in rows:
        n_rows += 1
        try:
            if len(cells) != len(header):
                raise ValueError(f"expected {len(header)} cells as in the header, got {len(cells)}")
            lattice, atoms, target = (cells[k].strip() for k in wanted)
            value, vectors = parse_value(target), _vectors(lattice)
            check_formation_energy(value)
            numbers, coordinates = _atoms(atoms, number_of)
            if len(set(numbers)) == 1:
                n_pure += 1
                continue
            group, occupied = decoration(vectors, coordinates, numbers)
        except ValueError as error:
            n_out_of_range += isinstance(error, EnergyRangeError)
            bad_rows.append({"line": line, "reason": str(error)})
            continue
        groups.append(group)
        n_sites.append(len(occupied))
        sites += occupied
        values.append(value)
    check_units(n_out_of_range, n_rows, bad_rows, path)
    report = {
        "rows_read": n_rows,
        "rows_used": len(values),
        "bad_rows": len(bad_rows),
        "bad_rows_first": bad_rows[:ROWS_NAMED],
        "pure_element_rows": n_pure,
        "symprec_angstrom": SYMPREC,
        "sha256": digest,
    }
    if len(values) < MIN_STRUCTURES:
        first = "".join(f"; line {bad['line']}: {bad['reason']}" for bad in bad_rows[:3])
        raise EnergyDataError(
            f"expected at least {MIN_STRUCTURES} usable structures of compounds in {path}, got {len(values)} from "
            f"{n_rows} rows ({len(bad_rows)} rows could not be used{first})"
        )
    letter, atomic_number = np.array(sites).T
    decorations = Crystals(
        np.array(groups),
        np.concatenate([[0], np.cumsum(n_sites)]),
        letter,
        atomic_number,
        np.full((len(groups), 6), np.nan),
        np.full((len(letter), 3), np.nan),
    )
    return _sorted_by_content(decorations, np.array(values), report)


def _sorted_by_content(crystals: Crystals, values: Floats, report: dict[str, Any]) -> CrystalTable:
    """In descending order of the number of elements, and independent of the order of the file's rows."""
    compositions = crystals.compositions.reduced()
    keys = [
        (-int(n), formula, int(group), tuple(zip(letters.tolist(), numbers.tolist())), float(value))
        for n, formula, group, letters, numbers, value in zip(
            compositions.n_elements,
            compositions.formulas(),
            crystals.space_group,
            np.split(crystals.letter, crystals.site_offsets[1:-1]),
            np.split(crystals.atomic_number, crystals.site_offsets[1:-1]),
            values,
        )
    ]
    order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
    return CrystalTable(crystals[order], compositions[order], values[order], report)
