"""Which structures to relax: structure files, folders of them, or the candidate table of `oreflow sample`."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oreflow.agent.errors import TableError
from oreflow.agent.tables.candidate_rows import draws_of_rows
from oreflow.agent.tables.formulas import read_table
from oreflow.agent.tables.full_table import where_columns_are
from oreflow.envs.errors import OreflowError
from oreflow.envs.structure_io.reading.files import read_structure_files

if TYPE_CHECKING:
    import pandas as pd

STRUCTURE_COLUMN = "structure"
CARRIED_COLUMNS = ("decoration_id", "geometry_rank", "n_times_sampled")
"""Of a table, which go into the table of relaxed structures where they are present."""
_TABLES = (".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip", ".tsv", ".parquet")


@dataclass(frozen=True)
class Candidate:
    """A structure to relax, or the reason why there is none.

    Attributes:
        candidate_id: distinct among the candidates, and fit to be the name of a file.
        source: file, and block or row within it.
        structure: pymatgen `Structure`, or None.
        reason: a sentence where there is no structure, else "".
        carried: what the table says of it in `CARRIED_COLUMNS`, by column; empty without a table.
    """

    candidate_id: str
    source: str
    structure: Any
    reason: str = ""
    carried: dict[str, Any] = field(default_factory=dict)


def read_candidates(paths: Iterable[Path], n: int | None = None) -> list[Candidate]:
    """All candidates of files and folders, in order; what cannot be read is one too, with the reason.

    Args:
        n: at most so many, the first ones.

    Raises:
        TableError: when nothing could be read at all, or a table is damaged.
    """
    found: list[Candidate] = []
    names: set[str] = set()
    for name, source, structure, reason, carried in _entries(paths):
        if n is not None and len(found) == n:
            break
        unique = stem = re.sub(r"[^\w.+-]+", "_", name).strip("._") or "structure"
        number = 1
        while unique.lower() in names:  # as file systems without case would take them
            number += 1
            unique = f"{stem}-{number}"
        names.add(unique.lower())
        found.append(Candidate(unique, source, structure, reason, carried))
    if not any(candidate.structure is not None for candidate in found):
        why = f"; {found[0].source}: {found[0].reason}" if found else ""
        raise TableError(f"expected structures in {', '.join(map(str, paths))}, found none that can be read{why}")
    return found


def _entries(paths: Iterable[Path]) -> Iterator[tuple[str, str, Any, str, dict[str, Any]]]:
    for path in paths:
        if not path.exists():
            raise TableError(f"expected a structure file, a folder or a table, found none at {path}")
        table = _candidate_table(path)
        if table is not None:
            yield from _rows(path, table)
            continue
        for entry in read_structure_files([path]):
            source = f"{entry.file}#{entry.block}" if entry.block else entry.file
            yield entry.id or Path(entry.file).stem, source, entry.structure, entry.message, {}


def _candidate_table(path: Path) -> "pd.DataFrame | None":
    """The table when it is one with a column of crystals; None for all else, which the reader of files takes."""
    if not path.is_file() or not path.name.endswith(_TABLES):
        return None
    frame = draws_of_rows(read_table(path))
    if STRUCTURE_COLUMN in frame.columns:
        return frame
    if path.suffix == ".parquet" or not {"lattice", "sites"} <= set(frame.columns):
        raise TableError(
            f"{path} holds no structures: expected a column {STRUCTURE_COLUMN!r}, as `oreflow sample` writes it for "
            f"crystals, or lattice and sites; got the columns {', '.join(map(str, frame.columns))}"
            + where_columns_are(frame)
        )
    return None


def _rows(path: Path, frame: "pd.DataFrame") -> Iterator[tuple[str, str, Any, str, dict[str, Any]]]:
    from oreflow.envs.structure_io.crystal_text import crystal_from_text
    from oreflow.envs.structure_io.pymatgen_structures import pymatgen_structures

    ids = frame["candidate_id"] if "candidate_id" in frame.columns else [f"row_{row + 2}" for row in frame.index]
    columns = [column for column in CARRIED_COLUMNS if column in frame.columns]
    carried = [dict(zip(columns, values)) for values in zip(*(frame[column].tolist() for column in columns))]
    carried = carried or [{}] * len(frame)
    for row, name, text, more in zip(frame.index.tolist(), ids, frame[STRUCTURE_COLUMN], carried):
        source = f"{path}#{row + 2}"
        try:
            (structure,) = pymatgen_structures(crystal_from_text([str(text)]))
        except (OreflowError, ValueError, KeyError) as error:  # one row's text, whatever is wrong with it
            yield str(name), source, None, str(error), more
        else:
            yield str(name), source, structure, "", more
