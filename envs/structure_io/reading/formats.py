"""Structures from the text of CIF, POSCAR, extended XYZ and tables, one entry each; JSON is in `json_structures`.

Each reader yields `(block, read)`: the name of an entry in its file, and a function that returns its structure or
raises `StructureError`, so that a bad entry costs only itself.
"""

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import (
    Reason,
    check_cell_parameters,
    check_n_atoms,
    check_vectors,
    make_structure,
    number,
    read_element,
)
from oreflow.envs.structure_io.reading.cif import cif_structure
from oreflow.envs.structure_io.reading.cif_blocks import cif_blocks, holds_structure

Read = Callable[[int, list[str]], Any]  # (max_atoms, notes) -> Structure
Entries = Iterator[tuple[str, Read]]

ID_COLUMNS = ("material_id", "candidate_id", "structure_id", "id")
_PAIR = re.compile(r"""([\w.-]+)\s*=\s*("[^"]*"|'[^']*'|\{[^}]*\}|\S+)""")


def cif_entries(text: str) -> Entries:
    """Data blocks; those without cell and atoms are passed over where another block has them."""
    blocks = cif_blocks(text)
    for block in [b for b in blocks if holds_structure(b)] or blocks[:1]:
        if holds_structure(block):
            yield block.name, partial(cif_structure, block)
        else:
            yield block.name, partial(_fail, Reason.NO_STRUCTURE, "expected a block with a cell and atoms, found none")


def poscar_entries(text: str) -> Entries:
    """The one structure of a POSCAR or CONTCAR."""
    yield "", partial(_poscar, text)


def _poscar(text: str, max_atoms: int, notes: list[str]) -> Any:
    lines = text.splitlines()
    if len(lines) < 8:
        raise StructureError(Reason.PARSE_ERROR, f"expected a POSCAR of at least 8 lines, got {len(lines)}")
    # As VASP reads them: numbers first, and anything may stand behind.
    scales = _floats(_leading_numbers(lines[1]), Reason.BAD_CELL, "the scaling factor")
    rows_of_lattice = [" ".join(line.split()[:3]) for line in lines[2:5]]
    vectors = np.array([_floats(row, Reason.BAD_CELL, "a lattice vector", 3) for row in rows_of_lattice])
    if len(scales) not in (1, 3) or not all(scales) or (len(scales) == 3 and min(scales) < 0):
        raise StructureError(Reason.BAD_CELL, f"expected one or three scaling factors other than 0, got {lines[1]!r}")
    check_vectors(vectors)
    scale = np.array(scales)
    if scales[0] < 0:  # the volume of the cell
        scale = (-scale / abs(np.linalg.det(vectors))) ** (1 / 3)
    words = lines[5].split()
    if words and re.fullmatch(r"\d+", words[0]):  # without a line of symbols: VASP 4, and AFLOW, behind the coordinates
        names, counts, rest = lines[0].split(), words, lines[6:]
        names = _symbols_behind_coordinates(counts, rest) or names
    else:
        names, counts, rest = words, lines[6].split(), lines[7:]
    counts = list(itertools.takewhile(lambda word: re.fullmatch(r"\d{1,9}", word), counts))
    if not counts:
        raise StructureError(Reason.PARSE_ERROR, f"expected numbers of atoms in line 6 or 7, got {lines[5]!r}")
    check_n_atoms(sum(map(int, counts)), max_atoms)
    if len(names) < len(counts):
        message = f"expected the symbols of {len(counts)} elements in line 6, got {lines[5]!r}"
        raise StructureError(Reason.UNKNOWN_ELEMENT, message)
    # POTCAR names such as Na_pv or Fe/1a2b3c
    elements = [read_element(re.split("[_/]", name)[0], notes) for name in names[: len(counts)]]
    species = [element for element, n in zip(elements, counts) for _ in range(int(n))]
    if rest and rest[0].strip()[:1] in ("S", "s"):
        rest = rest[1:]
    cartesian = rest[0].strip()[:1] in ("C", "c", "K", "k") if rest else False
    rows = rest[1 : 1 + len(species)]
    if len(rows) < len(species):
        message = f"expected coordinates of {len(species)} atoms, got {len(rows)} lines"
        raise StructureError(Reason.BAD_COORDINATES, message)
    positions = np.array([_floats(" ".join(row.split()[:3]), Reason.BAD_COORDINATES, "a position", 3) for row in rows])
    scaled = vectors * scale
    check_vectors(scaled)
    if cartesian:
        positions = positions * scale @ np.linalg.inv(scaled)
    return make_structure(scaled, species, positions, notes)


