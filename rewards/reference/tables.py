"""Reading tables of formulas: CSV, plain or compressed, and Parquet."""

import bz2
import csv
import gzip
import lzma
import re
import warnings
import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import TableError
from oreflow.envs.objects.formulas import parse_formula
from oreflow.envs.suggestions import nearest

if TYPE_CHECKING:
    import pandas as pd

FORMULA_COLUMNS = ("formula_reduced", "formula", "formula_pretty", "composition")
_PLAIN = re.compile(r"(?:[A-Z][a-z]?(?:[1-9][0-9]{0,3})?)+")
_TERM = re.compile(r"([A-Z][a-z]?)([0-9]*)")
DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def check_data_file(path: Path, expected: str) -> None:
    """Raises TableError when no file at `path` can be opened, or a Git LFS pointer stands in its place."""
    if not path.is_file():
        raise TableError(f"expected {expected}, found none at {path}")
    try:
        with path.open("rb") as file:
            head = file.read(200)
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}; check its permissions") from None
    if head.startswith(b"version https://git-lfs"):
        raise TableError(f"{path} is a Git LFS pointer, not the data; fetch it with 'git lfs pull'")


def damaged(path: Path) -> TableError:
    """What to say of a compressed file that ends early or is none."""
    kind = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz"}.get(path.suffix, "compressed")
    return TableError(f"{path} is a damaged or truncated {kind} file; fetch it again")


def read_table(path: str | Path) -> "pd.DataFrame":
    """A CSV (optionally gzipped) or Parquet file; CSV cells stay text, so that the formula `NaN` stays a formula.

    Raises:
        TableError: when the file is missing, empty, damaged, separated by something else than commas, or a Git LFS
            pointer instead of data.
    """
    import pandas as pd

    path = Path(path)
    check_data_file(path, "a CSV or Parquet file")
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            return frame.reset_index(drop=frame.index.name is None)  # rows are named by their place
        # Blank lines are read and dropped afterwards, so that the index keeps each row's place in the file.
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            frame = pd.read_csv(
                path, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False, encoding="utf-8-sig"
            )
    except DAMAGED:
        raise damaged(path) from None
    except pd.errors.EmptyDataError:
        raise TableError(f"{path} is empty; expected a header with a column 'formula'") from None
    except UnicodeDecodeError as error:
        raise TableError(f"cannot read {path}: it is not UTF-8 ({error}); save it as UTF-8 text") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, OSError, ValueError, ImportError) as error:
        reason = _long_row(path) or " ".join(str(error).split())
        raise TableError(f"cannot read {path}: {reason}") from None
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(frame.columns) == 1 and separator in str(frame.columns[0]):
            raise TableError(f"cannot read {path}: {_separated(name)}")
    return frame[(frame != "").any(axis=1)]


def _open_text(path: Path) -> IO[str]:
    opened: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix, open)
    return opened(path, "rt", encoding="utf-8-sig", newline="")


def _separated(name: str) -> str:
    return f"its cells are separated by {name}; write commas between cells and decimal points in numbers"


def _long_row(path: Path) -> str:
    """Which row has more cells than the header; "" when it is not that."""
    try:
        with _open_text(path) as file:
            rows = csv.reader(file)
            header = next(rows)
            if len(header) == 1 and ";" in header[0]:
                return _separated("semicolons")
            for number, row in enumerate(rows, start=2):
                if len(row) > len(header):
                    return (
                        f"row {number} has {len(row)} cells, more cells than the header with {len(header)}; expected "
                        "one cell a column (a decimal comma makes two cells of one number: write a decimal point)"
                    )
    except (OSError, ValueError, csv.Error, StopIteration):
        pass
    return ""


def formulas_of(frame: "pd.DataFrame", source: str, column: str | None = None) -> list[str]:
    """The column of formulas.

    Raises:
        TableError: naming the nearest column, or all there are.
    """
    for name in [column] if column else FORMULA_COLUMNS:
        if name in frame.columns:
            return frame[name].fillna("").astype(str).tolist()
    wanted = column or "formula"
    raise TableError(f"{source}: expected a column {wanted!r}; {nearest(wanted, map(str, frame.columns))}")


def row_errors(frame: "pd.DataFrame", errors: list[str]) -> list[str]:
    """The errors that are not empty, each with its row as a spreadsheet numbers it: the header is row 1."""
    return [f"row {place + 2}: {error}" for place, error in zip(frame.index.tolist(), errors) if error]


@cache
def _atomic_numbers() -> dict[str, int]:
    return {symbol: z for z, symbol in enumerate(symbols()) if z}


def read_formula(text: str) -> dict[int, int]:
    """Counts by atomic number, as `parse_formula` reads them, twenty times as fast for formulas without parentheses.

    Raises:
        FormulaError: as `parse_formula`.
    """
    if _PLAIN.fullmatch(text):
        known = _atomic_numbers()
        counts: dict[int, int] = {}
        for symbol, amount in _TERM.findall(text):
            z = known.get(symbol)
            if z is None:
                return parse_formula(text)
            counts[z] = counts.get(z, 0) + (int(amount) if amount else 1)
        if max(counts.values()) < 10_000:
            return counts
    return parse_formula(text)
