"""Arguments that terms on oxidation states share, checked in one place."""

import numpy as np

from oreflow.envs.arrays import Bools
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols
from oreflow.envs.chemistry.oxidation import OxidationTable, oxidation_states
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.errors import RewardParameterError


def expect_bool(name: str, value: object) -> bool:
    """The value; a config may hold `no`, which is text and would count as true.

    Raises:
        RewardParameterError: for anything but a bool.
    """
    if not isinstance(value, bool):
        raise RewardParameterError(f"expected {name} to be true or false, got {value!r}")
    return value


def independent_elements(mixed_valence: bool) -> Bools:
    """bool [119]: of which elements each atom chooses its own state; all of them or none."""
    return np.full(N_ELEMENTS + 1, mixed_valence)


def missing_states(batch: Compositions, rows: Bools, table: OxidationTable) -> dict[int, str]:
    """Reasons for the flagged rows: which elements have no oxidation state in the table."""
    known = oxidation_states(table)
    names = symbols()
    reasons = {}
    for row in np.flatnonzero(rows).tolist():
        missing = [names[z] for z in batch.atomic_numbers[row].tolist() if z and z not in known]
        if missing:
            reasons[row] = f"no oxidation state of {', '.join(missing)} in {table}"
    return reasons
