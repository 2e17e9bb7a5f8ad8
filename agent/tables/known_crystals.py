"""Known crystals from files: references for novelty, and what training starts from."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from oreflow.agent.runtime.progress import Progress
from oreflow.agent.tables.formulas import read_reference, read_table
from oreflow.agent.tables.structures import crystals_of, ids_of
from oreflow.envs.arrays import Bools
from oreflow.envs.errors import TableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import protostructure_labels
from oreflow.envs.structure_io.encode import encode_structures, found_space_groups
from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures
from oreflow.envs.structure_io.reading.files import StructureEntry, read_structure_files
from oreflow.envs.structure_io.reading.texts import MAX_BYTES, read_text
from oreflow.rewards.reference.tables import is_json
from oreflow.rewards.terms.composition.novelty import KnownFormulas

_TABLES = (".csv", ".tsv", ".tab", ".txt", ".dat", ".parquet", ".json", ".jsonl", ".ndjson")
_CRYSTAL_KEYS = ('"lattice"', '"lattice_vectors"', '"lattice_mat"', '"positions"')
_BATCH = 500


def holds_crystals(path: str | Path) -> bool:
    """Whether a path is of structures (files, folders, tables with their columns) rather than of formulas.

    Raises:
        TableError: when it looks like a table and cannot be read.
    """
    path = Path(path)
    if path.is_dir() or not path.is_file():
        return path.is_dir() or not _is_table(path)
    if is_json(path):
        return any(key in read_text(path, MAX_BYTES) for key in _CRYSTAL_KEYS)  # entries with energies hold formulas
    if not _is_table(path):
        return True
    columns = set(read_table(path).columns)
    return "structure" in columns or {"lattice", "sites"} <= columns or "cif" in columns


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    for packed in (".gz", ".bz2", ".xz", ".zip"):
        name = name.removesuffix(packed)
    return name.endswith(_TABLES)


def read_known(
    path: str | Path, formula_column: str | None = None, quiet: bool = True
) -> tuple[Compositions | Crystals, list[str]]:
    """Read known compounds from a table of formulas or from structures.

    Args:
        path: a table, structure files or a folder of them.
        formula_column: its name in a table; by default one of the usual ones.
        quiet: whether nothing is shown while many structures are read.

    Returns:
        known: reduced formulas, or crystals.
        bad_rows: a line for each row that cannot be read.

    Raises:
        TableError: when nothing can be read.
    """
    if not holds_crystals(path):
        return read_reference(path, formula_column)
    known, _, bad = read_crystals(path, quiet)
    return known, bad


class KnownCrystals(NamedTuple):
    """Crystals of a file, a folder or a table.

    Attributes:
        labels: the file, block, row or id that each comes from.
        bad_rows: a line for each entry that is no crystal.
    """

    crystals: Crystals
    labels: list[str]
    bad_rows: list[str]


def read_crystals(path: str | Path, quiet: bool = True) -> KnownCrystals:
    """The crystals of structure files, of a folder of them, or of a table.

    Args:
        path: where they are.
        quiet: whether nothing is shown while they are read.

    Raises:
        TableError: when there is no crystal at all.
    """
    path = Path(path)
    if path.is_file() and _is_table(path) and not is_json(path):
        frame = read_table(path)
        if "structure" in frame.columns:
            crystals, rows, bad_rows = crystals_of(frame, str(path), decorations=True)
            return KnownCrystals(crystals, ids_of(frame.iloc[rows], crystals), bad_rows)
    parts: list[Crystals] = []
    labels: list[str] = []
    bad: list[str] = []
    with Progress(f"read {path.name}", None, quiet) as progress:
        for batch in _batches(path):
            readable = [entry for entry in batch if not entry.code]
            bad += [f"{_label(entry)}: {entry.message}" for entry in batch if entry.code]
            crystals, rows, errors = encode_structures([entry.structure for entry in readable])
            bad += [f"{_label(entry)}: {error}" for entry, error in zip(readable, errors) if error is not None]
            labels += [_label(readable[row]) for row in rows.tolist()]
            parts.append(crystals)
            progress.update(len(labels), skipped=len(bad))
    if not labels:
        raise TableError(f"{path}: expected crystal structures, found none" + (f"; {bad[0]}" if bad else ""))
    return KnownCrystals(Crystals.concatenate(parts), labels, bad)


def _batches(path: Path) -> Iterator[list[StructureEntry]]:
    entries = iter(read_structure_files([path]))
    while batch := list(itertools.islice(entries, _BATCH)):
        yield batch


def _label(entry: StructureEntry) -> str:
    return f"{entry.file} {entry.block}".strip()


def is_known_object(objects: Compositions | Crystals, reference: Compositions | Crystals) -> Bools:
    """bool [batch]: whether each object occurs in the reference.

    Crystals are compared with crystals by protostructure (space group, occupied positions, elements; lattice and
    coordinates apart), whatever the choice of origin and axes, and as well in the space group that they happen to
    have. Where either side is formulas, by reduced formula.
    """
    if isinstance(objects, Crystals) and isinstance(reference, Crystals):
        known = set(_labels_as_found(reference)) | set(protostructure_labels(reference))
        return np.array([label in known for label in _labels_as_found(objects)], dtype=np.bool_)
    return KnownFormulas(reference.formula_units()).contain(objects.formula_units())


def _labels_as_found(crystals: Crystals) -> list[str]:
    """Protostructures in the groups that the crystals have, which may be higher than those they are written in."""
    labels = protostructure_labels(crystals)
    full = np.flatnonzero(crystals.has_geometry)
    higher = full[found_space_groups(crystals[full]) != crystals.space_group[full]]
    if len(higher):
        encoded, rows, _ = encode_structures(pymatgen_structures(crystals[higher]))
        for row, label in zip(higher[rows].tolist(), protostructure_labels(encoded)):
            labels[row] = label
    return labels
