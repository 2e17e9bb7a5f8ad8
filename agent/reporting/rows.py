"""The table of a page: which columns people see, under which names, with as many digits as they mean."""

from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.reporting.sources import Source
from oreflow.envs.symmetry.space_groups import space_group

_MOST_COLUMNS = 16
_LONGEST = 120  # characters of a cell
_FIRST = ("formula_shown", "object", "rank", "anion", "space_group_number", "log_reward")
_THEN = (
    "formation_energy_per_atom_pred",
    "formation_energy_std",
    "formation_energy_extrapolates",
    "hull_hole",
    "decomposition",
    "charge_neutral",
    "electronegativity_ok",
    "is_novel",
    "changes",
    "nelements",
    "nsites",
    "log_pf",
    "log_prior",
    "n_times_sampled",
    "oxidation_states",
    "wyckoff_label",
    "candidate_id",
)
# What the columns above say already, or what nobody reads.
_HIDDEN = (
    *("formula_pretty", "formula_reduced", "formula_anonymous", "formula", "chemsys", "structure", "is_unique"),
    *("oxidation_table", "protostructure", "space_group_found", "log_target", "formation_energy_distance"),
    *("space_group_symbol", "log_reward_std"),
)
_TITLES = {
    "formula_shown": "formula",
    "space_group_number": "space group",
    "log_reward": "log R / nats",
    "log_pf": "log P / nats",
    "log_prior": "log P0 / nats",
    "formation_energy_per_atom_pred": "predicted formation energy / eV per atom",
    "formation_energy_std": "its uncertainty / eV per atom",
    "formation_energy_extrapolates": "far from training data",
    "charge_neutral": "neutral",
    "electronegativity_ok": "electronegativity in order",
    "is_novel": "novel",
    "nelements": "elements",
    "nsites": "atoms",
    "n_times_sampled": "times drawn",
}


def page_table(source: Source) -> dict[str, Any]:
    """The rows of a source as plain data, column by column.

    Returns:
        `label`, `n_rows` and `columns`, each with `key`, `title`, `kind` (formula, number, flag or text), `digits`
        behind the point, and `values`, None where a cell is empty.
    """
    columns = []
    for name in _chosen(source):
        column = _column(name, source)
        if any(value is not None for value in column["values"]):
            columns.append(column)
    return {"label": source.label, "n_rows": len(source.rows), "columns": columns[:_MOST_COLUMNS]}


def _chosen(source: Source) -> list[str]:
    """Names of columns in order: what an object is, log R, the terms, what is always there, and the others."""
    present = [str(name) for name in source.rows.columns]
    terms = [term.column for term in source.terms if term.column is not None]
    if any(_same(source, term, "formation_energy_per_atom_pred") for term in terms):
        present.remove("formation_energy_per_atom_pred")
    of_terms = {f"{term.name}_{end}" for term in source.terms for end in ("valid", "log_score", "scored", "mean")}
    wanted = [*_FIRST, *terms, *_THEN]
    others = [name for name in present if name not in (*wanted, *_HIDDEN) and name not in of_terms]
    return [name for name in dict.fromkeys([*wanted, *others]) if name in present]


def _column(name: str, source: Source) -> dict[str, Any]:
    cells = source.rows[name]
    title = _TITLES.get(name) or next((t.title for t in source.terms if t.column == name), name.replace("_", " "))
    if name == "formula_shown":
        return {"key": "formula", "title": title, "kind": "formula", "digits": 0, "values": _texts(cells)}
    if name == "space_group_number":
        groups = [None if pd.isna(cell) else _group(cell) for cell in cells.tolist()]
        return {"key": name, "title": title, "kind": "text", "digits": 0, "values": groups}
    yes_or_no = any(t.column == name and t.shape.get("kind") == "verdict" for t in source.terms)
    if yes_or_no and cells.dropna().isin([0, 1]).all():
        cells = cells.astype("Float64").astype("boolean")
    if cells.dtype.kind == "b" or str(cells.dtype) == "boolean":
        values = [None if pd.isna(cell) else int(cell) for cell in cells.tolist()]
        return {"key": name, "title": title, "kind": "flag", "digits": 0, "values": values}
    if cells.dtype.kind in "fiu":
        numbers = cells.to_numpy(dtype=np.float64, na_value=np.nan)
        digits = _digits(numbers, title)
        if name in ("log_reward", "log_prior"):
            digits = min(digits, int(source.summary.get("log_reward_decimals", digits)))
        finite = np.isfinite(numbers)
        rounded = np.round(np.where(finite, numbers, 0.0), digits) + 0.0  # + 0.0: no -0
        plain = rounded.astype(np.int64).tolist() if digits == 0 else rounded.tolist()
        values = [value if ok else None for value, ok in zip(plain, finite.tolist())]
        return {"key": name, "title": title, "kind": "number", "digits": digits, "values": values}
    return {"key": name, "title": title, "kind": "text", "digits": 0, "values": _texts(cells)}


def _same(source: Source, column: str, other: str) -> bool:
    """Whether two columns hold the same numbers."""
    if column == other or column not in source.rows.columns or other not in source.rows.columns:
        return False
    ours, others = source.numbers(column), source.numbers(other)
    return ours is not None and others is not None and np.array_equal(ours, others, equal_nan=True)


def _group(cell: Any) -> str:
    """A space group by symbol and number; anything else as it stands."""
    try:
        number = int(cell)
        return f"{space_group(number).symbol} ({number})"
    except ValueError:
        return str(cell)


def _texts(cells: pd.Series) -> list[str | None]:
    return [None if pd.isna(cell) or cell == "" else str(cell)[:_LONGEST] for cell in cells.tolist()]


def _digits(numbers: Any, title: str) -> int:
    """Digits behind the point: those that the numbers have, at most three of energies, two of logarithms, else four."""
    known = numbers[np.isfinite(numbers)]
    if not len(known) or (known == np.round(known)).all():
        return 0
    size = float(np.quantile(np.abs(known), 0.9))
    most = 3 if "eV" in title else 2 if "nats" in title else int(np.clip(3 - np.floor(np.log10(max(size, 1e-9))), 0, 6))
    return next((n for n in range(most) if np.allclose(known, np.round(known, n), rtol=0, atol=1e-12)), most)
