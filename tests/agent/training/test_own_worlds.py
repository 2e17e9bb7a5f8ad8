"""A world of one's own from the command line: checked, trained, resumed, sampled, compared exactly, opened again."""

import itertools
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from oreflow.envs import plugins
from tests.support.cli import done, refused
from tests.support.repository import ROOT

WORLD, CONFIG = ROOT / "examples" / "my_world.py", ROOT / "examples" / "my_world.yaml"
SHORT = ["--set", "sampler.steps=60", "--set", "world.size=3"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    done("train", CONFIG, "--plugin", WORLD, "--out", folder, *SHORT, "--set", "run.checkpoint_every_steps=20", "-q")
    return folder


def test_every_verb_works_on_it(run: Path, tmp_path: Path) -> None:
    assert "lattice_paths" in done("list", "envs", "--plugin", WORLD).output
    done("check", CONFIG, "--plugin", WORLD, "-q")
    done("resume", run, "--plugin", WORLD, "--set", "sampler.steps=300", "-q")
    figures = json.loads(done("exact", run, "--plugin", WORLD, "--json").stdout)
    assert figures["n_objects"] == 20  # 6 over 3
    assert figures["total_variation"] < 0.05
    summary = json.loads(done("sample", run, "-n", 100, "--unique", "--plugin", WORLD, "--json").stdout)
    assert summary["n_rows"] == 20
    assert summary["world_exhausted"] or not summary["complete"]
    assert 1 <= summary["world"]["mean_turns"] <= 5
    assert not [key for key in summary if "neutral" in key or "element" in key or "energy" in key]
    frame = pd.read_parquet(run / "samples" / "candidates.parquet")
    assert set(frame["object"].str.len()) == {6}
    assert {"turns", "turns_log_score", "n_times_sampled", "is_unique", "log_pf", "log_reward"} <= set(frame)
    assert frame["turns"].tolist() == [sum(a != b for a, b in itertools.pairwise(path)) for path in frame["object"]]
    printed = done("sample", run, "-n", 30, "--plugin", WORLD, "--out", tmp_path / "raw").output
    assert "neutral" not in printed
    assert "mean turns" in printed


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    """The second run starts again from a checkpoint in its middle; its later ones are removed, as if it was killed."""
    for name in ("through", "stopped"):
        options = [*SHORT, "--set", "run.checkpoint_every_steps=20", "--set", "run.keep_checkpoints=5", "-q"]
        done("train", CONFIG, "--plugin", WORLD, "--out", tmp_path / name, *options)
    for step in (40, 60):
        shutil.rmtree(tmp_path / "stopped" / "checkpoints" / f"step_{step:08d}")
    done("resume", tmp_path / "stopped", "--plugin", WORLD, "-q")
    for file in ("metrics.jsonl", "checkpoints/step_00000060/policy.safetensors"):
        assert (tmp_path / "stopped" / file).read_bytes() == (tmp_path / "through" / file).read_bytes()


def test_a_run_whose_world_is_not_loaded_says_what_to_add(run: Path, tmp_path: Path) -> None:
    plugins.forget_all()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for verb in (("sample", run, "-n", 3, "--out", tmp_path / "out"), ("exact", run), ("resume", run)):
        refused("was trained in the world 'lattice_paths', which is not installed here", *verb)
        refused(f"add --plugin {WORLD}", *verb)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_config_is_held_to_the_world_s_fields(tmp_path: Path) -> None:
    def refuse(message: str, *options: str) -> None:
        refused(message, "check", CONFIG, "--plugin", WORLD, *options)

    refuse("unknown key world.sise; did you mean 'size'", "--set", "world.sise=3")
    refuse("world.size", "--set", "world.size=many")
    refuse("expected size from 1 to 50, got 51", "--set", "world.size=51")
    refuse("lattice_paths", "--set", "world.kind=lattice_path")
    plugins.forget_all()
    refused("needs --plugin FILE.py", "check", CONFIG)


def test_rewards_of_other_objects_are_refused() -> None:
    terms = '[{"name": "formation_energy", "shape": {"kind": "minimise", "beta": 1.0}}]'
    message = "expected a reward whose requires is 'lattice_paths'"
    refused(message, "check", CONFIG, "--plugin", WORLD, "--set", f"reward.terms={terms}")
