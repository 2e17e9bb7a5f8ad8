"""The command that gives requests to a batch system, and what it was run for."""

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from oreflow.rewards.errors import ExecutorError
from oreflow.rewards.executors.batch.folder import SUBMISSIONS, write_once

_LIMIT_S = 300.0


class Submissions:
    """Runs a command for new requests, once for each, also after a restart: the folder keeps what it was run for.

    Args:
        command: "{n}" in it is the number of requests, "{last}" one less, and "{folder}" the folder.
        folder: of the requests.

    Raises:
        ExecutorError: when the command is none.
    """

    def __init__(self, command: str, folder: Path) -> None:
        self._command = _parts(command, folder)
        self._records = folder.absolute() / SUBMISSIONS

    def submit(self, ids: Sequence[str], *, again: bool = False) -> None:
        """Run the command for requests that it was not run for, or, with `again`, for all of them; keep what it said.

        Raises:
            ExecutorError: when the command fails.
        """
        if not ids:
            return
        records = sorted(self._records.glob("*.json"))
        told = set() if again else {name for path in records for name in json.loads(path.read_text())["ids"]}
        ids = [task_id for task_id in ids if task_id not in told]
        if not ids:
            return
        command = [part.replace("{n}", str(len(ids))).replace("{last}", str(len(ids) - 1)) for part in self._command]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_LIMIT_S, stdin=subprocess.DEVNULL, check=False
            )
            fault = (
                "" if done.returncode == 0 else f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()}"
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            fault = str(error)
        if fault:
            raise ExecutorError(
                f"run.executor.submit: {shlex.join(command)} failed, {fault}; mend it, and give the same command "
                "again: the requests wait, and none is submitted twice"
            )
        record, number = {"ids": ids, "command": command, "said": done.stdout.strip()}, len(records) + 1
        while not write_once(self._records / f"{number:06d}.json", record):
            number += 1


def _parts(text: str, folder: Path) -> list[str]:
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise ExecutorError(f"run.executor.submit: expected a command, got {text!r}: {error}") from None
    if not parts:
        raise ExecutorError(
            "run.executor.submit: expected a command, got an empty one; leave it out where others start workers"
        )
    return [part.replace("{folder}", str(folder.absolute())) for part in parts]
