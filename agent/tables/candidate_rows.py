"""Candidates to read: where a run has them, and the rows of any table with numbers as numbers."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from oreflow.agent.errors import RunFolderError
from oreflow.agent.tables.formulas import read_table
from oreflow.envs.arrays import Ints
from oreflow.envs.errors import FormulaError
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.reference.tables import read_formula

TABLES = ("candidates.parquet", "candidates.csv")
"""Names of the tables that `oreflow sample` writes, the better one first."""
FIRST_ROWS = 1000
"""How many first rows of a table are among those that are read of it in any case."""


def table_in(folder: Path) -> Path | None:
    """Find the table of candidates in a folder; None where there is none."""
    return next((folder / name for name in TABLES if (folder / name).is_file()), None)


def newest_or_none(run: Path) -> Path | None:
    """Find the newest candidates of a run, by the number of their folder; None where nothing was sampled."""
    folders = [folder for folder in run.glob("samples*") if folder.name == "samples" or _number(folder)]
    tables = [table for folder in sorted(folders, key=_number) if (table := table_in(folder)) is not None]
    return tables[-1] if tables else None


def _number(folder: Path) -> int:
    """2 of samples_2; 0 of a name of another form."""
    text = folder.name.removeprefix("samples_")
    return int(text) if text.isdigit() else 0


def newest_table(run: Path) -> Path:
    """Find the newest candidates of a run.

    Raises:
        RunFolderError: when nothing was sampled from it; with the command that does.
    """
    table = newest_or_none(run)
    if table is None:
        raise RunFolderError(f"{run} holds no candidates yet; run `oreflow sample {run} -n 1000 --unique` first")
    return table


def compositions_of(texts: list[str]) -> tuple[Compositions, Ints, list[str]]:
    """Read a column of formulas.

    Returns:
        compositions: the readable ones.
        rows: int64, their places in the column.
        errors: one a place, "" where readable.
    """
    found, read, errors = [], [], [""] * len(texts)
    for place, text in enumerate(texts):
        try:
            found.append(read_formula(text))
            read.append(place)
        except FormulaError as error:
            errors[place] = str(error)
    return Compositions.from_dicts(found), np.array(read, dtype=np.int64), errors


def table_rows(path: Path, most: int) -> tuple[pd.DataFrame, int]:
    """Read the rows of a table, not more than wanted; a large Parquet file is never in memory whole.

    Args:
        most: how many at most; of a larger table its first rows, and others at random.

    Returns:
        rows: numbers and truth values as such, whatever the file.
        n: how many the table has.

    Raises:
        TableError: when it is no table.
    """
    if path.suffix != ".parquet":
        frame = _typed(read_table(path))
        return frame.iloc[_chosen(len(frame), most)], len(frame)
    try:
        file = pq.ParquetFile(path)
    except (OSError, ValueError):
        return read_table(path), 0  # which says what is wrong
    n_rows = file.metadata.num_rows
    chosen = _chosen(n_rows, most)
    parts, first = [], 0
    for batch in file.iter_batches():
        inside = chosen[(chosen >= first) & (chosen < first + len(batch))] - first
        parts.append(batch.take(inside).to_pandas())
        first += len(batch)
    frame = pd.concat(parts, ignore_index=True) if parts else file.schema_arrow.empty_table().to_pandas()
    return frame, n_rows


def _chosen(n: int, most: int) -> Ints:
    """Ascending numbers of the rows that are read."""
    if n <= most:
        return np.arange(n)
    first = min(FIRST_ROWS, most)
    drawn = np.random.default_rng(0).choice(n - first, most - first, replace=False)
    return np.concatenate([np.arange(first), first + np.sort(drawn)])


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of text with numbers and truth values where all filled cells of a column are some."""
    out = {}
    for name in frame.columns:
        cells = frame[name]
        if cells.dtype != object:
            out[str(name)] = cells
            continue
        filled = cells[cells.notna() & (cells != "")].astype(str)
        if len(filled) and filled.isin(["True", "False"]).all():
            out[str(name)] = cells.map({"True": True, "False": False}).astype("boolean")
            continue
        numbers = pd.to_numeric(filled, errors="coerce")
        # "NaN" is sodium nitride, and "Infinity" no number that a chemist means
        if len(filled) and np.isfinite(numbers).all():
            out[str(name)] = numbers.reindex(cells.index)
        else:
            out[str(name)] = cells.map(lambda cell: cell[1:] if str(cell)[:2] in ("'=", "'+", "'-", "'@") else cell)
    typed = pd.DataFrame(out, index=frame.index)
    typed.attrs = frame.attrs
    return typed


def draws_of_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Let `n_times_sampled` say for how many draws a row stands.

    In a table of distinct candidates that is how often the object was drawn. A table of raw draws, in which objects
    come again (`is_unique` is false), has that number in each of the rows of an object, which stand for one draw each.
    """
    if not {"is_unique", "n_times_sampled"} <= set(frame.columns):
        return frame
    repeated = frame["is_unique"].astype(str).str.lower() == "false"
    return frame.assign(n_times_sampled=1) if repeated.any() else frame
