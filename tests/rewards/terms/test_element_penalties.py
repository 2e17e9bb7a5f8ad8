"""Scarcity, price and hazardous elements: against pymatgen where it has the quantity, by hand where it has not."""

import csv
import math
import warnings
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.analysis.cost import CostAnalyzer, CostDBElements
from pymatgen.analysis.hhi import HHIModel
from pymatgen.core import Element

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import UnknownElementError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.data import build_penalties
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.composition.element_penalties import (
    HAZARD_LISTS,
    HazardousElements,
    Price,
    Scarcity,
    hazard_list,
)

FORMULAS = ("NaCl", "Fe2O3", "Bi2Te3", "LiCoO2", "PbTe", "Nd2Fe14B", "CaTiO3", "Si", "Cs2AgBiBr6", "GaAs")


def batch_of(*formulas: str) -> Compositions:
    return Compositions.from_dicts([parse_formula(formula) for formula in formulas])


def test_the_table_is_what_its_script_writes() -> None:
    with files("oreflow.rewards").joinpath("data/element_penalties.csv").open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == build_penalties.COLUMNS
    assert rows == build_penalties.rows()
    assert sum(bool(row[header.index("hhi_production")]) for row in rows) == 77
    assert sum(bool(row[header.index("price_usd_per_kg")]) for row in rows) == 84


def test_indices_are_those_of_smact_too() -> None:
    from smact import Element as SmactElement

    for measure, attribute in (("production", "HHI_p"), ("reserve", "HHI_r")):
        values = Scarcity(measure)(Compositions.from_dicts([{z: 1} for z in range(1, 104)]))
        for z in range(1, 104):
            theirs = getattr(SmactElement(symbols()[z]), attribute)
            if theirs is None:
                assert not values.valid[z - 1]
            else:
                assert values.values[z - 1] == pytest.approx(theirs, rel=1e-12)


def test_scarcity_equals_pymatgen() -> None:
    batch = batch_of(*FORMULAS)
    for k, measure in enumerate(("production", "reserve")):
        ours = Scarcity(measure)(batch)
        assert ours.valid.all()
        np.testing.assert_allclose(ours.values, [HHIModel().get_hhi(f)[k] for f in FORMULAS], rtol=1e-12)


def test_scarcity_by_hand() -> None:
    """NaCl: masses 22.98976928 and 35.453; indices of production 1100 and 1500."""
    expected = (22.98976928 * 1100 + 35.453 * 1500) / (22.98976928 + 35.453)
    assert Scarcity()(batch_of("NaCl")).values[0] == pytest.approx(expected, rel=1e-12)
    assert Scarcity()(batch_of("Na", "Na2")).values.tolist() == [1100.0, 1100.0]
    water = Scarcity("reserve")(batch_of("H2O"))
    assert (water.valid[0], water.reasons) == (False, {0: "no Herfindahl-Hirschman index (reserve) of H"})


def test_price_equals_pymatgen() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pymatgen warns of elements without electronegativity
        analyzer = CostAnalyzer(CostDBElements())
        theirs = [analyzer.get_cost_per_kg(formula) for formula in FORMULAS]
    np.testing.assert_allclose(Price()(batch_of(*FORMULAS)).values, theirs, rtol=1e-6)


def test_price_by_hand_and_with_own_prices() -> None:
    term = Price({"K": 13.0, "F": 2})
    expected = (39.0983 * 13.0 + 18.9984032 * 2.0) / (39.0983 + 18.9984032)
    assert term(batch_of("KF")).values[0] == pytest.approx(expected, rel=1e-9)
    assert Price()(batch_of("K")).values[0] == 1000.0
    assert Price({"Pu": 5.0})(batch_of("Pu")).values[0] == 5.0
    unknown = Price()(batch_of("PuO2"))
    assert (unknown.valid[0], unknown.reasons) == (False, {0: "no price of Pu"})


def test_hazardous_elements_by_hand() -> None:
    batch = batch_of("CsPbI3", "NaCl", "PbCdO2", "UO2")
    result = HazardousElements()(batch)
    assert result.values.tolist() == [0.2, 0.0, 0.5, 1 / 3]
    assert result.columns["hazardous_elements_found"].tolist() == ["Pb", "", "Cd, Pb", "U"]
    verdict = HazardousElements(measure="verdict")
    assert verdict(batch).values.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert (HazardousElements().unit, verdict.unit) == ("atomic fraction", "verdict")
    assert HazardousElements("Cl")(batch).values.tolist() == [0.0, 0.5, 0.0, 0.0]


def test_hazard_lists() -> None:
    radioactive = [e.symbol for e in map(Element.from_Z, range(1, 119)) if e.is_radioactive]
    assert list(HAZARD_LISTS["radioactive"]) == radioactive
    for names in HAZARD_LISTS.values():
        assert hazard_list(names) == names  # symbols, distinct, in order of atomic number
    assert hazard_list(["toxic_who", "Tl", "actinides"])[:4] == ("As", "Cd", "Hg", "Tl")


def test_a_composition_without_elements_is_invalid() -> None:
    empty = Compositions(np.array([[11, 17], [0, 0]]), np.array([[1, 1], [0, 0]]))
    for term in (Scarcity(), Price(), HazardousElements()):
        result = term(empty)
        assert result.valid.tolist() == [True, False]
        assert result.reasons == {1: "a composition without elements"}


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("scarcity", {"measure": "reserve"}),
        ("price", {"prices": {"H": 3.0}}),
        ("hazardous_elements", {"elements": ["toxic_cwa", "U"]}),
        ("hazardous_elements", {"measure": "verdict"}),
    ],
)
def test_contract(name: str, params: dict[str, Any]) -> None:
    check_reward_term(make_term(name, params))


@pytest.mark.parametrize(
    ("name", "params", "error", "message"),
    [
        ("scarcity", {"measure": "reserves"}, RewardParameterError, "'production' or 'reserve', got 'reserves'"),
        ("price", {"prices": [1.0]}, RewardParameterError, "a mapping of symbol to USD/kg, got"),
        ("price", {"prices": {"Fe": -1.0}}, RewardParameterError, "price of Fe in USD/kg, 0 or more, got -1.0"),
        ("price", {"prices": {"Fe": math.nan}}, RewardParameterError, "got nan"),
        ("price", {"prices": {"Fe": "1,5"}}, RewardParameterError, "got '1,5'"),
        ("price", {"prices": {"Xx": 1.0}}, UnknownElementError, "element symbol such as 'Fe', got 'Xx'"),
        ("hazardous_elements", {"elements": "toxic"}, RewardParameterError, "did you mean 'toxic_who'"),
        ("hazardous_elements", {"elements": []}, RewardParameterError, "at least one element"),
        ("hazardous_elements", {"measure": "share"}, RewardParameterError, "'fraction' or 'verdict', got 'share'"),
    ],
)
def test_bad_parameters(name: str, params: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        make_term(name, params)
    assert message in str(caught.value)


INDEXED = [z for z in range(1, 119) if math.isfinite(Scarcity()(Compositions.from_dicts([{z: 1}])).values[0])]


@given(st.dictionaries(st.sampled_from(INDEXED), st.integers(1, 20), min_size=1, max_size=7))
def test_a_mean_lies_between_its_elements(counts: dict[int, int]) -> None:
    both = Compositions.from_dicts([counts, *({z: 1} for z in counts)])
    for term in (Scarcity(), Price()):
        result = term(both)
        if result.valid.all():
            slack = 1e-12 * result.values.max()
            assert result.values[1:].min() - slack <= result.values[0] <= result.values[1:].max() + slack
