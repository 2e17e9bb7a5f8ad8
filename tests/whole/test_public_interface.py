"""`import oreflow`: what it gives, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import oreflow
from oreflow.agent.errors import ConfigError, RunFolderError
from tests.support.cli import CONFIG as CONFIG_TEXT

CONFIG = yaml.safe_load(CONFIG_TEXT)
TINY = ["run.log_every_steps=20"]


def test_every_public_name_is_there_and_is_known_to_type_checkers() -> None:
    tree = ast.parse(Path(oreflow.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oreflow.")
        for alias in node.names
    }
    assert typed == set(oreflow._PUBLIC)
    assert set(oreflow.__all__) == typed | {"agent", "envs", "rewards"}
    for name in oreflow.__all__:
        assert getattr(oreflow, name).__doc__, name
    assert set(dir(oreflow)) == set(oreflow.__all__)
    with pytest.raises(AttributeError, match="no attribute 'sampel'"):
        _ = oreflow.sampel  # type: ignore[attr-defined]


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import oreflow; new = set(sys.modules) - before; "
    code += "print(*{name.split('.')[0] for name in new} - sys.stdlib_module_names)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["oreflow"]


@pytest.fixture(scope="module")
def run() -> oreflow.Run:
    return oreflow.train(CONFIG, overrides=TINY, seed=3)


def test_a_run_in_a_temporary_folder_is_used_and_goes(run: oreflow.Run) -> None:
    assert run.config.seed == 3
    assert list(run.metrics()["step"]) == [20, 40]
    other = oreflow.train(CONFIG, overrides=[*TINY, "sampler.steps=1"])
    path = other.path
    assert path.is_dir()
    del other
    assert not path.exists()


def test_candidates_come_as_a_frame_and_files_only_where_a_folder_is_named(run: oreflow.Run, tmp_path: Path) -> None:
    before = sorted(run.path.rglob("*"))
    frame = oreflow.sample(run, 200, unique=True, seed=1)
    assert frame["formula_reduced"].is_unique
    assert frame.sort_values("rank")["log_reward"].round(1).is_monotonic_decreasing
    assert frame.attrs["summary"]["n_rows"] == len(frame)
    assert sorted(run.path.rglob("*")) == before
    again = run.sample(200, unique=True, seed=1, out=tmp_path / "out")
    assert {"candidates.csv", "candidates.parquet", "summary.json"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert frame.equals(again)


def test_exact_equals_the_verb(run: oreflow.Run) -> None:
    figures = oreflow.exact(run)
    assert figures == run.exact() == oreflow.exact(run.path)
    assert figures["learned_mass"] == pytest.approx(1, abs=1e-9)
    assert figures == oreflow.exact(CONFIG, overrides=TINY, seed=3)
    assert figures == oreflow.exact(run.config)


def test_a_config_may_be_a_mapping_and_is_left_alone() -> None:
    given: dict[str, Any] = {
        "world": {"elements": ["Li", "O"], "n_atoms": [2, 4]},
        "reward": {"terms": [{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 2.0}}]},
        "sampler": {"steps": 2, "batch": 8},
    }
    run = oreflow.train(given, overrides=["sampler.steps=1"])
    assert run.config.sampler.steps == 1
    assert given["sampler"] == {"steps": 2, "batch": 8}
    assert "schema_version" not in given
    with pytest.raises(ConfigError, match=r"unknown key sampler\.stepz; did you mean 'steps'"):
        oreflow.train({**given, "sampler": {"stepz": 1}})


def test_a_run_is_not_overwritten(run: oreflow.Run) -> None:
    with pytest.raises(RunFolderError, match="holds a run already"):
        oreflow.train(CONFIG, run.path, overrides=TINY)
    assert oreflow.Run(run.path).config == run.config
    with pytest.raises(RunFolderError, match="train first"):
        oreflow.Run(run.path / "checkpoints")


def test_scores_of_formulas_files_and_crystals(tmp_path: Path) -> None:
    frame = oreflow.score(["NaCl", "Fe3O4", "??"])
    assert list(frame["formula"]) == ["NaCl", "Fe3O4", "??"]
    assert frame["charge_neutral"].tolist()[:2] == [True, False]
    assert "expected" in frame["note"][2] or frame["note"][2]
    assert oreflow.score("NaCl", mixed_valence=True)["charge_neutral"].tolist() == [True]
    table = tmp_path / "formulas.csv"
    table.write_text("formula\nNaCl\nNaN\n")
    assert oreflow.score(table)["formula"].tolist() == ["NaCl", "NaN"]
    reward = oreflow.build_reward([{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 4.0}}])
    scored = oreflow.score("NaCl", reward=reward)
    energy = oreflow.score("NaCl", ["formation_energy"]).filter(like="formation_energy").iloc[0, 0]
    assert np.isclose(scored["log_reward"][0], -4.0 * energy)
