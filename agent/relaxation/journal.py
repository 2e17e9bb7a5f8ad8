"""Finished relaxations, one line of JSON each, so that none is done twice."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.agent.errors import RunFolderError
from oreflow.agent.storage.atomic_files import to_json

SCHEMA_VERSION = 1


def structure_key(structure: Any, settings: dict[str, Any]) -> str:
    """Digest of a structure as it stands, and of what decides how it is relaxed."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(np.array([site.specie.Z for site in structure], dtype=np.int64).tobytes())
    for array in (structure.lattice.matrix, structure.frac_coords):
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()[:32]


class Journal:
    """A file of records by key; each is on the disk before the next relaxation counts as finished.

    Args:
        path: of the file, which need not exist. A last line that was cut off by a crash is dropped.
        settings: what all records of a file have in common.
        what: the records are of, as messages call it.

    Attributes:
        records: by key, those of earlier and of this run.

    Raises:
        RunFolderError: when the file belongs to other settings, or is none of these.
    """

    def __init__(self, path: Path, settings: dict[str, Any], what: str = "relaxations") -> None:
        self.path, self.what = path, what
        self.records: dict[str, dict[str, Any]] = {}
        header = {"schema_version": SCHEMA_VERSION, "settings": settings}
        whole = b""
        if path.exists():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            self._read(whole, header)
        self._file = path.open("r+b" if path.exists() else "wb")
        self._file.seek(len(whole))
        self._file.truncate()
        if not whole:
            self._write(header)

    def _read(self, data: bytes, header: dict[str, Any]) -> None:
        try:
            first, *lines = [json.loads(line) for line in data.splitlines()] or [header]
            self.records = {record["key"]: record for record in lines}
        except (ValueError, KeyError, TypeError):
            raise RunFolderError(
                f"{self.path} is damaged, or no journal of {self.what}; choose another folder, or --overwrite"
            ) from None
        if first != json.loads(json.dumps(header)):
            raise RunFolderError(
                f"{self.path.parent} holds {self.what} with {_differences(first, header)}; choose another folder, or "
                "--overwrite"
            )

    def add(self, record: dict[str, Any]) -> None:
        """Writes a record, which replaces an earlier one of the same key."""
        self._write(record)
        self.records[record["key"]] = record

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(to_json(line, indent=None).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._file.close()


def _differences(first: Any, header: dict[str, Any]) -> str:
    old = first.get("settings") if isinstance(first, dict) else None
    if not isinstance(old, dict) or first.get("schema_version") != SCHEMA_VERSION:
        return "another version of oreflow"
    new = header["settings"]
    return ", ".join(f"{key} {old.get(key)} (now {new.get(key)})" for key in new if old.get(key) != new.get(key))
