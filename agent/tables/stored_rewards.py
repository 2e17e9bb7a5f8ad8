"""Stored rewards as a table, and tables of people's own values as rewards to store."""

import json
import math
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from oreflow.agent.tables.candidate_rows import compositions_of
from oreflow.agent.tables.formulas import formulas_of, row_errors
from oreflow.agent.tables.structures import crystals_of
from oreflow.envs.arrays import Ints
from oreflow.envs.errors import TableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.registry import COMPOSITION, STRUCTURE
from oreflow.envs.suggestions import nearest
from oreflow.rewards.contract.term import Term
from oreflow.rewards.store.entry import Entry
from oreflow.rewards.store.exported import OF_A_TERM, OF_A_VALUE, exported_row
from oreflow.rewards.store.identity import TermIdentity, object_keys, object_texts
from oreflow.rewards.store.store import RewardStore


class ReadValues(NamedTuple):
    """Values of a table, ready to be stored.

    Attributes:
        entries: by term and key.
        terms: what each term is, with unit and kind of object.
        notes: a line for each row that cannot be read.
    """

    entries: dict[TermIdentity, dict[str, Entry]]
    terms: dict[TermIdentity, tuple[str, str]]
    notes: list[str]


def stored_table(store: RewardStore, names: list[str]) -> pd.DataFrame:
    """One row a stored value: which term, which object, what it says, when and by whom.

    Args:
        names: of the terms that are meant; [] for all.

    Raises:
        TableError: for a name that the store has no values of.
        StoreError: when the store cannot be read.
    """
    listed = store.listing()
    known = {str(term["name"]) for term in listed}
    for name in names:
        if name not in known:
            raise TableError(f"{store.name} holds no values of {name!r}; {nearest(name, known)}")
    rows: list[dict[str, Any]] = []
    for term in listed:
        if names and term["name"] not in names:
            continue
        identity = TermIdentity(*(str(term[name]) for name in ("name", "version", "parameters")))
        about = identity, str(term["unit"]), str(term["requires"])
        for key, entry in store.all_entries(str(term["id"])):
            rows.append(exported_row(*about, key, entry))
    columns = [*OF_A_TERM, "formula", "object", *OF_A_VALUE, "structure", "key"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(("value", "seconds", "cost"), "float64"))


def is_exported(frame: pd.DataFrame) -> bool:
    """Whether a table is one that `stored_table` made."""
    return {*OF_A_TERM, *OF_A_VALUE, "key"} <= set(frame.columns)


def exported_values(frame: pd.DataFrame, source: str) -> ReadValues:
    """The values of a table that `stored_table` made.

    Raises:
        TableError: naming the first row that holds something else.
    """
    found = ReadValues({}, {}, [])
    for label, row in zip(frame.index.tolist(), frame.to_dict(orient="records")):
        try:
            identity = TermIdentity(*(_text(row[name]) for name in OF_A_TERM[:3]))
            entry = _exported(row)
            key = _text(row["key"])
            if len(key) != 40 or not identity.name:
                raise ValueError(f"key {key!r} of reward {identity.name!r}")
        except (ValueError, TypeError, KeyError) as error:
            raise TableError(f"{source}: row {label} is not as `oreflow rewards export` writes it: {error}") from None
        found.terms[identity] = (_text(row["unit"]), _text(row["requires"]))
        found.entries.setdefault(identity, {})[key] = entry
    return found


