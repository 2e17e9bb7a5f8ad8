"""The table of realised geometries, their CIFs, and what could not be realised."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.realisation.inputs import Row
from oreflow.agent.tables.structures import numbers_or_text
from oreflow.envs.chemistry.radii import covalent_radii
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.distances import contacts
from oreflow.envs.objects.formulas import formula_columns
from oreflow.envs.objects.labels import wyckoff_labels
from oreflow.envs.structure_io.crystal_text import crystal_from_text, crystal_to_text

OWN_COLUMNS = (
    "candidate_id",
    "decoration_id",
    "geometry_rank",
    "geometry",
    "nsites",
    "space_group_number",
    "wyckoff_label",
    "n_free_coordinates",
    "n_free_parameters",
    "contact_ratio",
    "volume_a3_per_atom",
    "pair_potential",
    "pair_energy_ev_per_atom",
    "ranking_energy_ev_per_atom",
    "n_trials",
    "n_distinct",
)
"""Of `realised.csv`, beside the formula's and those of the input; `agent/README.md` says what each of them is."""
FAILED_COLUMNS = ("decoration_id", "row", "reason")


def realised_table(
    rows: Sequence[Row], records: Sequence[dict[str, Any] | None]
) -> tuple[pd.DataFrame, Crystals | None]:
    """One row a geometry, in the order of the decorations and then of rank, and the crystals.

    Args:
        records: of each row, see `oreflow.agent.realisation.run`; None where an interruption came first.
    """
    lines: list[dict[str, Any]] = []
    texts: list[str] = []
    further: list[dict[str, Any]] = []
    for row, record in zip(rows, records):
        if record is None or record["reason"]:
            continue
        for rank, geometry in enumerate(record["geometries"], start=1):
            given = record["geometry"] == "given"
            lines.append(
                {
                    "candidate_id": row.decoration_id if given else f"{row.decoration_id}-{rank}",
                    "decoration_id": row.decoration_id,
                    "geometry_rank": rank,
                    "geometry": record["geometry"],
                    **{name: record.get(name) for name in ("n_free_coordinates", "n_free_parameters")},
                    **{name: record.get(name) for name in ("n_trials", "n_distinct")},
                    "pair_potential": geometry.get("potential"),
                    "pair_energy_ev_per_atom": geometry.get("pair_energy"),
                    "ranking_energy_ev_per_atom": geometry.get("energy"),
                }
            )
            texts.append(geometry["structure"])
            further.append(row.columns)
    if not texts:
        return pd.DataFrame(columns=[*OWN_COLUMNS, "structure"]), None
    crystals = crystal_from_text(texts)
    atoms = crystals.atoms()
    n_atoms = np.diff(atoms.offsets)
    measured = {
        **formula_columns(crystals.compositions.reduced()),
        "nsites": n_atoms,
        "space_group_number": crystals.space_group.astype(np.int64),
        "wyckoff_label": wyckoff_labels(crystals),
        "contact_ratio": contacts(atoms, covalent_radii())[1],
        "volume_a3_per_atom": atoms.volumes / n_atoms,
    }
    frame = pd.DataFrame(lines)
    for name, values in measured.items():
        frame[name] = values
    formula = [name for name in measured if name not in OWN_COLUMNS]
    frame = frame[[*OWN_COLUMNS[:4], *formula, *OWN_COLUMNS[4:]]]
    taken = {*frame.columns, "structure"}
    # A table is read as text; as text, numbers below 0 would be quoted again.
    others = pd.DataFrame([{k: v for k, v in columns.items() if k not in taken} for columns in further])
    others = pd.DataFrame({name: numbers_or_text(others[name]) for name in others.columns}, index=frame.index)
    for name in ("n_free_coordinates", "n_free_parameters", "n_trials", "n_distinct"):
        frame[name] = frame[name].astype("Int64")
    return pd.concat([frame, others], axis=1).assign(structure=crystal_to_text(crystals)), crystals


def failed_table(rows: Sequence[Row], records: Sequence[dict[str, Any] | None]) -> pd.DataFrame:
    """One row a decoration that has no geometry, with the reason; `row` counts from 2, as a spreadsheet does."""
    lines = [
        (row.decoration_id, row.number + 2, record["reason"])
        for row, record in zip(rows, records)
        if record is not None and record["reason"]
    ]
    return pd.DataFrame(lines, columns=list(FAILED_COLUMNS))


def summary(
    rows: Sequence[Row], records: Sequence[dict[str, Any] | None], frame: pd.DataFrame, failed: pd.DataFrame
) -> dict[str, Any]:
    """Counts over the decorations, and medians over the best geometry of each."""
    done = [record for record in records if record is not None]
    kinds = Counter("failed" if record["reason"] else record["geometry"] for record in done)
    best = frame[frame["geometry_rank"] == 1] if len(frame) else frame
    return {
        "n_decorations": len(rows),
        "n_done": len(done),
        "n_realised": kinds["realised"],
        "n_given": kinds["given"],
        "n_failed": kinds["failed"],
        "n_geometries": len(frame),
        "first_failures": failed.head(10).to_dict("records"),
        "median_contact_ratio": float(best["contact_ratio"].median()) if len(best) else None,
        "n_space_groups": int(best["space_group_number"].nunique()) if len(best) else 0,
    }
