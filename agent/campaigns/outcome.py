"""What became of the picks: which are stable, unique and novel, among all that the campaign has relaxed so far."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.campaigns.folder import RoundFolder
from oreflow.agent.judging.inputs import RELAXED_TABLE, Sample, read_sample
from oreflow.agent.judging.judge import Rule, judge
from oreflow.agent.judging.known_structures import KnownStructures
from oreflow.agent.judging.stability import Hull
from oreflow.agent.realisation.run import FAILED_FILE, TABLE_FILE
from oreflow.agent.tables.formulas import read_table

NO_GEOMETRY = "no_geometry"
VERDICTS = (
    "geometry",
    "status",
    "reason",
    "energy_ev_per_atom",
    "formation_energy_ev_per_atom",
    "energy_above_hull_ev_per_atom",
    "space_group_number_after",
    "is_stable",
    "is_unique",
    "duplicate_of",
    "is_novel",
    "known_as",
    "prototype_of",
    "is_hit",
    "cif",
)
"""Of an outcome, beside what a table of picks holds, the realised structure and what is learned."""


def judge_rounds(
    rounds: Sequence[RoundFolder], threshold: float, hull: Hull, known: KnownStructures | None
) -> pd.DataFrame:
    """Judge all that was relaxed as one sample; one row a decoration, with `decoration_id` and `VERDICTS`.

    A hit is stable, unique and, where there is a reference, novel, by the rule of `oreflow evaluate`. Energies are
    those of the free track where there is one.
    """
    parts = [(r, read_sample(r.relaxed)) for r in rounds if (r.relaxed / RELAXED_TABLE).is_file()]
    if not parts:
        return pd.DataFrame(columns=["decoration_id", *VERDICTS])
    for r, part in parts:
        part.frame["cif"] = [f"{r.path.name}/relaxed/{name}" if _said(name) else "" for name in part.frame["cif"]]
    last = parts[-1][1]
    frame = pd.concat([part.frame for _, part in parts], ignore_index=True)
    structures = [structure for _, part in parts for structure in part.structures]
    sample = Sample(rounds[0].path.parent, frame, structures, True, last.potential)
    has_energies = bool(np.isfinite(sample.numbers("formation_energy_ev_per_atom")).any())
    rule = Rule(known.path if known is not None else None, stable=threshold)
    verdicts = judge(sample, rule, hull if has_energies else None, known=known)
    rows = verdicts.decorations.rows
    chosen = frame.iloc[rows]
    ids = frame["decoration_id"].astype(str).to_numpy()[rows]
    track = verdicts.tracks[-1] if verdicts.tracks else None
    n = len(rows)
    above = np.full(n, np.nan) if track is None else track.above_hull
    stable = np.zeros(n, dtype=np.bool_) if track is None else verdicts.stable(track, threshold)
    new = verdicts.novelty
    return pd.DataFrame(
        {
            "decoration_id": ids,
            "geometry": chosen["candidate_id"].to_numpy(),
            "status": chosen["status"].to_numpy(),
            "reason": chosen["reason"].to_numpy(),
            "energy_ev_per_atom": chosen["energy_ev_per_atom"].to_numpy(),
            "formation_energy_ev_per_atom": chosen["formation_energy_ev_per_atom"].to_numpy(),
            "energy_above_hull_ev_per_atom": above,
            "space_group_number_after": pd.array(
                [None if track is None or np.isnan(g) else int(g) for g in (track.space_group if track else above)],
                dtype="Int64",
            ),
            "is_stable": stable,
            "is_unique": verdicts.is_unique,
            "duplicate_of": [ids[place] if place >= 0 else "" for place in verdicts.duplicate_of.tolist()],
            "is_novel": [None] * n if new is None else new.is_novel,
            "known_as": [""] * n if new is None else new.known_as,
            "prototype_of": [""] * n if new is None else new.prototype_of,
            "is_hit": stable & verdicts.is_unique & (np.ones(n, dtype=np.bool_) if new is None else new.is_novel),
            "cif": chosen["cif"].to_numpy(),
        }
    )


def outcome_of(picks: pd.DataFrame, folder: RoundFolder, verdicts: pd.DataFrame, failed_ev_per_atom: float) -> Any:
    """Picks of a round with what became of each, in their order.

    `learned_ev_per_atom` is what a calibration learns: the energy above the hull, and of what fell apart, did not
    converge or has no geometry `failed_ev_per_atom`, which higher energies are cut at, too.
    """
    realised = _table(folder.realised / TABLE_FILE)
    failed = _table(folder.realised / FAILED_FILE)
    frame = picks.merge(verdicts, how="left", left_on="candidate_id", right_on="decoration_id")
    frame = frame.drop(columns="decoration_id")
    structure_of = dict(zip(realised.get("candidate_id", []), realised.get("structure", [])))
    frame["realised_structure"] = [structure_of.get(name, "") for name in frame["geometry"]]
    reasons = dict(zip(failed.get("decoration_id", []), failed.get("reason", [])))
    without = frame["geometry"].isna()
    frame.loc[without, "status"] = NO_GEOMETRY
    frame.loc[without, "reason"] = [reasons.get(name, "") for name in frame.loc[without, "candidate_id"]]
    for column in ("is_stable", "is_hit", "is_unique"):
        frame[column] = frame[column].map(lambda flag: flag is True or flag == 1)
    above = frame["energy_above_hull_ev_per_atom"].to_numpy(dtype=np.float64)
    frame["learned_ev_per_atom"] = np.minimum(np.nan_to_num(above, nan=np.inf), failed_ev_per_atom)
    return frame


def _table(path: Path) -> pd.DataFrame:
    return read_table(path) if path.is_file() else pd.DataFrame()


def _said(cell: Any) -> bool:
    return isinstance(cell, str) and bool(cell)
