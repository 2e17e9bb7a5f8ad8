"""Signals, kills and full disks at any moment: a good checkpoint stays, and going on ends as if undisturbed."""

import contextlib
import errno
import functools
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oreflow.agent.storage.checkpoint
from oreflow.agent.sampling.trained_run import load_run
from oreflow.agent.storage.checkpoint import list_checkpoints, read_state, save_checkpoint, sweep, verify_checkpoint
from oreflow.agent.storage.run_folder import RunFolder
from tests.agent.training.test_resume import contents
from tests.support import cli, processes

CONFIG = """
schema_version: 1
world: {elements: [Li, Mn, O], n_elements: [1, 3], n_atoms: [1, 8], neutrality: soft}
reward: {terms: [{name: charge_balance, shape: {kind: minimise, beta: 0.5}}]}
sampler: {steps: 60, batch: 8, hidden: [8], replay: {share: 0.25, capacity: 20}}
run: {threads: 1, log_every_steps: 5, checkpoint_every_steps: 8}
"""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def differences(one: Path, other: Path) -> list[str]:
    """What differs of two runs among all that must repeat."""
    first, second = contents(RunFolder(one)), contents(RunFolder(other))
    return sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))


def litter(run: Path) -> list[str]:
    """Files and folders that no finished process leaves."""
    return [path.name for path in run.rglob("*") if "tmp" in path.name or path.name == ".run.lock.json"]


@pytest.fixture
def shielded() -> Iterator[list[int]]:
    """Signals that arrive outside a verb end up in this list, and not as the end of the test run."""
    missed: list[int] = []

    def note(number: int, frame: object) -> None:
        missed.append(number)

    previous = {number: signal.signal(number, note) for number in SIGNALS}
    yield missed
    for number, handler in previous.items():
        signal.signal(number, handler)


def interrupted(delay: float, number: signal.Signals, *arguments: object) -> Any:
    """A verb in this process, which gets a signal some seconds after it began to listen to them."""
    ours = signal.getsignal(signal.SIGUSR1)

    def send() -> None:
        while signal.getsignal(signal.SIGUSR1) in (ours, signal.default_int_handler):
            time.sleep(0.0005)
        if not over.wait(delay):
            os.kill(os.getpid(), number)

    over = threading.Event()
    sender = threading.Thread(target=send)
    sender.start()
    try:
        return cli.oreflow(*arguments)
    finally:
        over.set()
        sender.join()


def test_fifty_signals_at_any_moment_cost_nothing(tmp_path: Path, config: Path, shielded: list[int]) -> None:
    steps = ("--set", "sampler.steps=600", "--quiet")
    started = time.monotonic()
    cli.done("train", config, "--out", tmp_path / "through", *steps)
    run, chance = tmp_path / "run", random.Random(1)
    verb: tuple[object, ...] = ("train", config, "--out", run, *steps)
    longest = (time.monotonic() - started) / 40  # half of it fifty times: not quite to the end
    for i in range(50):
        number = SIGNALS[i % 3]
        result = interrupted(chance.uniform(0, longest), number, *verb)
        assert result.exit_code == 3, result.output
        assert not litter(run)
        newest = RunFolder(run).latest_checkpoint()
        step = read_state(newest)["step"]
        assert f"stopped by {number.name} after a good checkpoint at step {step};" in result.output
        verb = ("resume", run, "--quiet")
        if step == 0:  # on a busy machine the start alone may take that long
            longest *= 1.2
    assert not shielded
    assert 0 < step < 600
    assert load_run(RunFolder(run)).step == step
    cli.done("resume", run, "--quiet")
    assert differences(tmp_path / "through", run) == []


def slow_checkpoints() -> None:
    """Writing the second checkpoint, and any later one, takes forever."""
    honest = oreflow.agent.storage.checkpoint.sha256

    def slow(path: Path) -> str:
        if path.parent.name > ".tmp_step_00000008":
            time.sleep(60)
        return honest(path)

    oreflow.agent.storage.checkpoint.sha256 = slow


