"""What a run writes: text and JSON, each file whole or not at all (`oreflow.envs.atomic_files`)."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from oreflow.envs.atomic_files import replacing, sync, write_atomically

__all__ = ["replacing", "sha256", "sync", "to_json", "write_atomically", "write_text"]


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, atomically."""
    write_atomically(path, lambda temporary: _write(temporary, text))


def to_json(data: Any, indent: int | None = 1) -> str:
    """JSON with missing and non-finite numbers as null, as strict readers need it."""
    return json.dumps(_strict(data), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _strict(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _strict(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_strict(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
