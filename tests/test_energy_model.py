"""The formation-energy model: physics, scope, damage, and a small fit from end to end."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from envs.compositions import Compositions
from envs.elements import atomic_number, electronegativities
from envs.errors import OreflowError
from rewards.energy_model import CARD_FILE, MODEL_FILE, WEIGHTS_FILE, EnergyModel, EnergyModelError, model_directory
from rewards.formation_energy import FormationEnergy
from rewards.protocol import RewardTerm
from tests.test_features import random_compositions

SHIPPED = model_directory("energy_v1")


def compositions(*formulas: str) -> Compositions:
    parsed = [re.findall(r"([A-Z][a-z]?)(\d*)", f) for f in formulas]
    return Compositions.from_dicts([{atomic_number(s): int(n or 1) for s, n in pairs} for pairs in parsed])


@pytest.fixture(scope="module")
def model() -> EnergyModel:
    return EnergyModel.load("energy_v1")


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
    monkeypatch.setattr("rewards.energy_model.CHUNK", 7)
    np.testing.assert_allclose(model.predict(batch).mean, expected.mean, atol=1e-5)


def test_scope_and_its_reasons(model):
    many = "".join(["Li", "Na", "K", "Mg", "Ca", "Sr", "Al", "O", "F", "S", "Cl", "N"][: model.max_elements + 1])
    prediction = model.predict(compositions("NaCl", "HeO2", "OgF2", many, "Fe", "He"))
    assert prediction.in_scope.tolist() == [True, False, False, False, True, False]
    assert prediction.reasons[1].startswith("He outside the 84 elements")
    assert prediction.reasons[2].startswith("Og outside")
    assert f"up to {model.max_elements}" in prediction.reasons[3]
    assert sorted(prediction.reasons) == [1, 2, 3, 5]
    assert np.isnan(prediction.mean[[1, 2, 3, 5]]).all()
    # An element's formation energy is zero by definition.
    assert (prediction.mean[4], prediction.std[4]) == (0.0, 0.0)


def test_empty_batch_and_empty_row(model):
    assert len(model.predict(Compositions.from_dicts([])).mean) == 0
    assert model.predict(Compositions.from_dicts([{}])).reasons == {
        0: "a composition without elements has no formation energy"
    }


def test_inference_equals_the_fitted_network():
    import torch

    from rewards._energy_inference import fold, infer
    from rewards._energy_network import Architecture, forward, initial_parameters, pack

    a = Architecture(n_members=3, n_elements=84, n_features=132, node_width=24, trunk_width=16, n_rounds=3, n_blocks=2)
    p = initial_parameters(a, seed=0)
    rng = torch.Generator().manual_seed(1)
    for name in p:  # biases and norms start at 0 and 1, where a mistake in folding would not show
        p[name] = p[name] + 0.1 * torch.randn(p[name].shape, generator=rng)
    batch = Compositions.from_dicts(random_compositions(40, seed=7))
    batch = batch[np.argsort(-batch.n_elements, kind="stable")]
    x = pack(*EnergyModel.load("energy_v1").encode(batch), 84)
    with torch.inference_mode():
        for ours, expected in zip(infer(fold(p, a), x, a), forward(p, x, a)):
            np.testing.assert_allclose(ours.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def test_reward_term(model):
    term = FormationEnergy()
    assert isinstance(term, RewardTerm)
    assert (term.name, term.unit, term.requires) == ("formation_energy", "eV/atom", "composition")
    batch = compositions("NaCl", "OgF2")
    result = term(batch)
    np.testing.assert_array_equal(result.values, model.predict(batch).mean)
    assert result.valid.tolist() == [True, False]
    assert list(result.columns) == ["formation_energy_std"]
    assert "Og" in result.reasons[1]


def test_unknown_model_name():
    with pytest.raises(EnergyModelError, match="got 'energy_v'; did you mean 'energy_v1'"):
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
    with pytest.raises(EnergyModelError, match=r"schema version 1 .* got 99"):
        EnergyModel.load(damaged)
    (damaged / MODEL_FILE).write_text('{"schema_version": 1}')
    with pytest.raises(EnergyModelError, match="complete model description"):
        EnergyModel.load(damaged)
    (damaged / MODEL_FILE).write_text("{")
    with pytest.raises(EnergyModelError, match="could not read it"):
        EnergyModel.load(damaged)


def test_model_card_is_the_description_in_prose():
    from rewards._energy_card import render_card

    card = json.loads((SHIPPED / MODEL_FILE).read_text(encoding="utf-8"))
    assert (SHIPPED / CARD_FILE).read_text(encoding="utf-8") == render_card(card)
    assert "CC BY 4.0" in card["data"]["source"]
    assert f"{card['metrics']['test']['mae']:.4f}" in render_card(card)
    # The numbers the project claims for the shipped weights.
    assert card["metrics"]["test"]["mae"] <= 0.058
    assert 0.87 <= card["metrics"]["test"]["coverage_90"] <= 0.93
    assert card["metrics"]["test"]["n"] > 3000
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 3.5e6


def test_import_is_light():
    code = (
        "import sys, rewards.formation_energy, rewards.fit_energy; "
        "print([m for m in ('torch', 'numba', 'pandas', 'pymatgen') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


# Fitting


def synthetic_rows(n: int, seed: int) -> list[str]:
    """Rows of a law that can be learned: the mean squared deviation of the electronegativity, times -1 eV."""
    chi = electronegativities()
    symbols = ("Li", "Na", "K", "Mg", "Ca", "Al", "Si", "P", "N", "O", "F", "S", "Cl")
    dicts = [d for d in random_compositions(4 * n, seed, symbols) if len(d) in (2, 3, 4)]
    rows = {}
    for batch in [Compositions.from_dicts(dicts).reduced()]:
        for formula, z, count in zip(batch.formulas(), batch.atomic_numbers, batch.counts):
            f = count / count.sum()
            rows[formula] = -float(f @ (chi[np.maximum(z, 1)] - f @ chi[np.maximum(z, 1)]) ** 2)
    return [f"{formula},{energy:.5f}" for formula, energy in list(rows.items())[:n]]


def write_csv(path: Path, rows: list[str], header: str = "formula,formation_energy_per_atom") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


TINY = {"n_members": 2, "node_width": 16, "trunk_width": 32, "n_blocks": 1}


def test_fit_learns_a_law_and_writes_a_usable_model(tmp_path):
    from rewards.fit_energy import fit_energy

    rows = synthetic_rows(300, seed=8)
    csv = write_csv(tmp_path / "law.csv", rows)
    events: list[dict] = []
    card = fit_energy(csv, tmp_path / "out", n_epochs=60, seed=1, progress=events.append, **TINY)
    energies = np.array([float(row.split(",")[1]) for row in rows])
    baseline = np.abs(energies - np.median(energies)).mean()
    model = EnergyModel.load(tmp_path / "out")
    prediction = model.predict(compositions(*[row.split(",")[0] for row in rows]))
    assert np.abs(prediction.mean - energies).mean() < 0.35 * baseline
    assert card["split"]["train"] + sum(card["split"][k] for k in ("validation", "test", "test_chemsys")) == 300
    assert card == json.loads((tmp_path / "out" / MODEL_FILE).read_text(encoding="utf-8"))
    assert str(tmp_path) not in (tmp_path / "out" / CARD_FILE).read_text(encoding="utf-8")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [CARD_FILE, MODEL_FILE, WEIGHTS_FILE]
    fits = [e for e in events if e["stage"] == "fit"]
    assert fits[-1]["fraction_done"] == 1.0 or len(fits) < 60
    assert {"done", "total", "validation_mae_ev_per_atom", "elapsed_s"} <= set(fits[0])


def test_fit_is_reproducible_and_independent_of_the_order_of_rows(tmp_path):
    from rewards.fit_energy import fit_energy

    rows = synthetic_rows(120, seed=9)
    a = fit_energy(write_csv(tmp_path / "a.csv", rows), tmp_path / "a", n_epochs=3, **TINY)
    b = fit_energy(write_csv(tmp_path / "b.csv", rows[::-1]), tmp_path / "b", n_epochs=3, **TINY)
    c = fit_energy(tmp_path / "a.csv", tmp_path / "c", n_epochs=3, seed=1, **TINY)
    assert a["weights_sha256"] == b["weights_sha256"] != c["weights_sha256"]


def test_chemical_systems_set_aside_share_nothing_with_the_rest(tmp_path):
    from rewards._energy_data import read_energy_table, split_table

    csv = write_csv(tmp_path / "t.csv", synthetic_rows(300, seed=10))
    table = read_energy_table(csv, formula_column="formula", target_column="formation_energy_per_atom")
    split = split_table(table, np.random.SeedSequence(0), validation=0.1, test=0.1, test_chemsys=0.1)
    parts = [split.train, split.validation, split.test, split.test_chemsys]
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    systems = [{tuple(z) for z in table.compositions.atomic_numbers[rows].tolist()} for rows in parts]
    assert not systems[3] & (systems[0] | systems[1] | systems[2])
    assert 30 <= len(split.test_chemsys) <= 45


def test_bad_rows_are_counted_with_their_lines_and_duplicates_keep_the_lowest(tmp_path):
    from rewards._energy_data import read_energy_table

    clean = synthetic_rows(100, seed=11)
    extra = [
        "NaN,0.5",
        "Na2N2,0.25",
        "KBr,-1.9",
        "Br2K2,-2.0",
        'KI,"-1,7"',
        "Xx2O,1.0",
        "KHe2,1.0",
        "K0.5Br,-1",
        "Fe,0.0",
    ]
    csv = write_csv(tmp_path / "t.csv", [*extra, *clean, "NaH,", "NaH,nan", ",1.0"])
    table = read_energy_table(csv, formula_column="formula", target_column="formation_energy_per_atom")
    energy = dict(zip(table.compositions.formulas(), table.energy_ev_per_atom))
    assert energy["NNa"] == 0.25  # sodium nitride, not a missing value
    assert energy["BrK"] == -2.0
    assert len(table) == 102
    report = table.report
    assert (report["rows_read"], report["duplicate_rows"], report["pure_element_rows"]) == (112, 2, 1)
    reasons = {bad["line"]: bad["reason"] for bad in report["bad_rows_first"]}
    assert sorted(reasons) == [6, 7, 8, 9, 111, 112, 113]
    assert "decimal point" in reasons[6]
    assert "Xx2O" in reasons[7]
    assert "Magpie" in reasons[8]
    assert "whole number" in reasons[9]


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("formula,energy", ["NaCl,-2.1"], "expected a column 'formation_energy_per_atom' .* got 'formula', 'energy'"),
        ("formula;formation_energy_per_atom", ["NaCl;-2,1"], "cells are separated by commas"),
        ("formula,formation_energy_per_atom", ['NaCl,"-2,1"'] * 70, "line 2: '-2,1' is not a number; write a decimal"),
        ("formula,formation_energy_per_atom", ["NaCl,-2.1"], "at least 60 usable compounds .* got 1 from 1 rows"),
    ],
)
def test_unusable_tables_are_refused_with_a_reason(tmp_path, header, rows, message):
    from rewards.fit_energy import fit_energy

    with pytest.raises(OreflowError, match=message):
        fit_energy(write_csv(tmp_path / "t.csv", rows, header), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_table(tmp_path):
    from rewards.fit_energy import fit_energy

    with pytest.raises(OreflowError, match="could not read it"):
        fit_energy(tmp_path / "none.csv", tmp_path / "out")
