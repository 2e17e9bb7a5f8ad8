"""Reads and splits the table of formulas and values that a property model is fitted on."""

import csv
import io
import math
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.chemistry.magpie import elements_with_all_properties
from oreflow.rewards.models.ensemble.tables import (
    MIN_ROWS,
    ROWS_NAMED,
    EnergyDataError,
    PropertyTable,
    check_units,
    columns_of,
    parse_value,
    read_text,
    rows_of,
)
from oreflow.rewards.reference.known_phases import EnergyRangeError, check_formation_energy


def _parse_formula(text: str) -> dict[int, int]:
    """Counts by atomic number, reduced. Raises ValueError with the reason as a phrase."""
    counts = parse_formula(text)
    known = elements_with_all_properties()
    missing = [str(z) for z in counts if z not in known]
    if missing:
        raise ValueError(f"formula {text!r} holds an element without Magpie properties (Z = {', '.join(missing)})")
    divisor = math.gcd(*counts.values())
    return {z: counts[z] // divisor for z in sorted(counts)}


def read_property_table(
    path: str | Path, *, formula_column: str, target_column: str, formation_energy: bool
) -> PropertyTable:
    """Reads a CSV with a header row, plain or compressed with gzip, bzip2 or xz.

    All cells are read as text, so that the formula NaN, sodium nitride, is not taken for a missing value. Rows that
    cannot be used are left out and reported with their line numbers.

    Args:
        path: the file.
        formula_column: column of the formulas.
        target_column: column of the values.
        formation_energy: the values are formation energies. Then the lowest of several values of one reduced formula
            is kept, that of the most stable crystal, and pure elements are left out, whose formation energy is zero by
            definition. Of any other property the median of several values is taken, and pure elements are data.

    Raises:
        EnergyDataError: when the file cannot be read, a column is missing, or too few rows remain.
    """
    path = Path(path)
    text, digest = read_text(path)
    rows = rows_of(csv.reader(io.StringIO(text, newline="")), path)
    header = next(rows, (1, []))[1]
    at_formula, at_value = columns_of(header, (formula_column, target_column), path)

    bad_rows: list[dict[str, Any]] = []
    n_out_of_range = 0
    n_rows, n_pure, duplicate_lines = 0, 0, []
    values_of: dict[tuple[tuple[int, int], ...], list[float]] = {}
    for line, cells in rows:
        n_rows += 1
        try:
            if not any(cell.strip() for cell in cells):
                raise ValueError("blank row")
            if len(cells) != len(header):
                raise ValueError(f"expected {len(header)} cells as in the header, got {len(cells)}")
            counts, value = _parse_formula(cells[at_formula].strip()), parse_value(cells[at_value].strip())
            if formation_energy:
                check_formation_energy(value)
        except ValueError as error:
            n_out_of_range += isinstance(error, EnergyRangeError)
            bad_rows.append({"line": line, "reason": str(error)})
            continue
        if len(counts) == 1:
            n_pure += 1
            if formation_energy:
                continue
        values = values_of.setdefault(tuple(counts.items()), [])
        values.append(value)
        if len(values) > 1:
            duplicate_lines.append(line)

    check_units(n_out_of_range, n_rows, bad_rows, path)
    report = {
        "rows_read": n_rows,
        "rows_used": len(values_of),
        "bad_rows": len(bad_rows),
        "bad_rows_first": bad_rows[:ROWS_NAMED],
        "pure_element_rows": n_pure,
        "duplicate_rows": len(duplicate_lines),
        "duplicate_lines_first": duplicate_lines[:ROWS_NAMED],
        "duplicates_kept": "lowest" if formation_energy else "median",
        "sha256": digest,
    }
    if len(values_of) < MIN_ROWS:
        first = "".join(f"; line {bad['line']}: {bad['reason']}" for bad in bad_rows[:3])
        raise EnergyDataError(
            f"expected at least {MIN_ROWS} usable {'compounds' if formation_energy else 'formulas'} in {path}, got "
            f"{len(values_of)} from {n_rows} rows ({len(bad_rows)} rows could not be used{first})"
        )
    # Sorted by content, not by line: the split must not depend on the order of the file's rows.
    keys = sorted(values_of, key=lambda key: (-len(key), repr(dict(key)).encode()))
    merge = min if formation_energy else median
    merged = np.array([merge(values_of[key]) for key in keys], dtype=np.float64)
    return PropertyTable(Compositions.from_dicts([dict(key) for key in keys]), merged, report)
