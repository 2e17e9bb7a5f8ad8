"""The folder in which requests wait for a batch system, and answers for the one who asked.

Each file is whole or not there. Which machine's clock is right never matters: whoever waits measures by its own.
"""

import contextlib
import importlib.metadata
import json
import os
import uuid
from pathlib import Path
from typing import Any

from oreflow.envs.atomic_files import to_json, write_atomically, write_text
from oreflow.rewards.errors import ExecutorError

SCHEMA_VERSION = 1
FORMAT_FILE, README_FILE = "FORMAT.json", "README.md"
REQUESTS, CLAIMS, ANSWERS, SUBMISSIONS, SET_ASIDE = "requests", "claims", "answers", "submissions", "set_aside"
_FORMAT = "oreflow executor folder"
_README = """Requests of oreflow, and their answers; see "Executors" in the guide of oreflow.

requests/ID.json     what is asked
claims/ID            who is at it; touched from time to time while that lives
answers/ID.json      what came out: written beside and renamed
submissions/N.json   what was given to the batch system, and what that said
set_aside/           answers that could not be read

`oreflow worker` in a job of any batch system answers what is open. Remove the folder once nobody needs the answers.
"""


class RequestFolder:
    """A folder of requests and answers.

    Args:
        path: where it is, or is to be.
        create: whether it may be made.

    Raises:
        ExecutorError: when there is something else at the place, or a folder of a newer schema.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        if not (path / FORMAT_FILE).exists():
            if not create:
                raise ExecutorError(
                    f"expected a folder of requests, as the executor `files` makes it, got none at {path}"
                )
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise ExecutorError(
                    f"expected a new or empty folder for requests, got {path}, which holds other things"
                )
        self._check() if (path / FORMAT_FILE).exists() else self._create()

    def _create(self) -> None:
        try:
            for name in (REQUESTS, CLAIMS, ANSWERS, SUBMISSIONS, SET_ASIDE):
                (self.path / name).mkdir(parents=True, exist_ok=True)
            write_text(self.path / README_FILE, _README)
            write_text(self.path / FORMAT_FILE, to_json({"format": _FORMAT, "schema_version": SCHEMA_VERSION}))
        except OSError as error:
            raise ExecutorError(f"cannot make the folder of requests {self.path}: {error.strerror or error}") from None

    def _check(self) -> None:
        try:
            found = json.loads((self.path / FORMAT_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        if not isinstance(found, dict) or found.get("format") != _FORMAT:
            raise ExecutorError(f"{self.path / FORMAT_FILE} is damaged; choose another folder")
        if found.get("schema_version") != SCHEMA_VERSION:
            raise ExecutorError(
                f"{self.path} has schema version {found.get('schema_version')}, this oreflow writes {SCHEMA_VERSION}; "
                "choose another folder, or use the oreflow that made it"
            )

    def request(self, task_id: str) -> Path:
        """Where a request is."""
        return self.path / REQUESTS / f"{task_id}.json"

    def claim(self, task_id: str) -> Path:
        """Where it is said who is at a request."""
        return self.path / CLAIMS / task_id

    def answer(self, task_id: str) -> Path:
        """Where an answer is."""
        return self.path / ANSWERS / f"{task_id}.json"

    def ids(self, kind: str) -> set[str]:
        """Names in one of the folders, without ending; files that are still being written begin with a dot."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self.path / kind) as entries:
            return {entry.name.removesuffix(".json") for entry in entries if not entry.name.startswith(".")}
        return set()

    def set_aside(self, task_id: str, path: Path) -> int:
        """Move a file of a task out of the way; return how many of its files are there now."""
        number = 1 + self.n_set_aside(task_id, path.parent.name)
        with contextlib.suppress(FileNotFoundError):  # another one who waits for the same answer did it
            path.rename(self.path / SET_ASIDE / f"{task_id}.{path.parent.name}.{number}")
        return number

    def n_set_aside(self, task_id: str, kind: str) -> int:
        """How many files of a task were moved out of the way."""
        return sum(1 for _ in (self.path / SET_ASIDE).glob(f"{task_id}.{kind}.*"))


def write_once(path: Path, data: dict[str, Any]) -> bool:
    """Write JSON to a place where nothing is, whole or not at all; return False where something is already."""
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        write_atomically(temporary, lambda beside: _write(beside, data))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            if path.exists():
                return False
            os.replace(temporary, path)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(to_json(data), encoding="utf-8")


def version() -> str:
    """The version of oreflow that runs here."""
    return importlib.metadata.version("oreflow")
