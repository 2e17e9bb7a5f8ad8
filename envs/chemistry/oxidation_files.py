"""Files of oxidation states: CSV, JSON, YAML, and SMACT's own text format, read into one mapping."""

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from oreflow.envs.errors import OxidationTableError
from oreflow.envs.suggestions import nearest

_LFS = "version https://git-lfs.github.com/spec/"
_COLUMNS = ("symbol", "oxidation_states")


def read_table(path: Path) -> dict[str, Any]:
    """The content of a file, elements and states not yet checked.

    Raises:
        OxidationTableError: for a missing, unreadable or malformed file, and for an element that stands twice.
    """
    from oreflow.envs.chemistry.built_in_oxidation import TABLES

    if path.suffix.lower() not in SUFFIXES:
        raise OxidationTableError(
            f"expected an oxidation-state table as a file of type {', '.join(SUFFIXES)}, got {str(path)!r}"
        )
    if not path.exists():
        raise OxidationTableError(
            f"expected an oxidation-state table, found no file at {path} (looked in {path.resolve().parent}); of the "
            f"built-in tables, {nearest(path.stem, TABLES)}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OxidationTableError(f"cannot read the oxidation-state table {path}: {reason}") from None
    if text.startswith(_LFS):
        raise OxidationTableError(f"{path} is a Git LFS pointer, not the table itself; run `git lfs pull`")
    return SUFFIXES[path.suffix.lower()](text, str(path))


def _twice(key: Any, source: str) -> OxidationTableError:
    return OxidationTableError(f"{source}: expected each element once, got {key!r} twice; merge its states")


def _distinct(pairs: Iterable[tuple[Any, Any]], source: str) -> dict[Any, Any]:
    content: dict[Any, Any] = {}
    for key, value in pairs:
        if key in content:
            raise _twice(key, source)
        content[key] = value
    return content


def _read_csv(text: str, source: str) -> dict[str, Any]:
    rows = csv.DictReader(text.splitlines())
    header = [column.strip() for column in rows.fieldnames or []]
    for column in _COLUMNS:
        if column not in header:
            raise OxidationTableError(
                f"{source}: expected the columns {' and '.join(_COLUMNS)}, found no {column!r} among {header}"
            )
    rows.fieldnames = header
    cells = []
    for row in rows:
        if None in row:
            raise OxidationTableError(
                f"{source}: expected the states of one element in one cell, separated by spaces, got further cells "
                f"in line {rows.line_num}"
            )
        cells.append([(row[column] or "").strip() for column in _COLUMNS])
    return _distinct(((symbol, states.split()) for symbol, states in cells), source)


def _read_smact_text(text: str, source: str) -> dict[str, Any]:
    """Lines such as "Fe +2 +3"; a line of an element alone gives it no state."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return _distinct(((symbol, states) for symbol, *states in lines), source)


def _read_json(text: str, source: str) -> dict[str, Any]:
    try:
        content = json.loads(text, object_pairs_hook=lambda pairs: _distinct(pairs, source))
    except (json.JSONDecodeError, RecursionError) as error:
        raise OxidationTableError(f"{source} is no valid JSON: {error}") from None
    return _mapping(content, source)


def _read_yaml(text: str, source: str) -> dict[str, Any]:
    import yaml

    from oreflow.envs.strict_yaml import TextLoader

    class Loader(TextLoader):
        aliases = True  # elements may share a list of states

        def duplicate_key(self, key: Any, mark: Any) -> Exception:
            return _twice(key, source)

    try:
        content = yaml.load(text, Loader=Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise OxidationTableError(f"{source} is no valid YAML: {' '.join(str(error).split())}") from None
    return _mapping(content, source)


def _mapping(content: Any, source: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise OxidationTableError(
            f"{source}: expected a mapping of symbols to lists of states, got {type(content).__name__}"
        )
    return content


SUFFIXES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".txt": _read_smact_text,
}
