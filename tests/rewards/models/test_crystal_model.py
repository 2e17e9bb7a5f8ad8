"""The crystal energy model: what it sees of a decoration, and the shipped model with its reward term."""

import json
import re
import shutil

import numpy as np
import pytest
from benchmarks.rewards.bench_crystal_energy import random_decorations

from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.letter_maps import letter_maps
from oreflow.envs.symmetry.space_groups import N_SPACE_GROUPS, space_group
from oreflow.rewards.check import check_reward_term
from oreflow.rewards.contract.evaluation import evaluate_term
from oreflow.rewards.contract.protocol import RewardTerm
from oreflow.rewards.models.crystal.model import DEFAULT_CRYSTAL_MODEL, CrystalEnergyModel
from oreflow.rewards.models.crystal.prototypes import prototype_hashes
from oreflow.rewards.models.crystal.site_tables import site_tables
from oreflow.rewards.models.ensemble.folder import (
    CARD_FILE,
    MODEL_FILE,
    WEIGHTS_FILE,
    EnergyModelError,
    model_directory,
)
from oreflow.rewards.terms.energy.crystal_formation_energy import CrystalFormationEnergy
from oreflow.rewards.terms.energy.formation_energy import FormationEnergy
from tests.support.crystal_energies import decorations

SHIPPED = model_directory(DEFAULT_CRYSTAL_MODEL)
ELEMENTS = (3, 8, 11, 12, 17, 22, 26, 38)


@pytest.fixture(scope="module")
def model() -> CrystalEnergyModel:
    return CrystalEnergyModel.load()


def with_letters(crystals: Crystals, letter: np.ndarray) -> Crystals:
    geometry = (crystals.lattice, crystals.parameters)
    return Crystals(crystals.space_group, crystals.site_offsets, letter, crystals.atomic_number, *geometry)


def test_labelings_of_one_crystal_have_one_prototype_and_others_have_not():
    same = [
        # Rock salt with its origin on either ion; perovskite likewise; half-Heusler shifted by a quarter of a diagonal.
        (decorations((225, "Na a, Cl b")), decorations((225, "Na b, Cl a"))),
        (decorations((221, "Sr a, Ti b, O c")), decorations((221, "Sr b, Ti a, O d"))),
        (decorations((216, "Li a, Al b, Si c")), decorations((216, "Li c, Al d, Si b"))),
        # Pmmm: the corner and the middle of any edge, whichever axis the edge is along.
        (decorations((47, "Na a, Cl b")), decorations((47, "Na a, Cl e"))),
    ]
    for first, second in same:
        assert (prototype_hashes(first) == prototype_hashes(second)).all()
    ordered, positions = prototype_hashes(decorations((216, "Li a, Al b, Si c"), (216, "Li a, Al c, Si b"))).T
    assert ordered[0] != ordered[1]  # another element is in the middle of the other two
    assert positions[0] == positions[1]
    assert (
        len(set(prototype_hashes(decorations((225, "Na a, Cl b"), (225, "Na a, Cl c"), (221, "Na a, Cl b")))[:, 1]))
        == 3
    )


def test_elements_only_count_by_their_order_of_electronegativity():
    a, b, c = prototype_hashes(decorations((216, "Zn a, S c"), (216, "Ga a, As c"), (216, "As a, Ga c")))
    assert (a == b).all()
    # Zinc blende with its ions exchanged is the same crystal: the normalizer swaps the positions.
    assert (a == c).all()
    rutile, anti = prototype_hashes(decorations((136, "Ti a, O f"), (136, "O a, Ti f")))
    assert rutile[0] != anti[0]
    assert rutile[1] == anti[1]


def test_letter_maps_keep_what_the_model_sees_in_every_group():
    tables = site_tables()
    n_swaps = 0
    for number in range(1, N_SPACE_GROUPS + 1):
        group, maps = space_group(number), letter_maps(space_group(number))
        letters = np.arange(len(group.letters))
        assert (maps == letters).all(axis=1).any() or number == 2
        for image in maps:
            n_swaps += int((image != letters).any())
            assert (group.multiplicity[image] == group.multiplicity).all()
            assert (group.dof[image] == group.dof).all()
            assert (tables.symbol[number, image] == tables.symbol[number, letters]).all()
            assert (tables.features[number, image] == tables.features[number, letters]).all()
        if number != 2:
            # A group: its elements are closed under composition.
            have = {tuple(row) for row in maps.tolist()}
            assert {tuple(a[b]) for a in maps for b in maps} == have
    assert n_swaps > 500


