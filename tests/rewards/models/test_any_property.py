"""Errors of a model beside trivial answers: against scikit-learn, and on a fitted model's own card."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.neighbors import KNeighborsRegressor

from oreflow.rewards.models.composition.baselines import baseline_errors, nearest_rows
from oreflow.rewards.models.composition.data import read_property_table
from oreflow.rewards.models.composition.fit import FULL, QUICK, fit_energy
from oreflow.rewards.models.composition.inputs import FEATURE_CLIP, composition_features
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.ensemble.folder import CARD_FILE, MODEL_FILE
from oreflow.rewards.models.ensemble.metrics import COVERAGES, error_metrics, errors_of
from oreflow.rewards.models.ensemble.predictions import Prediction
from oreflow.rewards.models.ensemble.tables import EnergyDataError, split_table
from tests.rewards.models.test_composition_fit import TINY, synthetic_rows, write_csv


def test_errors_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, 50)
    answers = values + rng.normal(0.3, 0.7, 50)
    found = errors_of(answers - values, values)
    assert found["mae"] == pytest.approx(mean_absolute_error(values, answers), rel=1e-4)
    assert found["rmse"] == pytest.approx(root_mean_squared_error(values, answers), rel=1e-4)
    assert found["r2"] == pytest.approx(r2_score(values, answers), rel=1e-4)
    assert errors_of(np.zeros(2), np.zeros(2)) == {"mae": None, "rmse": None, "r2": None}
    assert errors_of(np.ones(5), np.ones(5)) == {"mae": 1.0, "rmse": 1.0, "r2": None}  # nothing to explain


def test_trivial_answers_are_those_of_the_mean_and_of_one_nearest_neighbour() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(900, 12)).astype(np.float32)
    values = features[:, 0] + rng.normal(0.0, 0.1, 900)
    order = rng.permutation(900)
    train, part = np.sort(order[:500]), np.sort(order[500:])
    in_scope = rng.random(900) < 0.8
    found = baseline_errors(features, values, train, {"test": part, "none": part[:0]}, in_scope)
    rows = part[in_scope[part]]
    neighbour = KNeighborsRegressor(n_neighbors=1, algorithm="brute").fit(features[train], values[train])
    answers = {"mean": np.full(len(rows), values[train].mean()), "nearest": neighbour.predict(features[rows])}
    for name, answer in answers.items():
        assert found["test"][name]["mae"] == pytest.approx(mean_absolute_error(values[rows], answer), rel=1e-4)
        assert found["test"][name]["r2"] == pytest.approx(r2_score(values[rows], answer), rel=1e-3)
    assert found["none"]["nearest"]["mae"] is None
    np.testing.assert_array_equal(nearest_rows(features[rows], features[rows]), np.arange(len(rows)))


class Normal:
    """A model whose errors are normal with the standard deviation that it says."""

    def predict(self, objects: np.ndarray) -> Prediction:
        n = len(objects)
        std = np.linspace(0.5, 2.0, n)
        mean = np.random.default_rng(2).normal(0.0, std)
        return Prediction(mean, std, np.zeros(n), np.ones(n, dtype=bool), {})


def test_intervals_of_an_honest_model_hold_what_they_promise() -> None:
    found = error_metrics(Normal(), np.zeros(200_000), np.zeros(200_000))
    for percent in COVERAGES:
        assert found[f"coverage_{percent}"] == pytest.approx(percent / 100, abs=0.004)


def test_the_card_names_property_unit_and_trivial_answers(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", synthetic_rows(200, seed=21), "formula,k")
    options = {"target_column": "k", "property_name": "Bulk modulus", "unit": "GPa", "n_epochs": 3}
    card = fit_energy(table, tmp_path / "m", **options, **TINY)
    assert (card["target"]["name"], card["target"]["unit"], card["fit"]["quick"]) == ("Bulk modulus", "GPa", False)
    data = read_property_table(table, formula_column="formula", target_column="k", formation_energy=False)
    seed = np.random.SeedSequence(0).spawn(3)[0]
    split = split_table(data, seed, validation=0.04, test=0.05, test_chemsys=0.03)
    model = EnergyModel.load(tmp_path / "m")
    in_scope, _ = model.scope(data.compositions)
    rows = split.test[in_scope[split.test]]
    values = data.values
    mean = np.abs(values[split.train].mean() - values[rows]).mean()
    assert card["baselines"]["test"]["mean"]["mae"] == pytest.approx(mean, rel=1e-4)
    features = (composition_features(data.compositions) - card["feature_mean"]) / card["feature_std"]
    features = np.clip(features, -FEATURE_CLIP, FEATURE_CLIP)
    apart = np.linalg.norm(features[rows][:, None] - features[split.train][None], axis=2)
    nearest = np.abs(values[split.train][apart.argmin(axis=1)] - values[rows]).mean()
    assert card["baselines"]["test"]["nearest"]["mae"] == pytest.approx(nearest, rel=1e-4)
    predicted = model.predict(data.compositions[rows]).mean
    assert card["metrics"]["test"]["r2"] == pytest.approx(r2_score(values[rows], predicted), rel=1e-3)

    assert card == json.loads((tmp_path / "m" / MODEL_FILE).read_text(encoding="utf-8"))
    text = (tmp_path / "m" / CARD_FILE).read_text(encoding="utf-8")
    assert text.startswith("# Bulk modulus from composition\n")
    assert "`Bulk modulus`, in GPa" in text
    assert card["data"]["sha256"] in text
    line = next(line for line in text.splitlines() if "| mean of the training values |" in line)
    assert f"| {card['baselines']['test']['mean']['mae']:.4g} |" in line
    assert "| rows | 50 % | 68 % | 90 % | 95 % |" in text
    assert "quick" not in text


def test_a_quick_fit_is_smaller_and_its_card_says_so(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", synthetic_rows(120, seed=22))
    card = fit_energy(table, tmp_path / "q", quick=True, node_width=16, trunk_width=32, n_blocks=1)
    assert (card["architecture"]["n_members"], card["fit"]["n_epochs"]) == (QUICK.n_members, QUICK.n_epochs) == (2, 10)
    assert (FULL.n_members, FULL.n_epochs, FULL.max_minutes) == (4, 48, 45.0)  # what fit-energy has always taken
    assert card["fit"]["quick"] is True
    assert "It is a quick fit" in (tmp_path / "q" / CARD_FILE).read_text(encoding="utf-8")
    given = fit_energy(table, tmp_path / "g", quick=True, n_members=1, n_epochs=2, node_width=16, trunk_width=32)
    assert (given["architecture"]["n_members"], given["fit"]["epochs_run"]) == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"property_name": "gap"}, "expected the unit of 'gap', got none; add --unit"),
        ({"property_name": "42", "unit": "eV"}, "a property's name with a letter in it, .* got '42'"),
        ({"property_name": "formation_energy_per_atom", "unit": "J"}, "expected formation energies in eV/atom"),
    ],
)
def test_properties_without_a_name_or_a_unit_are_refused_before_the_fit(tmp_path, options, message) -> None:
    table = write_csv(tmp_path / "t.csv", synthetic_rows(70, seed=23), "formula,x")
    with pytest.raises(EnergyDataError, match=message):
        fit_energy(table, tmp_path / "m", target_column="x", **options)
    assert not (tmp_path / "m").exists()


def test_a_number_without_a_unit_and_a_formation_energy_by_its_name(tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.csv", synthetic_rows(70, seed=24), "formula,x")
    card = fit_energy(table, tmp_path / "m", target_column="x", property_name="ratio", unit="1", n_epochs=1, **TINY)
    assert (card["target"]["unit"], card["target"]["formation_energy"]) == ("", False)
    assert "without a unit" in (tmp_path / "m" / CARD_FILE).read_text(encoding="utf-8")
    name = "formation_energy_per_atom"
    card = fit_energy(table, tmp_path / "e", target_column="x", property_name=name, n_epochs=1, **TINY)
    assert card["target"] | {"mean": 0, "std": 0} == {
        **{"name": name, "unit": "eV/atom", "formation_energy": True},
        **{"mean": 0, "std": 0},
    }
