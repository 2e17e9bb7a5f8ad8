"""Reads and splits the table of formation energies that an energy model is fitted on."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs.compositions import Compositions
from envs.decode import parse_formula
from envs.errors import OreflowError
from rewards.features import elements_with_all_properties

MIN_ROWS = 60
_ROWS_NAMED = 20


class EnergyDataError(OreflowError, ValueError):
    """A table from which no energy model can be fitted."""


@dataclass(frozen=True)
class EnergyTable:
    """Formation energies, one row per reduced formula.

    Attributes:
        compositions: reduced, two elements or more each, in descending order of the number of elements.
        energy_ev_per_atom: float64 [row].
        report: counts of what was read, left out and merged, with line numbers; plain types, for `model.json`.
    """

    compositions: Compositions
    energy_ev_per_atom: np.ndarray
    report: dict[str, Any]

    def __len__(self) -> int:
        return len(self.compositions)


@dataclass(frozen=True)
class Split:
    """Row indices of the four parts, int64 each; no reduced formula is in two parts.

    `test_chemsys` holds all rows of some chemical systems, of which no other part has a row.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    test_chemsys: np.ndarray


def _parse_formula(text: str) -> dict[int, int]:
    """Counts by atomic number. Raises ValueError with the reason as a phrase."""
    counts = parse_formula(text)
    known = elements_with_all_properties()
    missing = [str(z) for z in counts if z not in known]
    if missing:
        raise ValueError(f"formula {text!r} holds an element without Magpie properties (Z = {', '.join(missing)})")
    return counts


def _parse_energy(text: str) -> float:
    """Raises ValueError with the reason as a phrase."""
    try:
        value = float(text)
    except ValueError:
        comma = "; write a decimal point instead of the comma" if "," in text else ""
        raise ValueError(f"{text!r} is not a number{comma}") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def read_energy_table(path: str | Path, *, formula_column: str, target_column: str) -> EnergyTable:
    """Reads a CSV, plain or compressed, with a header row.

    Rows that cannot be used are left out and reported with their line numbers; rows of pure elements too, whose
    formation energy is zero by definition. Of several rows with one reduced formula, the lowest energy is kept.

    Raises:
        EnergyDataError: when the file cannot be read, a column is missing, or too few rows remain.
    """
    import pandas as pd

    try:
        # All cells as text: a reader that guesses would take the formula NaN, sodium nitride, for a missing value.
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, EOFError, ValueError, UnicodeError) as error:
        raise EnergyDataError(f"expected a CSV table in {path}, could not read it: {error}") from None
    for column in (formula_column, target_column):
        if column not in frame.columns:
            raise EnergyDataError(
                f"expected a column {column!r} in {path}, got {', '.join(map(repr, frame.columns))}; "
                "name the column to use, or check that cells are separated by commas"
            )

    bad_rows: list[dict[str, Any]] = []
    n_pure, duplicate_lines = 0, []
    best: dict[bytes, tuple[float, dict[int, int]]] = {}
    for line, (formula, energy) in enumerate(zip(frame[formula_column], frame[target_column]), start=2):
        try:
            counts, value = _parse_formula(formula.strip()), _parse_energy(energy.strip())
        except ValueError as error:
            bad_rows.append({"line": line, "reason": str(error)})
            continue
        if len(counts) == 1:
            n_pure += 1
            continue
        divisor = math.gcd(*counts.values())
        counts = {z: counts[z] // divisor for z in sorted(counts)}
        key = repr(counts).encode()
        if key in best:
            duplicate_lines.append(line)
        if key not in best or value < best[key][0]:
            best[key] = (value, counts)

    report = {
        "rows_read": len(frame),
        "rows_used": len(best),
        "bad_rows": len(bad_rows),
        "bad_rows_first": bad_rows[:_ROWS_NAMED],
        "pure_element_rows": n_pure,
        "duplicate_rows": len(duplicate_lines),
        "duplicate_lines_first": duplicate_lines[:_ROWS_NAMED],
        "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(),
    }
    if len(best) < MIN_ROWS:
        first = "".join(f"; line {bad['line']}: {bad['reason']}" for bad in bad_rows[:3])
        raise EnergyDataError(
            f"expected at least {MIN_ROWS} usable compounds in {path}, got {len(best)} from {len(frame)} rows "
            f"({len(bad_rows)} rows could not be used{first})"
        )
    # Sorted by content, not by line: the split must not depend on the order of the file's rows.
    rows = [best[key] for key in sorted(best, key=lambda key: (-len(best[key][1]), key))]
    return EnergyTable(Compositions.from_dicts([r[1] for r in rows]), np.array([r[0] for r in rows]), report)


def split_table(
    table: EnergyTable, seed: np.random.SeedSequence, *, validation: float, test: float, test_chemsys: float
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
