"""Scratch files of a long work, beside its results: removed at its end, and swept where a killed process left them."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from oreflow.agent.errors import OutputError
from oreflow.envs.arrays import AnyInts

_PREFIX = ".oreflow-scratch"


@contextlib.contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """An empty folder within `place`. The caller holds the lock of `place`, so that what is there already is a stray.

    Raises:
        OutputError: when it cannot be made.
    """
    folder = place / _PREFIX
    with writing_to(place):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Turns a failure to write into a sentence that names the place.

    Raises:
        OutputError: for any OSError.
    """
    try:
        yield
    except (OutputError, BrokenPipeError):  # the latter: whoever read our output has left
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write to {place}: {error.strerror or error}; earlier results there stay as they were. Free some "
            "space, or choose another --out"
        ) from error


class ArrayFile:
    """Rows of one shape and type in a file: appended in order, read back in any.

    Args:
        path: where the rows go; a new file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._dtype: np.dtype = np.dtype(np.uint8)
        self._shape: tuple[int, ...] = ()
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def append(self, rows: AnyInts) -> None:
        """Adds rows [batch, ...], of the first batch's shape and type."""
        if not self._n:
            self._dtype, self._shape = rows.dtype, rows.shape[1:]
        with self.path.open("ab") as file:
            file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self._n += len(rows)

    def rows(self, index: slice | AnyInts) -> AnyInts:
        """A copy of some rows."""
        if not self._n:
            return np.empty((0, *self._shape), dtype=self._dtype)
        # Mapped anew each time: pages once read would count as this process's memory for as long as the map lives.
        mapped = np.memmap(self.path, dtype=self._dtype, mode="r", shape=(self._n, *self._shape))
        return np.array(mapped[index])
