"""Verdicts equal SMACT's under its tables, options and electronegativities; its data are its own, number by number."""

import math
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Composition

from oreflow.envs.chemistry.elements import atomic_number, electronegativities, symbols
from oreflow.envs.chemistry.oxidation import oxidation_matrix, oxidation_states
from oreflow.envs.chemistry.smact_data import icsd24_table, smact_elements
from oreflow.envs.errors import UnknownOxidationTableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance
from oreflow.rewards.terms.composition.electronegativity_balance import ElectronegativityBalance
from oreflow.rewards.terms.composition.smact_validity import SmactValidity

# SMACT's electronegativities differ from pymatgen's, which oreflow uses, for these elements (None: SMACT has none).
SMACT_ELECTRONEGATIVITY = {
    **{"Tc": 2.1, "Pm": None, "Tb": 1.2, "Lu": 1.0, "W": 1.7, "Pt": 2.2, "Au": 2.4, "Hg": 1.9, "Tl": 1.8, "Pb": 1.8},
    **{"Bi": 1.9, "Rn": None, "U": 1.7, "Np": 1.3, "Pu": 1.3, "Lr": None},
}
BY_HAND = """
H O2 Fe W He Og NaCl Na2O2 KO2 CsO2 FeS2 Fe3O4 Mn3O4 Pb3O4 U3O8 Sb2O4 Fe2O3 LaMnO3 CsPbI3 LiFePO4 BaTiO3 Ca5P3O13H
Li10GeP2S12 CuFeS2 Cu5FeS4 AuTe2 AuSb PtAs2 HgS Tl2O PbWO4 CaWO4 LuF3 PuO2 NpO2 UO2 UF6 PmF3 RnF2 XeF2 XeO3 KrF2 ArF2
HeNa2 LaNi5 CuZn TiAl3 Nb3Sn MgB2 GeTe SbGe CaSi2 Mg2Si ZrC TiN Si3N4 SiC BN B4C CH4 NH3 ClF3 IF7 OF2 SO2 P2O5 MdLr
LrF3 NoF3 EsCl3 FmO AtI FrCl RaF2 Al2SiO5 KAlSi3O8 YBa2Cu3O7 Na3N NaN Li3N LiH Cr23C6 Fe4N Ba2YRuO6 InGaAs2 CdTe
Bi2Te3 Sb2Te3 Ag2HgI4 EuS YbAl3
"""


@cache
def formulas() -> list[dict[int, int]]:
    """By hand; at random from all of SMACT's elements; and neutral by construction, as real salts and oxides are."""
    rng = np.random.default_rng(14)
    out = [parse_formula(text) for text in BY_HAND.split()]
    for _ in range(900):
        chosen = rng.choice(np.arange(1, 104), size=rng.integers(2, 6), replace=False)
        out.append({int(z): int(rng.integers(1, 7)) for z in chosen})
    states = oxidation_states("smact_icsd24")
    anions = [atomic_number(symbol) for symbol in ("O", "S", "Se", "N", "P", "F", "Cl", "I")]
    cations = [z for z in states if smact_elements("is_metal")[z]]
    for _ in range(1200):
        chosen = rng.choice(cations, size=rng.integers(1, 4), replace=False)
        anion = int(rng.choice(anions))
        counts = {int(z): int(rng.integers(1, 4)) for z in chosen}
        charge = sum(n * max(1, int(rng.choice(states[z]))) for z, n in counts.items())
        down = -min(states[anion])
        out.append({z: n * down for z, n in counts.items()} | {anion: charge})
    return out


