"""Several tables of candidates as one: the same objects joined, draws added, and where each row comes from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from oreflow.agent.config.run import Config
from oreflow.agent.errors import ConfigError, RunFolderError
from oreflow.agent.runtime.progress import Progress
from oreflow.agent.sampling.rows.files import file_names, write_candidates
from oreflow.agent.sampling.rows.order import decimals_of, order_by
from oreflow.agent.sampling.rows.store import ROWS_PER_CHUNK, RowStore
from oreflow.agent.storage.lock import RunLock
from oreflow.agent.storage.manifest import check_place
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.storage.scratch import scratch_folder, writing_to
from oreflow.agent.tables.candidate_rows import draws_of_rows, newest_table, table_in, table_rows
from oreflow.agent.tables.object_keys import STRUCTURE, keys_of_rows
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.errors import TableError

SOURCES = "sources"
"""The column that says in which tables a row stands, under which ids, and how often each was drawn there."""
_TIMES, _ID, _LOG_REWARD, _LOG_PRIOR = "n_times_sampled", "candidate_id", "log_reward", "log_prior"
_ALL = 1 << 62
_SAME_NATS = 0.051  # log R of a table for people has one decimal at least


@dataclass(frozen=True)
class _Part:
    """A table that is merged.

    Attributes:
        name: what rows call it.
        path: of the table.
        frame: its rows, each once for each object or draw.
        tau: of the run that it comes from; None where nothing says it.
    """

    name: str
    path: Path
    frame: pd.DataFrame
    tau: float | None


def merge(paths: Sequence[Path], out: Path, *, overwrite: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Write candidates.csv, candidates.parquet and summary.json of all objects of several tables; return the summary.

    An object that several rows are of, in one table or in several, is one row: `n_times_sampled` adds up, `sources`
    names the rows, and each other cell is the first that is not empty, in the order of the tables. Formulas are the
    same when reduced they are, decorations when their protostructure is, crystals with a geometry when their sites are.
    Columns that a table lacks are empty in its rows. The order is that of every table of candidates: by log R, or with
    a prior by log P0 R where all tables are of runs with the same tau.

    Args:
        paths: tables, or runs and folders, whose newest candidates are meant.
        overwrite: whether files that an earlier call wrote to `out` may be replaced.

    Raises:
        TableError: when a table cannot be read, or holds other objects than the others.
        RunFolderError: when a run holds no candidates, or another process writes to `out`.
        PlaceError: when `out` holds files of these names that are not to be replaced.
        OutputError: when `out` cannot be written; files that were there before stay as they were.
    """
    parts = _read([_table_at(path) for path in paths])
    keys, kind = _keys(parts)
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
    with RunLock(out), scratch_folder(out) as scratch:
        has_geometry = kind == STRUCTURE
        check_place(out, file_names(sum(len(part.frame) for part in parts), has_geometry), overwrite)
        with writing_to(out):
            rows, n_differ = _joined(parts, keys, scratch)
        decimals = decimals_of(rows)
        merit, by = _merit(parts, rows)
        order = order_by(merit, rows, decimals)
        summary = _summary(parts, rows, n_differ) | {"ranked_by": by, "log_reward_decimals": decimals}
        with Progress("write", len(rows), quiet) as progress:
            write_candidates(
                rows.chunks(order.rows, ROWS_PER_CHUNK),
                summary | {"first_page": order.first_page},
                out,
                scratch,
                progress,
                ranks=order.ranks,
                log_reward_decimals=decimals,
                has_novelty="is_novel" in rows.schema.names and bool(np.isfinite(rows.column("is_novel")).any()),
                has_geometry=has_geometry,
            )
    return summary


def _table_at(path: Path) -> Path:
    return (table_in(path) or newest_table(path)) if path.is_dir() else path


