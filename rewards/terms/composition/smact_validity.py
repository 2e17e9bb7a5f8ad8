"""SMACT's validity verdict, `smact.screening.smact_validity`, compiled and without the package."""

import numpy as np

from oreflow.envs.arrays import Bools, Floats
from oreflow.envs.chemistry.elements import electronegativities, symbols
from oreflow.envs.chemistry.oxidation import TableSpec, oxidation_matrix, resolve_table
from oreflow.envs.chemistry.smact_data import icsd24_table, smact_elements
from oreflow.envs.errors import OxidationTableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.chemistry.oxidation_rules import expect_bool, independent_elements
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError

_FILTER = {"consensus": 3, "include_zero": False, "commonality": "low"}  # SMACT's defaults


class SmactValidity(Term):
    """Verdict: 1 when `smact_validity` of SMACT 4.0.2 calls the formula valid, else 0.

    In this order, as SMACT decides: a pure element is valid; with `include_alloys` a formula of metals only is valid; a
    formula with an element that has no oxidation state in the table is not; any other is valid when some choice of
    oxidation states sums to zero and, with `use_pauling_test`, has every cation less electronegative than every anion
    on SMACT's scale. Under that test a formula with an element of unknown electronegativity is not valid.

    Args:
        table: the oxidation-state table, as `envs.chemistry.oxidation.resolve_table` takes it (SMACT's
            `oxidation_states_set`: its names stand under "smact14", "smact_icsd16", "smact_icsd24", "smact_pymatgen_sp"
            and "smact_wiki"). None: SMACT's filter of the ICSD of 2024, by the three parameters below.
        use_pauling_test: whether cations must be less electronegative than anions.
        include_alloys: whether formulas of metals only are valid.
        mixed_valence: False gives all atoms of an element one state. True also tries, as SMACT's option does, one state
            for each atom of 24 elements such as Fe and Mn (`charge_balance` does so for all elements).
        consensus, include_zero, commonality: the filter, as `envs.chemistry.smact_data.icsd24_table` takes them.
        max_combinations: SMACT gives up, with the verdict 0, on formulas with more combinations of states than this
            under `mixed_valence`; None answers them too.
        check_metallicity: not supported; SMACT's score is a heuristic of its own on top of the rules.

    Raises:
        RewardParameterError: for a value out of range, and for filter parameters beside a table.
        UnknownOxidationTableError, OxidationTableError: as `oreflow.envs.chemistry.oxidation.resolve_table`.

    Invalid are formulas with an element beyond lawrencium, on which SMACT raises.
    """

    name = "smact_validity"
    unit = "verdict"
    version = "smact-4.0.2"
    citations = (
        "Davies et al., Chem 1, 617 (2016), doi:10.1016/j.chempr.2016.09.010",
        "Davies et al., J. Open Source Softw. 4, 1361 (2019), doi:10.21105/joss.01361",
    )

    def __init__(
        self,
        table: TableSpec | None = None,
        use_pauling_test: bool = True,
        include_alloys: bool = True,
        mixed_valence: bool = False,
        consensus: int = 3,
        include_zero: bool = False,
        commonality: str | float = "low",
        max_combinations: int | None = 1_000_000,
        check_metallicity: bool = False,
    ) -> None:
        if expect_bool("check_metallicity", check_metallicity):
            raise RewardParameterError(
                "expected check_metallicity to be false, got true: SMACT's metallicity score is not supported; "
                "include_alloys takes formulas of metals as valid"
            )
        whole = isinstance(max_combinations, int) and not isinstance(max_combinations, bool)
        if max_combinations is not None and not (whole and max_combinations >= 1):
            raise RewardParameterError(
                f"expected max_combinations as a whole number from 1, or null for no limit, got {max_combinations!r}"
            )
        given: dict[str, object] = {"consensus": consensus, "include_zero": expect_bool("include_zero", include_zero)}
        given["commonality"] = commonality
        if table is None:
            try:
                self.table = icsd24_table(consensus, include_zero, commonality)
            except OxidationTableError as error:
                raise RewardParameterError(str(error)) from None
        elif given == _FILTER:
            self.table = resolve_table(table)
        else:
            names = ", ".join(name for name, value in given.items() if value != _FILTER[name])
            raise RewardParameterError(
                f"expected a table or a filter of SMACT's own, got table={str(table)!r} and {names}; leave out one"
            )
        self.use_pauling_test = expect_bool("use_pauling_test", use_pauling_test)
        self.include_alloys = expect_bool("include_alloys", include_alloys)
        self.mixed_valence = expect_bool("mixed_valence", mixed_valence)
        self.max_combinations = max_combinations
        self._states = oxidation_matrix(self.table)

    def __call__(self, batch: Compositions) -> TermValues:
        """Verdict of each formula, 0.0 or 1.0."""
        zs = batch.atomic_numbers
        verdict = batch.n_elements == 1
        if self.include_alloys:
            metal = smact_elements("is_metal").copy()
            metal[0] = True  # padding
            verdict |= metal[zs].all(axis=1)
        unknown = ((zs > 0) & ~smact_elements("covered")[zs]).any(axis=1) & ~verdict
        rest = np.flatnonzero(~verdict & ~unknown)
        if len(rest):
            verdict[rest] = self._balanced(batch[rest].reduced())
        names = symbols()
        reasons = {
            row: f"SMACT knows no element {', '.join(names[z] for z in zs[row].tolist() if z > 103)}"
            for row in np.flatnonzero(unknown).tolist()
        }
        for row in np.flatnonzero(batch.n_elements == 0).tolist():
            unknown[row], reasons[row] = True, "no element"
        return TermValues(verdict.astype(np.float64), ~unknown, reasons=reasons)

    def _balanced(self, reduced: Compositions) -> Bools:
        """bool [batch]: neutral, and Pauling-ordered if asked for."""
        good = self._try(reduced, independent_elements(False))
        if self.mixed_valence:
            mixed = smact_elements("is_mixed_valence")
            again = ~good & mixed[reduced.atomic_numbers].any(axis=1)
            if self.max_combinations is not None:
                again &= self._n_combinations(reduced, mixed) <= self.max_combinations
            rows = np.flatnonzero(again)
            if len(rows):
                good[rows] = self._try(reduced[rows], mixed)
        return good

    def _try(self, reduced: Compositions, independent: Bools) -> Bools:
        from oreflow.rewards.chemistry.oxidation_balance import pauling_ordered, residual_charge

        arguments = (reduced.atomic_numbers, reduced.counts, *self._states, independent)
        if self.use_pauling_test:
            return ~np.isnan(pauling_ordered(*arguments, electronegativities("smact")))
        return residual_charge(*arguments) == 0

    def _n_combinations(self, reduced: Compositions, mixed: Bools) -> Floats:
        """float64 [batch]: choices of states that SMACT would try, inf where beyond floating point."""
        zs = reduced.atomic_numbers
        n_states = np.where(zs > 0, self._states[1][zs], 1).astype(np.float64)
        with np.errstate(over="ignore"):
            return np.prod(n_states ** np.where(mixed[zs], reduced.counts, 1), axis=1)
