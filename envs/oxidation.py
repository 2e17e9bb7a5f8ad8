"""Named tables of oxidation states.

"Charge-neutral" means nothing without the table it was judged by, so every verdict of oreflow carries a table name.
Origins and licences: `data/README.md`.
"""

import csv
from functools import cache
from importlib.resources import files

import numpy as np

from envs.elements import N_ELEMENTS, atomic_number, nearest
from envs.errors import UnknownOxidationTableError

DEFAULT_TABLE = "pymatgen_common"
TABLES = {
    "pymatgen_common": "pymatgen Element.common_oxidation_states: the textbook states",
    "pymatgen_icsd": "pymatgen Element.icsd_oxidation_states: seen at least ten times in the ICSD",
    "pymatgen_all": "pymatgen Element.oxidation_states: every known state",
    "smact14": "SMACT's hand-compiled set of 2014",
    "smact_icsd24": "SMACT's ICSD 2024 set, states with more than five reports",
}
_LOWEST, _HIGHEST = -5, 9


@cache
def oxidation_states(table: str) -> dict[int, tuple[int, ...]]:
    """Oxidation states by atomic number; elements without a state in the table are absent.

    Raises:
        UnknownOxidationTableError: with the known names.
    """
    if table not in TABLES:
        hint = nearest(str(table), TABLES)
        raise UnknownOxidationTableError(f"expected the name of an oxidation-state table, got {table!r}; {hint}")
    path = files("envs").joinpath(f"data/oxidation_states_{table}.csv")
    with path.open(encoding="utf-8") as file:
        rows = {
            atomic_number(row["symbol"]): tuple(sorted(int(state) for state in row["oxidation_states"].split()))
            for row in csv.DictReader(file)
        }
    low, high = min(min(states) for states in rows.values()), max(max(states) for states in rows.values())
    if low < _LOWEST or high > _HIGHEST:
        raise ValueError(f"table {table!r} holds states from {low} to {high}, outside {_LOWEST} to {_HIGHEST}")
    return rows


@cache
def oxidation_matrix(table: str) -> tuple[np.ndarray, np.ndarray]:
    """The table as arrays for compiled code.

    Returns:
        states: int64 [119, s], row z holds the states of element z, ascending, padded with 0.
        n_states: int64 [119], how many entries of the row count.
    """
    by_z = oxidation_states(table)
    states = np.zeros((N_ELEMENTS + 1, max(map(len, by_z.values()))), dtype=np.int64)
    n_states = np.zeros(N_ELEMENTS + 1, dtype=np.int64)
    for z, values in by_z.items():
        states[z, : len(values)] = values
        n_states[z] = len(values)
    states.setflags(write=False)
    n_states.setflags(write=False)
    return states, n_states
