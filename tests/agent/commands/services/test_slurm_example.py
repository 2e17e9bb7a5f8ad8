"""The SLURM example runs, with an `sbatch` that starts the array's jobs on this machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_batch import environment
from tests.support.repository import ROOT

SBATCH = """#!{python}
import os, subprocess, sys
option, script, *arguments = sys.argv[1:]
first, last = map(int, option.removeprefix("--array=").split("-"))
assert "#SBATCH" in open(script).read()
if os.fork():
    print("Submitted batch job 17")
    os._exit(0)
os.setsid()
for name in (0, 1, 2):
    os.dup2(os.open(os.devnull, os.O_RDWR), name)
for number in range(first, last + 1):
    subprocess.run([script, *arguments], env={{**os.environ, "SLURM_JOB_ID": str(number)}})
"""


@pytest.mark.slow
def test_the_example_trains(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(SBATCH.format(python=sys.executable))
    (programs / "oreflow").write_text(f'#!/bin/sh\nexec {sys.executable} -m oreflow.agent.cli "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    config, plugin = "examples/slow_reward_on_slurm.yaml", ("--plugin", "examples/slow_reward.py")
    short = ("--set", "sampler.steps=2", "--set", "sampler.batch=3", "--set", "run.log_every_steps=1")
    done = subprocess.run(
        ["oreflow", "train", config, *plugin, "--out", "run", *short],
        cwd=tmp_path,
        env={**environment(), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "on_slurm_requests"
    answers = [json.loads(path.read_text()) for path in (folder / "answers").glob("*.json")]
    requests = {path.stem for path in (folder / "requests").glob("*.json")}
    assert {answer["id"] for answer in answers} == requests
    assert len(requests) >= 3
    assert all(answer["kind"] == "done" and answer["job"] is not None for answer in answers)
    submitted = [json.loads(path.read_text()) for path in (folder / "submissions").glob("*.json")]
    assert sorted(name for one in submitted for name in one["ids"]) == sorted(requests)
    assert {one["said"] for one in submitted} == {"Submitted batch job 17"}
