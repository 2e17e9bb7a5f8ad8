"""Known crystals from files: references for novelty, and what training starts from."""

from pathlib import Path

import numpy as np

from agent.structure_tables import crystals_of
from agent.tables import read_table
from envs.compositions import Compositions
from envs.crystals import Crystals
from envs.encode_structure import encode_structures
from envs.errors import TableError
from envs.structure_files import read_structure_files
from envs.structures import protostructure_labels
from rewards.novelty import KnownFormulas

_TABLES = (".csv", ".csv.gz", ".parquet")
_BATCH = 500


def holds_crystals(path: str | Path) -> bool:
    """Whether a path is of structures (files, folders, tables with their columns) rather than of formulas.

    Raises:
        TableError: when it looks like a table and cannot be read.
    """
    path = Path(path)
    if path.is_dir() or not path.name.lower().endswith(_TABLES):
        return not path.name.lower().endswith((".json", ".json.gz"))  # entries with energies, which hold formulas
    columns = set(read_table(path).columns)
    return "structure" in columns or {"lattice", "sites"} <= columns


def read_crystals(path: str | Path) -> tuple[Crystals, list[str]]:
    """The crystals of structure files, of a folder of them, or of a table; and a line for each entry that is none.

    Raises:
        TableError: when there is no crystal at all.
    """
    path = Path(path)
    if path.is_file() and path.name.lower().endswith(_TABLES):
        frame = read_table(path)
        if "structure" in frame.columns:
            return crystals_of(frame, str(path))[0], []
    parts: list[Crystals] = []
    bad: list[str] = []
    structures: list[object] = []

    def encode() -> None:
        crystals, _, errors = encode_structures(structures)
        bad.extend(f"{error}" for error in errors if error is not None)
        parts.append(crystals)
        structures.clear()

    for entry in read_structure_files([path]):
        if entry.code:
            bad.append(f"{entry.file} {entry.block}: {entry.message}".replace(" : ", ": "))
        else:
            structures.append(entry.structure)
        if len(structures) == _BATCH:
            encode()
    if structures:
        encode()
    if not sum(map(len, parts)):
        raise TableError(f"{path}: expected crystal structures, found none" + (f"; {bad[0]}" if bad else ""))
    return Crystals.concatenate(parts), bad


def is_known_object(objects: Compositions | Crystals, reference: Compositions | Crystals) -> np.ndarray:
    """bool [batch]: whether each object occurs in the reference.

    Crystals are compared with crystals by protostructure (space group, occupied positions, elements; lattice and
    coordinates apart), whatever the choice of origin and axes. Where either side is formulas, by reduced formula.
    """
    if isinstance(objects, Crystals) and isinstance(reference, Crystals):
        known = set(protostructure_labels(reference))
        return np.array([label in known for label in protostructure_labels(objects)], dtype=np.bool_)
    formulas, known_formulas = (
        batch.compositions.reduced() if isinstance(batch, Crystals) else batch for batch in (objects, reference)
    )
    return KnownFormulas(known_formulas).contain(formulas)