def extxyz_entries(text: str) -> Entries:
    """The frames of an (extended) XYZ file."""
    lines = text.splitlines()
    position, frame = 0, 0
    while position < len(lines):
        if not lines[position].strip():
            position += 1
            continue
        if not re.fullmatch(r"\s*\d{1,9}\s*", lines[position]):
            message = (
                f"expected the number of atoms of frame {frame} in line {position + 1}, got {lines[position][:40]!r}"
            )
            yield str(frame), partial(_fail, Reason.PARSE_ERROR, message)
            return  # nothing says where the next frame begins
        n_atoms = int(lines[position])
        comment = lines[position + 1] if position + 1 < len(lines) else ""
        rows = lines[position + 2 : position + 2 + n_atoms]
        named = dict(_PAIR.findall(comment)).get("id", "").strip("\"'{}")
        yield named or str(frame), partial(_xyz, n_atoms, comment, rows)
        position += 2 + n_atoms
        frame += 1


def _xyz(n_atoms: int, comment: str, rows: list[str], max_atoms: int, notes: list[str]) -> Any:
    check_n_atoms(n_atoms, max_atoms)
    if len(rows) < n_atoms:
        raise StructureError(Reason.PARSE_ERROR, f"expected {n_atoms} lines of atoms, got {len(rows)}")
    values = {key.lower(): value.strip("\"'{}") for key, value in _PAIR.findall(comment)}
    if "lattice" not in values:
        message = 'expected Lattice="ax ay az bx by bz cx cy cz" in the second line, found none'
        raise StructureError(Reason.NO_LATTICE, message)
    if re.search(r"(?i)f|\b0\b", values.get("pbc", "T T T").replace(",", " ")):
        raise StructureError(Reason.NOT_PERIODIC, f"expected a crystal, got pbc={values['pbc']!r}")
    vectors = np.array(_floats(values["lattice"], Reason.BAD_CELL, "the lattice", 9)).reshape(3, 3)
    check_vectors(vectors)
    fields = values.get("properties", "species:S:1:pos:R:3").split(":")
    starts, column = {}, 0
    for name, kind, width in zip(fields[::3], fields[1::3], fields[2::3]):
        if not re.fullmatch(r"\d{1,3}", width):
            raise StructureError(Reason.PARSE_ERROR, f"expected a width of {name}:{kind}, got {width!r}")
        starts[name.lower()] = column
        column += int(width)
    kinds = [name for name in ("species", "z", "numbers") if name in starts]
    if not kinds or "pos" not in starts:
        raise StructureError(
            Reason.PARSE_ERROR, f"expected Properties with species and pos, got {values['properties']!r}"
        )
    species, positions = [], []
    for row in rows:
        words = row.split()
        if len(words) < column:
            raise StructureError(Reason.PARSE_ERROR, f"expected {column} columns, got {row[:60]!r}")
        species.append(_element_of_xyz(words[starts[kinds[0]]], notes))
        position = " ".join(words[starts["pos"] : starts["pos"] + 3])
        positions.append(_floats(position, Reason.BAD_COORDINATES, "a position", 3))
    return make_structure(vectors, species, np.array(positions, dtype=np.float64) @ np.linalg.inv(vectors), notes)


def _element_of_xyz(word: str, notes: list[str]) -> str:
    """The element of an atomic number (11), a symbol, or a symbol with the atom's number (Na1)."""
    if re.fullmatch(r"\d{1,3}", word) and 0 < int(word) < len(symbols()):
        return symbols()[int(word)]
    labelled = re.fullmatch(r"([A-Z][a-z]?)\d+", word)
    return read_element(labelled[1] if labelled else word, notes)


