"""One stored value, and how it becomes a row of a database and values of a term again."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oreflow.rewards.contract.evaluation import join
from oreflow.rewards.contract.protocol import TermValues


@dataclass(frozen=True)
class Entry:
    """The value of one object.

    Attributes:
        value: in the term's unit; NaN where not valid.
        valid: whether the term has a value.
        reason: why it has none.
        failed: whether the term raised, crashed or hung, rather than said so.
        columns: further cells by name, each with the kind of its numpy type.
        label, text: what messages call the object; what it can be read back from.
        seconds, cost: what computing it took, where known.
        made_at, made_by: when, in UTC, and by whom.
    """

    value: float
    valid: bool
    reason: str | None = None
    failed: bool = False
    columns: dict[str, tuple[str, Any]] = field(default_factory=dict)
    label: str = ""
    text: str | None = None
    seconds: float | None = None
    cost: float | None = None
    made_at: str = ""
    made_by: str = ""

    def as_row(self) -> dict[str, Any]:
        """Give the cells of the table `oreflow_rewards`, keys apart."""
        cells = {name: [kind, _plain(cell)] for name, (kind, cell) in self.columns.items()}
        return {
            "value": self.value if self.valid else None,
            "valid": self.valid,
            "reason": self.reason,
            "failed": self.failed,
            "columns": json.dumps(cells, allow_nan=False, sort_keys=True),
            "label": self.label[:200],
            "text": self.text,
            "seconds": self.seconds,
            "cost": self.cost,
            "made_at": self.made_at,
            "made_by": self.made_by[:200],
        }

    @classmethod
    def from_row(cls, row: Any) -> "Entry":
        """The inverse of `as_row`.

        Raises:
            ValueError, TypeError: when the cells hold something else.
        """
        cells = {
            name: (kind, float(cell) if kind == "f" else cell) for name, (kind, cell) in json.loads(row.columns).items()
        }
        value = math.nan if row.value is None else float(row.value)
        return cls(
            value,
            bool(row.valid) and math.isfinite(value),
            row.reason,
            bool(row.failed),
            cells,
            row.label,
            row.text,
            row.seconds,
            row.cost,
            row.made_at,
            row.made_by,
        )


def entries_of(
    result: TermValues,
    labels: Sequence[str],
    texts: Sequence[str | None],
    by: str,
    *,
    seconds: Sequence[float | None],
    cost: float | None = None,
) -> list[Entry]:
    """One entry a row of a term's values.

    Args:
        by: who computed them.
        seconds: of each row, where known.
        cost: of one row.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    cells = {name: (column.dtype.kind, column.tolist()) for name, column in result.columns.items()}
    return [
        Entry(
            float(value),
            bool(valid),
            None if valid else result.reasons.get(i, "no valid value"),
            i in result.tracebacks or result.reasons.get(i, "").endswith("set aside"),
            {name: (kind, column[i]) for name, (kind, column) in cells.items()},
            labels[i],
            texts[i],
            seconds[i],
            cost,
            now,
            by,
        )
        for i, (value, valid) in enumerate(zip(result.values.tolist(), result.valid.tolist()))
    ]


def values_of(entries: Sequence[Entry]) -> TermValues:
    """Entries as one batch of values; a column that an entry lacks is empty there."""
    return join([_alone(entry) for entry in entries])


def _alone(entry: Entry) -> TermValues:
    columns = {name: _cell(kind, cell) for name, (kind, cell) in entry.columns.items()}
    reasons = {} if entry.valid or entry.reason is None else {0: entry.reason}
    return TermValues(np.array([entry.value]), np.array([entry.valid]), columns, reasons)


def _cell(kind: str, cell: Any) -> NDArray[Any]:
    if kind in "fiub" and cell is not None:
        return np.array([cell])
    out = np.empty(1, dtype=object)  # text too: its width differs from row to row
    out[0] = cell
    return out


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: numbers that are not finite as text, other objects as text."""
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else str(cell)
    if cell is None or isinstance(cell, str | bool | int):
        return cell
    try:
        json.dumps(cell, allow_nan=False)
    except (TypeError, ValueError):
        return str(cell)
    return cell
