"""Reading structure files of any format: every entry is a structure, or a reason code and a sentence.

Read are CIF, POSCAR and CONTCAR, extended XYZ, pymatgen's JSON and CSV tables of structures, each also with `.gz`;
as UTF-8, UTF-16 or UTF-32 with a byte order mark, or Latin-1. Nothing in a file is run or imported.
"""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import MAX_ATOMS, Reason
from oreflow.envs.structure_io.reading.formats import (
    Entries,
    cif_entries,
    csv_entries,
    extxyz_entries,
    json_entries,
    poscar_entries,
)

MAX_BYTES = 1 << 27
_READERS: dict[str, Callable[[str], Entries]] = {
    "cif": cif_entries,
    "poscar": poscar_entries,
    "extxyz": extxyz_entries,
    "json": json_entries,
    "csv": csv_entries,
}
_BY_SUFFIX = {
    ".cif": "cif",
    ".mcif": "cif",
    ".vasp": "poscar",
    ".poscar": "poscar",
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".json": "json",
    ".csv": "csv",
}
_MARKS = [  # the longer mark first: UTF-32 begins like UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


@dataclass(frozen=True)
class StructureEntry:
    """One entry of a file.

    Attributes:
        file: its path as given.
        block: CIF data block, frame, row or key; empty where a file holds one structure.
        structure: pymatgen `Structure` of one element on each site, or None.
        code: a `Reason`, or empty where the structure was read.
        message: what was expected and what arrived, or empty.
        notes: what was read otherwise than written, such as deuterium as H.
    """

    file: str
    block: str
    structure: Any
    code: str = ""
    message: str = ""
    notes: tuple[str, ...] = ()


def read_structure_files(
    paths: Iterable[str | Path], max_atoms: int = MAX_ATOMS, max_bytes: int = MAX_BYTES
) -> Iterator[StructureEntry]:
    """All entries of all files, in order; a folder stands for the files in it, see `structure_paths`.

    Args:
        max_atoms: of one cell; larger ones are refused before any symmetry is worked out.
        max_bytes: of one file, unpacked.
    """
    for path in paths:
        for file in structure_paths(Path(path)):
            try:
                text = read_text(file, max_bytes)
                format_ = structure_format(file, text)
            except StructureError as error:
                yield StructureEntry(str(file), "", None, error.code, str(error))
                continue
            yield from read_structure_text(text, format_, str(file), max_atoms)


def structure_paths(path: Path) -> list[Path]:
    """The file itself, or the files in a folder and its subfolders that are named as structures, sorted.

    CSV tables are read where they are named, not where they lie in a folder: most hold something else.
    """
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if _format_by_name(file) not in ("", "csv") and file.is_file())


def read_structure_text(
    text: str, format_: str, file: str = "", max_atoms: int = MAX_ATOMS
) -> Iterator[StructureEntry]:
    """All entries of a text.

    Args:
        format_: cif, poscar, extxyz, json or csv.
    """
    try:
        for block, read in _READERS[format_](text):
            yield _entry(file, block, read, max_atoms)
    except StructureError as error:
        yield StructureEntry(file, "", None, error.code, str(error))


def _entry(file: str, block: str, read: Callable[[int, list[str]], Any], max_atoms: int) -> StructureEntry:
    notes: list[str] = []
    try:
        structure = read(max_atoms, notes)
    except StructureError as error:
        return StructureEntry(file, block, None, error.code, str(error), tuple(notes))
    return StructureEntry(file, block, structure, notes=tuple(notes))


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A text file, unpacked and decoded.

    Raises:
        StructureError: unreadable, file_too_large, empty_file or not_text.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StructureError(Reason.UNREADABLE, f"cannot read {path}: {reason}") from None
    if len(data) > max_bytes:
        message = f"expected at most {max_bytes / 1e6:g} MB, got a longer file; split it"
        raise StructureError(Reason.FILE_TOO_LARGE, message)
    return decode(data)


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


def structure_format(path: Path, text: str) -> str:
    """The format by the file's name, else by what it holds.

    Raises:
        StructureError: unknown_format.
    """
    named = _format_by_name(path)
    if named:
        return named
    start = text.lstrip()[:4096]
    if start.startswith(("{", "[")):
        return "json"
    if "data_" in start.lower() and "_" in start:
        return "cif"
    lines = start.splitlines()
    if lines[0].strip().isdigit():
        return "extxyz"
    message = "expected .cif, .vasp, POSCAR, .xyz, .extxyz, .json or .csv (also with .gz), got another name"
    raise StructureError(Reason.UNKNOWN_FORMAT, f"{message}: {path.name}")


def _format_by_name(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    if name.upper().startswith(("POSCAR", "CONTCAR")):
        return "poscar"
    return _BY_SUFFIX.get(Path(name).suffix.lower(), "")
