"""Potentials of mean force of pairs of elements, from the distances at which known crystals have them.

Data: `rewards/data/pair_potentials.npz`, see `rewards/data/README.md` for its origin. Loaded once, on first use.
"""

import zlib
from functools import cache
from importlib.resources import files

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Ints

N_NUMBERS = 95  # atomic numbers below; of heavier elements hardly a crystal is known
SPACING_A, N_BINS = 0.05, 120
STEP = 0.06  # of the stored whole numbers
_WALL_PER_A = 40.0


def is_held_out(formula_reduced: str) -> bool:
    """Whether the fit of the table left this formula out, as `Compositions.formulas` spells it: one in ten, by CRC."""
    return zlib.crc32(formula_reduced.encode()) % 10 == 0


def pair_classes(electronegativity: Floats) -> Ints:
    """Class of each pair of elements, int64 [element, element], by difference and mean of electronegativities.

    Args:
        electronegativity: float64 [element]; NaN counts as 1.5.
    """
    chi = np.nan_to_num(electronegativity, nan=1.5)
    difference, mean = np.abs(chi[:, None] - chi), (chi[:, None] + chi) / 2
    classes = np.digitize(difference, [0.15, 0.4, 0.7, 1.0, 1.3, 1.6, 2.0, 2.4])
    return np.where(classes <= 1, classes + np.where(mean > 2.3, 20, np.where(mean < 1.5, 10, 0)), classes)


@cache
def _table() -> tuple[Floats, Ints]:
    with files("oreflow.rewards").joinpath("data/pair_potentials.npz").open("rb") as file, np.load(file) as stored:
        values, n = stored["steps"] * STEP, stored["n_structures"].astype(np.int64)
    values.setflags(write=False)
    return values, n


def is_known(numbers: Ints) -> Bools:
    """bool [element], whether the table has an element, that is any structure with it."""
    _, n = _table()
    numbers = np.asarray(numbers, dtype=np.int64)
    inside = numbers < N_NUMBERS
    own = np.where(inside, numbers, 0)
    return inside & (n[_place(own, own)] > 0)


def mean_force_potential(z1: int, z2: int, distances: Floats) -> Floats:
    """-ln of the pair distribution of two elements, in units of kT, float64 [distance].

    It falls to 0 between 4.5 and 6 angstrom, and rises linearly below the shortest distances known.

    Args:
        z1, z2: atomic numbers below 95.
        distances: float64 [distance], angstrom.
    """
    values, _ = _table()
    own = values[_place(min(z1, z2), max(z1, z2))]
    centres = (np.arange(N_BINS) + 0.5) * SPACING_A
    first = int(np.argmax(own < own.max() - 1.6))  # five times the least g that the table tells from nothing
    own = np.where(centres < centres[first], own[first] + _WALL_PER_A * (centres[first] - centres), own)
    out = np.interp(distances, centres, own)
    out = np.where(distances < centres[0], own[0] + _WALL_PER_A * (centres[0] - distances), out)
    taper = np.clip((distances - 4.5) / 1.5, 0.0, 1.0)
    return out * (1.0 - taper * taper * (3.0 - 2.0 * taper))


def _place(low: Ints | int, high: Ints | int) -> Ints | int:
    """Where a pair stands among the pairs of ascending numbers."""
    return low * N_NUMBERS - low * (low + 1) // 2 + high
