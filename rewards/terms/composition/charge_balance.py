"""Charge balance: how far a composition is from neutrality, and the oxidation states that witness it."""

import math

import numpy as np

from oreflow.envs.chemistry.built_in_oxidation import DEFAULT_TABLE
from oreflow.envs.chemistry.elements import electronegativities, symbols
from oreflow.envs.chemistry.oxidation import (
    TableSpec,
    oxidation_matrix,
    oxidation_states,
    resolve_table,
)
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.chemistry.oxidation_rules import expect_bool, independent_elements, missing_states
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term


class ChargeBalance(Term):
    """Residual charge: the smallest |net charge| over all choices of oxidation states, in e; 0 means neutral.

    Args:
        table: the oxidation-state table: a built-in name, a file, or a mapping such as {"Na": [1], "Cl": [-1]}.
        mixed_valence: the switch between one state per element and one per atom. False gives all atoms of an element
            one state (SMACT's default meaning). True lets each atom of the crystal choose, and a crystal holds many
            formula units: Fe3O4 is one Fe2+ and two Fe3+, SbO2 half Sb3+ and half Sb5+. The mean state of an element is
            then any fraction between its lowest and its highest, and the residual that of the mean charge.

    Raises:
        UnknownOxidationTableError, OxidationTableError: as `oreflow.envs.chemistry.oxidation.resolve_table`.
        RewardParameterError: when mixed_valence is no bool.

    Invalid where an element has no state in the table. A pure element is judged by the table like any other formula:
    the tables list no state 0 for metals, so it has a residual charge.
    """

    name = "charge_balance"
    unit = "e"
    version = "1"
    citations = ("Davies et al., Chem 1, 617 (2016), doi:10.1016/j.chempr.2016.09.010",)

    def __init__(self, table: TableSpec = DEFAULT_TABLE, mixed_valence: bool = False) -> None:
        self.table = resolve_table(table)
        self.mixed_valence = expect_bool("mixed_valence", mixed_valence)
        self.version = "2" if self.mixed_valence else "1"
        self._states = oxidation_matrix(self.table)

    def __call__(self, batch: Compositions) -> TermValues:
        """Residual charge of each reduced formula."""
        from oreflow.rewards.chemistry.oxidation_balance import mixed_residual_charge, residual_charge

        reduced = batch.reduced()
        if self.mixed_valence:
            values = mixed_residual_charge(reduced.atomic_numbers, reduced.counts, *self._states)
        else:
            values = residual_charge(reduced.atomic_numbers, reduced.counts, *self._states, independent_elements(False))
        valid = np.isfinite(values)
        return TermValues(values, valid, reasons=missing_states(batch, ~valid, self.table))


def witnesses(batch: Compositions, table: TableSpec = DEFAULT_TABLE, mixed_valence: bool = False) -> list[str]:
    """Oxidation states that make each reduced formula neutral, as text such as "1 Fe2+; 2 Fe3+; 4 O2-".

    Elements stand in order of electronegativity. Pauling-ordered choices (every cation less electronegative than every
    anion) come first, then any neutral one; "" where there is none. With mixed valence the numbers of atoms are
    those of as many formula units as it takes: "1 Sb3+; 1 Sb5+; 4 O2-" of SbO2.
    """
    from oreflow.rewards.chemistry.oxidation_balance import pauling_ordered

    chi = electronegativities()
    known, place = chi.tolist(), np.nan_to_num(chi, nan=np.inf).tolist()
    reduced = batch.reduced()
    table = resolve_table(table)
    independent = independent_elements(mixed_valence)
    matrix = oxidation_matrix(table)
    limits = pauling_ordered(reduced.atomic_numbers, reduced.counts, *matrix, independent, chi, mixed_valence)
    by_z = oxidation_states(table)
    out = []
    for zs, counts, limit in zip(reduced.atomic_numbers.tolist(), reduced.counts.tolist(), limits.tolist()):
        pairs = [(z, n) for z, n in zip(zs, counts) if z]
        choices = []
        for z, _ in pairs:
            states = by_z.get(z, ())
            if not math.isnan(limit):
                states = tuple(s for s in states if (s >= 0 if known[z] <= limit else s <= 0))
            choices.append(states)
        out.append(_format(pairs, _assign_units([n for _, n in pairs], choices, mixed_valence), place))
    return out


def _assign_units(counts: list[int], choices: list[tuple[int, ...]], mixed: bool) -> list[dict[int, int]] | None:
    """`_assign` for the fewest formula units that can be neutral; None when no number of them can."""
    if not mixed:
        return _assign(counts, choices, mixed)
    if not all(choices):
        return None
    low = sum(n * min(states) for n, states in zip(counts, choices))
    high = sum(n * max(states) for n, states in zip(counts, choices))
    if not low <= 0 <= high:
        return None
    # One element mixes two of its states, all others have their lowest or highest: so many units are enough.
    most = max(max(states) - min(states) for states in choices) or 1
    each = (_assign([n * units for n in counts], choices, mixed) for units in range(1, most + 1))
    return next((found for found in each if found is not None), None)


def _assign(counts: list[int], choices: list[tuple[int, ...]], mixed: bool) -> list[dict[int, int]] | None:
    """One neutral choice: for each element how many atoms take which state; None when there is none."""
    # reach[i][q]: how the first i atoms groups got to charge q, as (charge before, state)
    groups = [
        (i, 1 if mixed else n, states)
        for i, (n, states) in enumerate(zip(counts, choices))
        for _ in range(n if mixed else 1)
    ]
    reach: list[dict[int, tuple[int, int]]] = [{0: (0, 0)}]
    for _, size, states in groups:
        following: dict[int, tuple[int, int]] = {}
        for q in reach[-1]:
            for state in sorted(states, key=abs):
                following.setdefault(q + size * state, (q, state))
        reach.append(following)
    if 0 not in reach[-1]:
        return None
    taken: list[dict[int, int]] = [{} for _ in counts]
    q = 0
    for (element, size, _), level in zip(reversed(groups), reversed(reach[1:])):
        q, state = level[q]
        taken[element][state] = taken[element].get(state, 0) + size
    return taken


def _format(pairs: list[tuple[int, int]], taken: list[dict[int, int]] | None, place: list[float]) -> str:
    """The choice as text, elements in ascending order of `place` [119]."""
    if taken is None:
        return ""
    names = symbols()
    parts = []
    for (z, _), states in sorted(zip(pairs, taken), key=lambda entry: place[entry[0][0]]):
        for state in sorted(states):
            sign = "+" if state > 0 else "-" if state < 0 else ""
            size = str(abs(state)) if abs(state) != 1 else ""
            parts.append(f"{states[state]} {names[z]}{size if state else '0'}{sign}")
    return "; ".join(parts)
