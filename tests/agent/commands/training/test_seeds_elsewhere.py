"""`train --seeds --executor` after a stop, a signal or a crash, and on Ray: the runs that one by one would be."""

import importlib.util
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from oreflow.agent.commands.training.seed_work import make_trainer, training_task
from oreflow.agent.config.run import load_config
from oreflow.agent.storage.checkpoint import list_checkpoints
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.agent.training.build import make_reward
from oreflow.rewards.executors.local import LocalExecutor
from oreflow.rewards.executors.process import running_workers
from tests.agent.training.test_resume import contents
from tests.support.cli import CONFIG, done, oreflow, refused
from tests.support.repository import ROOT

# The term dies in the process that is to give a value first, whoever that is.
FRAGILE = """
import os, pathlib
import numpy as np
from oreflow import rewards

@rewards.register("fragile_once")
class Fragile:
    name, unit, version, citations, requires = "fragile_once", "1", "1", (), "composition"
    def __init__(self, flag):
        self.flag = pathlib.Path(flag)
    def __call__(self, batch):
        if not self.flag.exists():
            self.flag.touch()
            os._exit(3)
        return rewards.TermValues(np.zeros(len(batch)), np.ones(len(batch), dtype=bool))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "local.yaml").write_text("kind: local\nworkers: 2\n")
    (folder / "ray.yaml").write_text("kind: ray\nworkers: 2\n")
    done("train", folder / "config.yaml", "--seeds", "0-1", "--out", folder / "here", "-q")
    return folder


def command(place: Path, out: Path, *more: object, kind: str = "local") -> tuple[object, ...]:
    where = place / f"{kind}.yaml"
    return ("train", place / "config.yaml", "--seeds", "0-1", "--out", out, "--executor", where, *more)


def same(one: Path, other: Path) -> bool:
    return all(
        contents(RunFolder(one / f"seed_{seed}")) == contents(RunFolder(other / f"seed_{seed}")) for seed in (0, 1)
    )


@pytest.mark.slow
def test_what_was_stopped_goes_on_and_what_is_finished_stays(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "there"
    shutil.copytree(place / "here", out)
    before = (out / "seed_0" / "metrics.jsonl").stat().st_mtime_ns
    shutil.rmtree(list_checkpoints(RunFolder(out / "seed_1").checkpoints)[-1])  # as if stopped after half of its steps
    runs = json.loads(done(*command(place, out, "--json", "-q")).stdout)["runs"]
    assert [run["finished_before"] for run in runs] == [True, False]
    assert same(place / "here", out)
    assert (out / "seed_0" / "metrics.jsonl").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_signal_ends_the_workers_and_the_same_command_goes_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, honest = tmp_path / "there", LocalExecutor.collect

    def signalled(self: Any, timeout_s: float) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return honest(self, timeout_s)

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "collect", signalled)
        result = oreflow(*command(place, out))
    assert result.exit_code == 3, result.output
    assert "go on with: the same command" in " ".join(result.output.split())
    assert not running_workers()
    done(*command(place, out, "-q"))
    assert same(place / "here", out)


@pytest.mark.slow
def test_a_worker_that_crashes_costs_its_run_until_the_same_command_comes(tmp_path: Path) -> None:
    term = f"- {{name: fragile_once, params: {{flag: {tmp_path}/flag}}, shape: {{kind: minimise, beta: 1.0}}}}"
    (tmp_path / "config.yaml").write_text(CONFIG.replace("sampler:", f"    {term}\nsampler:"))
    (tmp_path / "fragile.py").write_text(FRAGILE)
    arguments = ("train", tmp_path / "config.yaml", "--seeds", "3", "--out", tmp_path / "out", "--executor", "local")
    more = ("--plugin", tmp_path / "fragile.py", "--set", "sampler.steps=20")
    refused("seed 3: its process ended with exit code 3", *arguments, *more, code=4)
    assert "next: oreflow compare" in done(*arguments, *more).stdout
    assert RunFolder(tmp_path / "out" / "seed_3").latest_checkpoint().name == "step_00000020"


def test_paths_of_a_config_hold_wherever_the_worker_is(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    term = "- {name: novelty, params: {reference: known.csv}, shape: {kind: verdict, log_penalty: 1.0}}"
    text = CONFIG.replace("sampler:", f"    {term}\nsampler:").replace("steps: 40", "steps: 2")
    (tmp_path / "known.csv").write_text("formula\nLi2O\nMnO2\n")
    monkeypatch.chdir(tmp_path)
    task = training_task(text, "config.yaml", Path("run"), "")
    monkeypatch.chdir("/")
    assert make_trainer([])(task.payload)["steps"] == 2
    assert RunFolder(tmp_path / "run").load_config().reward.terms[-1].params["reference"] == str(tmp_path / "known.csv")


def test_isolated_terms_are_sent_full_paths_from_the_first_time_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    term = "- {name: novelty, params: {reference: known.csv}, isolated: true, shape: {kind: verdict, log_penalty: 1.0}}"
    (tmp_path / "config.yaml").write_text(CONFIG.replace("sampler:", f"    {term}\nsampler:"))
    (tmp_path / "known.csv").write_text("formula\nLi2O\nMnO2\n")
    monkeypatch.chdir(tmp_path)
    config = load_config("config.yaml")
    terms = [make_reward(config).terms[-1][0].unwrapped]
    monkeypatch.chdir("/")
    config.reward.terms[-1].params["reference"] = str(tmp_path / "known.csv")  # as a run's own config has it
    terms.append(make_reward(config).terms[-1][0].unwrapped)
    one, other = [term._task_id(b"an object") for term in terms]
    assert one == other
    for term in terms:
        term.close()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.filterwarnings("ignore")  # Ray leaves sockets and files for the interpreter's end to close
def test_ray_trains_the_same_runs_in_the_folder_of_the_command(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    monkeypatch.chdir(tmp_path)
    try:
        done(*command(place, Path("there"), "-q", kind="ray"))
    finally:
        ray.shutdown()
    assert same(place / "here", tmp_path / "there")
