"""Fitting crystal energy models: reading structures, splitting, joining two tables, and a fit that learns a law."""

import gzip
import json
import shlex

import numpy as np
import pytest

from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.models.crystal.data import decoration, has_structures, read_crystals
from oreflow.rewards.models.crystal.model import CrystalEnergyModel
from oreflow.rewards.models.crystal.prototypes import prototype_hashes
from oreflow.rewards.models.crystal.training_tables import corrections, split_by_formula, training_tables
from oreflow.rewards.models.ensemble.folder import CARD_FILE, MODEL_FILE
from oreflow.rewards.models.ensemble.tables import EnergyDataError
from oreflow.rewards.terms.energy.crystal_formation_energy import CrystalFormationEnergy
from tests.support.cli import done, refused
from tests.support.crystal_energies import OF_PROTOTYPE_EV, decorations, write_structures

TARGET = "formation_energy_per_atom"
TINY = {"n_members": 1, "node_width": 16, "site_width": 16, "trunk_width": 32, "n_blocks": 1}


def cubic(a: float, angle: float = 90.0) -> np.ndarray:
    from pymatgen.core import Lattice

    return np.array(Lattice.from_parameters(a, a, a, angle, angle, angle).matrix)


def test_decorations_of_textbook_structures():
    found = {
        "rock salt, primitive": decoration(cubic(3.99, 60), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), [11, 17]),
        "perovskite": decoration(
            cubic(3.9),
            np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
            [38, 22, 8, 8, 8],
        ),
        "caesium chloride, eight cells": decoration(
            cubic(8.2),
            np.array([[i, j, k] for i in (0, 0.5) for j in (0, 0.5) for k in (0, 0.5)] * 2)
            + np.repeat([[0.0], [0.25]], 8, axis=0),
            [55] * 8 + [17] * 8,
        ),
    }
    expected = {
        "rock salt, primitive": (225, "Na a, Cl b"),
        "perovskite": (221, "Sr a, Ti b, O c"),
        "caesium chloride, eight cells": (221, "Cs a, Cl b"),
    }
    for name, (group, sites) in found.items():
        ours = decorations((group, ", ".join(f"{symbols()[z]} {'abcdefghijkl'[letter]}" for letter, z in sites)))
        assert group == expected[name][0], name
        assert (prototype_hashes(ours) == prototype_hashes(decorations(expected[name]))).all(), name


def test_rows_that_cannot_be_used_are_reported_with_their_lines(tmp_path):
    path = write_structures(tmp_path / "t.csv", seed=0, n=120)
    salt = "3.99 3.99 3.99 60 60 60"
    bad = [
        f"x,-1.0,{salt},Na 0 0 0; Cl 0.5 0.5",
        f"x,-1.0,{salt},Qq 0 0 0; Cl 0.5 0.5 0.5",
        f"x,-1.0,{salt},He 0 0 0; Cl 0.5 0.5 0.5",
        "x,-1.0,3.99 3.99 3.99 60 60,Na 0 0 0; Cl 0.5 0.5 0.5",
        "x,-1.0,3 3 3 10 10 150,Na 0 0 0; Cl 0.5 0.5 0.5",
        f"x,,{salt},Na 0 0 0; Cl 0.5 0.5 0.5",
        f"x,0.1,{salt},Na 0 0 0; Na 0.5 0.5 0.5",
        "x,-1.0",
    ]
    content = path.read_text(encoding="utf-8") + "\n".join(bad) + "\n"
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(content.encode()))
    table = read_crystals(packed, target_column=TARGET)
    assert has_structures(packed)
    report = table.report
    assert (report["rows_read"], report["rows_used"], report["pure_element_rows"]) == (128, 120, 1)
    reasons = {entry["line"] - 121: entry["reason"] for entry in report["bad_rows_first"]}
    assert sorted(reasons) == [1, 2, 3, 4, 5, 6, 8]
    for line, part in (
        (1, "3 numbers"),
        (2, "'Qq 0 0 0'"),
        (3, "Magpie"),
        (4, "6 numbers"),
        (5, "angles"),
        (6, "empty"),
    ):
        assert part in reasons[line]
    # Sorted by content: the order of the rows does not matter.
    header, *rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([header, *rows[::-1]]) + "\n", encoding="utf-8")
    again = read_crystals(path, target_column=TARGET)
    assert (again.values == table.values).all()
    assert (again.crystals.atomic_number == table.crystals.atomic_number).all()
    assert (np.diff(table.compositions.n_elements) <= 0).all()


def test_tables_without_structures_are_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(f"formula,{TARGET}\nNaCl,-2.1\n")
    assert not has_structures(path)
    with pytest.raises(EnergyDataError, match="column 'lattice'"):
        read_crystals(path, target_column=TARGET)
    path.write_text(f"lattice,sites,{TARGET}\n3.99 3.99 3.99 60 60 60,Na 0 0 0; Cl 0.5 0.5 0.5,-2.1\n")
    with pytest.raises(EnergyDataError, match=r"at least 100 usable structures .* got 1 from 1"):
        read_crystals(path, target_column=TARGET)


def test_corrections_are_those_of_the_elements_in_spite_of_outliers():
    rng = np.random.default_rng(0)
    fractions = np.zeros((400, 119))
    for row in fractions:
        row[rng.choice([3, 8, 11, 17, 35], size=3, replace=False)] = 1 / 3
    truth = np.zeros(119)
    truth[[8, 35]] = (0.05, -0.5)
    differences = fractions @ truth
    differences[:40] += rng.uniform(0.2, 0.6, size=40)  # other polymorphs: higher in one table
    np.testing.assert_allclose(corrections(fractions, differences), truth, atol=5e-3)


