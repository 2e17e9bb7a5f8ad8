"""The lock of a folder: two processes, killed ones, and places that cannot be locked."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import oreflow.agent.storage.lock
from oreflow.agent.errors import RunFolderError
from oreflow.agent.storage.lock import RunLock
from tests.support.repository import ROOT

HOLD = """
import sys
from oreflow.agent.storage.lock import RunLock
with RunLock(sys.argv[1]):
    print("inside", flush=True)
    input()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process inside the folder, until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    return process


def enter(folder: Path) -> None:
    with RunLock(folder):
        pass


def test_a_second_process_is_refused_and_told_who_is_inside(tmp_path: Path) -> None:
    process = hold(tmp_path / "run")
    try:
        where = f"process {process.pid} on host {platform.node()} since 20"
        with pytest.raises(RunFolderError, match=f"{tmp_path / 'run'} is in use by {where}.*; wait for it, or stop"):
            enter(tmp_path / "run")
        (tmp_path / "run" / ".run.lock.json").write_text("{")
        with pytest.raises(RunFolderError, match="in use by another process; wait"):
            enter(tmp_path / "run")
        enter(tmp_path / "other")
        process.communicate("\n", timeout=30)
        enter(tmp_path / "run")
    finally:
        process.kill()
        process.wait()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    process = hold(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert json.loads((tmp_path / ".run.lock.json").read_text())["process"] == process.pid
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".run.lock.json").read_text())["process"] == os.getpid()


def test_within_one_process_and_after_an_error(tmp_path: Path) -> None:
    with RunLock(tmp_path), pytest.raises(RunFolderError, match=f"in use by process {os.getpid()} on host"):
        enter(tmp_path)
    with pytest.raises(ZeroDivisionError), RunLock(tmp_path):
        _ = 1 / 0
    enter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]  # removing it would let two processes in


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(oreflow.agent.storage.lock.FileLock, "acquire", refuse)
    if number == errno.ENOSPC:  # the folder is as good as another one on the same disk
        with pytest.raises(OSError, match="No space left on device"):
            enter(tmp_path)
        return
    with pytest.raises(RunFolderError, match=rf"cannot write the folder {tmp_path}: {os.strerror(number)}; choose"):
        enter(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFolderError, match=r"cannot write the folder .*: Not a directory; choose another"):
        enter(tmp_path / "file" / "run")
