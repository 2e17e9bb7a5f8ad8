"""Rows of a table on disk until all of them are known: then in any order, a chunk at a time, with common types."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from oreflow.envs.arrays import Floats, Ints

ROWS_PER_CHUNK = 16_384


class RowStore:
    """Batches of rows, each as it came; columns that differ between batches get a common type when they are written.

    A column is text where a batch lacks it or has another kind of values than the others, unless all are numbers.

    Args:
        path: the scratch file to make.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends = [0]
        self._rows = [0]
        self._columns: list[str] = []
        self._types: dict[str, set[pa.DataType]] = {}
        self._n_batches_with: dict[str, int] = {}
        self._metadata: dict[bytes, bytes] | None = None

    def __len__(self) -> int:
        return self._rows[-1]

    def add(self, frame: pd.DataFrame) -> None:
        """Appends a batch of rows."""
        table = pa.Table.from_pandas(frame, preserve_index=False)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue()
        with self.path.open("ab") as file:
            file.write(data)
        self._ends.append(self._ends[-1] + data.size)
        self._rows.append(len(self) + len(frame))
        self._note(table.schema)

    def _note(self, schema: pa.Schema) -> None:
        if self._metadata is None:
            self._metadata = schema.metadata
        place = 0
        for field in schema:
            if field.name not in self._types:
                self._columns.insert(place, field.name)
            place = self._columns.index(field.name) + 1
            self._types.setdefault(field.name, set()).add(field.type)
            self._n_batches_with[field.name] = self._n_batches_with.get(field.name, 0) + 1

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns, as all batches so far allow them."""
        n_batches = len(self._ends) - 1
        fields = [
            pa.field(name, _common(self._types[name], lacking=self._n_batches_with[name] < n_batches))
            for name in self._columns
        ]
        # By way of an empty frame: the record of pandas types must fit the columns as they are now.
        empty = pa.schema(fields, metadata=self._metadata).empty_table().to_pandas()
        return pa.schema(fields, metadata=pa.Table.from_pandas(empty, preserve_index=False).schema.metadata)

    def column(self, name: str) -> Floats:
        """All values of a column of numbers as float64 [row], NaN where missing, in the order in which they came."""
        parts = [table.column(name).cast(pa.float64()).to_numpy() for table in self._tables()]
        return np.concatenate([np.empty(0), *parts])

    def n_true(self, name: str) -> int:
        """How many flags of a column are true."""
        return sum(pc.sum(table.column(name)).as_py() or 0 for table in self._tables())

    def n_texts(self, name: str) -> int:
        """How many cells of a column of text hold any."""
        return sum(pc.sum(pc.greater(pc.binary_length(table.column(name)), 0)).as_py() or 0 for table in self._tables())

    def texts(self, name: str) -> Iterator[tuple[list[str], Ints]]:
        """The distinct texts of each batch and how many rows hold each, one batch after the other."""
        for table in self._tables():
            counted = pc.value_counts(table.column(name).drop_null())
            yield counted.field("values").to_pylist(), counted.field("counts").to_numpy(zero_copy_only=False)

    def _tables(self) -> Iterator[pa.Table]:
        for i in range(len(self._ends) - 1):
            with self._open() as read:
                yield read(i)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Callable[[int], pa.Table]]:
        """Context with a function that reads a batch without copying it."""
        with pa.memory_map(str(self.path)) as source:

            def read(batch: int) -> pa.Table:
                source.seek(self._ends[batch])
                return pa.ipc.open_stream(
                    pa.BufferReader(source.read_buffer(self._ends[batch + 1] - self._ends[batch]))
                ).read_all()

            yield read

    def chunks(self, order: Ints | None = None, rows_per_chunk: int = ROWS_PER_CHUNK) -> Iterator[pa.Table]:
        """The rows, in chunks of common types; at least one chunk, so that an empty table has its columns too.

        Args:
            order: int64 [row], which row comes when; None leaves them as they came.
            rows_per_chunk: how many are in memory at a time.
        """
        schema, n = self.schema, len(self) if order is None else len(order)
        for first in range(0, max(n, 1), rows_per_chunk):
            last = min(first + rows_per_chunk, n)
            wanted = np.arange(first, last) if order is None else order[first:last]
            batch = np.searchsorted(self._rows, wanted, side="right") - 1
            by_batch = np.argsort(batch, kind="stable")
            parts = [schema.empty_table()]
            with self._open() as read:
                for i in np.unique(batch).tolist():
                    rows = wanted[by_batch[batch[by_batch] == i]] - self._rows[i]
                    parts.append(_cast(read(i).take(pa.array(rows)), schema))
            yield pa.concat_tables(parts).take(pa.array(np.argsort(by_batch))).combine_chunks()


def _common(types: set[pa.DataType], lacking: bool) -> pa.DataType:
    missing = lacking or any(pa.types.is_null(t) for t in types)
    kinds = {t for t in types if not pa.types.is_null(t)}
    if not kinds:
        return pa.null()
    numeric = all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in kinds)
    floating = any(pa.types.is_floating(t) for t in kinds)
    if numeric and (floating or not missing):
        return pa.from_numpy_dtype(np.result_type(*(t.to_pandas_dtype() for t in kinds)))
    return kinds.pop() if len(kinds) == 1 and not missing else pa.string()


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(len(table), field.type))
            continue
        column = table.column(field.name)
        if column.type != field.type and pa.types.is_string(field.type):
            column = pa.array([None if cell is None else str(cell) for cell in column.to_pylist()], pa.string())
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
