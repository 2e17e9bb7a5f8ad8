"""Rewards that misbehave during a run, from the command line: what is said, what is kept, which exit code."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from oreflow.agent.tables.formulas import read_table
from tests.support.cli import CONFIG, done, refused

PROGRAM = Path(sys.executable).with_name("oreflow")
PLUGIN = """
import os
from pathlib import Path
import numpy as np
from oreflow import rewards

class Term:
    unit, version, citations, requires = "eV", "1", (), "composition"
    def values(self, batch): return batch.reduced().n_atoms / 4.0
    def __call__(self, batch): return rewards.TermValues(self.values(batch), np.ones(len(batch), dtype=bool))

@rewards.register("crashing")
class Crashing(Term):
    name = "crashing"
    def __call__(self, batch):
        if "Li2O" in batch.formulas(): os._exit(7)
        return super().__call__(batch)

@rewards.register("raising")
class Raising(Term):
    name = "raising"
    def __call__(self, batch):
        if "Li2O" in batch.formulas(): raise ValueError("cannot do Li2O")
        return super().__call__(batch)

@rewards.register("hopeless")
class Hopeless(Term):
    name = "hopeless"
    def __call__(self, batch): os._exit(9)

@rewards.register("random")
class Random(Term):
    name = "random"
    def values(self, batch): return np.random.default_rng().random(len(batch))

@rewards.register("crystalline")
class Crystalline(Term):
    name, requires = "crystalline", "structure"

@rewards.register("filed")
class Filed(Term):
    name, path_params = "filed", ("reference",)
    def __init__(self, reference): self.offset = float(Path(reference).read_text())
    def values(self, batch): return np.full(len(batch), self.offset)
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    config, plugin = tmp_path / "config.yaml", tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    data = yaml.safe_load(CONFIG)
    data["reward"]["invalid_budget"] = 0.5
    config.write_text(yaml.safe_dump(data))
    return config, plugin


def with_term(name: str, **more: object) -> str:
    term = {"name": name, "shape": {"kind": "minimise", "beta": 1.0}, **more}
    return f"reward.terms.0={json.dumps(term)}"


def oreflow(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120)


SOFT_OFF = ("--set", "world.neutrality=off")


@pytest.mark.parametrize(
    ("term", "reason"),
    [
        (with_term("crashing", isolated=True), "its process ended with exit code 7; set aside"),
        (with_term("raising"), "ValueError: cannot do Li2O"),
        (with_term("raising", isolated=True, workers=2), "ValueError: cannot do Li2O"),
    ],
)
def test_a_formula_that_fails_costs_that_formula(
    files: tuple[Path, Path], tmp_path: Path, term: str, reason: str
) -> None:
    config, plugin = files
    done("train", config, "--plugin", plugin, *SOFT_OFF, "--set", term, "--out", tmp_path / "run", "--quiet")
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == 40
    assert 0 < metrics[-1]["n_invalid"] < metrics[-1]["n_objects"] / 2
    failures = [json.loads(line) for line in (tmp_path / "run" / "reward_failures.jsonl").read_text().splitlines()]
    assert [(f["formula"], f["reason"]) for f in failures] == [("Li2O", reason)], "saved once"
    done("sample", tmp_path / "run", "-n", "300", "--plugin", plugin, "--quiet")
    formulas = read_table(tmp_path / "run" / "samples" / "candidates.csv")["formula_reduced"].tolist()
    assert len(formulas) > 150
    assert "Li2O" not in formulas


def test_a_reward_that_fails_on_everything_ends_the_run_with_code_4(files: tuple[Path, Path], tmp_path: Path) -> None:
    config, plugin = files
    term = with_term("hopeless", isolated=True)
    common = ("train", config, "--plugin", plugin, *SOFT_OFF, "--set", term, "--out", tmp_path / "run")
    refused("reward 'hopeless' gave no value for 8 formulas in a row", *common, code=4)
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir()] == ["step_00000000"]


def test_exactness_is_not_claimed_for_a_random_reward(files: tuple[Path, Path], tmp_path: Path) -> None:
    config, plugin = files
    small = ("--set", "sampler.steps=3", *SOFT_OFF, "--plugin", plugin)
    result = oreflow("exact", config, *small, "--set", with_term("random"), "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["nondeterministic_rewards"] == ["random"]
    assert "random gives one formula different values: these figures prove nothing" in result.stderr
    assert "oreflow: warning: reward 'random' is not deterministic" in result.stderr
    checked = oreflow("check", config, *small, "--set", with_term("random"))
    assert checked.returncode == 4
    assert "random gives different values when called twice: seed it" in checked.stderr


def test_files_that_rewards_read_are_found_from_anywhere(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, plugin = files
    (tmp_path / "offset.txt").write_text("2.5")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    term = with_term("filed", params={"reference": "offset.txt"})
    done("train", config, "--plugin", plugin, *SOFT_OFF, "--set", term, "--out", "run", "--quiet")
    monkeypatch.chdir(tmp_path / "elsewhere")
    done("sample", tmp_path / "run", "-n", "5", "--plugin", plugin, "--quiet")
    frame = read_table(tmp_path / "run" / "samples" / "candidates.csv")
    assert set(frame["filed_ev"].astype(float)) == {2.5}


def test_the_record_names_the_versions_and_bounds_of_the_reward(files: tuple[Path, Path], tmp_path: Path) -> None:
    config, plugin = files
    bounds = ("--set", "reward.log_min=-0.2", "--set", "reward.beta=2.0")
    done("train", config, "--plugin", plugin, *bounds, "--out", tmp_path / "run", "--quiet")
    reward = json.loads((tmp_path / "run" / "provenance.json").read_text())["reward"]
    assert (reward["beta"], reward["log_min"], reward["log_max"]) == (2.0, -0.2, 200.0)
    assert [(term["name"], term["unit"]) for term in reward["terms"]] == [
        ("charge_balance", "e"),
        ("formation_energy", "eV/atom"),
    ]
    metrics = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert metrics["n_log_reward_bounded"] > 0
    done("sample", tmp_path / "run", "-n", "200", "--quiet")
    summary = json.loads((tmp_path / "run" / "samples" / "summary.json").read_text())
    frame = read_table(tmp_path / "run" / "samples" / "candidates.csv")
    log_reward = frame["log_reward"].astype(float)
    shares = frame[["charge_balance_log_score", "formation_energy_log_score"]].astype(float).sum(axis=1)
    assert summary["reward"] == reward
    assert summary["n_log_reward_bounded"] == (shares < -0.2).sum() > 0
    np.testing.assert_allclose(log_reward, shares.clip(lower=-0.2), atol=1e-12)


def test_a_reward_of_structures_is_refused_where_there_are_none(files: tuple[Path, Path]) -> None:
    config, plugin = files
    message = "reward.terms.0 (crystalline): expected a reward of compositions, as world.kind is composition"
    refused(message, "check", config, "--plugin", plugin, *SOFT_OFF, "--set", with_term("crystalline"))
