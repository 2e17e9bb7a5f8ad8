"""Checkpoints changed from outside: damaged, or edited with a manifest that fits."""

import json
from pathlib import Path
from typing import Any

from oreflow.agent.storage.atomic_files import sha256


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def edit_state(path: Path, **values: Any) -> None:
    """Other entries in a checkpoint's state.json, under a manifest that fits."""
    state = json.loads((path / "state.json").read_text(encoding="utf-8")) | values
    (path / "state.json").write_text(json.dumps(state), encoding="utf-8")
    digests = {file.name: sha256(file) for file in path.iterdir() if file.name != "MANIFEST.json"}
    (path / "MANIFEST.json").write_text(json.dumps(digests), encoding="utf-8")
