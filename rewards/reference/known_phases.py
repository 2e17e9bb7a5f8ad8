"""A user's reference: known formulas and their formation energies, from a table or from entries of phase diagrams."""

import hashlib
import math
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.suggestions import nearest
from oreflow.rewards.errors import ReferenceTableError, ReferenceTableWarning
from oreflow.rewards.reference.entries import ElementalEnergies, is_entries_file, read_entries
from oreflow.rewards.reference.tables import formulas_of, read_formula, read_table

ENERGY_COLUMN = "formation_energy_per_atom"
# Compounds lie between about -5 and +5; beyond this the column holds something else, as eV per formula unit.
MAX_ENERGY = 10.0
_ISOTOPE = re.compile(r"[DT](?![a-z])")


class EnergyRangeError(ValueError):
    """A number that is no formation energy in eV/atom."""


class Row(NamedTuple):
    """One row of a reference before it is read: its place, its formula, its energy."""

    place: str
    formula: str
    energy: Any


@dataclass(frozen=True)
class Reference:
    """Known formulas, one row a reduced formula, in an order that does not depend on that of the file.

    Attributes:
        path: where it was read.
        sha256: of the file, as hexadecimal digits.
        compositions: reduced formulas, distinct.
        energies: float64 [row], formation energy in eV/atom; the lowest of a formula's rows; NaN where only formulas
            were read.
        bad_rows: rows that were set aside, each with its place and the reason.
        report: counts of rows read, used and set aside, duplicates, and rows with D or T.
    """

    path: Path
    sha256: str
    compositions: Compositions
    energies: Floats
    bad_rows: tuple[str, ...]
    report: dict[str, int]

    def __len__(self) -> int:
        return len(self.compositions)

    @property
    def version(self) -> str:
        """Twelve digits that tell one reference from another."""
        return self.sha256[:12]

    def warn(self) -> None:
        """Warns, with the first reasons, when rows were set aside."""
        if self.bad_rows:
            warnings.warn(
                f"{self.path}: {len(self.bad_rows)} of {self.report['rows_read']} rows set aside; "
                + "; ".join(self.bad_rows[:3]),
                ReferenceTableWarning,
                stacklevel=3,
            )


def read_reference(
    path: str | Path,
    *,
    energies: bool = True,
    formula_column: str | None = None,
    energy_column: str = ENERGY_COLUMN,
    sha256: str | None = None,
) -> Reference:
    """Reads a reference.

    A table (`.csv`, `.csv.gz`, `.parquet`) has a column of formulas and one of formation energies in eV/atom, relative
    to the elements. A `.json` or `.json.gz` file holds a list of entries as pymatgen or mp-api write them; total
    energies are turned into formation energies against the elemental entries of the same file, the lowest of each.

    Rows that cannot be used are set aside and listed in `bad_rows`. D and T count as H.

    Args:
        path: the file.
        energies: False reads formulas only, as a novelty list needs.
        formula_column: its name; by default the first there is of `formula_reduced`, `formula`, `formula_pretty`,
            `composition`.
        energy_column: its name.
        sha256: when given, what the file's SHA-256 must be.

    Raises:
        TableError: when the file is missing, damaged or no table, or a column is missing.
        ReferenceTableError: when the hash is another, no row can be used, or an elemental entry is missing.
    """
    path = Path(path)
    elemental: ElementalEnergies = {}
    if is_entries_file(path):
        entries, elemental = read_entries(path, energies)
        rows: Iterable[Row] = (Row(*entry) for entry in entries)
    else:
        rows = _table_rows(path, energies, formula_column, energy_column)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 is not None and digest != str(sha256).lower():
        raise ReferenceTableError(
            f"expected {path} to have SHA-256 {sha256}, got {digest}; fetch the file again, or correct the hash"
        )
    return _collect(path, digest, rows, elemental, energies)