def _read(paths: Sequence[Path]) -> list[_Part]:
    if len({path.resolve() for path in paths}) < len(paths):
        twice = next(path for i, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:i]})
        raise TableError(f"expected each table once, as its draws would count twice, got {twice} again; leave it out")
    parts = []
    for name, path in zip(_names(paths), paths):
        frame = draws_of_rows(table_rows(path, _ALL)[0]).reset_index(drop=True)
        for column in (_ID, _LOG_REWARD):
            if column not in frame.columns:
                raise TableError(
                    f"{path}: expected a table of candidates as `oreflow sample` writes it, with a column {column}, "
                    f"found {', '.join(map(str, frame.columns[:12]))}; name the candidates.parquet of a run"
                )
        if _TIMES not in frame.columns:
            frame[_TIMES] = 1
        parts.append(_Part(name, path, frame, _tau(path)))
    return parts


def _names(paths: Sequence[Path]) -> list[str]:
    """Short names: what tells the paths apart, such as seed_0 and seed_1."""
    split = [list(path.absolute().parts) for path in paths]
    if len(split) == 1:
        return [str(paths[0])]
    first = _n_common(split)
    last = _n_common([parts[first:][::-1] for parts in split])
    names = ["/".join(parts[first : len(parts) - last]) for parts in split]
    return names if all(names) else [str(path) for path in paths]


def _n_common(lists: list[list[str]]) -> int:
    """How many first entries all lists share."""
    same = [len(set(entries)) == 1 for entries in zip(*lists)]
    return same.index(False) if False in same else len(same)


def _tau(table: Path) -> float | None:
    """What a run's log R is divided by beside a prior; None where the table does not lie in a run."""
    for folder in list(table.absolute().parents)[:2]:
        if RunFolder(folder).config_path.is_file():
            try:
                config: Config = RunFolder(folder).load_config()
            except (ConfigError, RunFolderError):  # of a plug-in that is not here
                return None
            return config.target.tau
    return None


def _keys(parts: Sequence[_Part]) -> tuple[list[list[str]], str]:
    """What tells objects apart, by part and row, and which kind they are of."""
    found = [keys_of_rows(part.frame, str(part.path)) for part in parts]
    kinds = [kind for _, kind in found]
    for part, kind in zip(parts, kinds):
        if kind != kinds[0]:
            raise TableError(
                f"expected tables of the same kind of object, got {kinds[0]} in {parts[0].path} and {kind} in "
                f"{part.path}; merge them apart"
            )
    return [keys for keys, _ in found], kinds[0]


def _joined(parts: Sequence[_Part], keys: list[list[str]], scratch: Path) -> tuple[RowStore, int]:
    """One row for each object, and of how many objects the tables give another log R."""
    every = RowStore(scratch / "every")
    columns = list(dict.fromkeys(name for part in parts for name in part.frame.columns if name != "rank"))
    types = {name: _type_of([part.frame[name] for part in parts if name in part.frame.columns]) for name in columns}
    for part in parts:
        every.add(pd.DataFrame({name: _as_type(part.frame, name, kind) for name, kind in types.items()}))
    number, first = _numbered([key for part in keys for key in part])
    whole = next(every.chunks(None, max(len(every), 1)))
    log_reward = every.column(_LOG_REWARD)
    differs = np.abs(log_reward - log_reward[first[number]]) > _SAME_NATS
    joined = {name: whole.column(name).take(_first_filled(whole.column(name), number)) for name in columns}
    frame = pa.table(joined).replace_schema_metadata(whole.schema.metadata).to_pandas()
    times = every.column(_TIMES)
    frame[_TIMES] = np.bincount(number, weights=np.nan_to_num(times, nan=1.0)).astype(np.int64)
    frame["is_unique"] = True
    frame[SOURCES] = _sources(parts, number, times)
    frame = frame[[_ID, *(name for name in frame.columns if name != _ID)]]
    rows = RowStore(scratch / "rows")
    rows.add(frame)
    return rows, len(set(number[differs].tolist()))