def test_no_formula_and_no_held_out_system_is_in_two_parts(tmp_path):
    path = write_structures(tmp_path / "s.csv", seed=1, n=380)
    table = read_crystals(path, target_column=TARGET)
    split = split_by_formula(table, np.random.SeedSequence(3))
    parts = [split.train, split.validation, split.test, split.test_chemsys]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(table)))
    formulas = [set(table.compositions[rows].formulas()) for rows in parts]
    assert all(not a & b for k, a in enumerate(formulas) for b in formulas[:k])

    # A second table with other conventions: 0.3 eV/atom per oxygen atom's share, and every formula of the first.
    unique = sorted(set(table.compositions.formulas()))
    energy = {f: min(table.values[k] for k, g in enumerate(table.compositions.formulas()) if g == f) for f in unique}
    share = dict(zip(table.compositions.formulas(), table.compositions.dense()[:, 8] / table.compositions.n_atoms))
    rows = [f"{f},{energy[f] - 0.3 * share[f]:.6f}" for f in unique]
    (tmp_path / "c.csv").write_text(f"formula,{TARGET}\n" + "\n".join(rows) + "\n")
    joined = training_tables(path, tmp_path / "c.csv", TARGET, np.random.SeedSequence(3))
    kept = set(joined.compositions.formulas())
    assert kept
    assert not kept & (formulas[1] | formulas[2] | formulas[3])
    assert len(kept) + joined.report["rows_held_out"] == len(unique)
    np.testing.assert_allclose(joined.energies, [energy[f] for f in joined.compositions.formulas()], atol=2e-3)
    assert joined.report["corrections"]["O"] == pytest.approx(0.3, abs=5e-3)


def test_a_fit_learns_what_the_structure_says(tmp_path):
    from oreflow.rewards.models.crystal.fit import fit_crystal_energy

    path = write_structures(tmp_path / "s.csv", seed=2, n=396)
    events: list[dict] = []
    card = fit_crystal_energy(path, tmp_path / "out", n_epochs=60, progress=events.append, **TINY)
    assert card == json.loads((tmp_path / "out" / MODEL_FILE).read_text(encoding="utf-8"))
    assert str(tmp_path) not in (tmp_path / "out" / CARD_FILE).read_text(encoding="utf-8")
    # Two prototypes of one composition differ by 0.2 to 0.8 eV/atom here: 0.1 is out of reach of compositions alone.
    assert card["metrics"]["unseen"]["mae"] < 0.1
    assert card["polymorphs"]["right"] > 0.9 * card["polymorphs"]["pairs"] > 5
    model = CrystalEnergyModel.load(tmp_path / "out")
    same = decorations((225, "Na a, Cl b"), (221, "Na a, Cl b"), (216, "Na a, Cl c"))
    salt, caesium, blende = model.predict(same).mean
    assert caesium - salt == pytest.approx(OF_PROTOTYPE_EV["caesium chloride"], abs=0.15)
    assert blende - salt == pytest.approx(OF_PROTOTYPE_EV["zinc blende"], abs=0.15)
    term = CrystalFormationEnergy(model=tmp_path / "out")
    np.testing.assert_array_equal(term(same).values, model.predict(same).mean)
    assert {"done", "total", "validation_mae", "elapsed_s"} <= set(events[1])


def test_the_command_fits_structures_and_the_command_of_its_card_repeats_it(tmp_path):
    path = write_structures(tmp_path / "s.csv", seed=3, n=200)
    table = read_crystals(path, target_column=TARGET)
    rows = [f"{f},{v:.5f}" for f, v in zip(table.compositions.formulas(), table.values)]
    compositions = tmp_path / "c.csv"
    compositions.write_text(f"formula,{TARGET}\n" + "\n".join(rows) + "\n")
    small = ("--members", 1, "--epochs", 2, "--compositions", compositions)
    assert done("fit-energy", path, "--out", tmp_path / "a", *small, "--quiet").output == ""
    card = json.loads((tmp_path / "a" / MODEL_FILE).read_text(encoding="utf-8"))
    assert (card["kind"], card["data"]["compositions"]["file"]) == ("crystal", "c.csv")
    assert card["command"].startswith("oreflow fit-energy s.csv --out a ")
    words = shlex.split(card["command"].replace("\\\n", " "))[2:]
    places = {"s.csv": path, "c.csv": compositions, "a": tmp_path / "b"}
    text = done("fit-energy", *(places.get(w, w) for w in words)).stdout
    assert f"SHA-256 {card['weights_sha256']}" in text
    assert "200 of 200" in text

    refused("expected formation energies in eV/atom", "fit-energy", path, "--out", tmp_path / "c", "--unit", "kJ/mol")
    more = ("--out", tmp_path / "c", "--compositions", compositions)
    refused("expected structures", "fit-energy", compositions, *more)
    refused("expected a column 'formula'", "fit-energy", path, "--composition-only", "--out", tmp_path / "c")


def test_stored_weights_are_within_half_a_step_of_the_fitted_ones():
    import torch

    from oreflow.rewards.models.crystal.weights import _compressed

    matrix = torch.randn(2, 40, 7, generator=torch.Generator().manual_seed(0)) * torch.logspace(-4, 1, 7)
    stored = _compressed("x", matrix)
    step = stored["x.scale"].to(torch.float32)
    assert stored["x"].dtype == torch.int8
    # Half a step, and what the rounding of the scale to half precision costs the largest entries.
    assert ((stored["x"] * step - matrix).abs() <= 0.57 * step).all()
    assert set(_compressed("b", matrix[:, :1])) == {"b"}


def test_compositions_of_the_primitive_cell_count_each_site():
    spinel = decorations((227, "Mg a, Al d, O e"))
    assert spinel.compositions.reduced().formulas() == Compositions.from_dicts([{12: 1, 13: 2, 8: 4}]).formulas()
