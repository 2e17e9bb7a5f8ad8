"""Reading structure files of any format: every entry is a structure, or a reason code and a sentence.

Read are CIF, POSCAR and CONTCAR, extended XYZ, JSON (also one a line) and CSV tables of structures, each also packed by
gzip, bzip2 or xz, and ZIP archives of them; as UTF-8, UTF-16 or UTF-32 with a byte order mark, or Latin-1. Nothing in a
file is run or imported.
"""

import itertools
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import Any

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
from oreflow.envs.structure_io.reading.texts import DAMAGED, MAX_BYTES, decode, read_text, unpacked, unpacked_name

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
    except DAMAGED as error:
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
                        return decode(unpacked(file, PurePath(member), max_bytes))
                except DAMAGED as error:
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
    name = unpacked_name(PurePath(file))
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
    name = unpacked_name(path)
    if re.match(r"[SPB]?POSCAR|CONTCAR", name.upper()) or name.upper().endswith(("_POSCAR", "-POSCAR", "_CONTCAR")):
        return "poscar"  # phonopy writes SPOSCAR and PPOSCAR
    return _BY_SUFFIX.get(PurePath(name).suffix.lower(), "")
