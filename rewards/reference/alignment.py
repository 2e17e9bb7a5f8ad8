"""Two references on one scale: one shift of energy for each element, fitted on the formulas that both hold.

Formation energies of two sources differ by the energies that they take for the elements, and by corrections that depend
on the element (anions, transition-metal oxides). Both are linear in the composition, so that E_b = E_a + sum of x_i s_i
with atomic fractions x_i and one shift s_i an element takes most of the difference away. Two sources may hold different
polymorphs of a formula: the loss is Huber's (Ann. Math. Stat. 35, 73, 1964), which outliers do not lead.
"""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.errors import ReferenceTableError, ReferenceTableWarning
from oreflow.rewards.reference.known_phases import Reference, read_reference
from oreflow.rewards.reference.predicted_hull import hull_reference

MAX_RESIDUAL_EV_PER_ATOM = 0.1
"""Mean held-out residual above which two references are taken for energies of different kinds."""
_WARNED_EV_PER_ATOM = 0.05
_LEAST_COMMON = 10
_N_FOLDS = 5
_N_ROUNDS = 20
_HUBER = 1.345  # of the scale: 95 % as efficient as least squares where errors are normal
_MAD_TO_STD = 1.4826
_LEAST_SCALE = 1e-3  # eV/atom; tables that agree to the last digit have no scale
_RIDGE = 1e-2  # (error of a formula / size of a shift)^2, as 0.02 and 0.2 eV/atom: few formulas shift little
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alignment:
    """Shifts that put the energies of one reference on the scale of another, and how well they do.

    Attributes:
        shifts: float64 [119], eV/atom by atomic number; 0 where no common formula holds the element.
        fitted: bool [119], whether a common formula holds the element.
        n_common: formulas of two or more elements in both references.
        median_before, mean_before: of the absolute differences of the common formulas, eV/atom.
        residual_median, residual_mean: of the absolute differences that are left, eV/atom, each formula judged by
            shifts that were fitted without it (five folds).
        names: of the files, the one that is shifted and the one that it is put on.
    """

    shifts: Floats
    fitted: Any
    n_common: int
    median_before: float
    mean_before: float
    residual_median: float
    residual_mean: float
    names: tuple[str, str]

    def shifted(self, compositions: Compositions, energies: Floats) -> Floats:
        """Energies on the other's scale, eV/atom; those of elements stay, as both scales have them at 0."""
        shifts = _fractions(compositions) @ self.shifts
        return energies + np.where(compositions.n_elements > 1, shifts, 0.0)

    @property
    def sentence(self) -> str:
        """What was done, and what difference is left."""
        return (
            f"{self.names[0]} aligned to {self.names[1]} by one shift an element: of {self.n_common} common formulas "
            f"the difference falls from {self.mean_before:.3f} (median {self.median_before:.3f}) to "
            f"{self.residual_mean:.3f} (median {self.residual_median:.3f}) eV/atom, held out"
        )

    def figures(self) -> dict[str, Any]:
        """Plain data for a summary."""
        return {
            "shifted": self.names[0],
            "onto": self.names[1],
            "n_common_formulas": self.n_common,
            "median_before_ev_per_atom": self.median_before,
            "mean_before_ev_per_atom": self.mean_before,
            "residual_median_ev_per_atom": self.residual_median,
            "residual_mean_ev_per_atom": self.residual_mean,
            "shifts_ev_per_atom": {symbols()[z]: float(self.shifts[z]) for z in np.flatnonzero(self.fitted).tolist()},
        }


def align(reference: Reference, onto: Reference) -> Alignment:
    """Fit the shifts that put one reference on the scale of another.

    Raises:
        ReferenceTableError: when they have fewer than ten formulas of several elements in common.
    """
    rows, others = _common(reference, onto)
    if len(rows) < _LEAST_COMMON:
        raise ReferenceTableError(
            f"expected at least {_LEAST_COMMON} compounds in both {reference.path} and {onto.path}, to align their "
            f"energies by, got {len(rows)}; take references with more formulas in common"
        )
    x = _fractions(reference.compositions[rows])
    difference = onto.energies[others] - reference.energies[rows]
    left = np.empty(len(rows))
    fold = np.arange(len(rows)) % _N_FOLDS
    for number in range(_N_FOLDS):
        out = fold == number
        left[out] = difference[out] - x[out] @ _huber(x[~out], difference[~out])
    before, after = np.abs(difference), np.abs(left)
    return Alignment(
        _huber(x, difference),
        (x > 0).any(axis=0),
        len(rows),
        float(np.median(before)),
        float(before.mean()),
        float(np.median(after)),
        float(after.mean()),
        (reference.path.name, onto.path.name),
    )


