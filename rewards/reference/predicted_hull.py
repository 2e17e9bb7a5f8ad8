"""The reference that ships: the hull of the shipped energy model's own predictions.

It needs no list of known compounds, and the model's systematic errors cancel between a candidate and what it competes
with. It is no list of known compounds: its phases are predictions, many of which nobody has made.
"""

import csv
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS, atomic_number
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.errors import ReferenceTableError
from oreflow.rewards.reference.known_phases import ENERGY_COLUMN, Reference, read_reference

PREDICTED = "predicted"
"""What the reference is called where a file could stand."""
FILE = "data/predicted_hull.npz"
SHIFTS_FILE = "data/predicted_hull_shifts.csv"
STEP_EV_PER_ATOM = 2e-4
"""What energies are rounded to in the file."""


@cache
def predicted_hull(of_crystals: bool = False) -> Reference:
    """Read the binaries and neutral ternaries on the hull of `rewards/data/predicted_hull.npz`.

    Args:
        of_crystals: puts the energies on the scale of the shipped crystal model, whose structures have other
            corrections, by one shift an element (`rewards/data/predicted_hull_shifts.csv`).
    """
    path = Path(str(files("oreflow.rewards").joinpath(FILE)))
    with np.load(path) as stored:
        compositions = Compositions(stored["atomic_numbers"], stored["counts"])
        energies = stored["steps"] * STEP_EV_PER_ATOM
    if of_crystals:
        energies = energies + _shifts(compositions)
    energies.setflags(write=False)
    digest = hashlib.sha256(path.read_bytes() + (b"of crystals" if of_crystals else b"")).hexdigest()
    n = len(energies)
    report = {"rows_read": n, "formulas": n, "rows_set_aside": 0}
    return Reference(Path(PREDICTED), digest, compositions, energies, (), report)


def _shifts(compositions: Compositions) -> Floats:
    """What the shifts of the elements add, float64 [batch], eV/atom."""
    by_element = np.zeros(N_ELEMENTS + 1)
    path = Path(str(files("oreflow.rewards").joinpath(SHIFTS_FILE)))
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            by_element[atomic_number(row["element"])] = float(row["shift_ev_per_atom"])
    shifts: Floats = (by_element[compositions.atomic_numbers] * compositions.counts).sum(axis=1)
    return shifts / compositions.n_atoms


def hull_reference(
    reference: str | Path | Sequence[str | Path],
    *,
    formula_column: str | None = None,
    energy_column: str = ENERGY_COLUMN,
    sha256: str | None = None,
    of_crystals: bool = False,
) -> Reference:
    """Read what a hull is made of: `predicted`, a file of known compounds, or several that are joined.

    Args:
        reference: of several the first that holds a formula gives its energy.
        formula_column, energy_column, sha256: of files, as `read_reference` takes them.
        of_crystals: as `predicted_hull` takes it.

    Raises:
        TableError, ReferenceTableError: as `read_reference` does.
    """
    if not isinstance(reference, str | Path):
        if not reference:
            raise ReferenceTableError(
                "expected a reference, got an empty list; give a file of known compounds, or predicted"
            )
        columns = {"formula_column": formula_column, "energy_column": energy_column}
        return joined([hull_reference(one, **columns, of_crystals=of_crystals) for one in reference])  # type: ignore[arg-type]
    if str(reference) == PREDICTED:
        return predicted_hull(of_crystals)
    return read_reference(reference, formula_column=formula_column, energy_column=energy_column, sha256=sha256)


def joined(references: Sequence[Reference]) -> Reference:
    """Join references; the first that holds a formula gives its energy."""
    taken: set[bytes] = set()
    batches, energies = [], []
    bad: list[str] = []
    for reference in references:
        keys = reference.compositions.key_bytes()
        new = np.array([key not in taken for key in keys], dtype=np.bool_)
        taken.update(keys)
        batches.append(reference.compositions[new])
        energies.append(reference.energies[new])
        bad += reference.bad_rows
    path = Path(" + ".join(str(reference.path) for reference in references))
    digest = hashlib.sha256("".join(reference.sha256 for reference in references).encode()).hexdigest()
    report = {
        "rows_read": sum(reference.report["rows_read"] for reference in references),
        "formulas": len(taken),
        "rows_set_aside": len(bad),
    }
    return Reference(path, digest, Compositions.concatenate(batches), np.concatenate(energies), tuple(bad), report)
