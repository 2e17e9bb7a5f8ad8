"""Structure files to tables of crystals, and tables back to structure files."""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oreflow.agent.storage.atomic_files import replacing, write_text
from oreflow.agent.storage.manifest import add_to_manifest, check_place
from oreflow.agent.tables.full_table import where_columns_are
from oreflow.envs.arrays import Ints
from oreflow.envs.errors import StructureError, TableError
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.formulas import formula_columns
from oreflow.envs.objects.labels import protostructure_labels, wyckoff_labels
from oreflow.envs.structure_io.crystal_text import crystal_from_text, crystal_to_text
from oreflow.envs.structure_io.encode import encode_structures
from oreflow.envs.structure_io.reading.files import StructureEntry, read_structure_files
from oreflow.envs.structure_io.writers import cif_text, poscar_text, write_extxyz

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("cif", "extxyz", "poscar")
ID_COLUMNS = ("candidate_id", "material_id", "structure_id", "id")
_BATCH = 200
_SUFFIX = {"cif": ".cif", "poscar": ".vasp"}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def encode_files(
    paths: Sequence[Path],
    symprec: float,
    max_atoms: int,
    seen: Callable[[int, int, int], None] = lambda files, read, refused: None,
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """A row for each structure of the files, and a row for each entry that is none.

    Args:
        paths: files, not folders.
        symprec: angstrom.
        max_atoms: of one cell as written; larger ones are refused.
        seen: is told the numbers of files begun, structures encoded and entries refused.

    Returns:
        structures: structure_id (the file's own id, else its name), file, block, the formula's columns, space group,
            labels, lattice, parameters, structure, notes.
        errors: file, block, code, message.
    """
    import pandas as pd  # training reads no tables: imported where one is made

    frames, errors = [], []
    n_encoded = 0
    for n_files, batch in _batches(paths, max_atoms):
        entries = [entry for entry in batch if not entry.code]
        errors += [(e.file, e.block, e.code, e.message) for e in batch if e.code]
        crystals, rows, failures = encode_structures([entry.structure for entry in entries], symprec)
        errors += [(e.file, e.block, f.code, str(f)) for e, f in zip(entries, failures) if f is not None]
        if len(crystals):
            frames.append(_frame([entries[row] for row in rows.tolist()], crystals))
            n_encoded += len(crystals)
        seen(n_files, n_encoded, len(errors))
    structures = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return structures, pd.DataFrame(errors, columns=["file", "block", "code", "message"])


def _batches(paths: Sequence[Path], max_atoms: int) -> Iterator[tuple[int, list[StructureEntry]]]:
    batch: list[StructureEntry] = []
    for n_files, path in enumerate(paths, start=1):
        for entry in read_structure_files([path], max_atoms):
            batch.append(entry)
            if len(batch) == _BATCH:
                yield n_files, batch
                batch = []
    yield len(paths), batch


def _frame(entries: Sequence[StructureEntry], crystals: Crystals) -> "pd.DataFrame":
    import pandas as pd

    bounds = crystals.site_offsets.tolist()
    sites = [crystals.parameters[start:end] for start, end in pairwise(bounds)]
    formulas = formula_columns(crystals.compositions)
    formulas["nsites"] = crystals.compositions.n_atoms.tolist()  # of the primitive cell, as Materials Project counts
    return pd.DataFrame(
        {
            "structure_id": [entry.id for entry in entries],
            "file": [entry.file for entry in entries],
            "block": [entry.block for entry in entries],
            **formulas,
            "space_group_number": crystals.space_group.astype(int),
            "wyckoff_label": wyckoff_labels(crystals),
            "protostructure": protostructure_labels(crystals),
            "lattice": [" ".join(repr(value) for value in row) for row in crystals.lattice.tolist()],
            "parameters": ["; ".join(" ".join(f"{p:.6g}" for p in row) for row in rows.tolist()) for rows in sites],
            "structure": crystal_to_text(crystals),
            "notes": ["; ".join(entry.notes) for entry in entries],
        }
    )


def crystals_of(frame: "pd.DataFrame", source: str, decorations: bool = False) -> tuple[Crystals, Ints, list[str]]:
    """The crystals in the column `structure`, the rows that hold one, and a line for each that holds something else.

    Args:
        decorations: whether crystals without lattice and coordinates count; otherwise they are passed over, as rows
            with nothing in the column are.

    Raises:
        TableError: without the column, and when no row is left.
    """
    if "structure" not in frame.columns:
        names = ", ".join(map(str, frame.columns))
        raise TableError(
            f"{source}: expected a column 'structure' as `oreflow encode` writes it; found {names}"
            + where_columns_are(frame)
        )
    texts = frame["structure"].fillna("").astype(str).tolist()
    given = [row for row, text in enumerate(texts) if text.strip()]
    parts, rows, bad_rows = [], [], []
    for row in given:
        try:
            crystal = crystal_from_text([texts[row]])
        except StructureError as error:
            bad_rows.append(f"{source}: row {int(frame.index[row]) + 2}: {error}")
            continue
        if decorations or crystal.has_geometry[0]:
            parts.append(crystal)
            rows.append(row)
    if not parts:
        what = "crystals" if decorations else "crystals with lattice and coordinates"
        first = f"; {bad_rows[0]}" if bad_rows else ""
        raise TableError(f"{source}: expected {what} in the column 'structure', found none{first}")
    return Crystals.concatenate(parts), np.array(rows, dtype=np.int64), bad_rows


def export(
    frame: "pd.DataFrame", source: str, out: Path, format_: str, n: int | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Writes the crystals of a table as files, CIF and POSCAR one each, extended XYZ all in one.

    Args:
        frame: with a column `structure`.
        source: what errors call the table.
        out: folder, made where it is missing.
        format_: of FORMATS.
        n: only so many rows; None for all.
        overwrite: whether files that an earlier call wrote there may be replaced.

    Returns:
        the numbers of files and crystals written, and of rows without a geometry; `bad_rows`, a line for each row
        that holds no crystal and was left out.

    Raises:
        TableError: when no row holds a crystal.
        PlaceError: when files of the names are there that are not to be replaced.
    """
    if format_ not in FORMATS:
        raise ValueError(f"expected a format of {', '.join(FORMATS)}, got {format_!r}")
    frame = frame if n is None else frame.head(n)
    crystals, rows, bad_rows = crystals_of(frame, source)
    chosen = frame.iloc[rows]
    ids = ids_of(chosen, crystals)
    names = [f"{name}{_SUFFIX[format_]}" for name in _file_names(ids)] if format_ != "extxyz" else ["structures.extxyz"]
    out.mkdir(parents=True, exist_ok=True)
    check_place(out, names, overwrite)
    add_to_manifest(out, names)
    if format_ == "extxyz":
        columns = {
            name: numbers_or_text(chosen[name]) for name in chosen.columns if name not in (*ID_COLUMNS, "structure")
        }
        with replacing(out / names[0]) as (temporary,):
            write_extxyz(temporary, crystals, ids, columns)
    else:
        texts = cif_text(crystals, ids) if format_ == "cif" else poscar_text(crystals, ids)
        for name, text in zip(names, texts):
            write_text(out / name, text)
    return {
        "n_files": len(names),
        "n_crystals": len(crystals),
        "n_without_geometry": len(frame) - len(rows) - len(bad_rows),
        "bad_rows": bad_rows,
    }


def ids_of(frame: "pd.DataFrame", crystals: Crystals) -> list[str]:
    """What the rows of a table are called: by a column of ids, else by row and formula."""
    for name in ID_COLUMNS:
        if name in frame.columns:
            return frame[name].astype(str).tolist()
    formulas = crystals.compositions.reduced().formulas()
    return [f"{place}_{formula}" for place, formula in zip(frame.index.tolist(), formulas)]


def _file_names(ids: Sequence[str]) -> list[str]:
    """Ids as names of files that stay in their folder, distinct also where case does not count."""
    names, used = [], set()
    for text in ids:
        stem = re.sub(r"[^\w.+-]+", "_", text).strip("._")[:100] or "crystal"
        name, count = stem, 1
        while name.lower() in used:
            count += 1
            name = f"{stem}_{count}"
        used.add(name.lower())
        names.append(name)
    return names


def numbers_or_text(column: "pd.Series") -> list[Any]:
    """List the values of a column; text as numbers where all of it is, empty cells as None."""
    values = [None if value is None or value != value or value == "" else value for value in column.tolist()]
    if all(value is None or (isinstance(value, str) and _NUMBER.fullmatch(value)) for value in values):
        return [
            None if value is None else float(value) if re.search(r"[.eE]", value) else int(value) for value in values
        ]
    return values