def _table_rows(path: Path, energies: bool, formula_column: str | None, energy_column: str) -> list[Row]:
    frame = read_table(path)
    formulas = formulas_of(frame, str(path), formula_column)
    if not energies:
        cells: Iterable[Any] = [None] * len(formulas)
    elif energy_column in frame.columns:
        cells = frame[energy_column].tolist()
    else:
        columns = [str(column) for column in frame.columns]
        raise ReferenceTableError(
            f"{path}: expected a column {energy_column!r} with formation energies in eV/atom, got the columns "
            f"{', '.join(columns)}; {nearest(energy_column, columns)}"
        )
    places = [f"row {place + 2}" for place in frame.index.tolist()]
    return [Row(*row) for row in zip(places, formulas, cells)]


def _collect(path: Path, digest: str, rows: Iterable[Row], elemental: ElementalEnergies, energies: bool) -> Reference:
    best: dict[tuple[tuple[int, int], ...], float] = {}
    bad: list[str] = []
    n_rows = n_isotopes = 0
    for place, formula, cell in rows:
        n_rows += 1
        try:
            counts = read_formula(formula)
            value = _energy(cell, counts, elemental) if energies else math.nan
        except ValueError as error:
            bad.append(f"{place}: {error}")
            continue
        divisor = math.gcd(*counts.values())
        key = tuple(sorted((z, n // divisor) for z, n in counts.items()))
        n_isotopes += bool(_ISOTOPE.search(formula))
        if key not in best or value < best[key]:
            best[key] = value
    report = {
        "rows_read": n_rows,
        "formulas": len(best),
        "rows_set_aside": len(bad),
        "duplicates": n_rows - len(bad) - len(best),
        "rows_with_isotopes": n_isotopes,
    }
    if not best:
        wanted = "usable row" if energies else "readable formula"
        raise ReferenceTableError(f"{path} holds no {wanted}" + "".join(f"; {reason}" for reason in bad[:3]))
    # Sorted by content: nothing that is computed from a reference may depend on the order of the file's rows.
    keys = sorted(best)
    compositions = Compositions.from_dicts([dict(key) for key in keys])
    return Reference(path, digest, compositions, np.array([best[key] for key in keys]), tuple(bad), report)


def _energy(cell: Any, counts: dict[int, int], elemental: ElementalEnergies) -> float:
    """Formation energy in eV/atom. Raises ValueError with the reason as a phrase."""
    if isinstance(cell, tuple):  # a total energy per atom, of an entry
        n_atoms = sum(counts.values())
        value = _number(cell[0]) - sum(n * elemental[z] for z, n in counts.items()) / n_atoms
    else:
        value = _number(cell)
    check_formation_energy(value)
    if len(counts) == 1 and value < -1e-6:
        raise ValueError(
            f"element {symbols()[next(iter(counts))]} has formation energy {value:g} eV/atom, which is 0 in its "
            "reference state; expected energies relative to the elements, not total energies"
        )
    return value


def check_formation_energy(value: float) -> None:
    """Refuse, with the reason as a phrase, what cannot be a formation energy in eV/atom.

    Raises:
        EnergyRangeError: for a value beyond MAX_ENERGY.
    """
    if abs(value) > MAX_ENERGY:
        raise EnergyRangeError(
            f"formation energy {value:g} eV/atom is not between {-MAX_ENERGY:g} and {MAX_ENERGY:g}; "
            "expected eV per atom, relative to the elements"
        )


def _number(cell: Any) -> float:
    text = "" if cell is None else str(cell).strip()
    if not text:
        raise ValueError("no energy")
    try:
        value = float(text.replace("_", "?"))  # Python alone takes 1_0 for a number
    except ValueError:
        comma = "; write a decimal point instead of the comma" if "," in text else ""
        raise ValueError(f"energy {text!r} is not a number{comma}") from None
    if not math.isfinite(value):
        raise ValueError(f"energy {text!r} is not a finite number")
    return value
