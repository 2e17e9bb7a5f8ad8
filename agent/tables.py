"""Reading tables of formulas and writing tables of candidates."""

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agent.errors import TableError
from agent.files import write_atomically
from envs.compositions import Compositions
from envs.decode import parse_formulas
from envs.elements import nearest

FORMULA_COLUMNS = ("formula_reduced", "formula", "formula_pretty", "composition")


def read_table(path: str | Path) -> pd.DataFrame:
    """A CSV (optionally gzipped) or Parquet file; CSV cells stay text, so that the formula `NaN` stays a formula.

    Raises:
        TableError: when the file is missing, empty, damaged, or a Git-LFS pointer instead of data.
    """
    path = Path(path)
    if not path.is_file():
        raise TableError(f"expected a CSV or Parquet file, found none at {path}")
    head = path.read_bytes()[:200]
    if head.startswith(b"version https://git-lfs"):
        raise TableError(f"{path} is a Git-LFS pointer, not the data; fetch it with 'git lfs pull'")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        # Blank lines are read and dropped afterwards, so that the index keeps each row's place in the file.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            frame = pd.read_csv(
                path, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False, encoding="utf-8-sig"
            )
        frame = frame[(frame != "").any(axis=1)]
    except (gzip.BadGzipFile, EOFError):
        raise TableError(f"{path} is a damaged or truncated gzip file; fetch it again") from None
    except pd.errors.EmptyDataError:
        raise TableError(f"{path} is empty; expected a header with a column 'formula'") from None
    except pd.errors.ParserWarning:
        raise TableError(f"{path} has rows with more cells than the header; expected one cell a column") from None
    except (pd.errors.ParserError, UnicodeDecodeError, OSError, ValueError) as error:
        raise TableError(f"cannot read {path}: {' '.join(str(error).split())}") from None
    return frame


def formulas_of(frame: pd.DataFrame, source: str, column: str | None = None) -> list[str]:
    """The column of formulas.

    Raises:
        TableError: listing the columns there are.
    """
    for name in [column] if column else FORMULA_COLUMNS:
        if name in frame.columns:
            return frame[name].fillna("").astype(str).tolist()
    wanted = column or "formula"
    raise TableError(f"{source}: expected a column {wanted!r}; {nearest(wanted, map(str, frame.columns))}")


def row_errors(frame: pd.DataFrame, errors: list[str]) -> list[str]:
    """The errors that are not empty, each with its row as a spreadsheet numbers it: the header is row 1."""
    return [f"row {place + 2}: {error}" for place, error in zip(frame.index.tolist(), errors) if error]


def read_reference(path: str | Path) -> tuple[Compositions, list[str]]:
    """Known compositions, and one line for each row that cannot be read.

    Raises:
        TableError: when no row can be read.
    """
    frame = read_table(path)
    compositions, _, errors = parse_formulas(formulas_of(frame, str(path)))
    bad = row_errors(frame, errors)
    if not len(compositions):
        raise TableError(f"{path} holds no readable formula" + (f"; {bad[0]}" if bad else ""))
    return compositions, bad


def is_known(compositions: Compositions, reference: Compositions) -> np.ndarray:
    """bool [batch]: whether each reduced formula occurs in the reference, by integer key."""
    known = set(reference.key_bytes())
    return np.array([key in known for key in compositions.key_bytes()], dtype=np.bool_)


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """CSV, missing values as empty cells; text that a spreadsheet would run as a formula gets a quote before it."""
    guarded = frame.rename(columns=_guard)
    for name in guarded.columns:
        if guarded[name].dtype.kind == "O":
            guarded[name] = guarded[name].map(_guard)
    write_atomically(path, lambda temporary: guarded.to_csv(temporary, index=False, lineterminator="\n"))


def _guard(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r\n", "\n").replace("\r", "\n")  # a lone return would not be quoted, and end the row
    return "'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\n")) else cell


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Parquet with the same columns."""
    write_atomically(path, lambda temporary: frame.to_parquet(temporary, index=False))


def aligned(header: list[str], rows: list[list[str]]) -> str:
    """Columns of text padded to equal width."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header, *rows]]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
