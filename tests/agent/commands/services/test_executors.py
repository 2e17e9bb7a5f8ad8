"""`--executor` and `run.executor`: the same results wherever the work is done."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from oreflow.agent.config.executor import executor_of
from oreflow.agent.errors import ConfigError
from oreflow.agent.storage.run_folder import RunFolder
from oreflow.rewards.executors.settings import ExecutorSettings
from tests.agent.training.test_resume import contents
from tests.support.campaign_fakes import ELEMENTS, PLUGIN, REFERENCES
from tests.support.cli import CONFIG, done, refused
from tests.support.fake_batch import environment
from tests.support.small_crystals import rock_salt

WORKER = [sys.executable, "-m", "oreflow.agent.cli", "worker"]


def files_executor(folder: Path, *options: object) -> Path:
    """An executor whose batch system is one worker in the background, begun with the first requests."""
    worker = shlex.join([*WORKER, str(folder / "requests"), "--wait", "20", *map(str, options)])
    script = folder / "sbatch"
    script.write_text(f"#!/bin/sh\n[ -e {folder}/began ] || {worker} > {folder}/log 2>&1 &\ntouch {folder}/began\n")
    script.chmod(0o755)
    path = folder / "executor.yaml"
    path.write_text(f"kind: files\nfolder: {folder}/requests\nsubmit: {script} --array=0-{{last}}\n")
    return path


@pytest.fixture
def _oreflow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.slow
@pytest.mark.usefixtures("_oreflow_is_found")
@pytest.mark.parametrize("kind", ["local", "files"])
def test_seeds_trained_elsewhere_are_the_runs_that_they_would_be_here(tmp_path: Path, kind: str) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    done("train", tmp_path / "config.yaml", "--seed", 1, "--out", tmp_path / "here", "-q")
    where = "local" if kind == "local" else files_executor(tmp_path)
    command = ("train", tmp_path / "config.yaml", "--seeds", "0-1", "--out", tmp_path / "there", "--executor", where)
    runs = json.loads(done(*command, "--json", "-q").stdout)["runs"]
    assert [(run["seed"], run["steps"], run["finished_before"]) for run in runs] == [(0, 40, False), (1, 40, False)]
    assert contents(RunFolder(tmp_path / "there" / "seed_1")) == contents(RunFolder(tmp_path / "here"))
    again = json.loads(done(*command, "--json", "-q").stdout)["runs"]
    assert [run["finished_before"] for run in again] == [True, True]


@pytest.mark.slow
def test_a_seed_that_cannot_be_trained_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "seed_0").write_text("in the way")
    command = ("train", tmp_path / "config.yaml", "--seeds", "0-1", "--out", tmp_path / "out", "--executor", "local")
    refused("seed 0: ", *command, "-q", code=4)
    assert (tmp_path / "out" / "seed_0").read_text() == "in the way"
    assert RunFolder(tmp_path / "out" / "seed_1").latest_checkpoint().name == "step_00000040"


@pytest.mark.slow
def test_what_follows_from_other_keys_follows_elsewhere_too(tmp_path: Path) -> None:
    """A prior says how wide the network is, unless the config does."""
    text = (
        CONFIG.replace("hidden: [16]", "")
        .replace("[1, 3], n_atoms: [1, 8]", "[2, 3], n_atoms: [2, 8]")
        .replace("batch: 32,", "batch: 8")
        .replace("steps: 40", "steps: 2")
    )
    text = text.replace("neutrality: soft", "neutrality: hard").replace(
        "sampler:", "target: {prior: compositions}\nsampler:"
    )
    (tmp_path / "config.yaml").write_text(text)
    command = (
        "train",
        tmp_path / "config.yaml",
        "--seeds",
        "0",
        "--out",
        tmp_path / "there",
        "--executor",
        "local",
        "-q",
    )
    done(*command)
    assert len(RunFolder(tmp_path / "there" / "seed_0").load_config().sampler.hidden) == 3
    done(*command)


def test_an_executor_of_training_needs_seeds(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    message = "--executor trains several seeds at once: expected --seeds beside it"
    refused(message, "train", tmp_path / "config.yaml", "--out", tmp_path / "out", "--executor", "local")


@pytest.mark.slow
@pytest.mark.usefixtures("_oreflow_is_found")
def test_a_training_whose_rewards_are_files_is_that_of_local_ones(tmp_path: Path) -> None:
    text = CONFIG.replace("{name: charge_balance,", "{name: charge_balance, isolated: true,")
    (tmp_path / "config.yaml").write_text(text)
    short = ("--set", "sampler.steps=3", "--set", "sampler.batch=8", "-q")
    done("train", tmp_path / "config.yaml", "--out", tmp_path / "here", *short)
    (tmp_path / "files.yaml").write_text(f"{text.strip()[:-1]}, executor: {{{inline(files_executor(tmp_path))}}}}}\n")
    done("train", tmp_path / "files.yaml", "--out", tmp_path / "there", *short)
    here, there = contents(RunFolder(tmp_path / "here")), contents(RunFolder(tmp_path / "there"))
    assert here.keys() == there.keys()
    assert (
        RunFolder(tmp_path / "there").metrics_path.read_text() == RunFolder(tmp_path / "here").metrics_path.read_text()
    )
    answers = list((tmp_path / "requests" / "answers").glob("*.json"))
    assert len(answers) == len(list((tmp_path / "requests" / "requests").glob("*.json"))) > 8


def inline(path: Path) -> str:
    return ", ".join(
        f"{key}: '{value}'" for key, value in (line.split(": ", 1) for line in path.read_text().splitlines())
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_oreflow_is_found")
def test_what_is_relaxed_by_jobs_is_what_is_relaxed_here(tmp_path: Path) -> None:
    pytest.importorskip("ase")
    (tmp_path / "references.csv").write_text(REFERENCES)
    plugin = tmp_path / "emt.py"
    plugin.write_text(PLUGIN.format(elements=ELEMENTS, references=str(tmp_path / "references.csv")))
    (tmp_path / "in").mkdir()
    for number in range(3):
        structure = rock_salt(4.9 + number / 10, "Cu")
        structure.replace_species({"Cl": "Au"})
        structure.to(filename=str(tmp_path / "in" / f"s{number}.cif"))
    options = ("--plugin", plugin, "--potential", "emt_of_campaigns", "--track", "held", "-q")
    done("relax", tmp_path / "in", "--out", tmp_path / "here", "--workers", 1, *options)
    where = files_executor(tmp_path, "--plugin", plugin)
    done("relax", tmp_path / "in", "--out", tmp_path / "there", "--executor", where, *options)
    here, there = (
        pd.read_csv(tmp_path / name / "relaxed.csv").drop(columns="relaxation_seconds") for name in ("here", "there")
    )
    pd.testing.assert_frame_equal(here, there, check_exact=True)
    assert (here["status"] == "converged").all()


def test_a_worker_says_what_it_did_and_which_folders_it_refuses(tmp_path: Path) -> None:
    refused("expected a folder of requests", "worker", tmp_path / "nothing")
    result = subprocess.run([*WORKER, "--help"], capture_output=True, text=True, check=True, env=environment())
    assert "Example: oreflow worker" in result.stdout


def test_executors_are_read_from_a_word_or_a_file(tmp_path: Path) -> None:
    assert executor_of(None) is None
    assert executor_of("local") == ExecutorSettings()
    assert executor_of("ray") == ExecutorSettings("ray")
    path = tmp_path / "e.yaml"
    path.write_text("kind: files\nfolder: /scratch/r\nretries: 0\n")
    assert executor_of(str(path)) == ExecutorSettings("files", retries=0, folder="/scratch/r")
    path.write_text("kind: ray\naddress: head:6379\nworkers: 64\n")
    assert executor_of(str(path)) == ExecutorSettings("ray", workers=64, address="head:6379")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: files\n", "kind files needs folder, where requests and answers lie"),
        (
            "kind: local\naddress: a:1\n",
            "address is for kind ray, got kind local; change the kind, or leave address out",
        ),
        ("kind: ray\nfolder: x\n", "folder is for kind files, got kind ray"),
        ("kind: slurm\n", "kind: Input should be 'local', 'ray' or 'files', got 'slurm'"),
        ("kind: ray\nworker: 3\n", "unknown key worker; did you mean 'workers'"),
        ("kind: ray\nworkers: 0\n", "workers: Input should be greater than or equal to 1, got '0'"),
        ("- ray\n", "expected the keys kind, workers, retries, address, folder, submit, got "),
    ],
)
def test_executors_that_cannot_be_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        executor_of(str(path))
    assert message in str(refusal.value)
    for wrong, said in (
        ("rya", "a YAML file with the keys of run.executor, got 'rya'"),
        ("no.yaml", "cannot read no.yaml"),
    ):
        with pytest.raises(ConfigError, match=said):
            executor_of(wrong)


def test_an_executor_that_no_term_would_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG)
    refused("run.executor: kind ray is for reward terms with isolated: true, and there is none", "check",
            tmp_path / "config.yaml", "--set", "run.executor.kind=ray")  # fmt: skip
    refused("unknown key run.executor.kin", "check", tmp_path / "config.yaml", "--set", "run.executor.kin=ray")
