"""Writing files so that a crash or a full disk never leaves half of one."""

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(*paths: Path, scratch: Path | None = None) -> Iterator[list[Path]]:
    """Give a context a temporary file for each path, to write to; all are moved there at its end, none on failure.

    Args:
        scratch: folder of the temporary files, on the same disk; None puts each beside its path.
    """
    temporaries = [(scratch or path.parent) / f".{path.name}.{os.getpid()}.tmp" for path in paths]
    try:
        yield temporaries
        for temporary in temporaries:
            sync(temporary)
        for temporary, path in zip(temporaries, paths):
            os.replace(temporary, path)
    finally:
        for temporary in temporaries:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` with a temporary sibling, then move it to `path`; on failure the old file stays."""
    with replacing(path) as (temporary,):
        write(temporary)


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, atomically."""
    write_atomically(path, lambda temporary: _write(temporary, text))


def to_json(data: Any, indent: int | None = 1) -> str:
    """JSON with missing and non-finite numbers as null, as strict readers need it."""
    return json.dumps(_strict(data), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # some file systems cannot do this for folders
            raise
    finally:
        os.close(handle)


def _strict(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _strict(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_strict(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
