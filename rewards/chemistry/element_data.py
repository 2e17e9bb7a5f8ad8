"""Columns of the element tables as arrays, and averages over a composition."""

import csv
import math
from functools import cache
from importlib.resources import files

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import TermValues


@cache
def element_column(name: str) -> Floats:
    """Read a column of the table of elements, float64 [119] by atomic number; NaN where there is no value."""
    values = np.full(N_ELEMENTS + 1, np.nan)
    with files("oreflow.rewards").joinpath("data/element_penalties.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row[name]:
                values[int(row["atomic_number"])] = float(row[name])
    values.setflags(write=False)
    return values


def atomic_masses() -> Floats:
    """Standard atomic mass by atomic number in u, float64 [119]; NaN at 0."""
    return element_column("atomic_mass")


def mass_average(batch: Compositions, values: Floats) -> Floats:
    """Mean over the elements, weighted by mass fraction.

    Args:
        values: float64 [119] by atomic number.

    Returns:
        float64 [batch]; NaN where an element has no value, and for rows without elements.
    """
    reduced = batch.reduced()
    z = reduced.atomic_numbers
    masses = np.where(z > 0, element_column("atomic_mass")[z], 0.0) * reduced.counts
    total = masses.sum(axis=1)
    weighted = np.where(z > 0, masses * values[z], 0.0).sum(axis=1)
    return np.divide(weighted, total, out=np.full(len(batch), np.nan), where=total > 0)


def mass_weighted_term(batch: Compositions, values: Floats, what: str) -> TermValues:
    """Return mass averages as a term's values; a row without one is invalid, and the reason names its elements.

    Args:
        values: float64 [119] by atomic number; NaN where there is none.
        what: the quantity, for the reasons.
    """
    averages = mass_average(batch, values)
    valid = np.isfinite(averages)
    reasons = {}
    for row in np.flatnonzero(~valid).tolist():
        missing = [symbols()[z] for z in batch.atomic_numbers[row].tolist() if z and not math.isfinite(values[z])]
        reasons[row] = f"no {what} of {', '.join(missing)}" if missing else "a composition without elements"
    return TermValues(averages, valid, reasons=reasons)