def smact_verdicts(batch: list[dict[int, int]], **options: Any) -> np.ndarray:
    """SMACT's verdicts, 0.0 or 1.0; NaN where it raises."""
    from smact.screening import smact_validity

    out = np.full(len(batch), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about SMACT's own defaults and missing data
        for i, formula in enumerate(batch):
            try:
                out[i] = smact_validity(Composition({symbols()[z]: n for z, n in formula.items()}), **options)
            except KeyError:  # an element beyond lawrencium
                continue
    return out


def assert_equal(batch: list[dict[int, int]], term: SmactValidity, **options: Any) -> None:
    theirs = smact_verdicts(batch, **options)
    assert 0.1 < np.nanmean(theirs) < 0.95, "the sample no longer holds both verdicts"
    compositions = Compositions.from_dicts(batch)
    result = term(compositions)
    ours = np.where(result.valid, result.values, np.nan)
    wrong = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
    assert not np.array(compositions.formulas())[wrong].tolist()
    assert set(result.reasons) == set(np.flatnonzero(~result.valid).tolist())


SETS = {
    "smact14": "smact14",
    "smact_icsd16": "icsd16",
    "smact_icsd24": "icsd24",
    "smact_pymatgen_sp": "pymatgen_sp",
    "smact_wiki": "wiki",
}


@pytest.mark.parametrize(
    ("table", "pauling", "alloys"),
    [
        *((table, True, False) for table in SETS),
        ("smact14", False, False),
        ("smact_icsd24", True, True),
        ("smact_wiki", False, False),
        (None, True, True),
    ],
)
def test_verdict_equals_smact(table: str | None, pauling: bool, alloys: bool) -> None:
    term = SmactValidity(table=table, use_pauling_test=pauling, include_alloys=alloys)
    options = {"use_pauling_test": pauling, "include_alloys": alloys}
    batch = formulas() if table in (None, "smact14", "smact_icsd24") else formulas()[::3]
    assert_equal(batch, term, oxidation_states_set=SETS.get(table or ""), **options)


@pytest.mark.parametrize(
    "options",
    [{"consensus": 20}, {"include_zero": True, "commonality": "medium"}, {"commonality": "main"}],
    ids=str,
)
def test_verdict_equals_smact_under_its_filter(options: dict[str, Any]) -> None:
    from smact.screening import ICSD24FilterConfig

    assert_equal(formulas()[::3], SmactValidity(**options), icsd_filter=ICSD24FilterConfig(**options))


def test_mixed_valence_equals_smact_also_where_it_gives_up() -> None:
    batch = [f for f in formulas() if sum(f.values()) <= 12][::5]
    batch += [parse_formula(text) for text in ("Fe3O4", "Fe12C", "Mn23O32", "BaO2", "Pb3O4", "U3O8", "Fe2Sb3", "Na2O2")]
    term = SmactValidity(table="smact14", mixed_valence=True)
    assert_equal(batch, term, oxidation_states_set="smact14", mixed_valence=True)
    # Fe12F31 is neutral with Fe2+ and Fe3+, which SMACT does not find: it tries no more than a million combinations.
    large = Compositions.from_dicts([parse_formula("Fe12F31")])
    theirs = smact_verdicts([parse_formula("Fe12F31")], oxidation_states_set="smact14", mixed_valence=True)
    assert term(large).values[0] == theirs[0] == 0
    assert SmactValidity(table="smact14", mixed_valence=True, max_combinations=None)(large).values[0] == 1


def test_a_file_in_smacts_own_format_gives_the_same_verdicts(tmp_path: Path) -> None:
    path = tmp_path / "states.txt"
    path.write_text("# mine\nH +1\nHe\nNa +1\nFe +2 +3\nMn +2\nTi +4\nBa +2\nPb +2\nCl -1\nO -2\nS -2\nF -1\nP -3 +5\n")
    keep = {atomic_number(s) for s in ("H", "He", "Na", "Fe", "Mn", "Ti", "Ba", "Pb", "Cl", "O", "S", "F", "P")}
    batch = [f for f in formulas() if len(set(f) - keep) <= (len(f) > 4)]
    term = SmactValidity(table=str(path), include_alloys=False)
    assert_equal(batch, term, oxidation_states_set=str(path), include_alloys=False)


@pytest.mark.parametrize("table", ["smact14", "smact_icsd24"])
def test_the_balance_terms_on_smacts_scale_equal_smact_where_they_are_valid(table: str) -> None:
    batch = [f for f in formulas() if len(f) > 1][:1500]
    compositions = Compositions.from_dicts(batch)
    for term, value, pauling in [
        (ChargeBalance(table), 0, False),
        (ElectronegativityBalance(table, electronegativities="smact"), 1, True),
    ]:
        result = term(compositions)
        theirs = smact_verdicts(batch, use_pauling_test=pauling, include_alloys=False, oxidation_states_set=SETS[table])
        wrong = ((result.values == value) != theirs) & result.valid
        assert not np.array(compositions.formulas())[wrong].tolist()
        assert not theirs[~result.valid].any()
    # On pymatgen's scale only formulas with one of the 16 elements may differ.
    wrong = ((ElectronegativityBalance(table)(compositions).values == 1) != theirs) & result.valid
    known = {atomic_number(symbol) for symbol in SMACT_ELECTRONEGATIVITY}
    assert all(known & set(formula) for formula, flag in zip(batch, wrong) if flag)


def test_electronegativities_are_smacts_and_differ_from_pymatgens_for_known_elements_only() -> None:
    from smact import Element

    differing = {}
    for symbol in symbols()[1:104]:
        theirs, ours = Element(symbol).pauling_eneg, electronegativities()[atomic_number(symbol)]
        shipped = electronegativities("smact")[atomic_number(symbol)]
        assert shipped == theirs or (theirs is None and math.isnan(shipped))
        if (math.nan if theirs is None else theirs) != ours and not (theirs is None and math.isnan(ours)):
            differing[symbol] = theirs
    assert differing == SMACT_ELECTRONEGATIVITY
    assert np.isnan(electronegativities("smact")[104:]).all()


def test_element_lists_are_smacts() -> None:
    import smact
    from smact.screening import MIXED_VALENCE_ELEMENTS

    for which, expected in [
        ("covered", smact.ordered_elements(1, 103)),
        ("is_metal", smact.metals),
        ("is_mixed_valence", MIXED_VALENCE_ELEMENTS),
    ]:
        assert {symbols()[z] for z in np.flatnonzero(smact_elements(which))} == set(expected)


@pytest.mark.parametrize("consensus", [0, 3, 50])
@pytest.mark.parametrize("include_zero", [False, True])
@pytest.mark.parametrize("commonality", ["low", "medium", "high", "main", 33.3, 1])
def test_filtered_states_are_smacts(consensus: int, include_zero: bool, commonality: str | float) -> None:
    from smact.screening import _get_icsd24_oxidation_dict

    theirs = _get_icsd24_oxidation_dict(include_zero, consensus, commonality)
    ours = dict(icsd24_table(consensus, include_zero, commonality).states)
    assert {symbols()[z]: list(states) for z, states in ours.items()} == theirs


def test_the_default_filter_is_the_table_of_that_name() -> None:
    assert icsd24_table().states == tuple(sorted(oxidation_states("smact_icsd24_consensus3").items()))
    np.testing.assert_array_equal(oxidation_matrix(icsd24_table())[0], oxidation_matrix("smact_icsd24_consensus3")[0])


def test_elements_beyond_lawrencium_are_invalid_and_the_contract_holds() -> None:
    for term in (SmactValidity(), SmactValidity("smact14", use_pauling_test=False, mixed_valence=True)):
        check_reward_term(term)
    result = SmactValidity()(Compositions.from_dicts([{104: 1, 17: 4}, {118: 1}, {61: 1, 9: 3}, {}]))
    assert result.valid.tolist() == [False, True, True, False]
    assert result.values[1:3].tolist() == [1, 0]  # a pure element; promethium has no electronegativity
    assert result.reasons == {0: "SMACT knows no element Rf", 3: "no element"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"include_alloys": "no"}, "expected include_alloys to be true or false, got 'no'"),
        ({"use_pauling_test": 1}, "expected use_pauling_test to be true or false, got 1"),
        ({"include_zero": None}, "expected include_zero to be true or false, got None"),
        ({"check_metallicity": True}, "metallicity score is not supported"),
        ({"max_combinations": 0}, "max_combinations as a whole number from 1, or null for no limit, got 0"),
        ({"max_combinations": True}, "max_combinations"),
        (
            {"table": "smact14", "consensus": 5},
            "a table or a filter of SMACT's own, got table='smact14' and con",
        ),
        ({"table": "icsd24"}, "did you mean 'smact_icsd24'"),
        ({"consensus": 2.5}, "expected consensus as a whole number of reports from 0, got 2.5"),
        ({"consensus": 10**9}, "expected at least one element with an oxidation state, got none"),
        ({"commonality": "hihg"}, "did you mean 'high'"),
        ({"commonality": 101}, "expected commonality from 0 to 100 percent, got 101"),
        ({"commonality": None}, "expected commonality as a word or a percentage, got None"),
    ],
    ids=str,
)
def test_bad_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises((RewardParameterError, UnknownOxidationTableError)) as error:
        SmactValidity(**params)
    assert message in str(error.value)


def test_an_unknown_scale_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RewardParameterError, match="got 'smact14'; did you mean 'smact'"):
        ElectronegativityBalance(electronegativities="smact14")
    with pytest.raises(ValueError, match="got 'allen'; known: pymatgen, smact"):
        electronegativities("allen")