def test_tables_hold_textbook_positions():
    tables = site_tables()
    # International Tables: Fm-3m 4a m-3m; P4_2/mnm 4f m.2m; P1 1a; per primitive cell.
    assert [tables.symbols[tables.symbol[g, k]] for g, k in ((225, 0), (136, 5), (1, 0))] == ["m-3m", "m.2m", "1"]
    assert tables.atoms[225, :3].tolist() == [1, 1, 2]
    assert tables.features[136, 5].tolist() == [2.0, 1.0, 2.0]
    assert tables.group_features[225].tolist() == [0, 0, 0, 0, 0, 0, 1, np.float32(np.log2(48)), 1, 0, 2]
    assert tables.group_features[1].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0]


def test_predictions_do_not_depend_on_the_labeling(model):
    crystals = random_decorations(400, ELEMENTS, seed=1)
    rng = np.random.default_rng(0)
    letter = crystals.letter.copy()
    for row, number in enumerate(crystals.space_group.tolist()):
        group = space_group(number)
        site = slice(crystals.site_offsets[row], crystals.site_offsets[row + 1])
        axis = group.axis_letter_map[rng.integers(len(group.axis_letter_map))]
        letter[site] = group.letter_map[rng.integers(len(group.letter_map))][axis[letter[site]]]
    assert (letter != crystals.letter).mean() > 0.2
    expected, found = model.predict(crystals), model.predict(with_letters(crystals, letter))
    assert expected.in_scope.sum() > 200
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(found.std, expected.std, atol=1e-5)


def test_batch_equals_one_by_one_and_the_order_of_sites_does_not_matter(model):
    crystals = random_decorations(60, ELEMENTS, seed=2)
    expected = model.predict(crystals)
    rng = np.random.default_rng(0)
    for row in range(len(crystals)):
        one = crystals[row : row + 1]
        order = rng.permutation(len(one.letter))
        shuffled = Crystals(
            one.space_group, one.site_offsets, one.letter[order], one.atomic_number[order], one.lattice, one.parameters
        )
        alone = model.predict(shuffled)
        np.testing.assert_allclose(alone.mean[0], expected.mean[row], atol=1e-5)
        np.testing.assert_allclose(alone.distance[0], expected.distance[row], atol=1e-5)


def test_chunks_are_seamless(model, monkeypatch):
    crystals = random_decorations(50, ELEMENTS, seed=3)
    expected = model.predict(crystals)
    monkeypatch.setattr("oreflow.rewards.models.crystal.model.CHUNK", 7)
    np.testing.assert_allclose(model.predict(crystals).mean, expected.mean, atol=1e-5)


def test_energies_of_well_known_crystals(model):
    # Materials Project, eV/atom.
    known = {
        (225, "Na a, Cl b"): -2.1,
        (225, "Mg a, O b"): -3.0,
        (136, "Ti a, O f"): -3.5,
        (221, "Sr a, Ti b, O c"): -3.55,
        (225, "Ca a, F c"): -4.2,
        (221, "Ni a, Al b"): -0.67,
        (227, "Mg a, Al d, O e"): -3.35,
    }
    prediction = model.predict(decorations(*known))
    np.testing.assert_allclose(prediction.mean, list(known.values()), atol=0.3)
    assert model.prototype_known(decorations(*known)).all()
    # Of NaCl the rock salt structure is the stable one; compositions alone do not tell.
    salt, caesium, blende = model.predict(
        decorations((225, "Na a, Cl b"), (221, "Na a, Cl b"), (216, "Na a, Cl c"))
    ).mean
    assert salt < min(caesium, blende)


def test_scope_and_its_reasons(model):
    crystals = decorations((225, "Na a, Cl b"), (225, "He a, Cl b"), (225, "Cu a"), (216, "Zn d, S b"))
    prediction = model.predict(crystals)
    assert prediction.in_scope.tolist() == [True, False, False, True]
    assert "He outside the" in prediction.reasons[1]
    assert "a pure element" in prediction.reasons[2]
    assert np.isnan(prediction.mean[1:3]).all()
    assert len(model.predict(crystals[:0]).mean) == 0


