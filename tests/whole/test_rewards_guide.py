"""The guide in rewards/README.md, step by step as a reader would follow it."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml

from oreflow.rewards.registry import names
from oreflow.rewards.shaping import SHAPES
from tests.whole.test_layers import ROOT

GUIDE = (ROOT / "rewards" / "README.md").read_text(encoding="utf-8")
PROGRAM = Path(sys.executable).with_name("oreflow")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)


def section(title: str) -> str:
    return GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def run(folder: Path, line: str, *more: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(line)
    assert words[0] == "oreflow"
    done = subprocess.run([PROGRAM, *words[1:], *more], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert "warning" not in done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two files that the guide has its reader save."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "capacity.py").write_text(blocks("python")[0], encoding="utf-8")
    (folder / "capacity.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    return folder


@pytest.mark.slow
def test_all_steps_in_order(folder: Path) -> None:
    score, check, train_and_sample = (block.strip().splitlines() for block in blocks("bash"))
    done = run(folder, score[0], "--json")
    values = {row["formula"]: row["lithium_capacity_mah_per_g"] for row in yaml.safe_load(done.stdout)}
    assert values["LiCoO2"] == pytest.approx(273.8, abs=0.05)
    assert values["LiFePO4"] == pytest.approx(169.9, abs=0.05)
    assert values["NaCl"] == 0.0
    assert "273.8" in GUIDE
    assert "169.9" in GUIDE
    assert "lithium_capacity: median" in run(folder, check[0]).stdout
    run(folder, train_and_sample[0], "--set", "sampler.steps=20")
    run(folder, train_and_sample[1])
    frame = pd.read_parquet(folder / "runs" / "capacity" / "samples" / "candidates.parquet")
    assert len(frame) == 100
    shares = frame["lithium_capacity_log_score"] + frame["formation_energy_log_score"]
    assert (shares.clip(-50.0, 200.0) - frame["log_reward"]).abs().max() < 1e-9
    assert frame["lithium_capacity_valid"].all()
    by_hand = -0.5 * ((frame["lithium_capacity_mah_per_g"] - 200.0) / 25.0) ** 2
    assert (by_hand - frame["lithium_capacity_log_score"]).abs().max() < 1e-9


def test_the_isolated_term_of_the_guide_is_a_valid_config(folder: Path) -> None:
    from oreflow.agent.config.run import validate_config

    data = yaml.safe_load(blocks("yaml")[0])
    data["reward"]["terms"] += yaml.safe_load(blocks("yaml")[1])
    term = validate_config(data, "guide").reward.terms[-1]
    assert (term.isolated, term.workers, term.time_limit_s) == (True, 4, 30.0)


def test_the_entry_point_is_in_the_group_that_is_read() -> None:
    assert list(tomllib.loads(blocks("toml")[0])["project"]["entry-points"]) == ["oreflow.rewards"]


def test_tables_list_every_term_and_every_shape() -> None:
    in_guide = re.findall(r"^\| `(\w+)", section("What ships"), flags=re.MULTILINE)
    assert sorted(in_guide) == sorted(name for name, origin in names().items() if origin == "built in")
    shapes = re.findall(r"^\| `(\w+): ([\w, ]+)`", section("Shapes"), flags=re.MULTILINE)
    assert [name for name, _ in shapes] == list(SHAPES)
    for name, parameters in shapes:
        assert SHAPES[name].__code__.co_varnames[: SHAPES[name].__code__.co_argcount] == tuple(parameters.split(", "))