def own_values(
    frame: pd.DataFrame,
    source: str,
    term: Term,
    identity: TermIdentity,
    *,
    value_column: str,
    cost_column: str | None = None,
    formula_column: str | None = None,
    by: str = "",
) -> ReadValues:
    """Values that people have of the objects of a table.

    A row without a value is passed over and noted, as one whose formula or structure cannot be read.

    Args:
        term, identity: what the values are of.
        value_column, cost_column: where they stand, in the term's unit; what they cost.
        by: who they are of.

    Raises:
        TableError: when a column is missing, a cell is no number, one object has two values, or nothing can be read.
    """
    values = _numbers(frame, value_column, source, "--value-column")
    costs = None if cost_column is None else _numbers(frame, cost_column, source, "--cost-column")
    objects, rows, notes = _objects(frame, source, term, formula_column)
    has_value = np.isfinite(values[rows])
    lacking = int((~has_value).sum())
    notes += [f"{lacking} rows have no value in {value_column!r} and are passed over"] if lacking else []
    objects, rows = objects[has_value], rows[has_value]
    if not len(rows):
        raise TableError(f"{source}: expected rows with an object and a value in {value_column!r}, found none")
    entries: dict[str, Entry] = {}
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for key, text, label, row in zip(object_keys(objects), object_texts(objects), objects.labels(), rows.tolist()):
        value, cost = float(values[row]), None if costs is None or not np.isfinite(costs[row]) else float(costs[row])
        before = entries.get(key)
        if before is not None and before.value != value:
            raise TableError(
                f"{source}: expected one value of {label}, got {before.value:g} and {value:g}; leave one row out"
            )
        if before is None:
            entries[key] = Entry(value, True, label=label, text=text, cost=cost, made_at=now, made_by=by)
    return ReadValues({identity: entries}, {identity: (term.unit, term.requires)}, notes)


def _objects(
    frame: pd.DataFrame, source: str, term: Term, formula_column: str | None
) -> tuple[Compositions | Crystals, Ints, list[str]]:
    """The objects of a table, where they stand, and what is wrong with other rows."""
    if term.requires == STRUCTURE:
        if "structure" not in frame.columns:
            raise TableError(
                f"{source}: expected a column 'structure', as tables of crystals have and `oreflow encode` writes, for "
                f"{term.name} is a reward of structures"
            )
        crystals, rows, notes = crystals_of(frame, source, decorations=not term.needs_geometry)
        return crystals, rows, list(notes)
    if term.requires != COMPOSITION:
        raise TableError(
            f"{term.name} is a reward of {term.requires}, which no table can be read as; tables of such rewards can be "
            "imported that `oreflow rewards export` wrote"
        )
    compositions, rows, errors = compositions_of(formulas_of(frame, source, formula_column))
    return compositions, rows, row_errors(frame, errors)


def _numbers(frame: pd.DataFrame, column: str, source: str, option: str) -> Any:
    """A column as float64 [row], NaN where a cell is empty."""
    if column not in frame.columns:
        raise TableError(
            f"{source}: {option}: expected a column of the table, got {column!r}; "
            f"{nearest(column, list(frame.columns))}"
        )
    cells = frame[column].tolist()
    out = np.full(len(cells), math.nan)
    for row, cell in enumerate(cells):
        if cell is None or cell is pd.NA or (isinstance(cell, str) and not cell.strip()):
            continue
        try:
            out[row] = float(cell)
        except (TypeError, ValueError):
            raise TableError(
                f"{source}: {option} {column}: expected numbers, got {cell!r} in row {frame.index[row]}"
            ) from None
        if math.isinf(out[row]):
            raise TableError(
                f"{source}: {option} {column}: expected finite numbers, got {cell!r} in row {frame.index[row]}"
            )
    return out


def _exported(row: dict[str, Any]) -> Entry:
    value, valid = _number(row["value"]), _truth(row["valid"])
    if valid and value is None:
        raise ValueError("valid, without a value")
    columns = json.loads(_text(row["columns"]))
    cells = {str(name): (str(kind), float(cell) if kind == "f" else cell) for name, (kind, cell) in columns.items()}
    text = _text(row["formula"]) or _text(row["structure"]) or None
    return Entry(
        math.nan if value is None else value,
        valid,
        _text(row["reason"]) or None,
        _truth(row["failed"]),
        cells,
        _text(row["object"]),
        text,
        _number(row["seconds"]),
        _number(row["cost"]),
        _text(row["made_at"]),
        _text(row["made_by"]),
    )


def _text(cell: Any) -> str:
    return "" if cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell)) else str(cell)


def _number(cell: Any) -> float | None:
    text = _text(cell).strip()
    value = float(text) if text else None
    if value is not None and not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {text}")
    return value


def _truth(cell: Any) -> bool:
    text = _text(cell).strip().lower()
    if text not in ("true", "false"):
        raise ValueError(f"expected True or False, got {cell!r}")
    return text == "true"