def test_the_term_takes_decorations_and_keeps_the_contract():
    term = CrystalFormationEnergy(std_weight=1.0)
    assert isinstance(term, RewardTerm)
    check_reward_term(term)
    crystals = decorations((225, "Na a, Cl b"), (225, "He a, Cl b"), (1, "Na a, Cl a, Na a"))
    found = evaluate_term(term, crystals)
    assert found.valid.tolist() == [True, False, True]
    assert sorted(found.columns) == [
        f"crystal_formation_energy_{name}" for name in ("distance", "extrapolates", "mean", "prototype_known", "std")
    ]
    mean, std = (found.columns[f"crystal_formation_energy_{name}"][[0, 2]] for name in ("mean", "std"))
    np.testing.assert_allclose(found.values[[0, 2]], mean + std)
    assert found.columns["crystal_formation_energy_prototype_known"][0]


def test_models_of_another_kind_are_refused():
    with pytest.raises(EnergyModelError, match=r"predicts from the crystal.*reward 'crystal_formation_energy'"):
        FormationEnergy(model=DEFAULT_CRYSTAL_MODEL)
    with pytest.raises(EnergyModelError, match=r"predicts from the composition.*reward 'formation_energy'"):
        CrystalFormationEnergy(model="energy_v2")


def test_damaged_weights_are_told(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "model")
    path = tmp_path / "model" / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(EnergyModelError, match="SHA-256"):
        CrystalEnergyModel.load(tmp_path / "model").predict(decorations((225, "Na a, Cl b")))


def test_inference_equals_the_fitted_network(model):
    import torch

    from oreflow.rewards.models.composition.network import Architecture
    from oreflow.rewards.models.crystal.inference import fold, infer
    from oreflow.rewards.models.crystal.inputs import concatenate, encode_compositions
    from oreflow.rewards.models.crystal.network import CrystalArchitecture, forward, initial_parameters, pack_crystals

    shipped = model.card["architecture"]
    small = {"n_members": 3, "node_width": 24, "trunk_width": 16, "n_blocks": 2}
    composition = Architecture(**{**shipped["composition"], **small})
    a = CrystalArchitecture(**{**shipped, "composition": composition, "site_width": 20, "n_rounds": 3})
    p = initial_parameters(a, seed=0)
    rng = torch.Generator().manual_seed(1)
    for name in p:  # biases and norms start at 0 and 1, where a mistake in folding would not show
        p[name] = p[name] + 0.1 * torch.randn(p[name].shape, generator=rng)
    crystals = random_decorations(40, ELEMENTS, seed=4)
    encoded = model.encode(crystals)
    # Rows without sites among them, as in a fit.
    encoded = concatenate(encoded, encode_compositions(encoded.composition))
    encoded = encoded[np.argsort(-(encoded.composition.elements >= 0).sum(axis=1), kind="stable")]
    x = pack_crystals(encoded, len(model.elements))
    with torch.inference_mode():
        for ours, expected in zip(infer(fold(p, a), x, a), forward(p, x, a)):
            np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def test_weights_are_small_and_the_card_says_what_the_description_says():
    card = json.loads((SHIPPED / MODEL_FILE).read_text(encoding="utf-8"))
    text = (SHIPPED / CARD_FILE).read_text(encoding="utf-8")
    assert (SHIPPED / WEIGHTS_FILE).stat().st_size <= 1_700_000
    rows = re.findall(r"^\| [a-z(].*? \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", text, flags=re.M)
    expected = [card["metrics"][k] for k in ("unseen", "test", "test_chemsys", "validation")]
    expected += [card["by_prototype"][k] for k in ("known", "new")]
    assert [(int(n), float(mae)) for n, mae, _ in rows[:6]] == [(m["n"], float(f"{m['mae']:.4g}")) for m in expected]
    assert card["metrics"]["unseen"]["n"] > 2000
    assert card["metrics"]["unseen"]["mae"] < 0.07
    for number in (card["weights_sha256"], card["data"]["sha256"], card["polymorphs"]["pairs"], card["split"]["train"]):
        assert str(number) in text