def unfinished(run: Path) -> bool:
    """Whether the run is at its second checkpoint."""
    return (run / "checkpoints" / ".tmp_step_00000016" / "state.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_while_a_checkpoint_is_written(tmp_path: Path, config: Path, number: signal.Signals) -> None:
    """Two signals end it at once, and so does a kill; the checkpoint before stays, and what was begun is swept."""
    run = tmp_path / "run"
    cli.done("train", config, "--out", tmp_path / "through", "--quiet")
    process = processes.oreflow(tmp_path / "said", "train", config, "--out", run, "--json", patch=slow_checkpoints)
    process.wait_for(lambda: unfinished(run))
    process.send(number)
    if number != signal.SIGKILL:
        process.wait_for(lambda: "once more stops at once" in process.said)
        process.send(number)
    started = time.monotonic()
    assert process.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 3)
    assert time.monotonic() - started < 10
    if number == signal.SIGKILL:
        assert ".tmp_step_00000016" in litter(run)
    else:
        assert not litter(run)
        said = "interrupted; complete checkpoints stay"
        assert process.said.endswith(f"{said}\n")
        assert json.loads(process.out) == {"error": said, "exit_code": 3}
    assert load_run(RunFolder(run)).step == 8
    refused = cli.oreflow("resume", run, "--set", "sampler.learning_rate=1")  # gets as far as the checkpoint
    assert refused.exit_code == 2
    assert not litter(run)
    cli.done("resume", run, "--quiet")
    assert differences(tmp_path / "through", run) == []


def test_kills_at_any_moment_cost_nothing(tmp_path: Path, config: Path) -> None:
    steps = ("--set", "sampler.steps=600", "--set", "run.checkpoint_every_steps=2", "--quiet")
    cli.done("train", config, "--out", tmp_path / "through", *steps)
    run, chance, step = tmp_path / "run", random.Random(2), 0
    verb: tuple[object, ...] = ("train", config, "--out", run, *steps)
    for _ in range(3):
        process = processes.oreflow(tmp_path / "said", *verb)
        process.wait_for(functools.partial(is_beyond, run, step))
        time.sleep(chance.uniform(0, 0.1))
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for path in list_checkpoints(run / "checkpoints"):
            verify_checkpoint(path)
        step = newest_step(run)
        verb = ("resume", run, "--quiet")
    assert 6 <= step < 600
    cli.done("resume", run, "--quiet")
    assert not litter(run)
    assert differences(tmp_path / "through", run) == []


def is_beyond(run: Path, step: int) -> bool:
    return bool(list_checkpoints(run / "checkpoints")) and newest_step(run) > step


def newest_step(run: Path) -> int:
    return int(list_checkpoints(run / "checkpoints")[-1].name.removeprefix("step_"))


def save(folder: Path, step: int) -> None:
    """A checkpoint of a sampler that learns nothing."""
    save_checkpoint(folder, step, None, None, np.random.default_rng(step), {}, 1, {"chains": np.arange(step)})


def save_and_die(folder: Path, step: int, n: int) -> None:
    """Is killed before its n-th touch of a file or folder in `folder`."""
    seen = []

    def touch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.partition(".")[0] in ("open", "os", "shutil") and arguments and str(folder) in str(arguments[0]):
            seen.append(event)
            if len(seen) == n:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(touch)
    save(folder, step)


def save_and_die_everywhere(place: Path, step: int) -> None:
    """One process and one folder for each moment to die, until one survives; their ends are printed."""
    n, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        n += 1
        save(place / str(n), 8)
        process = os.fork()
        if not process:
            save_and_die(place / str(n), step, n)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    print(n, code)


@pytest.mark.parametrize("step", [8, 9])
def test_a_kill_between_any_two_touches_of_the_disk_leaves_a_checkpoint(tmp_path: Path, step: int) -> None:
    """Also where only one is kept and it is written anew, as at the end of a run that was stopped once resumed."""
    place = tmp_path / "runs"
    process = processes.start(functools.partial(save_and_die_everywhere, place, step), tmp_path / "said")
    assert process.wait() == 0
    n, code = map(int, process.out.split())
    assert code == 0
    assert n > 10
    left = []
    for i in range(1, n + 1):
        sweep(place / str(i))
        left.append(sorted(path.name for path in (place / str(i)).iterdir()))
        assert left[-1] == [path.name for path in list_checkpoints(place / str(i))]
        assert left[-1], f"killed at touch {i}"
        for path in list_checkpoints(place / str(i)):
            verify_checkpoint(path)
    assert left[0] == ["step_00000008"]
    assert left[-1] == [f"step_{step:08d}"]


