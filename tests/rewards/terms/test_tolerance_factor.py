"""The reward `tolerance_factor`: Shannon's radii, factors by hand and as published, states, and what has none."""

import csv
import math
from typing import Any

import numpy as np
import pytest
from pymatgen.core import Species

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import UnknownOxidationTableError
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import parse_formula
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.data import build_ionic_radii
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.registry import make_term
from oreflow.rewards.terms.composition.tolerance_factor import ionic_radii
from tests.whole.test_layers import ROOT

# Bartel et al. (2019), table S1: t and tau to two decimals.
PUBLISHED = {
    "BaTiO3": (1.06, 3.75),
    "CaTiO3": (0.97, 3.88),
    "CsPbI3": (0.85, 4.30),
    "NaMgF3": (0.94, 3.78),
    "LaAlO3": (1.01, 1.79),
    "BiFeO3": (0.89, 2.31),
    "LaCoO3": (0.97, 1.64),
    "KCoF3": (1.01, 3.58),
    "CsPbBr3": (0.86, 4.10),
    "KNbO3": (1.05, 3.91),
    "MgSiO3": (0.90, 5.06),
    "FeTiO3": (0.82, 5.57),
    "CoTiO3": (0.81, 5.81),
    "LiNbO3": (0.80, 5.15),
    "PbAgF3": (0.80, 7.16),
    "FeAlO3": (0.80, 5.22),
    "MgCO3": (1.04, 11.23),
    "YYbO3": (0.77, 9.98),
}


def batch_of(*formulas: str) -> Compositions:
    return Compositions.from_dicts([parse_formula(formula) for formula in formulas])


@pytest.mark.parametrize("column", [0, 1])
def test_factors_are_those_published(column: int) -> None:
    found = make_term("tolerance_factor", {"rule": ("goldschmidt", "bartel")[column]})(batch_of(*PUBLISHED))
    assert found.valid.all()
    assert not found.reasons
    assert found.values == pytest.approx([pair[column] for pair in PUBLISHED.values()], abs=0.005 + 1e-9)


def test_factors_by_hand() -> None:
    formulas = batch_of("SrTiO3", "TiSrO3", "Sr2Ti2O6", "MgTiO3")
    r_a, r_b, r_x = np.array([1.44, 1.44, 1.44, 0.89]), 0.605, 1.40
    t = make_term("tolerance_factor", {"rule": "goldschmidt"})(formulas)
    assert t.values == pytest.approx((r_a + r_x) / (math.sqrt(2) * (r_b + r_x)), abs=1e-12)
    assert t.values[0] == pytest.approx(1.002, abs=5e-4)
    tau = make_term("tolerance_factor")(formulas)
    assert tau.values == pytest.approx(r_x / r_b - 2 * (2 - (r_a / r_b) / np.log(r_a / r_b)), abs=1e-12)
    assert tau.columns["a_ion"].tolist() == ["Sr2+"] * 3 + ["Mg2+"]
    assert tau.columns["b_ion"].tolist() == ["Ti4+"] * 4
    assert tau.columns["a_radius_angstrom"] == pytest.approx(r_a)
    assert tau.columns["b_radius_angstrom"] == pytest.approx([r_b] * 4)


def test_the_threshold_parts_perovskites_from_ilmenites_and_others() -> None:
    perovskites = batch_of("SrTiO3", "BaZrO3", "CaTiO3", "PbTiO3", "KTaO3", "LaAlO3", "GdFeO3", "KMgF3", "CsCdCl3")
    others = batch_of("MgTiO3", "FeTiO3", "NiTiO3", "ZnTiO3", "LiNbO3", "LiTaO3", "CaCO3", "KNO3", "NaPO3")
    term = make_term("tolerance_factor")
    assert (term(perovskites).values < 4.18).all()
    assert (term(others).values > 4.18).all()


