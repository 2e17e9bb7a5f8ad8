"""What a run writes: text and JSON, each file whole or not at all (`oreflow.envs.atomic_files`)."""

import hashlib
from pathlib import Path

from oreflow.envs.atomic_files import replacing, sync, to_json, write_atomically, write_text

__all__ = ["replacing", "sha256", "sync", "to_json", "write_atomically", "write_text"]


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
