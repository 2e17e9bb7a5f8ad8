"""What is judged: the table of `oreflow relax`, or anybody's structures, one row an entry."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.errors import JudgingError
from oreflow.agent.tables.formulas import read_table
from oreflow.agent.tables.known_crystals import holds_crystals
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.envs.structure_io.reading.files import read_structure_files
from oreflow.rewards.reference.tables import is_json

RELAXED_TABLE, SUMMARY = "relaxed.csv", "summary.json"
_RELAXED = {"candidate_id", "status", "energy_ev_per_atom"}
_TABLES = (".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip", ".tsv", ".parquet")
_NUMBERS = (
    "energy_ev_per_atom",
    "free_energy_ev_per_atom",
    "formation_energy_ev_per_atom",
    "energy_above_hull_ev_per_atom",
    "space_group_number_after",
    "space_group_number_after_tight",
    "free_energy_change_ev_per_atom",
    "free_formation_energy_ev_per_atom",
    "free_energy_above_hull_ev_per_atom",
    "free_space_group_number",
    "n_times_sampled",
)


@dataclass(frozen=True)
class Sample:
    """Entries to judge.

    Attributes:
        path: where they were read.
        frame: one row an entry, with `candidate_id`, `status` and `reason`; of relaxed tables all their columns,
            numbers as float64, NaN where missing.
        structures: pymatgen `Structure` by row, None where there is none.
        is_relaxed: whether there are energies.
        potential: what relaxed them; "" where nothing did.
        hull: of which the table's own energies above a hull were taken; "" where nobody says.
    """

    path: Path
    frame: pd.DataFrame
    structures: Sequence[Any]
    is_relaxed: bool
    potential: str = ""
    hull: str = ""

    def __len__(self) -> int:
        return len(self.frame)

    def numbers(self, column: str) -> Floats:
        """float64 [row], NaN where the column is missing."""
        if column not in self.frame.columns:
            return np.full(len(self.frame), np.nan)
        return self.frame[column].to_numpy(dtype=np.float64)

    @property
    def energies(self) -> Floats:
        """float64 [row], eV/atom: of the end with symmetry held, else of the free one; inf where there is neither."""
        held, free = self.numbers("energy_ev_per_atom"), self.numbers("free_energy_ev_per_atom")
        return np.nan_to_num(np.where(np.isfinite(held), held, free), nan=np.inf)


def is_judged(path: Path) -> bool:
    """Whether a path is of relaxed crystals or of structure files; all else is a table of formulas.

    Raises:
        TableError: when it looks like a table and cannot be read.
    """
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    if path.name.lower().endswith(_TABLES):
        return set(read_table(path).columns) >= _RELAXED
    return holds_crystals(path) and not (is_json(path) and _has_formulas(path))


def _has_formulas(path: Path) -> bool:
    try:
        columns = read_table(path).columns
    except ValueError:
        return False
    return any("formula" in str(column) for column in columns)


def read_sample(path: Path) -> Sample:
    """Read a relaxed table (or the folder that holds one) with its CIFs, or structure files, folders and archives.

    Raises:
        JudgingError: when the table names a CIF that is not there, or there is no structure at all.
        TableError: when the table cannot be read.
    """
    if path.is_dir() and (path / RELAXED_TABLE).is_file():
        path = path / RELAXED_TABLE
    if path.is_file() and path.name.lower().endswith(_TABLES):
        return _relaxed(path)
    entries = list(read_structure_files([path]))
    if not any(entry.structure is not None for entry in entries):
        why = f"; {entries[0].file}: {entries[0].message}" if entries else ""
        raise JudgingError(f"expected structures in {path}, found none that can be read{why}")
    frame = pd.DataFrame(
        {
            "candidate_id": [entry.id or Path(entry.file).stem for entry in entries],
            "status": ["unreadable" if entry.structure is None else "given" for entry in entries],
            "reason": [entry.message for entry in entries],
        }
    )
    return Sample(path, frame, [entry.structure for entry in entries], False)


def _relaxed(path: Path) -> Sample:
    frame = read_table(path).reset_index(drop=True)
    lacking = sorted(_RELAXED - set(frame.columns))
    if lacking:
        raise JudgingError(
            f"{path}: expected the columns of a table of `oreflow relax`, found no {', '.join(lacking)}; relax the "
            "candidates first"
        )
    if not len(frame):
        raise JudgingError(f"{path} has no row; relax candidates first")
    for column in _NUMBERS:
        if column in frame.columns:
            frame[column] = pd.to_numeric(frame[column], errors="coerce").astype(np.float64)
    frame["status"], frame["reason"] = frame["status"].astype(str), _texts(frame, "reason")
    structures = []
    for held, free in zip(_texts(frame, "cif"), _texts(frame, "free_cif")):
        name = held or free
        file = path.parent / name
        if name and not file.is_file():
            raise JudgingError(f"{path} names {file}, which is not there; keep the folder cif/ beside the table")
        entry = next(iter(read_structure_files([file]))) if name else None
        structures.append(None if entry is None else entry.structure)
    potential, hull = _summary(path.with_name(SUMMARY))
    named = [name for name in _texts(frame, "potential") if name]
    return Sample(path, frame, structures, True, named[0] if named else potential, hull)


def _texts(frame: pd.DataFrame, column: str) -> list[str]:
    if column not in frame.columns:
        return [""] * len(frame)
    return ["" if cell is None or cell != cell else str(cell) for cell in frame[column].tolist()]


def _summary(path: Path) -> tuple[str, str]:
    """The potential and the hull as the summary beside the table has them."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        hull = data.get("hull") or {}
        potential, reference = _name_of_potential(data), hull.get("reference")
    except (OSError, ValueError, AttributeError):
        return "a potential not named", ""
    if not reference:
        return potential, ""
    n = hull.get("n_phases")
    phases = f"{n} phases" if n else "number of phases not recorded"
    return potential, f"{Path(str(reference)).name} as `oreflow relax` took it ({phases}, not aligned)"


