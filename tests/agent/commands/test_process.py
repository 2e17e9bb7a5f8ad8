"""The installed command as the shell sees it: exit codes, signals, pipes, bare environments, and a quick start."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.checkpoint import list_checkpoints
from oreflow.agent.storage.run_folder import RunFolder
from tests.support.cli import CONFIG
from tests.support.repository import ROOT

COMMAND = [sys.executable, "-m", "oreflow.agent.cli"]


def oreflow(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.run(command, **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": 120} | options)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_help_answers_within_a_second_and_imports_nothing_heavy() -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        assert "Example: oreflow train" in " ".join(oreflow("--help").stdout.split())
        seconds.append(time.perf_counter() - started)
    assert statistics.median(seconds) < 1.0
    heavy = "torch", "numba", "numpy", "pandas", "pymatgen", "gymnasium", "pydantic", "yaml"
    code = f"import sys, oreflow.agent.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_exit_codes_and_streams() -> None:
    good = oreflow("score", "NaCl", "--json", "--reward", "charge_balance")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)[0]["charge_balance_e"] == 0
    bad = oreflow("train", "absent.yaml", "--out", "x")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "oreflow: cannot read the config absent.yaml: No such file or directory\n"
    assert "Traceback" in oreflow("train", "absent.yaml", "--out", "x", "--debug").stderr
    assert oreflow("no-such-verb").returncode == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_training_after_a_good_checkpoint(tmp_path: Path, config: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    command = [*COMMAND, "train", str(config), "--out", str(run), "--set", "sampler.steps=1000000", "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (run / "metrics.jsonl").is_file() or not (run / "metrics.jsonl").read_text():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 3
    assert f"stopped by {number.name} after a good checkpoint at step" in errors
    assert "Traceback" not in errors
    newest = list_checkpoints(RunFolder(run).checkpoints)[-1]
    assert load_run(RunFolder(run)).step == int(newest.name.removeprefix("step_"))
    assert not [path for path in newest.parent.iterdir() if path.name.startswith(".")]
    assert int(errors.split("at step ")[1].split(";")[0]) == load_run(RunFolder(run)).step


def test_a_reader_that_leaves_early_causes_no_traceback() -> None:
    text = " ".join(["NaCl", "H2O"] * 3000)
    script = f"{sys.executable} -m oreflow.agent.cli score {text} --reward charge_balance | head -n 1"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.startswith("formula")
    assert done.stderr == ""


def test_closed_stdout_is_no_failure() -> None:
    script = f"{sys.executable} -m oreflow.agent.cli score NaCl --reward charge_balance >&-"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_stdout_is_code_5() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = oreflow(
            "score", "NaCl", "--reward", "charge_balance", capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 5
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_bare_environments(tmp_path: Path, config: Path) -> None:
    """No HOME, no locale, a dumb terminal, a time zone far away, a read-only place for numba's cache."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "VIRTUAL_ENV") if name in os.environ}
    bare = kept | {"TERM": "dumb", "LC_ALL": "C", "TZ": "Pacific/Kiritimati", "NO_COLOR": "1"}
    run = tmp_path / "räume 材料"
    train = oreflow("train", config, "--out", run, "--set", "sampler.steps=2", env=bare)
    assert (train.returncode, "Traceback" in train.stderr) == (0, False)
    assert "train 2/2" in train.stderr  # plain lines without a terminal
    assert "\x1b" not in train.stderr + train.stdout
    sample = oreflow("sample", run, "-n", "3", "--json", env=bare)
    assert sample.returncode == 0
    assert json.loads(sample.stdout)["n_rows"] == 3


def test_no_bar_on_a_terminal_when_quiet(config: Path, tmp_path: Path) -> None:
    """On a pseudo-terminal the bar appears, and with --quiet nothing does."""
    import pty

    for quiet in (False, True):
        primary, secondary = pty.openpty()
        extra = ["--quiet"] if quiet else []
        command = [*COMMAND, "train", config, "--out", tmp_path / f"run{quiet}", "--set", "sampler.steps=2", *extra]
        subprocess.run(list(map(str, command)), cwd=ROOT, stdout=secondary, stderr=secondary, timeout=120, check=True)
        os.close(secondary)
        shown = b""
        while True:
            try:
                block = os.read(primary, 4096)
            except OSError:  # how Linux ends a terminal that nobody holds open
                break
            if not block:
                break
            shown += block
        os.close(primary)
        assert (shown == b"") == quiet
        assert quiet or b"2/2" in shown
