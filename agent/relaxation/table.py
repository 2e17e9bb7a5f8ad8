"""The table of relaxed structures, and their CIFs."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.relaxation.inputs import CARRIED_COLUMNS, Candidate
from oreflow.agent.relaxation.symmetry import (
    DESIGN_TOLERANCE_A,
    KEPT_TOLERANCE_A,
    deviation_a,
    operations,
    space_group_number,
)
from oreflow.agent.storage.atomic_files import write_text
from oreflow.envs.arrays import Ints
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import formula_columns
from oreflow.rewards.errors import PotentialError
from oreflow.rewards.potential.listing import listed
from oreflow.rewards.potential.references import shipped_references
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.known_phases import Reference

COLUMNS = (
    "candidate_id",
    "source",
    *CARRIED_COLUMNS,
    "is_best_geometry",
    "formula_pretty",
    "formula_reduced",
    "nsites",
    "status",
    "reason",
    "converged",
    "n_steps",
    "energy_before_ev_per_atom",
    "energy_ev_per_atom",
    "energy_change_ev_per_atom",
    "formation_energy_ev_per_atom",
    "hull_energy_ev_per_atom",
    "energy_above_hull_ev_per_atom",
    "decomposition",
    "n_competing_compounds",
    "max_force_ev_per_a",
    "volume_a3_per_atom",
    "volume_change",
    "space_group_number_before",
    "space_group_number_after",
    "space_group_number_after_tight",
    "free_status",
    "free_energy_ev_per_atom",
    "free_energy_change_ev_per_atom",
    "free_formation_energy_ev_per_atom",
    "free_energy_above_hull_ev_per_atom",
    "free_space_group_number",
    "symmetry_kept",
    "symmetry_deviation_a",
    "relaxation_seconds",
    "cif",
    "free_cif",
)
"""Of `relaxed.csv`; `agent/README.md` says what each of them is."""
CIF_FOLDER, FREE_CIF_FOLDER = "cif", "cif_free"


def relaxed_table(
    candidates: Sequence[Candidate],
    records: Sequence[dict[str, Any] | None],
    potential: str,
    reference: Reference | None = None,
    same_formula: str = "include",
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One row a candidate that was not left out by an interruption, in order, and relaxed structures by file name.

    Args:
        potential: its name.
        reference: of which the convex hull is taken.
        same_formula: "include", or "exclude" entries of a row's own formula from the hull.
    """
    rows, structures = [], dict[str, Any]()
    for candidate, record in zip(candidates, records):
        if record is None:
            continue
        row, ends = _row(candidate, record, potential)
        rows.append(row)
        structures |= {row[column]: structure for column, structure in ends.items()}
    known = {column for candidate in candidates for column in candidate.carried}
    columns = [column for column in COLUMNS if column not in CARRIED_COLUMNS or column in known]
    frame = pd.DataFrame(rows, columns=columns)
    frame["is_best_geometry"] = _best_geometries(frame)
    if reference is not None:
        _add_hull(frame, reference, same_formula)
    for column in ("converged", "symmetry_kept"):
        frame[column] = frame[column].astype("boolean")
    for column in ("geometry_rank", "n_times_sampled"):
        if column in frame.columns:  # read as text; whole numbers, unless somebody else wrote the table
            numbers = pd.to_numeric(frame[column], errors="coerce")
            if not ((numbers % 1 != 0) & frame[column].notna()).any():
                frame[column] = numbers.astype("Int64")
    for column in ("nsites", "n_steps", "n_competing_compounds", *(c for c in COLUMNS if "space_group" in c)):
        frame[column] = frame[column].astype("Int64")
    return frame, structures


def _best_geometries(frame: pd.DataFrame) -> list[bool]:
    """One row of each decoration: the lowest in energy, or the first where none was relaxed."""
    held, free = (pd.to_numeric(frame[column]) for column in ("energy_ev_per_atom", "free_energy_ev_per_atom"))
    energies = held.fillna(free).fillna(math.inf).to_numpy(dtype=np.float64)
    best: dict[Any, int] = {}
    ids = frame["decoration_id"].tolist() if "decoration_id" in frame.columns else [None] * len(frame)
    for row, name in enumerate(ids):
        key = ("row", row) if pd.isna(name) else name
        if key not in best or energies[row] < energies[best[key]]:
            best[key] = row
    chosen = set(best.values())
    return [row in chosen for row in range(len(frame))]


def write_cifs(structures: dict[str, Any], folder: Path) -> None:
    """Each relaxed structure under its name below a folder, with the symmetry it has within 0.1 angstrom made exact."""
    from pymatgen.io.cif import CifWriter

    for name, structure in structures.items():
        with warnings.catch_warnings():  # of spglib's, about what will change in it
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                text = str(CifWriter(structure, symprec=KEPT_TOLERANCE_A))
            except (TypeError, ValueError):  # no symmetry found: all atoms as they are
                text = str(CifWriter(structure))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_text(folder / name, text)