def aligned(
    reference: Reference, onto: Reference, max_residual: float = MAX_RESIDUAL_EV_PER_ATOM
) -> tuple[Reference, Alignment]:
    """Merge two references on the scale of the second; of a formula in both the lower energy counts.

    Args:
        max_residual: eV/atom, above which mean held-out residual the two are refused.

    Raises:
        ReferenceTableError: when they are of different kinds, or have too little in common.
    """
    alignment = align(reference, onto)
    if alignment.residual_mean > max_residual:
        raise ReferenceTableError(
            f"{alignment.sentence}; expected at most {max_residual:g}: their energies are of different kinds (another "
            "functional, another unit, another quantity). Take references of one kind, or raise the limit if you know "
            "better"
        )
    if alignment.residual_mean > min(_WARNED_EV_PER_ATOM, max_residual):
        warnings.warn(
            f"{alignment.sentence}; energies above their hull are no better than that",
            ReferenceTableWarning,
            stacklevel=2,
        )
    return _merged(reference, alignment.shifted(reference.compositions, reference.energies), onto), alignment


def read_aligned(
    path: str | Path | Sequence[str | Path],
    aligned_by: str | Path | None,
    *,
    max_residual: float = MAX_RESIDUAL_EV_PER_ATOM,
    **options: Any,
) -> tuple[Reference, Alignment | None]:
    """Read a reference, and merge it with another on that one's scale where one is given; the residual is logged.

    Args:
        path: the reference, as `hull_reference` takes it.
        aligned_by: a reference on the scale of the energies that will be compared with the hull; None leaves the first
            as it is.
        max_residual: as `aligned` takes it.
        options: of `hull_reference`, for the first.

    Raises:
        TableError, ReferenceTableError: as `read_reference` and `aligned` do.
    """
    reference = hull_reference(path, **options)
    reference.warn()
    if aligned_by is None:
        return reference, None
    onto = read_reference(aligned_by)
    onto.warn()
    merged, alignment = aligned(reference, onto, max_residual)
    _log.info("%s", alignment.sentence)
    return merged, alignment


def _common(reference: Reference, onto: Reference) -> tuple[Ints, Ints]:
    """Rows of the compounds that both hold, in the order of the first."""
    both = Compositions.concatenate([reference.compositions, onto.compositions])  # keys of one width
    keys, n_elements = both.key_bytes(), both.n_elements.tolist()
    first = len(reference)
    place = {key: row for row, key in enumerate(keys[first:])}
    pairs = [(row, place[key]) for row, key in enumerate(keys[:first]) if n_elements[row] > 1 and key in place]
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _fractions(compositions: Compositions) -> Floats:
    """float64 [batch, 119], share of the atoms by atomic number."""
    dense = np.zeros((len(compositions), N_ELEMENTS + 1))
    rows = np.arange(len(compositions))
    for slot in range(compositions.counts.shape[1]):
        dense[rows, compositions.atomic_numbers[:, slot]] += compositions.counts[:, slot]
    return dense / np.maximum(dense.sum(axis=1, keepdims=True), 1)


def _huber(x: Floats, y: Floats) -> Floats:
    """Huber's regression by iterated weights, with a slight pull to 0, so that no element is undetermined."""
    weights = np.ones(len(y))
    shifts = np.zeros(x.shape[1])
    for _ in range(_N_ROUNDS):
        weighted = x * weights[:, None]
        new = np.linalg.solve(weighted.T @ x + _RIDGE * np.eye(x.shape[1]), weighted.T @ y)
        done = np.abs(new - shifts).max() < 1e-6
        shifts = new
        if done:
            break
        residual = np.abs(y - x @ shifts)
        limit = _HUBER * max(_MAD_TO_STD * float(np.median(residual)), _LEAST_SCALE)
        weights = np.minimum(1.0, limit / np.maximum(residual, 1e-12))
    return shifts


def _merged(reference: Reference, energies: Floats, onto: Reference) -> Reference:
    compositions = Compositions.concatenate([onto.compositions, reference.compositions])
    both = np.concatenate([onto.energies, energies])
    best: dict[bytes, int] = {}
    for row, key in enumerate(compositions.key_bytes()):
        if key not in best or both[row] < both[best[key]]:
            best[key] = row
    rows = np.array([best[key] for key in sorted(best)], dtype=np.int64)
    digest = hashlib.sha256(f"{reference.sha256} aligned to {onto.sha256}".encode()).hexdigest()
    report = {key: reference.report[key] + onto.report[key] for key in reference.report} | {"formulas": len(rows)}
    return Reference(
        Path(f"{reference.path} aligned to {onto.path}"),
        digest,
        compositions[rows],
        both[rows],
        (*reference.bad_rows, *onto.bad_rows),
        report,
    )