def _name_of_potential(data: dict[str, Any]) -> str:
    """As `potential` has it, a record with name and version, or `model`, one word for both."""
    card = data.get("potential")
    if isinstance(card, dict) and card.get("name"):
        name, version = str(card["name"]), str(card.get("version") or "")
        return name if version in name else f"{name} {version}"
    return str(card or data.get("model") or "a potential not named")


@dataclass(frozen=True)
class Decorations:
    """Which row stands for each sampled decoration, and how often it was drawn.

    Attributes:
        rows: int64 [decoration], in the table's order.
        draws: int64 [decoration].
        ids: of each row, the decoration that it belongs to.
    """

    rows: Ints
    draws: Ints
    ids: list[str]


def decorations(sample: Sample) -> Decorations:
    """Let one row stand for each decoration: the one marked `is_best_geometry`, else the lowest in energy.

    Without a column `decoration_id` each row is a decoration. A decoration counts as often as `n_times_sampled` says,
    once where there is no such column.
    """
    frame = sample.frame
    own = [f"{name}#{row}" for row, name in enumerate(frame["candidate_id"].astype(str))]
    ids = [given or name for given, name in zip(_texts(frame, "decoration_id"), own)]
    best = np.array([text.lower() == "true" for text in _texts(frame, "is_best_geometry")])
    energy = sample.energies
    converged = (frame["status"] == "converged").to_numpy()
    chosen: dict[str, int] = {}
    drawn: dict[str, float] = {}
    times = np.nan_to_num(sample.numbers("n_times_sampled"), nan=1.0)
    for row, name in enumerate(ids):
        drawn[name] = max(drawn.get(name, 1.0), times[row])
        other = chosen.setdefault(name, row)
        if (not best[row], not converged[row], energy[row]) < (not best[other], not converged[other], energy[other]):
            chosen[name] = row
    rows = np.array(list(chosen.values()), dtype=np.int64)
    return Decorations(rows, np.array([drawn[name] for name in chosen], dtype=np.int64), ids)


def formula_keys(structures: Sequence[Any], formulas: Sequence[str]) -> list[tuple[tuple[int, int], ...]]:
    """Reduced formulas as sorted pairs of atomic number and count; () where neither structure nor formula says."""
    keys: list[tuple[tuple[int, int], ...]] = []
    for structure, formula in zip(structures, formulas):
        if structure is not None:
            values, counts = np.unique(np.asarray(structure.atomic_numbers), return_counts=True)
        else:
            batch, _, _ = parse_formulas([formula])
            if not len(batch):
                keys.append(())
                continue
            values, counts = batch.atomic_numbers[0], batch.counts[0]
            values, counts = values[values > 0], counts[values > 0]
        divisor = int(np.gcd.reduce(counts))
        keys.append(tuple((int(z), int(n) // divisor) for z, n in zip(values, counts)))
    return keys
