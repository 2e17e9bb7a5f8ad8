"""The baselines that change known compounds, by the same commands as the others, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from oreflow.agent.config.run import validate_config
from oreflow.agent.errors import ConfigError
from oreflow.agent.training.build import make_checked
from tests.support.cli import done, oreflow
from tests.support.prototypes import prototypes

KINDS = ("ion_exchange", "prototype_decoration")
FORMULAS: dict[str, Any] = {"elements": ["Li", "K", "Ca", "Zn", "O", "S", "Cl"], "n_elements": [2, 3]}
CRYSTALS: dict[str, Any] = {
    "kind": "wyckoff",
    "space_groups": [136, 221, 225],
    "elements": ["Li", "K", "Ca", "Sn", "Zr", "O", "S", "Cl"],
    "n_elements": [2, 3],
    "n_atoms": [2, 6],
    "geometry": False,
}


def data(world: dict[str, Any], kind: str, path: Path | str | None) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "world": world,
        "reward": {"terms": [{"name": "scarcity", "shape": {"kind": "below", "threshold": 4000, "width": 300}}]},
        "sampler": {"kind": kind, "steps": 4, "batch": 30, "warm_start": {"path": None if path is None else str(path)}},
        "run": {"threads": 1},
    }


def formulas(folder: Path, *known: str) -> Path:
    path = folder / "known.csv"
    path.write_text("\n".join(("formula", *known)) + "\n")
    return path


def crystals(folder: Path) -> Path:
    path = folder / "cifs"
    path.mkdir()
    for prototype in prototypes():
        if prototype.name in ("rutile", "rock salt", "zinc blende"):
            prototype.structure.to(filename=str(path / f"{prototype.name.replace(' ', '_')}.cif"))
    return path


@pytest.mark.filterwarnings("always:.*leaves known compounds out")
@pytest.mark.filterwarnings("ignore:Issues encountered while parsing CIF")  # pymatgen turns 0.333333333333 into 1/3
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("of_crystals", [False, True])
def test_they_train_resume_and_sample_like_the_others(tmp_path: Path, kind: str, of_crystals: bool) -> None:
    known = crystals(tmp_path) if of_crystals else formulas(tmp_path, "Na2O", "MgCl2", "SrTiO3", "LaNi5", "nonsense")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(data(CRYSTALS if of_crystals else FORMULAS, kind, known)))
    run = tmp_path / "run"
    said = done("train", config, "--out", run, "-q").stderr
    assert f"warning: {known}: {kind} leaves known compounds out: 1 " in said
    done("resume", run, "-q", "--set", "sampler.steps=6")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["n_objects"]) == (6, 180)  # every reward call stands in the ledger
    summary = json.loads(done("sample", run, "-n", 60, "--json").stdout)
    assert summary["n_rows"] == 60
    assert "known" in summary["target"]
    assert summary["share_neutral"] == 1.0
    rows = pd.read_parquet(run / "samples" / "candidates.parquet")
    if of_crystals:
        assert set(rows["space_group_number"]) == {136, 225}  # zinc blende is of no group of the world
    assert rows["formula_reduced"].nunique() > 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_that_cannot_be_is_refused(kind: str) -> None:
    for world, path, said in (
        (FORMULAS, None, f"warm_start.path: {kind} changes known compounds; name their file"),
        (CRYSTALS | {"geometry": True}, "x", "set world.geometry to false"),
        ({"kind": "alloy", "elements": ["Fe", "Ni"]}, "x", "got world.kind alloy; choose composition or wyckoff"),
    ):
        with pytest.raises(ConfigError, match=said):
            validate_config(data(world, kind, path), "test")


def test_known_compounds_of_no_use_stop_before_any_work(tmp_path: Path) -> None:
    gone, text = tmp_path / "gone.csv", tmp_path / "text.csv"
    text.write_text("a,b\n1,2\n")
    intermetallic = formulas(tmp_path, "LaNi5", "Na")
    for world, kind, path, said in (
        (FORMULAS, "ion_exchange", gone, "gone.csv"),
        (FORMULAS, "prototype_decoration", text, "formula"),
        (FORMULAS, "ion_exchange", intermetallic, "1 of a number of elements .*1 without neutral oxidation states"),
        (FORMULAS | {"n_atoms": [2, 4]}, "prototype_decoration", intermetallic, "none of those in .*: 2 of a number"),
        (CRYSTALS, "ion_exchange", intermetallic, "expected structures, .* got formulas"),
    ):
        with pytest.raises(ConfigError, match=rf"sampler\.warm_start\.path: .*{said}"):
            make_checked(validate_config(data(world, kind, path), "test"), "test")


def test_what_never_meets_the_world_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oreflow.agent.search.known_objects._MOST_TRIED", 5000)
    world = {"elements": ["Li", "K", "O"], "n_elements": [2, 2], "required": ["Li", "K"], "neutrality": "off"}
    config = validate_config(data(world, "prototype_decoration", formulas(tmp_path, "NaCl")), "test")
    with pytest.raises(ConfigError, match=r"warm_start\.path: expected objects of the world among 5120 draws"):
        make_checked(config, "test")


def test_check_and_list_know_them(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(data(FORMULAS, "ion_exchange", formulas(tmp_path, "Na2O", "MgCl2"))))
    assert oreflow("check", config).exit_code == 0
    listed = json.loads(done("list", "samplers", "--json").stdout)["samplers (sampler.kind)"]
    assert {*KINDS} <= set(listed)