def test_states_come_from_the_table_and_the_smallest_tau_counts() -> None:
    lanthanum = batch_of("LaMnO3")
    term = make_term("tolerance_factor")
    assert term(lanthanum).reasons == {0: "no oxidation states of Mn and La balance three O in pymatgen_common"}
    icsd = make_term("tolerance_factor", {"table": "pymatgen_icsd"})(lanthanum)
    assert icsd.values == pytest.approx([1.65], abs=0.005)  # table S1
    assert icsd.columns["b_ion"].tolist() == ["Mn3+"]
    every = batch_of("CeCrO3")
    taus = {}
    for ce, cr in ((3, 3), (4, 2)):
        table = {"Ce": [ce], "Cr": [cr], "O": [-2]}
        taus[ce] = make_term("tolerance_factor", {"table": table})(every).values[0]
    assert taus[4] == pytest.approx(1.84, abs=0.005)  # table S1, which takes this pair
    both = make_term("tolerance_factor", {"table": {"Ce": [3, 4], "Cr": [2, 3], "O": [-2]}})(every)
    assert both.values == [min(taus.values())]
    assert both.columns["a_ion"].tolist() == [f"Ce{min(taus, key=taus.__getitem__)}+"]
    peroxide = make_term("tolerance_factor", {"table": {"Sr": [2], "Ti": [1], "O": [-1]}})(batch_of("SrTiO3"))
    assert "O is no anion" in peroxide.reasons[0]


def test_what_has_no_factor_says_why() -> None:
    reasons = {
        "MgO": "expected ABX3, with three different elements",
        "SrTiO2": "expected ABX3, with three different elements",
        "Sr2TiO4": "expected ABX3, with three different elements",
        "NaKSO4": "expected ABX3, with three different elements",
        "CsSnI3": "no ionic radii of Sn and Cs in the oxidation states that balance",
        "HTaO3": "no ionic radii of H and Ta in the oxidation states that balance",
        "LaWN3": "N is no anion with an ionic radius at coordination 6 and a state in pymatgen_common",
        "Li3ClO": "Li is no anion with an ionic radius at coordination 6 and a state in pymatgen_common",
        "KCaO3": "no oxidation states of K and Ca balance three O in pymatgen_common",
    }
    term = make_term("tolerance_factor")
    found = term(batch_of("SrTiO3", *reasons))
    assert found.valid.tolist() == [True] + [False] * len(reasons)
    assert [found.reasons[row] for row in range(1, len(found.values))] == list(reasons.values())
    for few in ("Fe", "MgO"):
        assert not term(batch_of(few)).valid.any()
    alike = make_term("tolerance_factor", {"table": {"Ru": [3], "Ir": [3], "O": [-2]}})
    assert alike(batch_of("RuIrO3")).reasons == {0: "Ru and Ir are equally large: neither is A"}
    assert len(term(batch_of()).values) == 0


def test_radii_are_those_of_shannon() -> None:
    with (ROOT / "rewards" / "data" / "ionic_radii.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [build_ionic_radii.HEADER, *build_ionic_radii.rows()]
    six, twelve, anion, charge = ionic_radii()
    number = {symbol: z for z, symbol in enumerate(symbols())}
    for symbol, state, label in (("Sr", 2, "XII"), ("La", 3, "XII"), ("K", 1, "XII"), ("Mg", 2, "VIII")):
        radius = Species(symbol, state).get_shannon_radius(label, radius_type="ionic")
        assert twelve[number[symbol], state] == radius
    for symbol, state, spin in (("Ti", 4, ""), ("Co", 3, "High Spin"), ("Fe", 2, "High Spin"), ("Nb", 5, "")):
        radius = Species(symbol, state).get_shannon_radius("VI", spin=spin, radius_type="ionic")
        assert six[number[symbol], state] == radius
    found = {symbol: (anion[z], charge[z]) for symbol, z in number.items() if charge[z]}
    halides = {"F": (1.33, 1), "Cl": (1.81, 1), "Br": (1.96, 1), "I": (2.20, 1)}
    assert found == halides | {"O": (1.40, 2), "S": (1.84, 2), "Se": (1.98, 2), "Te": (2.21, 2)}
    with np.errstate(invalid="ignore"):
        assert not (six <= 0).any()


def test_contract_and_parameters() -> None:
    for params in ({}, {"rule": "goldschmidt"}):
        check_reward_term(make_term("tolerance_factor", params))
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"rule": "tau"}, RewardParameterError, "rule to be 'bartel' or 'goldschmidt', got 'tau'"),
        ({"table": "smact15"}, UnknownOxidationTableError, "did you mean 'smact14'"),
    ]
    for params, error, message in wrong:
        with pytest.raises(error, match=message):
            make_term("tolerance_factor", params)