def full(*arguments: object, **options: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    place = tmp_path / "small disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this user cannot mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("spare", [0, 1000, 9000, 14000, 20000, 40000])
def test_a_full_disk_ends_a_run_that_goes_on_once_there_is_space(
    tmp_path: Path, config: Path, small_disk: Path, spare: int
) -> None:
    run, through, filler = small_disk / "run", tmp_path / "through", small_disk / "filler"
    cli.done("train", config, "--out", through, "--quiet")
    cli.done("train", config, "--out", run, "--quiet", "--set", "sampler.steps=8")
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(filler, max(filler.stat().st_size - spare, 0))
    result = cli.oreflow("resume", run, "--set", "sampler.steps=60", "--set", "run.log_every_steps=1", "--json")
    assert result.exit_code == 5, result.output
    assert "Traceback" not in result.output
    assert "oreflow: cannot write" in result.stderr
    assert "No space left on device" in result.stderr
    assert f"go on with: oreflow resume {run}" in result.stderr
    assert json.loads(result.stdout)["exit_code"] == 5
    assert not litter(run)
    for path in list_checkpoints(run / "checkpoints"):
        verify_checkpoint(path)
    assert all(path.stat().st_size for name in ("*.yaml", "*.json") for path in run.glob(name))
    filler.unlink()
    cli.done("resume", run, "--quiet", "--set", "sampler.steps=60", "--set", "run.log_every_steps=5")
    assert (run / "metrics.jsonl").read_text().endswith("}\n")
    assert [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()][-1] == 60
    assert load_run(RunFolder(run)).step == 60


@pytest.mark.parametrize(("name", "size"), [("metrics.jsonl", 4000), ("timings.jsonl", 1500)])
def test_half_a_line_in_a_log_is_cut_off(
    tmp_path: Path, config: Path, name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up takes the first bytes of a line."""
    run = tmp_path / "run"
    cli.done("train", config, "--out", tmp_path / "through", "--quiet")
    honest = Path.open

    class Filling(io.FileIO):
        def write(self, data: Any) -> int:
            room = size - self.tell()
            return super().write(bytes(data)[:room]) if room > 0 else full()

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if path.name == name and mode == "a":
            return io.TextIOWrapper(io.BufferedWriter(Filling(path, "a")), encoding="utf-8")
        return honest(path, mode, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        result = cli.oreflow("train", config, "--out", run, "--quiet", "--set", "run.log_every_steps=1")
    assert result.exit_code == 5, result.output
    assert f"oreflow: cannot write to {run}: No space left on device; free some space" in result.output
    assert (run / name).stat().st_size == size
    assert not (run / name).read_text().endswith("\n")
    step = load_run(RunFolder(run)).step
    cli.done("resume", run, "--quiet")
    lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 61))
    assert 0 < step < 60


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["config.resolved.yaml", "provenance.json"])
def test_no_space_for_the_first_files_of_a_run(
    tmp_path: Path, config: Path, name: str, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, honest = tmp_path / "run", Path.write_text
    if overwrite:
        cli.done("train", config, "--out", run, "--quiet", "--set", "sampler.steps=8")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def write_text(path: Path, *arguments: Any, **options: Any) -> int:
        if name in path.name:
            path.touch()
            full()
        return honest(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_text)
        cli.refused(
            f"oreflow: cannot write to {run}: No space left on device; free some space",
            *("train", config, "--out", run, *["--overwrite"] * overwrite),
            code=5,
        )
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert after == before if overwrite else [path.name for path in after] == [".run.lock"]
    cli.done("train", config, "--out", run, "--quiet", *["--overwrite"] * overwrite)