def _type_of(columns: Sequence[pd.Series]) -> str:
    """The type that the cells of a column have in all tables: one that can be missing, or text where they differ."""
    filled = [column for column in columns if column.notna().any()] or columns[:1]
    if all(pd.api.types.is_bool_dtype(column.dtype) for column in filled):
        return "boolean"
    if all(pd.api.types.is_integer_dtype(column.dtype) for column in filled):
        return "Int64"
    return "float64" if all(pd.api.types.is_numeric_dtype(column.dtype) for column in filled) else "object"


def _as_type(frame: pd.DataFrame, name: str, kind: str) -> pd.Series:
    if name not in frame.columns or not frame[name].notna().any():
        return pd.Series([np.nan if kind == "float64" else None] * len(frame), dtype=kind, index=frame.index)
    column: pd.Series = frame[name]
    if kind != "object":
        return column.astype(kind)
    return column.astype("object").map(lambda cell: None if pd.isna(cell) else str(cell))


def _numbered(keys: list[str]) -> tuple[Ints, Ints]:
    """The number of each row's object, in the order of their first rows, and those rows."""
    numbers: dict[str, int] = {}
    first = []
    for row, key in enumerate(keys):
        if key not in numbers:
            numbers[key] = len(numbers)
            first.append(row)
    return np.array([numbers[key] for key in keys], dtype=np.int64), np.array(first, dtype=np.int64)


def _first_filled(column: pa.ChunkedArray, number: Ints) -> pa.Array:
    """For each object, the first of its rows whose cell is filled; null where none is."""
    filled = np.flatnonzero(column.is_valid().to_numpy())
    objects, place = np.unique(number[filled], return_index=True)
    rows = np.full(int(number.max()) + 1 if len(number) else 0, -1, dtype=np.int64)
    rows[objects] = filled[place]
    return pa.array(rows, mask=rows < 0)


def _sources(parts: Sequence[_Part], number: Ints, times: Floats) -> list[str]:
    """Write for each object the rows that it is in, such as "seed_0 c0000003 (2); seed_1 c0000001".

    Rows of a table that was merged itself hand on what they say.
    """
    found: list[list[str]] = [[] for _ in range(int(number.max()) + 1 if len(number) else 0)]
    row = 0
    for part in parts:
        merged = part.frame[SOURCES].tolist() if SOURCES in part.frame.columns else [None] * len(part.frame)
        for name, before in zip(part.frame[_ID].astype(str), merged):
            n = f" ({times[row]:g})" if times[row] > 1 else ""
            found[number[row]].append(before if isinstance(before, str) else f"{part.name} {name}{n}")
            row += 1
    return ["; ".join(texts) for texts in found]


def _merit(parts: Sequence[_Part], rows: RowStore) -> tuple[Floats, str]:
    """What rows are ranked by, and its name."""
    log_reward = rows.column(_LOG_REWARD)
    taus = {part.tau for part in parts}
    if all(_LOG_PRIOR in part.frame.columns for part in parts) and len(taus) == 1 and None not in taus:
        merit = rows.column(_LOG_PRIOR) + log_reward / (taus.pop() or 1.0)
        return np.where(np.isfinite(merit), merit, -np.inf), "log P0 + log R / tau"
    return log_reward, "log R"


def _summary(parts: Sequence[_Part], rows: RowStore, n_differ: int) -> dict[str, Any]:
    tables = [
        {
            "name": part.name,
            "table": str(part.path),
            "n_rows": len(part.frame),
            "n_draws": int(pd.to_numeric(part.frame[_TIMES]).fillna(1).sum()),
        }
        for part in parts
    ]
    notes = []
    if n_differ:
        notes.append(
            f"{n_differ} objects have another log R in a later table, as under another reward; each keeps that of "
            "the first table, and ranks compare what is not of one kind: score all of them anew with oreflow score"
        )
    return {
        "n_candidates": len(rows),
        "n_rows_read": sum(table["n_rows"] for table in tables),
        "n_draws": sum(table["n_draws"] for table in tables),
        "tables": tables,
        "n_with_another_log_reward": n_differ,
        "notes": notes,
    }
