"""Which decorations to realise: the rows of a candidate table, or of the newest table of a run folder."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oreflow.agent.errors import TableError
from oreflow.agent.tables.candidate_rows import draws_of_rows
from oreflow.agent.tables.formulas import read_table
from oreflow.agent.tables.structures import ID_COLUMNS, crystals_of
from oreflow.envs.objects.crystals import Crystals

TABLE = "candidates.csv"


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        decoration_id: distinct among the rows, and fit to be the name of a file.
        number: its place in the table, 0 for the first.
        crystal: a batch of one, with or without geometry; None where the row holds no crystal.
        reason: a sentence where it holds none, else "".
        columns: of the table, by name.
    """

    decoration_id: str
    number: int
    crystal: Crystals | None
    reason: str
    columns: dict[str, Any]


def table_of(path: Path) -> Path:
    """The table that a path names: itself, or the newest `candidates.csv` in a run folder or a folder of samples.

    Raises:
        TableError: when there is none.
    """
    if not path.exists():
        raise TableError(f"expected a candidate table or a run folder, found nothing at {path}")
    if path.is_file():
        return path
    found = [path / TABLE] if (path / TABLE).is_file() else [*path.glob(f"samples*/{TABLE}")]
    if not found:
        raise TableError(
            f"expected {TABLE} in the folder {path}, or in its samples; draw some with `oreflow sample {path} -n 100 "
            "--unique`, or name a table"
        )
    return max(found, key=lambda file: file.stat().st_mtime)


def read_rows(path: Path, n: int | None = None) -> list[Row]:
    """All rows of a table, in order.

    Args:
        path: CSV or Parquet with a column `structure`.
        n: at most so many, the first ones.

    Raises:
        TableError: without the column, and when no row holds a crystal.
    """
    frame = draws_of_rows(read_table(path))
    frame = frame if n is None else frame.head(n)
    crystals, places, bad = crystals_of(frame, str(path), decorations=True)
    reasons = {int(match[1]) - 2: line for line in bad if (match := re.search(r": row (\d+):", line))}
    by_place = {place: crystals[k : k + 1] for k, place in enumerate(places.tolist())}
    id_column = next((name for name in ID_COLUMNS if name in frame.columns), None)
    rows, used = [], set()
    for place, (index, columns) in enumerate(zip(frame.index.tolist(), frame.to_dict("records"))):
        text = str(columns[id_column]) if id_column else f"row_{index + 2}"
        unique = stem = re.sub(r"[^\w.+-]+", "_", text).strip("._") or f"row_{index + 2}"
        count = 1
        while unique.lower() in used:  # as file systems without case would take them
            count += 1
            unique = f"{stem}_{count}"
        used.add(unique.lower())
        reason = "" if place in by_place else reasons.get(index, "the column 'structure' is empty")
        rows.append(Row(unique, place, by_place.get(place), reason, {str(k): v for k, v in columns.items()}))
    return rows
