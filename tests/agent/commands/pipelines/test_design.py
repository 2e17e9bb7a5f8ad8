"""`oreflow design` is train, sample and report in a row; configs that ship are found by name, from anywhere."""

import json
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest

from oreflow.agent.config.shipped import shipped_configs
from tests.agent.reporting.pages import data_of
from tests.support.cli import done, oreflow, refused
from tests.support.repository import ROOT

SHORT = ("--set", "sampler.steps=20", "--set", "run.threads=1", "-q")


def test_it_gives_what_the_three_verbs_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = done("design", "tiny_exact", "-n", 40, *SHORT[:-1]).output
    run = tmp_path / "oreflow_tiny_exact"
    done("train", ROOT / "runs" / "configs" / "tiny_exact.yaml", "--out", "apart", *SHORT)
    done("sample", "apart", "-n", 40, "--unique", "-q")
    tables = [pd.read_parquet(folder / "samples" / "candidates.parquet") for folder in (run, tmp_path / "apart")]
    pd.testing.assert_frame_equal(*tables)
    assert len(tables[0]) == 40
    page = run / "report" / "index.html"
    assert str(page.relative_to(tmp_path)) in said
    shown = {column["key"]: column["values"] for column in data_of(page)["tables"][0]["columns"]}
    assert shown["formula"] == tables[0]["formula"].tolist()
    refused("holds a run", "design", "tiny_exact", *SHORT)
    told = json.loads(done("design", "tiny_exact", "-n", 7, "--overwrite", "--json", *SHORT).output)
    assert (told["summary"]["n_rows"], told["report"]["n_rows"]) == (7, {"oreflow_tiny_exact": 7})


def test_a_file_is_a_config_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done("init", "mine", "--from", "tiny_exact", "-q")
    assert (tmp_path / "mine" / "config.yaml").read_bytes() == (
        ROOT / "runs" / "configs" / "tiny_exact.yaml"
    ).read_bytes()
    done("design", "mine/config.yaml", "--out", "run", "-n", 5, *SHORT)
    assert len(pd.read_csv(tmp_path / "run" / "samples" / "candidates.csv")) == 5


def test_all_configs_ship_and_a_wrong_name_is_told_the_nearest(tmp_path: Path) -> None:
    assert set(shipped_configs()) == {path.stem for path in (ROOT / "runs" / "configs").glob("*.yaml")}
    refused("did you mean 'perovskites'?", "init", tmp_path / "x", "--from", "perovskite")
    refused("did you mean 'quickstart'?", "design", "quikstart")
    refused("expected one of them", "init", tmp_path / "x", "--from", "perovskites", "--crystals")
    assert not (tmp_path / "x").exists()


def test_the_version_is_that_of_the_package() -> None:
    assert oreflow("--version").output.strip() == f"oreflow {version('oreflow')}"
