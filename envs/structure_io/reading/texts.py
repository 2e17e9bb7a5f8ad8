"""The text of a file, whatever it is packed and encoded as."""

import bz2
import codecs
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import IO, Any

from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import Reason

MAX_BYTES = 1 << 27
_PACKED: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
# What reading a damaged file raises.
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError)

_MARKS = [  # the longer mark first: UTF-32 begins like UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A text file, unpacked and decoded.

    Raises:
        StructureError: unreadable, file_too_large, empty_file or not_text.
    """
    try:
        with path.open("rb") as file:
            data = unpacked(file, path, max_bytes)
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StructureError(Reason.UNREADABLE, f"cannot read {path}: {reason}") from None
    return decode(data)


def unpacked(file: IO[bytes], path: PurePath, max_bytes: int) -> bytes:
    """Read the bytes of a file, unpacked as its suffix says.

    Raises:
        StructureError: file_too_large.
    """
    opened = _PACKED.get(path.suffix.lower(), lambda file: file)(file)
    data: bytes = opened.read(max_bytes + 1)
    if len(data) > max_bytes:
        message = f"expected at most {max_bytes / 1e6:g} MB, got a longer file; split it"
        raise StructureError(Reason.FILE_TOO_LARGE, message)
    return data


def decode(data: bytes) -> str:
    """Read bytes as text whose lines end with a line feed.

    Raises:
        StructureError: empty_file or not_text.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8":
            raise StructureError(Reason.NOT_TEXT, f"expected text, got bytes that are not {encoding}") from None
        text = data.decode("latin-1")  # names of authors in older files
    odd = sum(text.count(chr(code)) for code in (*range(9), *range(14, 26), *range(27, 32), 127))
    if "\0" in text or odd > len(text) / 100:
        raise StructureError(Reason.NOT_TEXT, "expected text, got a binary file, or UTF-16 without a byte order mark")
    if not text.strip():
        raise StructureError(Reason.EMPTY_FILE, "expected a structure, got an empty file")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def unpacked_name(path: PurePath) -> str:
    """The name of a file without the ending that says how it is packed."""
    return path.stem if path.suffix.lower() in _PACKED else path.name