def csv_entries(text: str) -> Entries:
    """The rows of a table with columns `lattice` (a b c alpha beta gamma) and `sites` (El x y z; ...), or `cif`."""
    csv.field_size_limit(1 << 28)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = reader.fieldnames or []
    if not {"lattice", "sites"} <= set(names) and "cif" not in names:
        found = ", ".join(names)[:200]
        raise StructureError(Reason.NO_STRUCTURE, f"expected columns lattice and sites, or cif, got {found}")
    id_column = next((name for name in ID_COLUMNS if name in names), None)
    try:
        for row, cells in enumerate(reader, start=1):
            block = (id_column and cells[id_column]) or f"row {row}"
            if {"lattice", "sites"} <= set(names):
                yield block, partial(row_structure, cells["lattice"], cells["sites"])
            else:
                yield block, partial(_cif_cell, cells["cif"])
    except csv.Error as error:
        yield "", partial(_fail, Reason.PARSE_ERROR, f"expected a CSV table: {error}")


def row_structure(lattice: str | None, sites: str | None, max_atoms: int, notes: list[str]) -> Any:
    """Make a structure of a row's cells `lattice` (a b c alpha beta gamma) and `sites` (El x y z; ...).

    Args:
        lattice, sites: the cells.
        max_atoms: of the cell, at most.
        notes: is added to where something is read otherwise than written.

    Raises:
        StructureError: with a code of `Reason`.
    """
    from pymatgen.core import Lattice

    cell = _floats(lattice or "", Reason.BAD_CELL, "the lattice", 6)
    check_cell_parameters(cell)
    parts = [part.split() for part in (sites or "").split(";") if part.strip()]
    check_n_atoms(len(parts), max_atoms)
    if wrong := [part for part in parts if len(part) != 4]:
        raise StructureError(
            Reason.PARSE_ERROR, f"expected sites such as 'Na 0 0 0.5', got {' '.join(wrong[0])[:60]!r}"
        )
    species = [read_element(part[0], notes) for part in parts]
    fractional = [_floats(" ".join(part[1:]), Reason.BAD_COORDINATES, "a site", 3) for part in parts]
    return make_structure(Lattice.from_parameters(*cell), species, np.array(fractional), notes)


def _floats(text: str, code: Reason, what: str, n: int | None = None) -> list[float]:
    words = text.split()
    if n is not None and len(words) != n:
        raise StructureError(code, f"expected {n} numbers for {what}, got {text[:60]!r}")
    return [number(word, what, code) for word in words]


def _symbols_behind_coordinates(counts: list[str], rest: list[str]) -> list[str]:
    """The symbols of the groups of atoms, where every line of coordinates ends in one; else nothing."""
    numbers = [int(word) for word in itertools.takewhile(lambda word: re.fullmatch(r"\d{1,9}", word), counts)]
    first = 2 if rest and rest[0].strip()[:1] in ("S", "s") else 1
    rows = [line.split() for line in rest[first : first + sum(numbers)]]
    found = [row[-1] if len(row) > 3 else "" for row in rows]
    if len(found) < sum(numbers) or any(symbol not in symbols()[1:] for symbol in found):
        return []
    starts = itertools.accumulate(numbers, initial=0)
    groups = [found[start : start + n] for start, n in zip(starts, numbers)]
    return [group[0] for group in groups] if all(len(set(group)) == 1 for group in groups) else []


def _leading_numbers(line: str) -> str:
    """The numbers that a line begins with; the line itself where it begins with something else."""
    words = list(itertools.takewhile(lambda word: re.fullmatch(r"[+-]?[\d.]+(?:[eEdD][+-]?\d+)?", word), line.split()))
    return " ".join(words) or line


def _cif_cell(text: str | None, max_atoms: int, notes: list[str]) -> Any:
    """The first structure of a CIF in a cell of a table."""
    _, read = next(cif_entries(text or ""))
    return read(max_atoms, notes)


def _fail(code: Reason, message: str, max_atoms: int, notes: list[str]) -> Any:
    raise StructureError(code, message)
