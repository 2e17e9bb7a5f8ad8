"""`--target` of sample, exact and report: the value of a property that one policy is asked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import oreflow
from oreflow.agent.config.run import dump_config
from oreflow.agent.errors import ConditionError
from oreflow.agent.learners.families.conditions import parse_target
from tests.support.cli import done, plugin, refused
from tests.support.target_families import (
    BALANCE,
    BOTH,
    ENERGY,
    FAMILY,
    WIDTH,
    rewards_of_all,
    run,
    tiny,
)


def test_values_are_read() -> None:
    assert parse_target(" a = -1.5") == {"a": -1.5}
    for text in ("a", "-1.5", "a=", "=1", "a=-1.5 eV/atom", "a=1,a=2", ""):
        with pytest.raises(ConditionError, match="target: expected TERM=NUMBER, the number in the term's unit"):
            parse_target(text)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("targets")
    families = {"target": FAMILY, "both": BOTH, "none": {"kind": "none"}}
    return {name: run(tiny(family), folder / name).path for name, family in families.items()}


def test_candidates_and_summary_belong_to_the_value(runs: dict[str, Path], tmp_path: Path) -> None:
    tables = {}
    for name, option in {
        "default": (),
        "same": ("--target", f"{ENERGY}=-1"),
        "low": ("--target", f"{ENERGY}=-2"),
    }.items():
        given = ("sample", runs["target"], "-n", 40, "--out", tmp_path / name, "--json", *option)
        summary = json.loads(done(*given).stdout)
        asked = -2.0 if name == "low" else -1.0
        assert summary["condition"] == {
            "kind": "target",
            "target": {ENERGY: asked},
            "unit": "eV/atom",
            "is_default": name == "default",
        }
        table = tables[name] = pd.read_parquet(tmp_path / name / "candidates.parquet")
        wish = next(wish for wish in summary["wishes"] if wish["term"] == ENERGY)
        energies = table["formation_energy_per_atom_pred"]
        assert wish["wish"] == f"{asked:g} ± 0.2 eV/atom"
        assert wish["share"] == pytest.approx(((energies - asked).abs() <= WIDTH).mean())
        assert np.allclose(table[f"{ENERGY}_log_score"], -0.5 * ((energies - asked) / WIDTH) ** 2, atol=1e-5)
        total = table[[f"{ENERGY}_log_score", f"{BALANCE}_log_score"]].sum(axis=1)
        assert np.allclose(table["log_reward"], total.clip(lower=-15.0))
    assert tables["default"].equals(tables["same"])
    shared = tables["default"].merge(tables["low"], on="formula_pretty").drop_duplicates("formula_pretty")
    assert not np.allclose(shared["log_pf_x"], shared["log_pf_y"], atol=1e-6)
    given = ("sample", runs["target"], "-n", 5, "--out", tmp_path / "text")
    text = done(*given).stdout
    assert "sampled under              formation_energy = -1 eV/atom (default; choose with --target)" in text
    assert "R, with the formation_energy asked for as its target (-2.5 to -0.5)" in " ".join(text.split())
    frame = oreflow.sample(runs["target"], 40, target={ENERGY: -2.0})
    assert frame["formula_pretty"].tolist() == tables["low"]["formula_pretty"].tolist()
    assert frame.attrs["summary"]["condition"]["target"] == {ENERGY: -2.0}


def test_reports_say_which_value_was_asked(runs: dict[str, Path], tmp_path: Path) -> None:
    done("sample", runs["target"], "-n", 20, "--out", tmp_path / "low", "--target", f"{ENERGY}=-2")
    folder = runs["target"] / "asked"
    done("sample", runs["target"], "-n", 20, "--out", folder, "--target", f"{ENERGY}=-2")
    lines = json.loads(done("report", folder, "--out", tmp_path / "page", "--json").stdout)
    assert "-2 ± 0.2 eV/atom" in json.dumps(lines, ensure_ascii=False)
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "target formation_energy -2" in page


def test_both_kinds_are_chosen_apart(runs: dict[str, Path], tmp_path: Path) -> None:
    option = ("--target", f"{ENERGY}=-2", "--weights", f"{ENERGY}=3,{BALANCE}=1")
    text = done("sample", runs["both"], "-n", 20, "--out", tmp_path / "both", *option).stdout
    assert "formation_energy = -2 eV/atom; weights electronegativity_balance = 0.25, formation_energy = 0.75\n" in text
    summary = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert summary["hypervolume"]["n_rows"] == 20
    frame = pd.read_parquet(tmp_path / "both" / "candidates.parquet")
    total = 2 * (0.75 * frame[f"{ENERGY}_log_score"] + 0.25 * frame[f"{BALANCE}_log_score"])
    assert np.allclose(frame["log_reward"], total.clip(lower=-15.0))
    half = done("sample", runs["both"], "-n", 5, "--out", tmp_path / "half", "--target", f"{ENERGY}=-2").stdout
    assert "formation_energy = -2 eV/atom; weights" in half
    assert "formation_energy = 0.5 (default; choose with --weights)" in half


def test_exact_takes_the_value(runs: dict[str, Path], tmp_path: Path) -> None:
    figures = {
        value: json.loads(done("exact", runs["target"], "--json", "--target", f"{ENERGY}={value}").stdout)
        for value in (-0.5, -2.5)
    }
    values = rewards_of_all(tiny())
    for value, found in figures.items():
        energy, balance = values.terms[ENERGY].values, values.terms[BALANCE].values
        total = -0.5 * ((energy - value) / WIDTH) ** 2 - 2.0 * (1 - balance)
        assert found["log_z_exact"] == pytest.approx(np.logaddexp.reduce(np.maximum(total, -15.0)))
        assert found["condition"]["target"] == {ENERGY: value}
    config = tmp_path / "config.yaml"
    config.write_text(dump_config(tiny(steps=2)))
    printed = done("exact", config, "--target", f"{ENERGY}=-1.5").stdout
    assert "under                      formation_energy = -1.5 eV/atom\n" in printed
    assert "exact total variation" in printed
    refused("formation_energy from -2.5 to -0.5 eV/atom, got -3", "exact", config, "--target", f"{ENERGY}=-3")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "none",
            f"{ENERGY}=-1",
            "target: expected a run that was trained with sampler.family.kind target, got kind none",
        ),
        ("target", f"{ENERGY}=-3", "trained for formation_energy from -2.5 to -0.5 eV/atom, got -3; choose a value"),
        ("target", f"{ENERGY}=nan", "from -2.5 to -0.5 eV/atom, got nan"),
        ("target", "formation_enrgy=-1", "got 'formation_enrgy'; did you mean 'formation_energy'"),
        ("target", f"{BALANCE}=1", "trained for values of formation_energy alone, got electronegativity_balance"),
        ("target", f"{ENERGY}=-1 eV/atom", "expected TERM=NUMBER, the number in the term's unit and without it, got"),
        ("target", "-1", "expected TERM=NUMBER"),
    ],
)
def test_bad_values_end_with_code_2(name: str, value: str, message: str, runs: dict[str, Path], tmp_path: Path) -> None:
    refused(message, "sample", runs[name], "-n", 5, "--out", tmp_path / "out", "--target", value)
    refused(message, "exact", runs[name], "--target", value)
    assert not (tmp_path / "out").exists()
    refused("weights: expected a run that was trained with", "exact", runs["target"], "--weights", f"{ENERGY}=1")


def test_a_property_without_unit_is_a_plain_number(tmp_path: Path) -> None:
    file = plugin(tmp_path, "evenness", unit="")
    terms = [{"name": "evenness", "shape": {"kind": "target", "value": 1.0, "width": 0.3}}]
    family = {"kind": "target", "term": "evenness", "range": [1, 3]}
    path = tmp_path / "config.yaml"
    done("check", _written(path, family, terms), "--plugin", file)
    done("train", path, "--plugin", file, "--out", tmp_path / "run", "--quiet")
    given = ("sample", tmp_path / "run", "-n", 5, "--plugin", file, "--out", tmp_path / "out")
    assert "sampled under              evenness = 2.5\n" in done(*given, "--target", "evenness=2.5").stdout
    refused("for evenness from 1 to 3, got 4; choose", *given, "--target", "evenness=4", "--overwrite")


def _written(path: Path, family: dict[str, Any], terms: list[dict[str, Any]]) -> Path:
    data = tiny().model_dump(mode="json")
    data["reward"]["terms"], data["sampler"]["family"], data["sampler"]["steps"] = terms, family, 3
    path.write_text(json.dumps(data))
    return path
