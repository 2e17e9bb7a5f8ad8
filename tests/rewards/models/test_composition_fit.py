"""Fitting property models: from the table, with all that can be wrong with it, to a model that is a reward term."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from oreflow.envs.chemistry.elements import electronegativities
from oreflow.envs.errors import OreflowError
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.contract.protocol import RewardTerm
from oreflow.rewards.errors import RewardParameterError
from oreflow.rewards.models.composition.data import read_property_table
from oreflow.rewards.models.composition.model import EnergyModel
from oreflow.rewards.models.ensemble.folder import CARD_FILE, MODEL_FILE, WEIGHTS_FILE
from oreflow.rewards.models.ensemble.tables import EnergyDataError
from oreflow.rewards.terms.energy.formation_energy import FormationEnergy
from oreflow.rewards.terms.energy.predicted_property import PredictedProperty
from tests.rewards.chemistry.test_magpie import random_compositions
from tests.rewards.models.test_composition_model import compositions

LIGHT = ("Li", "Na", "K", "Mg", "Ca", "Al", "Si", "P", "N", "O", "F", "S", "Cl")


def synthetic_rows(n: int, seed: int) -> list[str]:
    """Rows of a law that can be learned: the mean squared deviation of the electronegativity, times -1 eV."""
    chi = electronegativities()
    dicts = [d for d in random_compositions(4 * n, seed, LIGHT) if len(d) in (2, 3, 4)]
    rows = {}
    for batch in [Compositions.from_dicts(dicts).reduced()]:
        for formula, z, count in zip(batch.formulas(), batch.atomic_numbers, batch.counts):
            f = count / count.sum()
            rows[formula] = -float(f @ (chi[np.maximum(z, 1)] - f @ chi[np.maximum(z, 1)]) ** 2)
    return [f"{formula},{energy:.5f}" for formula, energy in list(rows.items())[:n]]


def write_text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def write_csv(path: Path, rows: list[str], header: str = "formula,formation_energy_per_atom") -> Path:
    return write_text(path, "\n".join([header, *rows]) + "\n")


COLUMNS = {"formula_column": "formula", "target_column": "formation_energy_per_atom", "formation_energy": True}
TINY = {"n_members": 2, "node_width": 16, "trunk_width": 32, "n_blocks": 1}


def test_fit_learns_a_law_and_writes_a_usable_model(tmp_path):
    from oreflow.rewards.models.composition.fit import fit_energy

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
    assert {"done", "total", "validation_mae", "elapsed_s"} <= set(fits[0])


def test_fit_is_reproducible_and_independent_of_the_order_of_rows(tmp_path):
    from oreflow.rewards.models.composition.fit import fit_energy

    rows = synthetic_rows(120, seed=9)
    a = fit_energy(write_csv(tmp_path / "a.csv", rows), tmp_path / "a", n_epochs=3, **TINY)
    b = fit_energy(write_csv(tmp_path / "b.csv", rows[::-1]), tmp_path / "b", n_epochs=3, **TINY)
    c = fit_energy(tmp_path / "a.csv", tmp_path / "c", n_epochs=3, seed=1, **TINY)
    assert a["weights_sha256"] == b["weights_sha256"] != c["weights_sha256"]


def test_chemical_systems_set_aside_share_nothing_with_the_rest(tmp_path):
    from oreflow.rewards.models.composition.data import read_property_table
    from oreflow.rewards.models.ensemble.tables import split_table

    csv = write_csv(tmp_path / "t.csv", synthetic_rows(300, seed=10))
    table = read_property_table(csv, **COLUMNS)
    split = split_table(table, np.random.SeedSequence(0), validation=0.1, test=0.1, test_chemsys=0.1)
    parts = [split.train, split.validation, split.test, split.test_chemsys]
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    systems = [{tuple(z) for z in table.compositions.atomic_numbers[rows].tolist()} for rows in parts]
    assert not systems[3] & (systems[0] | systems[1] | systems[2])
    assert 30 <= len(split.test_chemsys) <= 45


def test_bad_rows_are_counted_with_their_lines_and_duplicates_keep_the_lowest(tmp_path):
    from oreflow.rewards.models.composition.data import read_property_table

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
    table = read_property_table(csv, **COLUMNS)
    energy = dict(zip(table.compositions.formulas(), table.values))
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
        ("formula,formation_energy_per_atom", ["NaCl"], "line 2: expected 2 cells as in the header, got 1"),
        (
            "formula,formula,formation_energy_per_atom",
            ["NaCl,NaCl,1"],
            "expected one column 'formula' .* got 2; rename",
        ),
        ("formula,formation_energy_per_atom", ["NaCl,"], "line 2: expected a number, got an empty cell"),
    ],
)
def test_unusable_tables_are_refused_with_a_reason(tmp_path, header, rows, message):
    from oreflow.rewards.models.composition.fit import fit_energy

    with pytest.raises(OreflowError, match=message):
        fit_energy(write_csv(tmp_path / "t.csv", rows, header), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer; .* `git lfs pull`"),
        (
            gzip.compress(b"formula,formation_energy_per_atom\n" + b"NaCl,-2.1\n" * 999, mtime=0)[:-20],
            "truncated or damaged",
        ),
        (b"\x1f\x8b no gzip at all", "truncated or damaged: copy or download it again"),
        (b"PK\x03\x04 zip", "got a zip archive in .*; unpack it"),
        (b"formula,formation_energy_per_atom\nNaCl,\xff\n", "save it as UTF-8"),
        (b"", "got an empty first line"),
    ],
)
def test_files_that_are_no_table(tmp_path, content, message):
    from oreflow.rewards.models.composition.fit import fit_energy

    for name in ("t.csv", "t.csv.gz"):  # what counts is the content
        (tmp_path / name).write_bytes(content)
        with pytest.raises(OreflowError, match=message):
            fit_energy(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_compressed_tables_blank_rows_and_a_byte_order_mark(tmp_path):
    from oreflow.rewards.models.composition.data import read_property_table

    rows = synthetic_rows(70, seed=12)
    text = "\n".join(["\ufeffformula,formation_energy_per_atom", *rows[:3], "", ",", *rows[3:], "", ""])
    plain = read_property_table(write_text(tmp_path / "t.csv", text), **COLUMNS)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))
    compressed = read_property_table(tmp_path / "t.csv.gz", **COLUMNS)
    assert len(plain) == 70
    np.testing.assert_array_equal(plain.values, compressed.values)
    for table in (plain, compressed):
        assert table.report["bad_rows_first"] == [{"line": n, "reason": "blank row"} for n in (5, 6, 74)]
        assert table.report["rows_read"] == 73


def test_missing_table(tmp_path):
    from oreflow.rewards.models.composition.fit import fit_energy

    with pytest.raises(OreflowError, match="could not read it"):
        fit_energy(tmp_path / "none.csv", tmp_path / "out")


# Any property


def test_other_properties_keep_pure_elements_and_take_the_median_of_duplicates(tmp_path):
    from oreflow.rewards.models.composition.data import read_property_table

    extra = ["KBr,1.0", "K2Br2,5.0", "BrK,2.0", "Fe,3.5", "Fe2,4.5", "NaN,0.25"]
    csv = write_csv(tmp_path / "t.csv", [*extra, *synthetic_rows(100, seed=13)], "formula,band_gap")
    table = read_property_table(csv, formula_column="formula", target_column="band_gap", formation_energy=False)
    values = dict(zip(table.compositions.formulas(), table.values))
    assert (values["BrK"], values["Fe"], values["NNa"]) == (2.0, 4.0, 0.25)
    assert (table.report["pure_element_rows"], table.report["duplicate_rows"]) == (2, 3)
    assert table.report["duplicates_kept"] == "median"
    as_energy = read_property_table(csv, formula_column="formula", target_column="band_gap", formation_energy=True)
    values = dict(zip(as_energy.compositions.formulas(), as_energy.values))
    assert values["BrK"] == 1.0
    assert "Fe" not in values
    assert (as_energy.report["duplicates_kept"], as_energy.report["duplicate_rows"]) == ("lowest", 2)


@pytest.fixture(scope="module")
def melting(tmp_path_factory) -> Path:
    """A model of a property that pure elements have, in kelvin: 100 K for each unit of the mean electronegativity."""
    from oreflow.rewards.models.composition.fit import fit_energy

    folder = tmp_path_factory.mktemp("melting")
    chi = electronegativities()
    batch = Compositions.from_dicts(
        [d for d in random_compositions(900, seed=14, symbols=LIGHT) if len(d) <= 4]
    ).reduced()
    rows = {
        formula: 100.0 * float(n @ chi[np.maximum(z, 1)] / n.sum())
        for formula, z, n in zip(batch.formulas(), batch.atomic_numbers, batch.counts)
    }
    csv = write_csv(folder / "t.csv", [f"{f},{v:.4f}" for f, v in rows.items()], "formula,point")
    fit_energy(csv, folder / "model", target_column="point", unit="K", n_epochs=60, **TINY)
    return folder / "model"


def test_a_property_of_the_users_own_as_a_reward_term(melting):
    term = PredictedProperty(melting, std_weight=-1.0)
    assert isinstance(term, RewardTerm)
    assert (term.name, term.unit, term.requires) == ("predicted_property", "K", "composition")
    batch = compositions("LiF", "NaCl", "MgSiO3", "Al", "FeO")
    known = 100.0 * np.array([(0.98 + 3.98) / 2, (0.93 + 3.16) / 2, (1.31 + 1.90 + 3 * 3.44) / 5, 1.61, np.nan])
    result = term(batch)
    mean, std = result.columns["predicted_property_mean"], result.columns["predicted_property_std"]
    np.testing.assert_allclose(mean[:4], known[:4], atol=20.0)  # the values spread over 300 K
    np.testing.assert_array_equal(result.values, mean - std)
    assert std[3] > 0  # a pure element is a composition like others
    assert result.valid.tolist() == [True] * 4 + [False]
    assert result.reasons == {4: "Fe outside the 13 elements of the point model"}
    assert set(result.columns) == {f"predicted_property_{c}" for c in ("mean", "std", "distance", "extrapolates")}
    assert "predicted_property_mean" not in PredictedProperty(melting)(batch).columns


def test_two_properties_in_one_reward(melting, monkeypatch):
    from oreflow.rewards import build, register, registry

    monkeypatch.setattr(registry.REWARDS, "own", {})

    @register("melting_point")
    class MeltingPoint(PredictedProperty):
        name = "melting_point"

    term = {"name": "melting_point", "params": {"model": str(melting)}, "shape": {"kind": "minimise", "beta": 0.1}}
    energy = {"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}
    batch = compositions("LiF", "NaCl")
    result = build([term, energy])(batch)
    assert "melting_point_std" in result.terms["melting_point"].columns
    expected = -0.1 * PredictedProperty(melting)(batch).values - FormationEnergy()(batch).values
    np.testing.assert_allclose(result.log_reward, expected)


def test_a_formation_energy_term_refuses_another_property(melting):
    with pytest.raises(
        RewardParameterError, match=r"expected a model of formation energies, got one of 'point' .* use"
    ):
        FormationEnergy(melting)


def test_the_card_tells_which_property_it_is(melting):
    card = json.loads((melting / MODEL_FILE).read_text(encoding="utf-8"))
    text = (melting / CARD_FILE).read_text(encoding="utf-8")
    target = card["target"]
    assert (target["name"], target["unit"], target["formation_energy"]) == ("point", "K", False)
    assert (card["min_elements"], card["max_elements"]) == (1, 4)
    assert text.startswith("# point from composition\n")
    assert "In K, of the weights as stored" in text
    assert "by definition" not in text
    assert "Bartel" not in text
    edges = [part["up_to"] for part in card["distance"]["test_errors"]]
    assert edges[-1] is None
    assert card["distance"]["threshold"] == edges[-2]
    assert sum(part["n"] for part in card["distance"]["test_errors"]) == sum(
        card["metrics"][part]["n"] for part in ("test", "test_chemsys")
    )


def test_formation_energies_under_another_column_name(tmp_path):
    from oreflow.rewards.models.composition.fit import fit_energy

    csv = write_csv(tmp_path / "t.csv", [*synthetic_rows(120, seed=15), "Li,0.3"], "formula,ef")
    card = fit_energy(csv, tmp_path / "out", target_column="ef", formation_energy=True, n_epochs=1, **TINY)
    assert card["target"]["unit"] == "eV/atom"
    assert FormationEnergy(tmp_path / "out")(compositions("Li")).values.tolist() == [0.0]
    assert "    target_column='ef',\n    formation_energy=True,\n" in card["command"]
    with pytest.raises(OreflowError, match=r"expected formation energies in eV/atom, .* got the unit 'kJ/mol'"):
        fit_energy(csv, tmp_path / "no", target_column="ef", formation_energy=True, unit="kJ/mol", n_epochs=1)
    assert not (tmp_path / "no").exists()


def test_errors_by_distance_count_every_row_once(melting):
    from oreflow.rewards.models.ensemble.metrics import errors_by_distance

    model = EnergyModel.load(melting)
    batch = Compositions.from_dicts([d for d in random_compositions(200, seed=16, symbols=LIGHT) if len(d) <= 4])
    prediction = model.predict(batch)
    values = prediction.mean + np.arange(len(batch))
    low, high = np.quantile(prediction.distance, [0.3, 0.8]).tolist()
    bins = errors_by_distance(model, batch, values, (low, high))
    inside = [prediction.distance <= low, (prediction.distance > low) & (prediction.distance <= high)]
    inside.append(prediction.distance > high)
    assert [b["n"] for b in bins] == [int(rows.sum()) for rows in inside]
    for b, rows in zip(bins, inside):
        assert b["mae"] == pytest.approx(np.arange(len(batch))[rows].mean(), rel=1e-4)


@pytest.mark.kind("fits: energies of another unit")
@pytest.mark.parametrize(("share", "refused"), [(1.0, True), (0.05, True), (0.005, False)])
def test_energies_that_are_no_formation_energies_are_refused_before_the_fit(
    tmp_path: Path, share: float, refused: bool
) -> None:
    symbols = ("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Zn")
    formulas = [f"{m}{i}{x}" for m in symbols for x in ("F", "Cl", "Br", "I", "O", "S", "Se") for i in (1, 2, 3)]
    n_wrong = round(share * len(formulas))
    rows = [f"{formula},{-310.5 if row < n_wrong else -1.5}" for row, formula in enumerate(formulas)]
    path = tmp_path / "t.csv"
    path.write_text("formula,formation_energy_per_atom\n" + "\n".join(rows) + "\n")
    columns = {"formula_column": "formula", "target_column": "formation_energy_per_atom"}
    if refused:
        with pytest.raises(EnergyDataError, match=r"rows hold no formation energy in eV/atom; line 2: .* Total"):
            read_property_table(path, **columns, formation_energy=True)
        read_property_table(path, **columns, formation_energy=False)  # any other property may have such values
    else:
        table = read_property_table(path, **columns, formation_energy=True)
        assert table.report["bad_rows"] == n_wrong
        assert "is not between -10 and 10" in table.report["bad_rows_first"][0]["reason"]
