"""Reading structure files of any format: every entry is a structure, or a reason code and a sentence.

Read are CIF, POSCAR and CONTCAR, extended XYZ, JSON (also one a line) and CSV tables of structures, each also packed by
gzip, bzip2 or xz, and ZIP archives of them; as UTF-8, UTF-16 or UTF-32 with a byte order mark, or Latin-1. Nothing in a
file is run or imported.
"""

import bz2
import codecs
import gzip
import itertools
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import IO, Any

from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import MAX_ATOMS, Reason
from oreflow.envs.structure_io.reading.formats import (
    Entries,
    cif_entries,
    csv_entries,
    extxyz_entries,
    poscar_entries,
)
from oreflow.envs.structure_io.reading.json_structures import json_entries

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
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
}
_PACKED: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError)

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
        id: what the structure is called: the id that the file gives it, else the file's name, with the block where the
            file holds several.
    """

    file: str
    block: str
    structure: Any
    code: str = ""
    message: str = ""
    notes: tuple[str, ...] = ()
    id: str = ""


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
            if file.suffix.lower() == ".zip":
                yield from _read_zip(file, max_atoms, max_bytes)
            else:
                yield from _read_file(str(file), file, partial(read_text, file, max_bytes), max_atoms)


def _read_file(name: str, path: PurePath, read: Callable[[], str], max_atoms: int) -> Iterator[StructureEntry]:
    try:
        text = read()
        format_ = structure_format(path, text)
    except StructureError as error:
        yield StructureEntry(name, "", None, error.code, str(error))
        return
    yield from read_structure_text(text, format_, name, max_atoms)


def _read_zip(path: Path, max_atoms: int, max_bytes: int) -> Iterator[StructureEntry]:
    """The files in an archive that are named as structures, sorted."""
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGED as error:
        yield StructureEntry(str(path), "", None, Reason.UNREADABLE, f"cannot read {path}: {error}")
        return
    with archive:
        members = sorted(
            m.filename for m in archive.infolist() if not m.is_dir() and _is_structure(PurePath(m.filename))
        )
        if not members:
            message = "expected structure files in the archive, found none"
            yield StructureEntry(str(path), "", None, Reason.NO_STRUCTURE, message)
        for member in members:

            def read(member: str = member) -> str:
                name = f"{path}/{member}"
                try:
                    with archive.open(member) as file:
                        return decode(_unpacked(file, PurePath(member), max_bytes))
                except _DAMAGED as error:
                    raise StructureError(Reason.UNREADABLE, f"cannot read {name}: {error}") from None

            yield from _read_file(f"{path}/{member}", PurePath(member), read, max_atoms)


def structure_paths(path: Path) -> list[Path]:
    """The file itself, or the files in a folder and its subfolders that are named as structures, sorted.

    CSV tables are read where they are named, not where they lie in a folder: most hold something else. Hidden files and
    folders, such as checkpoints of notebooks, are passed over.
    """
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if _is_structure(file.relative_to(path), True) and file.is_file())


def _is_structure(path: PurePath, or_archive: bool = False) -> bool:
    """Whether a file in a folder or an archive is named as a structure, or as an archive of them, and not hidden."""
    if any(part.startswith(".") or part == "__MACOSX" for part in path.parts):
        return False
    if or_archive and path.suffix.lower() == ".zip":
        return not PurePath(path.stem).suffix
    return _format_by_name(path) not in ("", "csv")


def read_structure_text(
    text: str, format_: str, file: str = "", max_atoms: int = MAX_ATOMS
) -> Iterator[StructureEntry]:
    """All entries of a text.

    Args:
        format_: cif, poscar, extxyz, json or csv.
    """
    try:
        entries = iter(_READERS[format_](text))
        first = next(entries, None)
        second = next(entries, None) if first else None
        for block, read in itertools.chain(filter(None, (first, second)), entries):
            yield _entry(file, block, read, max_atoms, _id(file, format_, block, second is None))
    except StructureError as error:
        yield StructureEntry(file, "", None, error.code, str(error))


def _id(file: str, format_: str, block: str, alone: bool) -> str:
    if format_ in ("json", "csv", "extxyz") and not re.fullmatch(r"(?:row )?\d*", block):
        return block
    name = _unpacked_name(PurePath(file))
    stem = PurePath(name).stem if _BY_SUFFIX.get(PurePath(name).suffix.lower()) else name
    return stem if alone or not block else f"{stem}_{block.removeprefix('row ')}"


def _entry(
    file: str, block: str, read: Callable[[int, list[str]], Any], max_atoms: int, id_: str = ""
) -> StructureEntry:
    notes: list[str] = []
    try:
        structure = read(max_atoms, notes)
    except StructureError as error:
        return StructureEntry(file, block, None, error.code, str(error), tuple(notes), id_)
    return StructureEntry(file, block, structure, notes=tuple(notes), id=id_)


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """A text file, unpacked and decoded.

    Raises:
        StructureError: unreadable, file_too_large, empty_file or not_text.
    """
    try:
        with path.open("rb") as file:
            data = _unpacked(file, path, max_bytes)
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StructureError(Reason.UNREADABLE, f"cannot read {path}: {reason}") from None
    return decode(data)


def _unpacked(file: IO[bytes], path: PurePath, max_bytes: int) -> bytes:
    """The bytes of a file, unpacked as its suffix says.

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


def structure_format(path: PurePath, text: str) -> str:
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
    message = (
        "expected .cif, .vasp, POSCAR, .xyz, .extxyz, .json, .jsonl or .csv (also with .gz, .bz2, .xz, or in a .zip)"
    )
    raise StructureError(Reason.UNKNOWN_FORMAT, f"{message}, got another name: {path.name}")


def _format_by_name(path: PurePath) -> str:
    name = _unpacked_name(path)
    if re.match(r"[SPB]?POSCAR|CONTCAR", name.upper()) or name.upper().endswith(("_POSCAR", "-POSCAR", "_CONTCAR")):
        return "poscar"  # phonopy writes SPOSCAR and PPOSCAR
    return _BY_SUFFIX.get(PurePath(name).suffix.lower(), "")


def _unpacked_name(path: PurePath) -> str:
    return path.stem if path.suffix.lower() in _PACKED else path.name
