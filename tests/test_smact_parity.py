"""Neutrality and the electronegativity verdict equal SMACT's under the same table, or differ by its data alone."""

import math
import warnings

import numpy as np
import pytest
from pymatgen.core import Composition

from envs.compositions import Compositions
from envs.elements import atomic_number, electronegativities, presets, symbols
from envs.oxidation import oxidation_matrix
from rewards.charge_balance import ChargeBalance
from rewards.electronegativity_balance import ElectronegativityBalance
from rewards.oxidation_balance import pauling_ordered

SMACT_TABLES = {"smact14": "smact14", "smact_icsd24": "icsd24"}


def random_formulas(n: int) -> list[dict[int, int]]:
    """Two to four elements, one to six atoms of each."""
    rng = np.random.default_rng(14)
    out = []
    for _ in range(n):
        chosen = rng.choice(presets()["mp84"], size=rng.integers(2, 5), replace=False)
        out.append({atomic_number(symbol): int(rng.integers(1, 7)) for symbol in chosen})
    return out


# SMACT's electronegativities differ from pymatgen's, which oreflow uses, for these elements (None: SMACT has none).
SMACT_ELECTRONEGATIVITY = {
    **{"Tc": 2.1, "Pm": None, "Tb": 1.2, "Lu": 1.0, "W": 1.7, "Pt": 2.2, "Au": 2.4, "Hg": 1.9, "Tl": 1.8, "Pb": 1.8},
    **{"Bi": 1.9, "Rn": None, "U": 1.7, "Np": 1.3, "Pu": 1.3, "Lr": None},
}


def test_electronegativities_differ_from_smact_for_known_elements_only() -> None:
    from smact import Element

    differing = {}
    for symbol in symbols()[1:104]:
        theirs, ours = Element(symbol).pauling_eneg, electronegativities()[atomic_number(symbol)]
        if (math.nan if theirs is None else theirs) != ours and not (theirs is None and math.isnan(ours)):
            differing[symbol] = theirs
    assert differing == SMACT_ELECTRONEGATIVITY


def smact_verdicts(batch: list[dict[int, int]], table: str, pauling: bool) -> np.ndarray:
    from smact.screening import smact_validity

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about SMACT's own defaults and missing data
        return np.array(
            [
                smact_validity(
                    Composition({symbols()[z]: n for z, n in formula.items()}),
                    use_pauling_test=pauling,
                    include_alloys=False,
                    oxidation_states_set=SMACT_TABLES[table],
                )
                for formula in batch
            ]
        )


@pytest.mark.parametrize("table", SMACT_TABLES)
def test_neutrality_equals_smact(table: str) -> None:
    batch = random_formulas(300)
    theirs = smact_verdicts(batch, table, pauling=False)
    assert 40 < theirs.sum() < 250, "the sample no longer holds both verdicts"
    compositions = Compositions.from_dicts(batch)
    wrong = (ChargeBalance(table)(compositions).values == 0) != theirs
    assert not np.array(compositions.formulas())[wrong].tolist()


@pytest.mark.parametrize("table", SMACT_TABLES)
def test_electronegativity_verdict_equals_smact(table: str) -> None:
    """Under SMACT's own electronegativities always; under oreflow's, except with elements whose values differ."""
    batch = random_formulas(300)
    theirs = smact_verdicts(batch, table, pauling=True)
    assert 40 < theirs.sum() < 250, "the sample no longer holds both verdicts"
    compositions = Compositions.from_dicts(batch)

    chi = electronegativities().copy()
    for symbol, value in SMACT_ELECTRONEGATIVITY.items():
        chi[atomic_number(symbol)] = np.nan if value is None else value
    reduced = compositions.reduced()
    limits = pauling_ordered(reduced.atomic_numbers, reduced.counts, *oxidation_matrix(table), False, chi)
    wrong = ~np.isnan(limits) != theirs
    assert not np.array(compositions.formulas())[wrong].tolist()

    wrong = (ElectronegativityBalance(table)(compositions).values == 1) != theirs
    known = {atomic_number(symbol) for symbol in SMACT_ELECTRONEGATIVITY}
    assert all(known & set(formula) for formula, flag in zip(batch, wrong) if flag)
