"""Covalent radii of the elements.

Data: `data/covalent_radii.csv`, see `data/README.md` for its origin. Loaded once, on first use.
"""

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import N_ELEMENTS


@cache
def covalent_radii() -> Floats:
    """Covalent radius by atomic number in angstrom, float64 [119]; NaN where none is known, which is from Bk on."""
    values = np.full(N_ELEMENTS + 1, np.nan)
    with files("oreflow.envs").joinpath("data/covalent_radii.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values[int(row["atomic_number"])] = float(row["covalent_radius_angstrom"])
    values.setflags(write=False)
    return values
