"""Electronegativity balance: whether a neutral choice of oxidation states puts charge where Pauling would."""

import numpy as np

from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.elements import ELECTRONEGATIVITY_SCALES, symbols
from oreflow.envs.chemistry.elements import electronegativities as electronegativities_of
from oreflow.envs.chemistry.oxidation import TableSpec, oxidation_matrix, resolve_table
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.suggestions import nearest
from oreflow.rewards.chemistry.oxidation_rules import expect_bool, independent_elements, missing_states
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError


class ElectronegativityBalance(Term):
    """Verdict: 1 when some neutral choice of oxidation states has every cation less electronegative than every anion.

    This is SMACT's rule (`pauling_test` on neutral combinations, threshold 0). 0 stands both for neutral formulas
    without an ordered choice and for formulas that cannot be neutral.

    Args:
        table: the oxidation-state table: a built-in name, a file, or a mapping such as {"Na": [1], "Cl": [-1]}.
        mixed_valence: False gives all atoms of an element one state; True lets each atom of the crystal choose
            its own, as `ChargeBalance` says.
        electronegativities: "pymatgen", or "smact", which differs for 16 elements and lacks Pm, Rn and all beyond No.

    Raises:
        UnknownOxidationTableError, OxidationTableError: as `oreflow.envs.chemistry.oxidation.resolve_table`.
        RewardParameterError: for another scale, and when mixed_valence is no bool.

    Invalid where an element has no state in the table or no Pauling electronegativity.
    """

    name = "electronegativity_balance"
    unit = "verdict"
    version = "1"
    citations = ("Davies et al., Chem 1, 617 (2016), doi:10.1016/j.chempr.2016.09.010",)

    def __init__(
        self, table: TableSpec = DEFAULT_TABLE, mixed_valence: bool = False, electronegativities: str = "pymatgen"
    ) -> None:
        if electronegativities not in ELECTRONEGATIVITY_SCALES:
            hint = nearest(str(electronegativities), ELECTRONEGATIVITY_SCALES)
            raise RewardParameterError(f"expected a scale of electronegativities, got {electronegativities!r}; {hint}")
        self.table = resolve_table(table)
        self.mixed_valence = expect_bool("mixed_valence", mixed_valence)
        self.version = "2" if self.mixed_valence else "1"
        self.electronegativities = electronegativities
        self._states = oxidation_matrix(self.table)

    def __call__(self, batch: Compositions) -> TermValues:
        """Verdict of each reduced formula, 0.0 or 1.0."""
        from oreflow.rewards.chemistry.oxidation_balance import pauling_ordered

        chi = electronegativities_of(self.electronegativities)
        reduced = batch.reduced()
        independent = independent_elements(self.mixed_valence)
        limits = pauling_ordered(
            reduced.atomic_numbers, reduced.counts, *self._states, independent, chi, self.mixed_valence
        )
        used = batch.atomic_numbers > 0
        no_state = (used & (self._states[1][batch.atomic_numbers] == 0)).any(axis=1)
        no_chi = (used & np.isnan(chi[batch.atomic_numbers])).any(axis=1)
        reasons = missing_states(batch, no_state, self.table)
        for row in np.flatnonzero(no_chi).tolist():
            names = [symbols()[z] for z in batch.atomic_numbers[row].tolist() if z and np.isnan(chi[z])]
            reasons.setdefault(row, f"no Pauling electronegativity of {', '.join(names)}")
        return TermValues((~np.isnan(limits)).astype(np.float64), ~(no_state | no_chi), reasons=reasons)
