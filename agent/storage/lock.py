"""One process at a time in a folder: a lock of the operating system, and beside it who holds it."""

import contextlib
import errno
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from oreflow.agent.errors import RunFolderError
from oreflow.agent.storage.atomic_files import to_json, write_text

LOCK_FILES = (".run.lock", ".run.lock.json")
"""Names of the files that a lock leaves in its folder: the lock, which stays, and its holder, while there is one."""


class RunLock:
    """Context in which no other process can enter the same folder; makes the folder where it is missing.

    The operating system drops the lock with the process that holds it, however that ends: one that a killed process
    left is free.

    Args:
        folder: what to lock.

    Raises:
        RunFolderError: on entry, when another process (or another lock of this one) is inside, with its number, host
            and start; and when the folder cannot be written.
        OSError: on entry, when the disk is full.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._lock = FileLock(self.folder / LOCK_FILES[0], blocking=False)

    @property
    def holder_path(self) -> Path:
        """Give the file that says which process holds the lock."""
        return self.folder / LOCK_FILES[1]

    def __enter__(self) -> "RunLock":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise RunFolderError(
                f"{self.folder} is in use by {self._holder()}; wait for it, or stop it, or choose another folder"
            ) from None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise RunFolderError(
                f"cannot write the folder {self.folder}: {error.strerror or error}; choose another one"
            ) from None
        started = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError):  # the lock holds without it; only another process's message gets poorer
            write_text(self.holder_path, to_json({"process": os.getpid(), "host": platform.node(), "started": started}))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # In this order: whoever comes next writes the same file.
        with contextlib.suppress(OSError):
            self.holder_path.unlink(missing_ok=True)
        self._lock.release()

    def _holder(self) -> str:
        try:
            holder = json.loads(self.holder_path.read_text(encoding="utf-8"))
            return f"process {holder['process']} on host {holder['host']} since {holder['started']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
