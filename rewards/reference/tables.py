"""Reading tables of formulas: CSV and its relatives, JSON records and Parquet, packed or not."""

import bz2
import contextlib
import csv
import gzip
import io
import json
import logging
import lzma
import re
import warnings
import zipfile
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import FormulaError, TableError
from oreflow.envs.objects.formulas import parse_formula
from oreflow.envs.suggestions import nearest

if TYPE_CHECKING:
    import pandas as pd

FORMULA_COLUMNS = ("formula_reduced", "formula", "formula_pretty", "composition")
# Names of other databases and of older versions: Materials Project, OPTIMADE, matminer, OQMD, AFLOW.
FORMULA_NAMES = (
    *FORMULA_COLUMNS,
    "pretty_formula",
    "chemical_formula_reduced",
    "reduced_formula",
    "chemical_formula",
    "chemical_formula_descriptive",
    "full_formula",
    "unit_cell_formula",
    "compound",
    "name",
)
_log = logging.getLogger(__name__)
_said: set[tuple[str, str]] = set()
_PLAIN = re.compile(r"(?:[A-Z][a-z]?(?:[1-9][0-9]{0,3})?)+")
_TERM = re.compile(r"([A-Z][a-z]?)([0-9]*)")
_PACKED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zip": None}
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
    """A table: CSV, cells separated by tabs, a list of formulas, JSON records or Parquet; packed or not.

    Cells of text stay text, so that the formula `NaN` stays a formula. Lines that begin with # before the header are
    passed over. A single column whose first line is a formula has no header; it becomes the column `formula`.

    Raises:
        TableError: when the file is missing, empty, damaged, separated by something else than commas or tabs, or a Git
            LFS pointer instead of data.
    """
    import pandas as pd

    path = Path(path)
    check_data_file(path, "a CSV or Parquet file")
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            return frame.reset_index(drop=frame.index.name is None)  # rows are named by their place
        return _records(load_json(path), path) if is_json(path) else _frame(_text_of(path), path)
    except DAMAGED:
        raise damaged(path) from None
    except pd.errors.EmptyDataError:
        raise TableError(f"{path} is empty; expected a header with a column 'formula'") from None
    except UnicodeDecodeError as error:
        raise TableError(f"cannot read {path}: it is not UTF-8 ({error}); save it as UTF-8 text") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, OSError, ValueError, ImportError) as error:
        raise TableError(f"cannot read {path}: {' '.join(str(error).split())}") from None


def is_json(path: Path) -> bool:
    """Whether a name says that a file, packed or not, holds JSON."""
    name = path.stem if path.suffix.lower() in _PACKED else path.name
    return name.lower().endswith((".json", ".jsonl", ".ndjson"))


def load_json(path: Path) -> Any:
    """What a JSON file holds, packed or not; of JSON Lines a list.

    Raises:
        TableError: when it is damaged or no JSON.
    """
    try:
        text = _text_of(path)
    except DAMAGED:
        raise damaged(path) from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        first = error
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        with contextlib.suppress(ValueError, RecursionError):
            return [json.loads(line) for line in lines]
    raise TableError(f"cannot read {path}: expected JSON, got an error: {first}; fetch it again")


def _text_of(path: Path) -> str:
    """The text of a file, unpacked as its suffix says; of a ZIP archive its one file."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.namelist() if not m.endswith("/") and not m.startswith(("__MACOSX", "."))]
            if len(members) != 1:
                raise TableError(f"cannot read {path}: expected one table in the archive, got {len(members)} files")
            data = archive.read(members[0])
    else:
        with _PACKED.get(suffix, open)(path, "rb") as file:
            data = file.read()
    return data.decode("utf-8-sig")


def _frame(text: str, path: Path) -> "pd.DataFrame":
    """The table in a text, rows numbered by their lines, so that errors name the line of the file."""
    import pandas as pd

    lines = text.splitlines(keepends=True)
    n_comments = next((number for number, line in enumerate(lines) if not line.startswith("#")), 0)
    text, header = "".join(lines[n_comments:]), lines[n_comments].strip() if lines else ""
    separator = "\t" if "\t" in header and "," not in header else ","
    listed = separator not in header and bool(header) and _is_formula(header)
    reason = _long_row(text, separator, n_comments)
    if reason:
        raise TableError(f"cannot read {path}: {reason}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
        # Blank lines are read and dropped afterwards, so that the index keeps each row's place in the file.
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=None if listed else 0,
            names=["formula"] if listed else None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            index_col=False,
        )
    if len(frame.columns) == 1 and ";" in str(frame.columns[0]):
        raise TableError(f"cannot read {path}: {_separated('semicolons')}")
    frame.index += n_comments - listed
    return frame[(frame != "").any(axis=1)]


def _records(data: Any, path: Path) -> "pd.DataFrame":
    """JSON records, a list of them under a name such as `data`, or a list of formulas."""
    import pandas as pd

    if isinstance(data, dict):
        data = next((data[key] for key in ("data", "entries", "response", "results") if key in data), data)
    if isinstance(data, list) and data and all(isinstance(item, str) for item in data):
        return pd.DataFrame({"formula": data})
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise TableError(f'cannot read {path}: expected a list of records, such as [{{"formula": "NaCl"}}]')
    return pd.DataFrame(data)


def _is_formula(text: str) -> bool:
    try:
        return bool(read_formula(text))
    except FormulaError:
        return False


def _separated(name: str) -> str:
    return f"its cells are separated by {name}; write commas between cells and decimal points in numbers"


def _long_row(text: str, separator: str, n_comments: int) -> str:
    """Which row has more cells than the header; "" when none has."""
    with contextlib.suppress(csv.Error, StopIteration):
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        header = next(rows)
        if len(header) == 1 and ";" in header[0]:
            return _separated("semicolons")
        for number, row in enumerate(rows, start=2 + n_comments):
            if len(row) > len(header):
                return (
                    f"row {number} has {len(row)} cells, more cells than the header with {len(header)}; expected "
                    "one cell a column (a decimal comma makes two cells of one number: write a decimal point)"
                )
    return ""


def formulas_of(frame: "pd.DataFrame", source: str, column: str | None = None) -> list[str]:
    """The column of formulas: the one that is named, else one of the usual names; an unusual one is said once.

    Raises:
        TableError: naming the nearest column, or all there are.
    """
    name = column if column in frame.columns else None
    if column is None:
        name = next((usual for usual in FORMULA_COLUMNS if usual in frame.columns), None)
        if name is None:
            lower = {str(present).strip().lower().replace(" ", "_"): present for present in reversed(frame.columns)}
            name = next((lower[usual] for usual in FORMULA_NAMES if usual in lower), None)
            if name is not None and (source, name) not in _said:
                _said.add((source, name))
                _log.info("%s: formulas are taken from the column %r", source, name)
    if name is None:
        wanted = column or "formula"
        raise TableError(
            f"{source}: expected a column {wanted!r}; {nearest(wanted, map(str, frame.columns))}; "
            "--formula-column names another one"
        )
    return [_formula_text(cell) for cell in frame[name].tolist()]


def _formula_text(cell: Any) -> str:
    """A cell as a formula; amounts by element, as JSON documents have them, are written out."""
    if isinstance(cell, dict):
        return "".join(f"{symbol}{n:.10g}" for symbol, n in cell.items() if isinstance(n, int | float) and n)
    return "" if cell is None or cell != cell else str(cell)


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
