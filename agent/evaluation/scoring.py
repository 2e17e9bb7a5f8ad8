"""Scoring any formulas and crystals: the rewards' values, verdicts by named rule, a reason where there is no value."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.config.run import TABLE_TERMS
from oreflow.agent.tables.candidates import term_column
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.oxidation import OxidationTable, TableSpec, resolve_table
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.formulas import formula_columns, parse_formulas
from oreflow.envs.objects.labels import wyckoff_labels
from oreflow.rewards import Reward
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance, witnesses
from oreflow.rewards.terms.energy.predicted_property import PredictedProperty

DEFAULT_REWARDS = ("charge_balance", "electronegativity_balance", "formation_energy")
DEFAULT_CRYSTAL_REWARDS = ("charge_balance", "crystal_formation_energy", "contact_ratio", "volume_ratio")


def score_formulas(
    texts: list[str],
    names: list[str] | None = None,
    *,
    params: dict[str, dict[str, Any]] | None = None,
    reward: Reward | None = None,
    table: TableSpec | None = None,
    mixed_valence: bool = False,
) -> pd.DataFrame:
    """One row a text, in order; unreadable ones keep their row and say why in `note`.

    Args:
        names: reward terms; charge balance, electronegativity balance and formation energy when empty.
        params: parameters of those terms, by name.
        reward: instead of `names`, a whole reward; adds `log_reward` and each term's share of it.
        table, mixed_valence: the rule of the balance terms. Without a table the balance terms judge by the default one
            and smact_validity by SMACT's own.
    """
    compositions, rows, errors = parse_formulas(texts)
    columns: dict[str, object] = {"formula": texts, "formula_reduced": [""] * len(texts)}
    for row, formula in zip(rows.tolist(), formula_columns(compositions)["formula_reduced"]):
        columns["formula_reduced"][row] = formula  # type: ignore[index]
    notes = [[error] if error else [] for error in errors]
    return _score(
        compositions, compositions, rows, columns, notes, names or DEFAULT_REWARDS, params, reward, table, mixed_valence
    )


def score_crystals(
    crystals: Crystals,
    labels: list[str],
    names: list[str] | None = None,
    *,
    params: dict[str, dict[str, Any]] | None = None,
    reward: Reward | None = None,
    table: TableSpec | None = None,
    mixed_valence: bool = False,
) -> pd.DataFrame:
    """One row a crystal, in order.

    Args:
        labels: what each is called, for the column `structure_id`.
        names, params, reward, table, mixed_valence: as `score_formulas` takes them; energy and packing by default.
    """
    compositions = crystals.compositions.reduced()
    columns: dict[str, object] = {
        "structure_id": labels,
        "formula_reduced": compositions.formulas(),
        "space_group_number": crystals.space_group.tolist(),
        "wyckoff_label": wyckoff_labels(crystals),
    }
    rows = np.arange(len(crystals))
    notes: list[list[str]] = [[] for _ in labels]
    names = names or list(DEFAULT_CRYSTAL_REWARDS)
    return _score(crystals, compositions, rows, columns, notes, names, params, reward, table, mixed_valence)


def _score(
    objects: Compositions | Crystals,
    compositions: Compositions,
    rows: Ints,
    columns: dict[str, object],
    notes: list[list[str]],
    names: Sequence[str],
    params: dict[str, dict[str, Any]] | None,
    reward: Reward | None,
    table: TableSpec | None,
    mixed_valence: bool,
) -> pd.DataFrame:
    """Adds what the rewards say to `columns` and `notes`, whose rows the objects are in."""
    given = table is not None
    table = resolve_table(DEFAULT_TABLE if table is None else table)
    n = len(notes)

    def spread(values: Iterable[Any], empty: Any) -> list[Any]:
        out = [empty] * n
        for row, value in zip(rows.tolist(), values):
            out[row] = value
        return out

    total = None
    if reward is not None:
        total = reward(objects)
        columns["log_reward"] = spread(np.where(total.valid, total.log_reward, np.nan).tolist(), np.nan)
        results = [(term, total.terms[term.name]) for term, _ in reward.terms]
    else:
        terms = []
        for name in names:
            rule: dict[str, Any] = {"mixed_valence": mixed_valence} if name in TABLE_TERMS else {}
            if name in TABLE_TERMS and (given or name != "smact_validity"):
                rule["table"] = table
            terms.append(make_term(name, rule | (params or {}).get(name, {})))
            if isinstance(terms[-1], PredictedProperty):
                terms[-1].name = terms[-1].property_name
        results = [(term, evaluate_term(term, objects)) for term in terms]
    for term, result in results:
        name = term.name
        columns[term_column(name, term.unit)] = spread(np.where(result.valid, result.values, np.nan).tolist(), np.nan)
        if total is not None:
            columns[f"{name}_log_score"] = spread(total.log_scores[name].tolist(), np.nan)
        for column, values in result.columns.items():
            column = f"{name}_{column}" if column in columns or column == "note" else column
            columns[column] = spread(values.tolist(), np.nan if values.dtype.kind == "f" else None)
        for item in np.flatnonzero(~result.valid).tolist():
            notes[rows[item]].append(f"{name}: {result.reasons.get(item, 'no valid value')}")
        if name == "charge_balance":
            neutral = pd.arrays.BooleanArray(result.values == 0, ~result.valid)
            columns["charge_neutral"] = pd.array(spread(list(neutral), pd.NA), dtype="boolean")
            own = term.unwrapped  # its own rule, which `params` or a config may have set
            judged, mixed = (own.table, own.mixed_valence) if isinstance(own, ChargeBalance) else (table, mixed_valence)
            columns["oxidation_states"] = spread(witnesses(compositions, judged, mixed), "")
            columns["oxidation_table"] = judged.label + (" (mixed valence)" if mixed else "")
            if not mixed:
                for item in _neutral_only_mixed(compositions, judged, result.values):
                    found = witnesses(compositions[np.array([item])], judged, True)[0]
                    notes[rows[item]].append(f"neutral only with mixed valence: {found}")
    columns["note"] = [" | ".join(parts) for parts in notes]
    return pd.DataFrame(columns)


def _neutral_only_mixed(compositions: Compositions, table: OxidationTable, residual: Floats) -> list[int]:
    charged = np.flatnonzero(residual > 0)
    if not len(charged):
        return []
    mixed = ChargeBalance(table, mixed_valence=True)(compositions[charged])
    return charged[mixed.values == 0].tolist()
