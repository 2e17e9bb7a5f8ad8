"""A fit that starts from fitted weights begins where they ended."""

import json

import numpy as np
import pytest
import torch

from oreflow.rewards.models.composition.card import render_card
from oreflow.rewards.models.composition.fit import fit_energy
from oreflow.rewards.models.composition.inputs import Prototypes, element_index, encode
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.composition.network import Architecture, forward, pack
from oreflow.rewards.models.composition.warm_start import Inputs, start_from, transplanted
from oreflow.rewards.models.ensemble.folder import MODEL_FILE
from oreflow.rewards.models.ensemble.tables import EnergyDataError
from tests.rewards.models.test_composition_fit import TINY, synthetic_rows, write_csv
from tests.rewards.models.test_composition_model import compositions

TERNARY = ("CaTiO3", "MgAl2O4", "LaAlO3", "LiFeO2", "NaVO3", "K2PtCl6")
FORMULAS = (*TERNARY, "NaCl", "MgO", "Fe2O3", "TiO2", "GaAs", "CaF2", "Li")  # more elements first


def other_inputs(model: EnergyModel) -> Inputs:
    """Inputs of a network for fewer elements, in other places, differently standardised, with other prototypes."""
    old = Inputs.of(model, model.weights.prototypes)
    rng = np.random.default_rng(0)
    n = len(old.feature_mean)
    mean = old.feature_mean + 0.3 * rng.normal(size=n) * old.feature_std
    std = old.feature_std * rng.uniform(1.5, 2.0, n)
    prototypes = Prototypes(old.prototypes.ordered[3:], old.prototypes.anonymous[::2])
    return Inputs(tuple(z for z in old.elements if z != 5), mean, std, prototypes)


def answers(model: EnergyModel, inputs: Inputs, parameters: dict[str, torch.Tensor], architecture: Architecture):
    rows = encode(
        compositions(*FORMULAS),
        element_index(inputs.elements),
        inputs.feature_mean.astype(np.float32),
        inputs.feature_std.astype(np.float32),
        inputs.prototypes,
    )
    # What is cut off differs between the two standardisations.
    inside = (np.abs(rows.features) < 6.0).all(axis=1)
    mean, _ = forward(parameters, pack(rows, len(inputs.elements)), architecture)
    return mean.numpy(), rows.prototypes, inside


def test_the_new_network_says_what_the_earlier_one_said() -> None:
    model = EnergyModel.load()
    earlier = model.weights
    before, now = Inputs.of(model, earlier.prototypes), other_inputs(model)
    sizes = earlier.architecture.to_dict() | {"n_members": 6, "n_elements": len(now.elements)}
    sizes |= {"n_ordered_prototypes": len(now.prototypes.ordered) + 1}
    sizes |= {"n_anonymous_prototypes": len(now.prototypes.anonymous) + 1}
    architecture = Architecture(**sizes)
    parameters = transplanted(earlier, before, now, architecture, seed=1)
    assert {name: tuple(t.shape) for name, t in parameters.items()}["embedding"] == (6, len(now.elements), 128)
    assert not torch.equal(parameters["head.weight"][0], earlier.parameters["head.weight"][0])
    for name in ("head.weight", "head.bias"):
        parameters[name] = torch.cat([earlier.parameters[name], earlier.parameters[name][:2]])
    expected, old_prototypes, inside = answers(model, before, earlier.parameters, earlier.architecture)
    found, new_prototypes, _ = answers(model, now, parameters, architecture)
    same = inside & ((old_prototypes > 0) == (new_prototypes > 0)).all(axis=1)
    assert same.sum() >= 3
    np.testing.assert_allclose(found[:4, same], expected[:, same], atol=2e-4)
    np.testing.assert_allclose(found[4:, same], expected[:2, same], atol=2e-4)


def test_a_fit_from_pretrained_weights_says_so(tmp_path) -> None:
    table = write_csv(tmp_path / "t.csv", synthetic_rows(100, seed=31), "formula,x")
    options = {"target_column": "x", "unit": "eV", "n_members": 1, "n_epochs": 1, "from_pretrained": True}
    card = fit_energy(table, tmp_path / "m", **options)
    assert card["fit"]["from_pretrained"] is True
    assert "It started from the weights of the shipped model." in render_card(card)
    assert (
        "--from-pretrained" not in fit_energy(table, tmp_path / "n", target_column="x", n_epochs=1, **TINY)["command"]
    )
    assert card == json.loads((tmp_path / "m" / MODEL_FILE).read_text(encoding="utf-8"))
    assert "--from-pretrained" in card["command"]


def test_another_network_cannot_start_there() -> None:
    model = EnergyModel.load()
    sizes = model.weights.architecture.to_dict() | {"trunk_width": 32, "n_blocks": 1}
    with pytest.raises(EnergyDataError, match="got another trunk_width, n_blocks; leave these"):
        start_from("energy_v2", Inputs.of(model, model.weights.prototypes), Architecture(**sizes), 0)
