"""The tables that a crystal energy model is fitted on: read, split by reduced formula, brought to one convention."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.models.composition.data import read_property_table
from oreflow.rewards.models.crystal.data import CrystalTable, read_crystals
from oreflow.rewards.models.ensemble.metrics import significant
from oreflow.rewards.models.ensemble.tables import EnergyDataError, PropertyTable, Split, split_table

VALIDATION_SHARE, TEST_SHARE, TEST_CHEMSYS_SHARE = 0.04, 0.06, 0.03
# Fewer formulas in both tables do not give corrections of elements.
_MIN_COMMON = 50
# Of the correction: rounds of reweighted least squares towards least absolute deviations, ridge, and least residual.
_ROUNDS, _RIDGE, _LEAST_RESIDUAL = 20, 1e-2, 5e-3


@dataclass(frozen=True)
class TrainingTables:
    """What is fitted: crystals, and compositions without crystals, with energies in the crystals' convention.

    Attributes:
        crystals: all rows of the structures' table.
        split: row indices of `crystals`; no reduced formula is in two parts.
        compositions: rows of the other table whose formulas, and whose chemical systems, are not held out.
        energies: float64 [composition], eV/atom, corrected.
        report: what was read, left out and corrected, for `model.json`.
    """

    crystals: CrystalTable
    split: Split
    compositions: Compositions
    energies: Floats
    report: dict[str, Any]


def formula_keys(compositions: Compositions) -> list[bytes]:
    """Of the reduced formulas, whatever the width of the batch."""
    return compositions.key_bytes()


def split_by_formula(table: CrystalTable, seed: np.random.SeedSequence) -> Split:
    """Splits structures by reduced formula, after whole chemical systems have been set aside."""
    keys = formula_keys(table.compositions)
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    formulas = PropertyTable(table.compositions[np.array(list(first.values()))], np.zeros(len(first)), {})
    shares = {"validation": VALIDATION_SHARE, "test": TEST_SHARE, "test_chemsys": TEST_CHEMSYS_SHARE}
    split = split_table(formulas, seed, **shares)
    number = {key: k for k, key in enumerate(first)}
    formula = np.array([number[key] for key in keys])
    parts = (split.train, split.validation, split.test, split.test_chemsys)
    return Split(*(np.flatnonzero(np.isin(formula, part)) for part in parts))


def _fractions(compositions: Compositions) -> Floats:
    dense = compositions.dense().astype(np.float64)
    return dense / dense.sum(axis=1, keepdims=True)


def corrections(fractions: Floats, differences: Floats) -> Floats:
    """Energies per element, float64 [119], of which the mean over a compound's atoms comes nearest to its difference.

    Least absolute deviations, by reweighting: a few compounds differ because one table holds another polymorph, and
    must not bend the others.

    Args:
        fractions: float64 [formula, 119].
        differences: float64 [formula], eV/atom.
    """
    weights = np.ones(len(differences))
    for _ in range(_ROUNDS):
        weighted = fractions * weights[:, None]
        element = np.linalg.solve(
            weighted.T @ fractions + _RIDGE * np.eye(fractions.shape[1]), weighted.T @ differences
        )
        weights = 1.0 / np.maximum(np.abs(differences - fractions @ element), _LEAST_RESIDUAL)
        weights /= weights.mean()
    return element


def training_tables(
    csv_path: str | Path, compositions_path: str | Path | None, target_column: str, seed: np.random.SeedSequence
) -> TrainingTables:
    """Reads the tables, splits the structures, and leaves out of the compositions what the split holds out.

    Raises:
        EnergyDataError: for a table that cannot be read or used.
    """
    table = read_crystals(csv_path, target_column=target_column)
    split = split_by_formula(table, seed)
    if compositions_path is None:
        none = Compositions.from_dicts([])
        return TrainingTables(table, split, none, np.zeros(0), {})
    other = read_property_table(
        compositions_path, formula_column="formula", target_column=target_column, formation_energy=True
    )
    held_out = np.concatenate([split.validation, split.test, split.test_chemsys])
    keys = formula_keys(table.compositions)
    held_keys = {keys[row] for row in held_out.tolist()}
    z = table.compositions.atomic_numbers
    held_systems = {z[row][z[row] > 0].tobytes() for row in split.test_chemsys.tolist()}
    systems = [row[row > 0].tobytes() for row in other.compositions.atomic_numbers]
    other_keys = formula_keys(other.compositions)
    kept = np.array([k not in held_keys and s not in held_systems for k, s in zip(other_keys, systems)])

    lowest: dict[bytes, float] = {}
    for row in split.train.tolist():
        lowest[keys[row]] = min(lowest.get(keys[row], np.inf), table.values[row])
    common = np.array([row for row in np.flatnonzero(kept).tolist() if other_keys[row] in lowest], dtype=np.int64)
    if len(common) < _MIN_COMMON:
        raise EnergyDataError(
            f"expected at least {_MIN_COMMON} formulas of {csv_path} in {compositions_path} too, got {len(common)}: "
            "the difference between the two tables' conventions cannot be fitted; leave the compositions out"
        )
    differences = np.array([lowest[other_keys[row]] for row in common.tolist()]) - other.values[common]
    element = corrections(_fractions(other.compositions[common]), differences)
    energies = other.values + _fractions(other.compositions) @ element
    residual = differences - _fractions(other.compositions[common]) @ element
    report = {
        **{key: other.report[key] for key in ("rows_read", "rows_used", "bad_rows", "sha256")},
        "file": Path(compositions_path).name,
        "rows_held_out": int((~kept).sum()),
        "common_formulas": len(common),
        "mean_absolute_difference": significant(float(np.abs(differences).mean())),
        "mean_absolute_difference_corrected": significant(float(np.abs(residual).mean())),
        "corrections": {symbols()[k]: significant(float(element[k])) for k in np.flatnonzero(np.abs(element) > 5e-4)},
    }
    return TrainingTables(table, split, other.compositions[kept], energies[kept], report)
