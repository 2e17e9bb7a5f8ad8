"""The shipped formation-energy model and its reward terms: physics, scope, distance, damage."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import RewardTerm
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.models.composition.model import DEFAULT_MODEL, EnergyModel
from oreflow.rewards.models.ensemble.folder import (
    CARD_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    EnergyModelError,
    model_directory,
)
from oreflow.rewards.terms.energy.formation_energy import FormationEnergy
from oreflow.rewards.terms.energy.predicted_property import PredictedProperty
from tests.rewards.chemistry.test_magpie import random_compositions

SHIPPED = model_directory(DEFAULT_MODEL)


def compositions(*formulas: str) -> Compositions:
    parsed = [re.findall(r"([A-Z][a-z]?)(\d*)", f) for f in formulas]
    return Compositions.from_dicts([{atomic_number(s): int(n or 1) for s, n in pairs} for pairs in parsed])


@pytest.fixture(scope="module")
def model() -> EnergyModel:
    return EnergyModel.load(DEFAULT_MODEL)


@pytest.fixture
def damaged(tmp_path) -> Path:
    shutil.copytree(SHIPPED, tmp_path / "model")
    return tmp_path / "model"


def test_energies_of_well_known_compounds(model):
    # Materials Project, eV/atom; an intermetallic besides the salts.
    known = {"NaCl": -2.1, "MgO": -3.0, "Al2O3": -3.4, "LiF": -3.1, "NiAl": -0.67, "SiO2": -3.2}
    prediction = model.predict(compositions(*known))
    assert prediction.in_scope.all()
    np.testing.assert_allclose(prediction.mean, list(known.values()), atol=0.3)
    assert (prediction.std > 0).all()
    assert (prediction.std < 0.5).all()


def test_batch_equals_one_by_one_and_neither_order_nor_formula_units_matter(model):
    dicts = random_compositions(60, seed=5)
    batch = Compositions.from_dicts(dicts)
    expected = model.predict(batch)
    assert expected.in_scope.sum() > 10
    for row, d in enumerate(dicts):
        alone = model.predict(Compositions.from_dicts([{z: 3 * n for z, n in reversed(d.items())}]))
        np.testing.assert_allclose(alone.mean[0], expected.mean[row], atol=1e-5)
        np.testing.assert_allclose(alone.std[0], expected.std[row], atol=1e-5)
    shuffle = np.random.default_rng(0).permutation(len(dicts))
    np.testing.assert_allclose(model.predict(batch[shuffle]).mean, expected.mean[shuffle], atol=1e-5)


def test_chunks_are_seamless(model, monkeypatch):
    batch = Compositions.from_dicts(random_compositions(50, seed=6))
    expected = model.predict(batch)
    monkeypatch.setattr("oreflow.rewards.models.composition.model.CHUNK", 7)
    np.testing.assert_allclose(model.predict(batch).mean, expected.mean, atol=1e-5)


def test_scope_and_its_reasons(model):
    many = "".join(["Li", "Na", "K", "Mg", "Ca", "Sr", "Al", "O", "F", "S", "Cl", "N"][: model.max_elements + 1])
    prediction = model.predict(compositions("NaCl", "HeO2", "OgF2", many, "Fe", "He"))
    assert prediction.in_scope.tolist() == [True, False, False, False, True, False]
    assert prediction.reasons[1].startswith("He outside the 84 elements")
    assert prediction.reasons[2].startswith("Og outside")
    assert f"fitted on 2 to {model.max_elements}" in prediction.reasons[3]
    assert sorted(prediction.reasons) == [1, 2, 3, 5]
    assert np.isnan(prediction.mean[[1, 2, 3, 5]]).all()
    # An element's formation energy is zero by definition.
    assert (prediction.mean[4], prediction.std[4]) == (0.0, 0.0)


def test_empty_batch_and_empty_row(model):
    assert len(model.predict(Compositions.from_dicts([])).mean) == 0
    assert model.predict(Compositions.from_dicts([{}])).reasons == {
        0: "a composition without elements has no formation energy"
    }


def test_inference_equals_the_fitted_network(model):
    import torch

    from oreflow.rewards.models.composition.inference import fold, infer
    from oreflow.rewards.models.composition.network import Architecture, forward, initial_parameters, pack

    shipped = model.card["architecture"]
    sizes = {"n_members": 3, "node_width": 24, "trunk_width": 16, "n_rounds": 3, "n_blocks": 2}
    a = Architecture(**{**shipped, **sizes})
    p = initial_parameters(a, seed=0)
    rng = torch.Generator().manual_seed(1)
    for name in p:  # biases and norms start at 0 and 1, where a mistake in folding would not show
        p[name] = p[name] + 0.1 * torch.randn(p[name].shape, generator=rng)
    batch = Compositions.from_dicts(random_compositions(40, seed=7))
    batch = batch[np.argsort(-batch.n_elements, kind="stable")]
    x = pack(model.encode(batch), 84)
    with torch.inference_mode():
        for ours, expected in zip(infer(fold(p, a), x, a), forward(p, x, a)):
            np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def test_orthogonalisation_brings_all_singular_values_near_one():
    import torch

    from oreflow.rewards.models.ensemble.optimizer import orthogonalise

    generator = torch.Generator().manual_seed(0)
    for shape in ((2, 8, 20), (2, 20, 8), (2, 12, 12)):
        matrices = 1e-3 * torch.randn(shape, generator=generator)
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        ours = orthogonalise(matrices)
        assert torch.linalg.svdvals(ours).min() > 0.3
        assert torch.linalg.svdvals(ours).max() < 1.3
        # The direction is that of the exact semi-orthogonal factor.
        for one, exact in zip(ours, u @ v):
            assert float((one * exact).sum() / (one.norm() * exact.norm())) > 0.95


def test_stoichiometric_features_by_hand():
    from oreflow.rewards.chemistry.stoichiometry import (
        frequent_prototypes,
        prototype_hashes,
        prototype_index,
        stoichiometric_feature_names,
        stoichiometric_features,
    )

    batch = compositions("Ca2Ti2O6", "NaCl", "Na2Cl", "Fe", "Fe3O4")
    rows = [dict(zip(stoichiometric_feature_names(), row)) for row in stoichiometric_features(batch)]
    assert rows[0]["3-norm of the fractions"] == pytest.approx((2 * 0.2**3 + 0.6**3) ** (1 / 3))
    assert rows[0]["log atoms in the reduced formula"] == pytest.approx(np.log(5))
    assert (rows[0]["3 elements"], rows[0]["2 elements"], rows[3]["1 elements"]) == (1, 0, 1)
    ionic = 1 - np.exp(-0.25 * (3.16 - 0.93) ** 2)
    assert rows[1]["largest ionic character"] == pytest.approx(ionic)
    assert rows[1]["mean ionic character"] == pytest.approx(2 * ionic * 0.25)
    assert [r["neutral, pymatgen_common"] for r in rows[:3]] == [1, 1, 0]
    assert rows[2]["residual charge per atom, pymatgen_common"] == pytest.approx(1 / 3)
    # Magnetite is neutral with iron in two states only.
    assert (rows[4]["neutral, pymatgen_common"], rows[4]["neutral, pymatgen_common mixed"]) == (0, 1)

    # CaTiO3 in order of electronegativity is 1 1 3, CsPbBr3 too; ScF3 and TiO2 are others.
    hashes = prototype_hashes(compositions("CaTiO3", "O9Ti3Ca3", "CsPbBr3", "ScF3", "O3CaTi", "Al3Ni", "NiAl3"))
    assert len(set(hashes[[0, 1, 2, 4], 0].tolist())) == 1
    # Aluminium is less electronegative than nickel, scandium than fluorine: 3 1 and 1 3, both 1 3 by size.
    assert hashes[3, 0] != hashes[5, 0] == hashes[6, 0]
    assert hashes[3, 1] == hashes[5, 1]
    known = frequent_prototypes(hashes[:, 0], at_least=4)
    assert prototype_index(hashes[:, 0], known).tolist() == [1, 1, 1, 0, 1, 0, 0]
    assert prototype_index(hashes[:, 0], known[:0]).tolist() == [0] * 7


def test_distance_is_that_to_the_nearest_centre(model):
    from oreflow.rewards.models.ensemble.distance import TrainingSummary, summarise_training_rows

    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 12)).astype(np.float32)
    features[:, 0] *= 5.0
    summary = summarise_training_rows(features, np.random.SeedSequence(1))
    np.testing.assert_allclose(summary.projection.T @ summary.projection, np.eye(12), atol=1e-5)
    assert summary.projection[0, 0] ** 2 > 0.9  # the component of largest variance comes first
    points = rng.normal(size=(40, 12)).astype(np.float32)
    apart = (points @ summary.projection)[:, None] - summary.centres[None]
    brute_force = np.sqrt((apart**2).sum(axis=2).min(axis=1) / 12)
    np.testing.assert_allclose(summary.distance(points), brute_force, rtol=1e-4)
    assert TrainingSummary(np.eye(3, dtype=np.float32), np.ones((1, 3), np.float32)).distance(
        np.array([[1, 1, 4]], np.float32)
    ) == pytest.approx(np.sqrt(9 / 3))
    # k-means: each centre is the mean of the rows nearest to it, but for those that still moved.
    spread = summary.distance(features)
    assert spread.mean() < 0.8 * np.sqrt(((features - features.mean(axis=0)) ** 2).mean(axis=1)).mean()

    # Compounds that everyone knows are near, and mixtures that are none are far.
    distance = model.predict(compositions("NaCl", "CaTiO3", "LiFePO4", "Cs50F", "Pu9H8Au7", "H50U")).distance
    assert ((distance > model.distance_threshold) == [False, False, False, True, True, True]).all()


def test_reward_term(model):
    term = FormationEnergy()
    assert isinstance(term, RewardTerm)
    assert (term.name, term.unit, term.requires) == ("formation_energy", "eV/atom", "composition")
    batch = compositions("NaCl", "OgF2")
    result = term(batch)
    np.testing.assert_array_equal(result.values, model.predict(batch).mean)
    assert result.valid.tolist() == [True, False]
    assert list(result.columns) == [
        "formation_energy_std",
        "formation_energy_distance",
        "formation_energy_extrapolates",
    ]
    assert "Og" in result.reasons[1]
    assert result.columns["formation_energy_extrapolates"].tolist() == [False, True]


def test_std_weight_adds_the_standard_deviation(model):
    batch = compositions("NaCl", "MgO", "OgF2", "Fe")
    expected = model.predict(batch)
    for weight in (1.5, -0.5, 2):
        result = FormationEnergy(std_weight=weight)(batch)
        np.testing.assert_array_equal(result.values, expected.mean + weight * expected.std)
        np.testing.assert_array_equal(result.columns["formation_energy_mean"], expected.mean)
        np.testing.assert_array_equal(result.columns["formation_energy_std"], expected.std)
    assert result.values[3] == 0.0
    assert "formation_energy_mean" not in FormationEnergy()(batch).columns


def test_max_distance_makes_far_rows_invalid(model):
    batch = Compositions.from_dicts(random_compositions(200, seed=3))
    expected = model.predict(batch)
    limit = model.distance_threshold
    far = expected.distance > limit
    assert 0 < far.sum() < len(batch)
    free = FormationEnergy()(batch)
    np.testing.assert_array_equal(free.valid, expected.in_scope)
    np.testing.assert_array_equal(free.columns["formation_energy_extrapolates"], far | ~expected.in_scope)
    limited = FormationEnergy(max_distance=limit)(batch)
    np.testing.assert_array_equal(limited.valid, expected.in_scope & ~far)
    np.testing.assert_array_equal(limited.values[limited.valid], expected.mean[limited.valid])
    row = int(np.flatnonzero(far)[0])
    assert np.isnan(limited.values[row])
    assert (
        f"distance {expected.distance[row]:.4g} from the training data, more than {limit:.4g}" in limited.reasons[row]
    )
    assert set(limited.reasons) == set(np.flatnonzero(~limited.valid).tolist())
    # The element itself is zero by definition, and no extrapolation.
    assert FormationEnergy(max_distance=1e-6)(compositions("Fe")).values.tolist() == [0.0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"std_weight": float("nan")}, "expected std_weight to be a finite number, got nan"),
        ({"std_weight": "1"}, "expected std_weight to be a finite number, got '1'"),
        ({"std_weight": True}, "got True"),
        ({"max_distance": 0}, "expected max_distance to be a positive number, got 0"),
        ({"max_distance": float("inf")}, "got inf; leave it out"),
    ],
)
def test_parameters_out_of_range(parameters, message):
    for term in (FormationEnergy, lambda **k: PredictedProperty(DEFAULT_MODEL, **k)):
        with pytest.raises(RewardParameterError, match=message):
            term(**parameters)


def test_unknown_model_name():
    with pytest.raises(EnergyModelError, match=f"got 'energy_v'; did you mean '{DEFAULT_MODEL}'"):
        FormationEnergy("energy_v")


def test_changed_weights_are_refused(damaged):
    content = bytearray((damaged / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (damaged / WEIGHTS_FILE).write_bytes(content)
    term = FormationEnergy(damaged)
    with pytest.raises(EnergyModelError, match="expected weights with SHA-256"):
        term(compositions("NaCl"))


def test_missing_weights_and_damaged_description(damaged):
    (damaged / WEIGHTS_FILE).unlink()
    with pytest.raises(EnergyModelError, match="could not read them"):
        EnergyModel.load(damaged).predict(compositions("NaCl"))
    card = json.loads((damaged / MODEL_FILE).read_text())
    (damaged / MODEL_FILE).write_text(json.dumps(card | {"schema_version": 99}))
    with pytest.raises(EnergyModelError, match=r"schema version 2 .* got 99"):
        EnergyModel.load(damaged)
    (damaged / MODEL_FILE).write_text('{"schema_version": 2}')
    with pytest.raises(EnergyModelError, match="complete model description"):
        EnergyModel.load(damaged)
    (damaged / MODEL_FILE).write_text("{")
    with pytest.raises(EnergyModelError, match="could not read it"):
        EnergyModel.load(damaged)


def test_model_card_is_the_description_in_prose():
    from oreflow.rewards.models.composition.card import render_card

    card = json.loads((SHIPPED / MODEL_FILE).read_text(encoding="utf-8"))
    assert (SHIPPED / CARD_FILE).read_text(encoding="utf-8") == render_card(card)
    assert "CC BY 4.0" in card["data"]["source"]
    assert f"{card['metrics']['test']['mae']:.4g}" in render_card(card)
    assert card["target"]["formation_energy"] is True
    # The numbers the project claims for the shipped weights.
    for part in ("test", "test_chemsys"):
        assert card["metrics"][part]["mae"] <= 0.055
        assert 0.85 <= card["metrics"][part]["coverage_90"] <= 0.95
        assert card["metrics"][part]["spearman_std_error"] >= 0.45
    assert card["metrics"]["test"]["n"] > 3000
    assert card["fit"]["fit_seconds"] < 45 * 60
    assert not card["fit"]["shortened_by_time_limit"]
    near, *_, far = card["distance"]["test_errors"]
    assert far["up_to"] is None
    assert far["mae"] > 1.2 * near["mae"]
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3.4e6


def test_import_is_light():
    code = (
        "import sys, oreflow.rewards.models.composition.fit; "
        "from oreflow.rewards.terms.energy import formation_energy, predicted_property; "
        "print([m for m in ('torch', 'numba', 'pandas', 'pymatgen') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