def _row(candidate: Candidate, record: dict[str, Any], potential: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row, and by the column that names its file each structure that came of it."""
    row: dict[str, Any] = candidate.carried | {
        "candidate_id": candidate.candidate_id,
        "source": candidate.source,
        "status": record["status"],
        "reason": record["reason"],
        "converged": record["status"] == "converged",
        "relaxation_seconds": record.get("seconds"),
    }
    before = candidate.structure
    if before is None:
        return row, {}
    vectors, fractional = before.lattice.matrix, before.frac_coords
    numbers = np.array([site.specie.Z for site in before])
    values, counts = np.unique(numbers, return_counts=True)
    composition = Compositions.from_dicts([dict(zip(values.tolist(), counts.tolist()))]).reduced()
    row |= {key: cells[0] for key, cells in formula_columns(composition).items() if key in COLUMNS}
    row["nsites"] = len(before)
    row["space_group_number_before"] = space_group_number(vectors, fractional, numbers, DESIGN_TOLERANCE_A)
    ends = {}
    for column, track, folder in (("cif", record, CIF_FOLDER), ("free_cif", record.get("free"), FREE_CIF_FOLDER)):
        structure = _end(before, track)
        if structure is not None:
            ends[column], row[column] = structure, f"{folder}/{candidate.candidate_id}.cif"
    row |= _held_track(before, numbers, record, ends.get("cif"))
    row |= _free_track(before, numbers, record, ends.get("free_cif"))
    for column, prefix in (("cif", ""), ("free_cif", "free_")):
        if column in ends and listed(potential).references is not None:
            try:
                row[f"{prefix}formation_energy_ev_per_atom"] = shipped_references(potential).formation_energy(
                    ends[column], row[f"{prefix}energy_ev_per_atom"]
                )
            except PotentialError as error:
                row["reason"] = row["reason"] or str(error)
    return row, ends


def _end(before: Any, track: dict[str, Any] | None) -> Any:
    """The structure at the end of a track; None where it has none that means something."""
    if track is None or track["status"] == "unphysical" or "vectors" not in track:
        return None
    from pymatgen.core import Lattice, Structure

    return Structure(Lattice(np.array(track["vectors"])), before.species, np.array(track["fractional"]))


def _held_track(before: Any, numbers: Ints, record: dict[str, Any], after: Any) -> dict[str, Any]:
    """What became of the structure with its symmetry held."""
    row = {
        "n_steps": record.get("n_steps"),
        "energy_before_ev_per_atom": record.get("energy_before_ev_per_atom"),
    }
    if after is None:
        return row
    ends = after.lattice.matrix, after.frac_coords, numbers
    return row | {
        "energy_ev_per_atom": record["energy_ev_per_atom"],
        "energy_change_ev_per_atom": record["energy_ev_per_atom"] - record["energy_before_ev_per_atom"],
        "max_force_ev_per_a": record["max_force_ev_per_a"],
        "volume_a3_per_atom": after.volume / len(after),
        "volume_change": after.volume / before.volume - 1,
        "space_group_number_after": space_group_number(*ends, KEPT_TOLERANCE_A),
        "space_group_number_after_tight": space_group_number(*ends, DESIGN_TOLERANCE_A),
    }


def _free_track(before: Any, numbers: Ints, record: dict[str, Any], after: Any) -> dict[str, Any]:
    """What the relaxation after a rattle says of the design's symmetry; nothing where there was none, or it failed."""
    free = record.get("free")
    if free is None:
        return {}
    row: dict[str, Any] = {"free_status": free["status"]}
    if after is None:
        return row
    kept = operations(before.lattice.matrix, before.frac_coords, numbers)
    vectors, fractional = after.lattice.matrix, after.frac_coords
    deviation = deviation_a(kept, before.lattice.matrix, before.frac_coords, vectors, fractional)
    if "energy_ev_per_atom" in record:
        row["free_energy_change_ev_per_atom"] = free["energy_ev_per_atom"] - record["energy_ev_per_atom"]
    return row | {
        "free_energy_ev_per_atom": free["energy_ev_per_atom"],
        "free_space_group_number": space_group_number(vectors, fractional, numbers, KEPT_TOLERANCE_A),
        "symmetry_kept": deviation <= KEPT_TOLERANCE_A,
        "symmetry_deviation_a": deviation,
    }


def _add_hull(frame: pd.DataFrame, reference: Reference, same_formula: str) -> None:
    """The energy that formation energies lie above the reference's hull at their composition; negative below it."""
    from oreflow.envs.objects.formulas import parse_formulas

    held, free = (
        pd.to_numeric(frame[column]).to_numpy(dtype=np.float64)
        for column in ("formation_energy_ev_per_atom", "free_formation_energy_ev_per_atom")
    )
    rows = np.flatnonzero(np.isfinite(held) | np.isfinite(free))
    if not len(rows):
        return
    batch, _, _ = parse_formulas([str(text) for text in frame["formula_reduced"].iloc[rows]])
    phases = CompetingPhases(reference)
    hull = phases.hull(batch, include_same_formula=same_formula == "include")
    columns = {
        "hull_energy_ev_per_atom": hull.energies,
        "energy_above_hull_ev_per_atom": held[rows] - hull.energies,
        "free_energy_above_hull_ev_per_atom": free[rows] - hull.energies,
        "decomposition": phases.decompositions(hull),
        "n_competing_compounds": hull.n_competing,
    }
    for name, values in columns.items():
        column: list[Any] = [None] * len(frame)
        for row, value in zip(rows.tolist(), values):
            column[row] = None if isinstance(value, float) and math.isnan(value) else value
        frame[name] = column
