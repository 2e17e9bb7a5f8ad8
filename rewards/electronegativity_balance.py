"""Electronegativity balance: whether a neutral choice of oxidation states puts charge where Pauling would."""

from typing import Literal

import numpy as np

from envs.compositions import Compositions
from envs.elements import electronegativities, symbols
from envs.oxidation import DEFAULT_TABLE, oxidation_matrix
from rewards.charge_balance import missing_states
from rewards.errors import RewardParameterError
from rewards.protocol import TermValues


class ElectronegativityBalance:
    """Verdict: 1 when some neutral choice of oxidation states has every cation less electronegative than every anion.

    This is SMACT's rule (`pauling_test` on neutral combinations, threshold 0). 0 stands both for neutral formulas
    without an ordered choice and for formulas that cannot be neutral.

    Args:
        table: name of the oxidation-state table.
        mixed_valence: whether atoms of one element choose their states independently.

    Invalid where an element has no state in the table or no Pauling electronegativity.
    """

    name = "electronegativity_balance"
    unit = "verdict"
    version = "1"
    citations = ("Davies et al., Chem 1, 617 (2016), doi:10.1016/j.chempr.2016.09.010",)
    requires: Literal["composition", "structure"] = "composition"

    def __init__(self, table: str = DEFAULT_TABLE, mixed_valence: bool = False) -> None:
        if not isinstance(mixed_valence, bool):
            raise RewardParameterError(f"expected mixed_valence to be true or false, got {mixed_valence!r}")
        self.table = table
        self.mixed_valence = mixed_valence
        self._states = oxidation_matrix(table)

    def __call__(self, batch: Compositions) -> TermValues:
        """Verdict of each reduced formula, 0.0 or 1.0."""
        from rewards.oxidation_balance import pauling_ordered

        chi = electronegativities()
        reduced = batch.reduced()
        limits = pauling_ordered(reduced.atomic_numbers, reduced.counts, *self._states, self.mixed_valence, chi)
        used = batch.atomic_numbers > 0
        no_state = (used & (self._states[1][batch.atomic_numbers] == 0)).any(axis=1)
        no_chi = (used & np.isnan(chi[batch.atomic_numbers])).any(axis=1)
        reasons = missing_states(batch, no_state, self.table)
        for row in np.flatnonzero(no_chi).tolist():
            names = [symbols()[z] for z in batch.atomic_numbers[row].tolist() if z and np.isnan(chi[z])]
            reasons.setdefault(row, f"no Pauling electronegativity of {', '.join(names)}")
        return TermValues((~np.isnan(limits)).astype(np.float64), ~(no_state | no_chi), reasons=reasons)
