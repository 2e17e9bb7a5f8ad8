"""The summary of a table of relaxed structures."""

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from oreflow.agent.relaxation.symmetry import DESIGN_TOLERANCE_A, KEPT_TOLERANCE_A
from oreflow.rewards.potential.listing import listed

N_SHOWN = 10


def summary(frame: pd.DataFrame, n_candidates: int, potential: str) -> dict[str, Any]:
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
    above, free_above = (
        pd.to_numeric(done[column]).dropna().to_numpy(dtype=np.float64)
        for column in ("energy_above_hull_ev_per_atom", "free_energy_above_hull_ev_per_atom")
    )
    counts = Counter(frame["status"])
    failed = frame[frame["cif"].isna() & frame["free_cif"].isna()]
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
        "median_free_formation_energy_ev_per_atom": median("free_formation_energy_ev_per_atom"),
        "formation_energy_error_ev_per_atom": listed(potential).error_ev_per_atom,
        "median_energy_above_hull_ev_per_atom": float(np.median(above)) if len(above) else None,
        "share_on_or_below_hull": share(above <= 0),
        "share_within_0.1_ev_per_atom_of_hull": share(above <= 0.1),
        "median_free_energy_above_hull_ev_per_atom": float(np.median(free_above)) if len(free_above) else None,
        "share_free_on_or_below_hull": share(free_above <= 0),
        "share_free_within_0.1_ev_per_atom_of_hull": share(free_above <= 0.1),
        "potential": listed(potential).card.record(),
    }
