"""The term `energy_above_hull`: prediction minus hull, its parameters, its columns, and what makes a row invalid."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from oreflow.envs.errors import OreflowError
from oreflow.rewards import Reward, build
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.errors import ReferenceTableWarning
from oreflow.rewards.reference.convex_hull import HullEnergies
from oreflow.rewards.registry import make_term
from oreflow.rewards.shaping import minimise
from oreflow.rewards.terms.energy.energy_above_hull import EnergyAboveHull
from tests.rewards.reference.test_convex_hull import batch_of

TABLE = "formula,formation_energy_per_atom\nNaCl,-2.1\nFe2O3,-1.7\nLi2O,-2.0\nP2O5,-2.3\nFeO,-1.5\nFe,0\n"


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "known.csv"
    path.write_text(TABLE)
    return str(path)


def test_the_term_is_prediction_plus_deviations_minus_hull(table: str) -> None:
    batch = batch_of("LiFePO4", "Fe3O4", "NaCl", "Fe", "XeF2", "GaAs", "Na2Cl2")
    plain = make_term("energy_above_hull", {"reference": table})
    cautious = make_term("energy_above_hull", {"reference": table, "std_weight": 1.5})
    prediction = plain.model.predict(batch)  # type: ignore[attr-defined]
    result, result_cautious = plain(batch), cautious(batch)
    hull = result.columns["hull_energy_ev_per_atom"]
    np.testing.assert_allclose(result.values, prediction.mean - hull)
    np.testing.assert_allclose(result_cautious.values, prediction.mean + 1.5 * prediction.std - hull)
    assert result.valid.tolist() == [True, True, True, True, False, True, True]
    assert result.reasons == {4: "Xe outside the 84 elements of the energy model"}
    assert hull[1] == pytest.approx((5 * -1.7 + 2 * -1.5) / 7)
    assert result.values[3] == 0.0
    assert result.columns["decomposition"].tolist()[1:4] == ["0.7143 Fe2O3 + 0.2857 FeO", "1 NaCl", "1 Fe"]
    assert result.columns["n_competing_compounds"].tolist() == [4, 2, 1, 0, 0, 0, 1]
    assert hull[5] == 0.0  # nothing is known of Ga and As here: the value is the formation energy
    assert plain.version.startswith("energy_v2-")
    assert plain.version.endswith(f"-reference-{plain.reference.sha256[:12]}-without-holes")  # type: ignore[attr-defined]


def test_the_same_formula_can_be_left_out(table: str) -> None:
    batch = batch_of("NaCl", "FeO")
    with_it = EnergyAboveHull(table)(batch)
    without = EnergyAboveHull(table, same_formula="exclude")(batch)
    # NaCl against its elements; FeO against Fe2O3 and iron.
    np.testing.assert_allclose(with_it.values - without.values, [2.1, 1.5 - 1.7 * 5 / 6], atol=1e-5)
    assert without.columns["decomposition"].tolist() == ["0.5 Na + 0.5 Cl", "0.8333 Fe2O3 + 0.1667 Fe"]


@pytest.mark.parametrize("params", [{}, {"std_weight": -1, "same_formula": "exclude"}])
def test_the_term_holds_its_contract(table: str, params: dict[str, Any]) -> None:
    check_reward_term(make_term("energy_above_hull", {"reference": table, **params}))
    assert EnergyAboveHull.path_params == ("reference", "model")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"std_weight": "1"}, "expected std_weight to be a finite number, got '1'"),
        ({"std_weight": math.inf}, "expected std_weight to be a finite number, got inf"),
        ({"std_weight": True}, "expected std_weight to be a finite number, got True"),
        ({"same_formula": "ignore"}, "'include' or 'exclude', got 'ignore'"),
        ({"holes": "fill"}, "expected holes to be 'avoid' or 'keep', got 'fill'"),
        ({"energy_column": "e"}, "expected a column 'e' with formation energies in eV/atom, got the columns formula, "),
        ({"sha256": "ab"}, "to have SHA-256 ab, got"),
        ({"model": "energy_v0"}, "expected the name of a shipped model"),
    ],
)
def test_bad_parameters(table: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(OreflowError) as error:
        make_term("energy_above_hull", {"reference": table, **params})
    assert message in str(error.value)


def test_rows_set_aside_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TABLE + 'KCl,"-2,2"\n')
    with pytest.warns(ReferenceTableWarning, match="1 of 7 rows set aside; row 8: energy '-2,2' is not a number"):
        EnergyAboveHull(tmp_path / "a.csv")


def test_a_programme_that_does_not_end_makes_its_row_invalid(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    term = EnergyAboveHull(table)
    hull = term.phases.hull(batch_of("NaCl"))
    broken = HullEnergies(np.array([np.nan]), hull.products, hull.amounts, hull.n_competing)
    monkeypatch.setattr(term, "phases", SimpleNamespace(hull=lambda *a, **k: broken, decompositions=lambda hull: [""]))
    result = term(batch_of("NaCl"))
    assert (result.valid[0], result.reasons) == (
        False,
        {0: "the linear programme of the convex hull did not converge"},
    )


@pytest.mark.kind("holes in the hull")
def test_holes_in_the_hull_are_said_and_kept_out_of_a_search(tmp_path: Path) -> None:
    """Without LiCl in the list Li3YCl6 seems far more stable than it is; with it, it lies where it should."""
    with_it, without = tmp_path / "with.csv", tmp_path / "without.csv"
    rows = "formula,formation_energy_per_atom\nYCl3,-2.63\nYCl,-0.9\n"
    without.write_text(rows)
    with_it.write_text(rows + "LiCl,-2.12\n")
    batch = batch_of("Li3YCl6", "YCl3", "LiF")
    result = EnergyAboveHull(without)(batch)
    assert result.values[0] < -0.5
    said = result.columns["hull_hole"].tolist()
    assert said[0] == "Li + Cl side by side among the products; more than 0.1 eV/atom below the hull"
    assert said[1] == ""
    assert said[2].startswith("Li + F side by side among the products; 0 competing compounds known")
    scored = result.columns["energy_above_hull_scored"]
    # 3 Li and 3 Cl of 10 atoms stand side by side, so 0.6 eV beside the mirrored value; YCl3 is as it was.
    assert scored[0] == pytest.approx(-0.1 + 10 * (-0.1 - result.values[0]) + 0.6)
    assert scored[1] == result.values[1]
    right = EnergyAboveHull(with_it)(batch)
    assert abs(right.values[0]) < 0.1
    assert right.columns["hull_hole"][0] == ""
    assert right.columns["energy_above_hull_scored"][0] == right.values[0]
    reward = Reward([(EnergyAboveHull(without), minimise(10.0))])(batch)
    np.testing.assert_allclose(reward.log_scores["energy_above_hull"], -10 * scored)
    for plain in ({"holes": "keep"}, {"same_formula": "exclude"}):
        term = EnergyAboveHull(without, **plain)  # type: ignore[arg-type]
        assert "energy_above_hull_scored" not in term(batch).columns
        values = Reward([(term, minimise(10.0))])(batch)
        np.testing.assert_allclose(values.log_scores["energy_above_hull"], -10 * term(batch).values)


def test_the_column_that_shapes_see_survives_memory_and_isolation(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("formula,formation_energy_per_atom\nYCl3,-2.63\n")
    batch = batch_of("Li3YCl6", "LiCl")
    term = {"name": "energy_above_hull", "params": {"reference": str(tmp_path / "a.csv")}}
    shaped = term | {"shape": {"kind": "minimise", "beta": 1.0}}
    plain, cached, isolated = (build([shaped | extra]) for extra in ({}, {"cache": True}, {"isolated": True}))
    expected = plain(batch).log_reward
    assert expected[0] < 0  # the plain value would be paid for
    for reward in (cached, cached, isolated):
        np.testing.assert_allclose(reward(batch).log_reward, expected, rtol=1e-5)
