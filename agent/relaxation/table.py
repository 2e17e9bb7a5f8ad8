"""The table of relaxed structures, their CIFs and the summary."""

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.relaxation.inputs import Candidate
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
from oreflow.rewards.potential.references import HELD_OUT_MAE_EV_PER_ATOM, MODEL_VERSION, shipped_references
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.known_phases import Reference

COLUMNS = (
    "candidate_id",
    "source",
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
    "free_energy_change_ev_per_atom",
    "free_space_group_number",
    "symmetry_kept",
    "symmetry_deviation_a",
    "relaxation_seconds",
    "cif",
)
"""Of `relaxed.csv`; `agent/README.md` says what each of them is."""
N_SHOWN = 10


def relaxed_table(
    candidates: Sequence[Candidate],
    records: Sequence[dict[str, Any] | None],
    model_version: str,
    reference: Reference | None = None,
    same_formula: str = "include",
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """One row a candidate that was not left out by an interruption, in order, and the relaxed structures by id.

    Args:
        reference: of which the convex hull is taken.
        same_formula: "include", or "exclude" entries of a row's own formula from the hull.
    """
    rows, structures = [], {}
    for candidate, record in zip(candidates, records):
        if record is None:
            continue
        row, structure = _row(candidate, record, model_version)
        rows.append(row)
        if structure is not None:
            structures[candidate.candidate_id] = structure
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    if reference is not None:
        _add_hull(frame, reference, same_formula)
    for column in ("converged", "symmetry_kept"):
        frame[column] = frame[column].astype("boolean")
    for column in ("nsites", "n_steps", "n_competing_compounds", *(c for c in COLUMNS if "space_group" in c)):
        frame[column] = frame[column].astype("Int64")
    return frame, structures


def write_cifs(structures: dict[str, Any], folder: Path) -> None:
    """Each relaxed structure as ID.cif, with the symmetry that it has within 0.1 angstrom, and made exactly so."""
    from pymatgen.io.cif import CifWriter

    folder.mkdir(parents=True, exist_ok=True)
    for name, structure in structures.items():
        with warnings.catch_warnings():  # of spglib's, about what will change in it
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                text = str(CifWriter(structure, symprec=KEPT_TOLERANCE_A))
            except (TypeError, ValueError):  # no symmetry found: all atoms as they are
                text = str(CifWriter(structure))
        write_text(folder / f"{name}.cif", text)


def summary(frame: pd.DataFrame, n_candidates: int, model_version: str) -> dict[str, Any]:
    """Counts and medians over the table's rows. Shares and medians are those of the converged ones."""
    done = frame[frame["status"] == "converged"]

    def median(column: str, absolute: bool = False) -> float | None:
        values = pd.to_numeric(done[column]).dropna().to_numpy(dtype=np.float64)
        return float(np.median(np.abs(values) if absolute else values)) if len(values) else None

    def share(flags: Any) -> float | None:
        return float(np.mean(flags)) if len(flags) else None

    # Nothing can be lost by others than symmetric ones, nor be told without a second relaxation that converged.
    twice = done["free_status"] == "converged"
    symmetric = ((done["space_group_number_before"] > 1) & twice).to_numpy(dtype=np.bool_)
    above = pd.to_numeric(done["energy_above_hull_ev_per_atom"]).dropna().to_numpy(dtype=np.float64)
    counts = Counter(frame["status"])
    failed = frame[frame["cif"].isna()]
    return {
        "n_candidates": n_candidates,
        "n_rows": len(frame),
        "n_without_structure": len(failed),
        "n_by_status": {status: counts[status] for status in sorted(counts)},
        "first_failures": failed[["candidate_id", "source", "status", "reason"]].head(N_SHOWN).to_dict("records"),
        "share_converged": share((frame["status"] == "converged").to_numpy()),
        "n_rattled_with_symmetry": int(symmetric.sum()),
        "share_symmetry_kept": share(done["symmetry_kept"][symmetric].to_numpy(dtype=np.bool_)),
        "symmetry_rule": (
            f"the operations that spglib finds in the input within {DESIGN_TOLERANCE_A:g} angstrom still hold within "
            f"{KEPT_TOLERANCE_A:g} angstrom after a rattle and a free relaxation"
        ),
        "median_free_energy_change_ev_per_atom": median("free_energy_change_ev_per_atom"),
        "median_steps": median("n_steps"),
        "median_energy_change_ev_per_atom": median("energy_change_ev_per_atom"),
        "median_absolute_volume_change": median("volume_change", absolute=True),
        "median_formation_energy_ev_per_atom": median("formation_energy_ev_per_atom"),
        "formation_energy_error_ev_per_atom": HELD_OUT_MAE_EV_PER_ATOM if model_version == MODEL_VERSION else None,
        "median_energy_above_hull_ev_per_atom": float(np.median(above)) if len(above) else None,
        "share_on_or_below_hull": share(above <= 0),
        "share_within_0.1_ev_per_atom_of_hull": share(above <= 0.1),
        "model": f"CHGNet {model_version}",
    }


def _row(candidate: Candidate, record: dict[str, Any], model_version: str) -> tuple[dict[str, Any], Any]:
    row: dict[str, Any] = {
        "candidate_id": candidate.candidate_id,
        "source": candidate.source,
        "status": record["status"],
        "reason": record["reason"],
        "converged": record["status"] == "converged",
        "relaxation_seconds": record.get("seconds"),
    }
    before = candidate.structure
    if before is None:
        return row, None
    vectors, fractional = before.lattice.matrix, before.frac_coords
    numbers = np.array([site.specie.Z for site in before])
    values, counts = np.unique(numbers, return_counts=True)
    composition = Compositions.from_dicts([dict(zip(values.tolist(), counts.tolist()))]).reduced()
    row |= {key: cells[0] for key, cells in formula_columns(composition).items() if key in COLUMNS}
    row["nsites"] = len(before)
    row["space_group_number_before"] = space_group_number(vectors, fractional, numbers, DESIGN_TOLERANCE_A)
    row["n_steps"] = record.get("n_steps")
    row["energy_before_ev_per_atom"] = record.get("energy_before_ev_per_atom")
    if record["status"] == "unphysical" or "vectors" not in record:
        return row, None

    from pymatgen.core import Lattice, Structure

    after_vectors, after = np.array(record["vectors"]), np.array(record["fractional"])
    structure = Structure(Lattice(after_vectors), before.species, after)
    energy = record["energy_ev_per_atom"]
    row |= {
        "energy_ev_per_atom": energy,
        "energy_change_ev_per_atom": energy - record["energy_before_ev_per_atom"],
        "max_force_ev_per_a": record["max_force_ev_per_a"],
        "volume_a3_per_atom": structure.volume / len(structure),
        "volume_change": structure.volume / before.volume - 1,
        "space_group_number_after": space_group_number(after_vectors, after, numbers, KEPT_TOLERANCE_A),
        "space_group_number_after_tight": space_group_number(after_vectors, after, numbers, DESIGN_TOLERANCE_A),
        "cif": f"cif/{candidate.candidate_id}.cif",
    }
    row |= _free_track(before, numbers, energy, record.get("free"))
    if model_version == MODEL_VERSION:
        try:
            row["formation_energy_ev_per_atom"] = shipped_references().formation_energy(structure, energy)
        except PotentialError as error:
            row["reason"] = "; ".join(filter(None, (row["reason"], str(error))))
    return row, structure


def _free_track(before: Any, numbers: Ints, energy: float, free: dict[str, Any] | None) -> dict[str, Any]:
    """What the relaxation after a rattle says of the design's symmetry; nothing where there was none, or it failed."""
    if free is None:
        return {}
    row: dict[str, Any] = {"free_status": free["status"]}
    if free["status"] == "unphysical" or "vectors" not in free:
        return row
    vectors, fractional = before.lattice.matrix, before.frac_coords
    free_vectors, free_fractional = np.array(free["vectors"]), np.array(free["fractional"])
    kept = operations(vectors, fractional, numbers)
    deviation = deviation_a(kept, vectors, fractional, free_vectors, free_fractional)
    return row | {
        "free_energy_change_ev_per_atom": free["energy_ev_per_atom"] - energy,
        "free_space_group_number": space_group_number(free_vectors, free_fractional, numbers, KEPT_TOLERANCE_A),
        "symmetry_kept": deviation <= KEPT_TOLERANCE_A,
        "symmetry_deviation_a": deviation,
    }


def _add_hull(frame: pd.DataFrame, reference: Reference, same_formula: str) -> None:
    """The energy that each formation energy lies above the reference's hull at its composition; negative below it."""
    from oreflow.envs.objects.formulas import parse_formulas

    energies = pd.to_numeric(frame["formation_energy_ev_per_atom"]).to_numpy(dtype=np.float64)
    rows = np.flatnonzero(np.isfinite(energies))
    if not len(rows):
        return
    batch, _, _ = parse_formulas([str(text) for text in frame["formula_reduced"].iloc[rows]])
    phases = CompetingPhases(reference)
    hull = phases.hull(batch, include_same_formula=same_formula == "include")
    columns = {
        "hull_energy_ev_per_atom": hull.energies,
        "energy_above_hull_ev_per_atom": energies[rows] - hull.energies,
        "decomposition": phases.decompositions(hull),
        "n_competing_compounds": hull.n_competing,
    }
    for name, values in columns.items():
        column: list[Any] = [None] * len(frame)
        for row, value in zip(rows.tolist(), values):
            column[row] = None if isinstance(value, float) and math.isnan(value) else value
        frame[name] = column
