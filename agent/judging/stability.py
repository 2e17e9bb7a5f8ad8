"""How far crystals lie above a hull, on both tracks of a relaxation, and what the figure was measured by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.agent.errors import JudgingError
from oreflow.agent.judging.inputs import Sample
from oreflow.envs.arrays import Bools, Floats
from oreflow.envs.objects.formulas import parse_formulas
from oreflow.rewards.reference.alignment import Alignment, read_aligned
from oreflow.rewards.reference.convex_hull import CompetingPhases
from oreflow.rewards.reference.known_phases import Reference


@dataclass(frozen=True)
class Hull:
    """A hull that energies above it are recomputed with.

    Attributes:
        reference: the phases.
        phases: the same, as the hull is taken of them.
        alignment: how they were put on one scale; None where they were taken as they are.
        same_formula: whether phases of a crystal's own formula count.
    """

    reference: Reference
    phases: CompetingPhases
    alignment: Alignment | None
    same_formula: str

    @property
    def name(self) -> str:
        """Which phases, how many, how well aligned."""
        n = f"{len(self.reference)} phases"
        if self.alignment is None:
            return f"{self.reference.path.name} ({n}, not aligned)"
        a = self.alignment
        return (
            f"{a.names[0]} aligned to {a.names[1]} ({n}, alignment residual {a.residual_mean:.3f} eV/atom in the mean, "
            f"{a.residual_median:.3f} in the median)"
        )


def read_hull(path: Path, aligned_by: Path | None, max_residual: float, same_formula: str) -> Hull:
    """Read the phases of a hull, aligned to another reference where one is given.

    Raises:
        TableError, ReferenceTableError: when a reference cannot be read, or the two cannot be aligned.
    """
    reference, alignment = read_aligned(path, aligned_by, max_residual=max_residual, of_crystals=True)
    return Hull(reference, CompetingPhases(reference), alignment, same_formula)


@dataclass(frozen=True)
class Track:
    """One relaxation of all rows: "held" in the symmetry it began with, or "free" after a rattle.

    Attributes:
        name: "held" or "free".
        above_hull: float64 [row], eV/atom; NaN where unknown, and where the relaxation did not converge.
        space_group: float64 [row], within 0.1 angstrom; NaN where unknown.
        space_group_tight: float64 [row], within 0.01 angstrom; NaN where unknown.
    """

    name: str
    above_hull: Floats
    space_group: Floats
    space_group_tight: Floats


def tracks(sample: Sample, hull: Hull | None) -> list[Track]:
    """The tracks that the table has energies above a hull of; none where it has none.

    A relaxation that did not converge has no energy that could be compared: it counts as not stable.

    Args:
        hull: recomputes the energies from the formation energies of the table; None takes the table's own.

    Raises:
        JudgingError: when a hull is given and the table has no formation energies.
    """
    held = sample.numbers("formation_energy_ev_per_atom")
    free = sample.numbers("free_formation_energy_ev_per_atom")
    if hull is not None and not (np.isfinite(held).any() or np.isfinite(free).any()):
        raise JudgingError(
            f"{sample.path} has no formation energies, which a hull needs; relax the structures with a potential whose "
            "reference energies of the elements are known"
        )
    change = sample.numbers("free_energy_change_ev_per_atom")
    free = np.where(np.isfinite(free), free, held + change)
    held_above = sample.numbers("energy_above_hull_ev_per_atom")
    free_above = sample.numbers("free_energy_above_hull_ev_per_atom")
    if hull is None:
        free_above = np.where(np.isfinite(free_above), free_above, held_above + change)
    else:
        energies = _hull_energies(sample, hull)
        held_above, free_above = held - energies, free - energies
    held_above = np.where(_converged(sample, "status"), held_above, np.nan)
    free_above = np.where(_converged(sample, "free_status"), free_above, np.nan)
    group, tight = sample.numbers("space_group_number_after"), sample.numbers("space_group_number_after_tight")
    unknown = np.full(len(sample), np.nan)
    found = [
        Track("held", held_above, group, tight),
        Track("free", free_above, sample.numbers("free_space_group_number"), unknown),
    ]
    return [track for track in found if np.isfinite(track.above_hull).any()]


def _converged(sample: Sample, column: str) -> Bools:
    if column not in sample.frame.columns:
        return np.zeros(len(sample), dtype=np.bool_)
    flags: Any = sample.frame[column].astype(str) == "converged"
    return np.asarray(flags.to_numpy(), dtype=np.bool_)


def _hull_energies(sample: Sample, hull: Hull) -> Floats:
    energies = np.full(len(sample), np.nan)
    texts = sample.frame["formula_reduced"] if "formula_reduced" in sample.frame.columns else [""] * len(sample)
    batch, rows, _ = parse_formulas([str(text) for text in texts])
    if len(batch):
        energies[rows] = hull.phases.hull(batch, include_same_formula=hull.same_formula == "include").energies
    return energies
