"""Scoring any formulas: the rewards' values, verdicts by named rule, and a reason where there is no value."""

from typing import Any

import numpy as np
import pandas as pd

from agent.candidates import term_column
from agent.config import TABLE_TERMS
from envs.compositions import Compositions
from envs.decode import formula_columns, parse_formulas
from envs.oxidation import DEFAULT_TABLE, OxidationTable, TableSpec, resolve_table
from rewards.charge_balance import ChargeBalance, witnesses
from rewards.composite import evaluate_term
from rewards.registry import make_term

DEFAULT_REWARDS = ("charge_balance", "electronegativity_balance", "formation_energy")


def score_formulas(
    texts: list[str], names: list[str] | None = None, *, table: TableSpec | None = None, mixed_valence: bool = False
) -> pd.DataFrame:
    """One row a text, in order; unreadable ones keep their row and say why in `note`.

    Args:
        names: reward terms; the built-in ones when empty.
        table, mixed_valence: the rule of the balance terms. Without a table the balance terms judge by the default one
            and smact_validity by SMACT's own.
    """
    given = table is not None
    table = resolve_table(DEFAULT_TABLE if table is None else table)
    compositions, rows, errors = parse_formulas(texts)
    notes: list[list[str]] = [[error] if error else [] for error in errors]
    columns: dict[str, object] = {"formula": texts}

    def spread(values, empty):
        out = [empty] * len(texts)
        for row, value in zip(rows.tolist(), values):
            out[row] = value
        return out

    columns["formula_reduced"] = spread(formula_columns(compositions)["formula_reduced"], "")
    for name in names or DEFAULT_REWARDS:
        params: dict[str, Any] = {"mixed_valence": mixed_valence} if name in TABLE_TERMS else {}
        if name in TABLE_TERMS and (given or name != "smact_validity"):
            params["table"] = table
        term = make_term(name, params)
        result = evaluate_term(term, compositions)
        columns[term_column(name, term.unit)] = spread(np.where(result.valid, result.values, np.nan).tolist(), np.nan)
        for column, values in result.columns.items():
            columns[column] = spread(values.tolist(), np.nan if values.dtype.kind == "f" else None)
        for item in np.flatnonzero(~result.valid).tolist():
            notes[rows[item]].append(f"{name}: {result.reasons.get(item, 'no valid value')}")
        if name == "charge_balance":
            neutral = pd.arrays.BooleanArray(result.values == 0, ~result.valid)
            columns["charge_neutral"] = pd.array(spread(list(neutral), pd.NA), dtype="boolean")
            columns["oxidation_states"] = spread(witnesses(compositions, table, mixed_valence), "")
            columns["oxidation_table"] = table.label + (" (mixed valence)" if mixed_valence else "")
            if not mixed_valence:
                for item in _neutral_only_mixed(compositions, table, result.values):
                    found = witnesses(compositions[np.array([item])], table, True)[0]
                    notes[rows[item]].append(f"neutral only with mixed valence: {found}")
    columns["note"] = [" | ".join(parts) for parts in notes]
    return pd.DataFrame(columns)


def _neutral_only_mixed(compositions: Compositions, table: OxidationTable, residual: np.ndarray) -> list[int]:
    charged = np.flatnonzero(residual > 0)
    if not len(charged):
        return []
    mixed = ChargeBalance(table, mixed_valence=True)(compositions[charged])
    return charged[mixed.values == 0].tolist()
