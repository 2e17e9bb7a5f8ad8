"""The example of a slow reward on Ray does what its header says; without Ray, all but the cluster."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
import yaml

from tests.support.cli import done, refused
from tests.support.repository import ROOT

CONFIG, PLUGIN = ROOT / "examples" / "slow_reward_on_ray.yaml", ROOT / "examples" / "slow_reward.py"
HAS_RAY = importlib.util.find_spec("ray") is not None


def test_it_trains_on_processes_of_this_machine_too(tmp_path: Path) -> None:
    local = ("--set", "run.executor={kind: local, workers: 2}", "--set", "sampler.steps=20")
    result = done("train", CONFIG, "--plugin", PLUGIN, "--out", tmp_path / "run", *local, "--json", "-q")
    assert json.loads(result.stdout)["steps"] == 20


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_says_what_installs_it(tmp_path: Path) -> None:
    refused("pip install 'oreflow[ray]'", "train", CONFIG, "--plugin", PLUGIN, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed")
@pytest.mark.filterwarnings("ignore")  # Ray leaves sockets and files for the interpreter's end to close
def test_it_trains_on_a_cluster_that_is_started_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    try:
        result = done("train", CONFIG, "--plugin", PLUGIN, "--out", tmp_path / "run", "--json", "-q")
        assert ray.cluster_resources()["CPU"] == 2
    finally:
        ray.shutdown()
    summary = json.loads(result.stdout)
    assert summary["steps"] == yaml.safe_load(CONFIG.read_text())["sampler"]["steps"] == 60
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 3
