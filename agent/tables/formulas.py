"""Reading tables of formulas and writing tables of candidates."""

import contextlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreflow.agent.storage.atomic_files import write_atomically
from oreflow.agent.tables.full_table import read_table
from oreflow.envs.arrays import Bools
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.reference import known_phases as references
from oreflow.rewards.reference.tables import FORMULA_COLUMNS, formulas_of, row_errors
from oreflow.rewards.terms.composition.novelty import KnownFormulas

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_NUMBER = re.compile(r"-\d+(\.\d+)?(e[+-]?\d+)?")  # a number to a spreadsheet, too

__all__ = [
    "FORMULA_COLUMNS",
    "aligned",
    "formulas_of",
    "is_known",
    "read_reference",
    "read_table",
    "row_errors",
    "write_chunks",
    "write_csv",
    "write_parquet",
]


def read_reference(path: str | Path, formula_column: str | None = None) -> tuple[Compositions, list[str]]:
    """Known compositions, distinct and reduced, and one line for each row that cannot be read.

    Raises:
        TableError: when no row can be read.
    """
    reference = references.read_reference(path, energies=False, formula_column=formula_column)
    return reference.compositions, list(reference.bad_rows)


def is_known(compositions: Compositions, reference: Compositions) -> Bools:
    """bool [batch]: whether each reduced formula occurs in the reference, by integer key."""
    return KnownFormulas(reference).contain(compositions)


def write_csv(frame: "pd.DataFrame", path: Path) -> None:
    """CSV, missing values as empty cells; text that a spreadsheet would run as a formula gets a quote before it."""
    write_atomically(path, lambda temporary: _guarded(frame).to_csv(temporary, index=False, lineterminator="\n"))


def write_chunks(
    chunks: Iterable["pa.Table"], csv: Path, parquet: Path, shown: Callable[["pd.DataFrame"], "pd.DataFrame"]
) -> None:
    """The same rows as CSV, as `write_csv` writes it, and as Parquet, a row group each chunk.

    Args:
        chunks: at least one, all of one schema.
        csv, parquet: new files; a failure leaves part of them.
        shown: makes of a chunk what the CSV holds of it; the Parquet file holds all.
    """
    import pyarrow.parquet as pq  # reading a config and training need no tables: imported where one is written

    with contextlib.ExitStack() as stack:
        text = stack.enter_context(csv.open("w", encoding="utf-8", newline=""))
        writer: pq.ParquetWriter | None = None
        for chunk in chunks:
            _guarded(shown(chunk.to_pandas())).to_csv(text, index=False, lineterminator="\n", header=writer is None)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(parquet, chunk.schema))
            if len(chunk):
                writer.write_table(chunk, row_group_size=len(chunk))


def _guarded(frame: "pd.DataFrame") -> "pd.DataFrame":
    guarded = frame.rename(columns=_guard)
    for name in guarded.columns:
        if guarded[name].dtype.kind == "O":
            guarded[name] = guarded[name].map(_guard)
    return guarded


def _guard(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")  # a lone return would not be quoted, and end the row
    dangerous = cell.startswith(("=", "+", "-", "@", "\t", "\n")) and not _NUMBER.fullmatch(cell)
    return "'" + cell if dangerous else cell


def write_parquet(frame: "pd.DataFrame", path: Path) -> None:
    """Parquet with the same columns."""
    write_atomically(path, lambda temporary: frame.to_parquet(temporary, index=False))


def aligned(header: list[str], rows: list[list[str]]) -> str:
    """Columns of text padded to equal width."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header, *rows]]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
