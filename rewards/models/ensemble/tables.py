"""Tables of properties to fit: reading them, and splitting them by formula."""

import bz2
import csv
import gzip
import hashlib
import lzma
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.errors import OreflowError
from oreflow.envs.objects.compositions import Compositions

MIN_ROWS = 60


ROWS_NAMED = 20


_MOST_OUT_OF_RANGE = 0.01


_LFS_POINTER = b"version https://git-lfs.github.com/spec/"


# Recognised by their first bytes, not by the file's name.
_DECOMPRESSORS = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress, b"\xfd7zXZ\x00": lzma.decompress}


class EnergyDataError(OreflowError, ValueError):
    """A table from which no property model can be fitted."""


@dataclass(frozen=True)
class PropertyTable:
    """Values of a property, one row per reduced formula.

    Attributes:
        compositions: reduced, in descending order of the number of elements.
        values: float64 [row], in the unit of the table.
        report: counts of what was read, left out and merged, with line numbers; plain types, for `model.json`.
    """

    compositions: Compositions
    values: Floats
    report: dict[str, Any]

    def __len__(self) -> int:
        return len(self.compositions)


@dataclass(frozen=True)
class Split:
    """Row indices of the four parts, int64 each; no reduced formula is in two parts.

    `test_chemsys` holds all rows of some chemical systems, of which no other part has a row.
    """

    train: Ints
    validation: Ints
    test: Ints
    test_chemsys: Ints


def parse_value(text: str) -> float:
    """Raises ValueError with the reason as a phrase."""
    try:
        value = float(text)
    except ValueError:
        if not text:
            raise ValueError("expected a number, got an empty cell") from None
        comma = "; write a decimal point instead of the comma" if "," in text else ""
        raise ValueError(f"{text!r} is not a number{comma}") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def check_units(n_out: int, n_rows: int, bad_rows: list[dict[str, Any]], path: Path) -> None:
    """Refuses a table whose energies cannot be formation energies in eV/atom: more than one in a hundred are too large.

    Args:
        n_out: rows set aside with an `EnergyRangeError`.
        bad_rows: these and others, with their lines and reasons.

    Raises:
        EnergyDataError: naming the first row and the likely cause.
    """
    if n_out > _MOST_OUT_OF_RANGE * n_rows:
        first = next(bad for bad in bad_rows if "formation energy" in bad["reason"])
        raise EnergyDataError(
            f"{path}: {n_out} of {n_rows} rows hold no formation energy in eV/atom; line {first['line']}: "
            f"{first['reason']}. Total energies, or energies of a cell? Subtract the elements' energies and divide by "
            "the number of atoms; for another property add --unit and --no-formation-energy"
        )


def read_text(path: Path) -> tuple[str, str]:
    """Text of a table, plain or compressed, and the SHA-256 of the file as it is.

    Raises:
        EnergyDataError: with a reason and a remedy.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnergyDataError(f"expected a CSV table in {path}, could not read it: {error}") from None
    if content.startswith(_LFS_POINTER):
        raise EnergyDataError(
            f"expected a CSV table, got {path}, which is a Git LFS pointer; fetch the data with `git lfs pull`"
        )
    if content.startswith(b"PK\x03\x04"):
        raise EnergyDataError(
            f"expected a CSV table, plain or compressed with gzip, bzip2 or xz, got a zip archive in {path}; unpack it"
        )
    digest = hashlib.sha256(content).hexdigest()
    for magic, decompress in _DECOMPRESSORS.items():
        if content.startswith(magic):
            try:
                content = decompress(content)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                raise EnergyDataError(
                    f"expected a whole compressed file in {path}, could not read it: {error}; it is truncated or "
                    "damaged: copy or download it again"
                ) from None
            break
    try:
        # A byte order mark, as spreadsheets write it, would become part of the first column's name.
        return content.decode("utf-8-sig"), digest
    except UnicodeDecodeError as error:
        raise EnergyDataError(
            f"expected a CSV table in UTF-8 in {path}, could not read it: {error}; save it as UTF-8 text"
        ) from None


def rows_of(reader: Any, path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line of the file on which the row ends, cells); blank lines are rows without cells."""
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise EnergyDataError(
            f"expected a CSV table in {path}, could not read it: line {reader.line_num}: {error}"
        ) from None


def columns_of(header: list[str], wanted: tuple[str, ...], path: Path) -> list[int]:
    """Position of each wanted column. Raises EnergyDataError where one is missing or stands there twice."""
    positions = []
    for column in wanted:
        if column not in header:
            raise EnergyDataError(
                f"expected a column {column!r} in {path}, got {', '.join(map(repr, header)) or 'an empty first line'}; "
                "name the column to use, or check that cells are separated by commas"
            )
        if header.count(column) > 1:
            raise EnergyDataError(
                f"expected one column {column!r} in {path}, got {header.count(column)}; rename or remove the others"
            )
        positions.append(header.index(column))
    return positions


def split_table(
    table: PropertyTable, seed: np.random.SeedSequence, *, validation: float, test: float, test_chemsys: float
) -> Split:
    """Splits by reduced formula, after whole chemical systems have been set aside.

    Args:
        table: one row per reduced formula.
        seed: of the random choice.
        validation, test: share of all rows, chosen at random.
        test_chemsys: share of all rows, in whole chemical systems chosen at random.
    """
    rng = np.random.default_rng(seed)
    n = len(table)
    _, system = np.unique(table.compositions.atomic_numbers, axis=0, return_inverse=True)
    system = system.reshape(-1)
    order = rng.permutation(system.max() + 1)
    rows_so_far = np.cumsum(np.bincount(system)[order])
    held_out = np.isin(system, order[: np.searchsorted(rows_so_far, test_chemsys * n) + 1])
    rest = rng.permutation(np.flatnonzero(~held_out))
    n_validation, n_test = max(int(validation * n), 1), max(int(test * n), 1)
    return Split(
        train=np.sort(rest[n_validation + n_test :]),
        validation=np.sort(rest[:n_validation]),
        test=np.sort(rest[n_validation : n_validation + n_test]),
        test_chemsys=np.flatnonzero(held_out),
    )
