"""What a stored value belongs to: a term's name, version and parameters, and an object's canonical key."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.structure_io.crystal_text import crystal_to_text
from oreflow.rewards.contract.protocol import Batch
from oreflow.rewards.contract.term import Term
from oreflow.rewards.registry import factory_of, path_parameters


@dataclass(frozen=True)
class TermIdentity:
    """A term as far as its values depend on it.

    Attributes:
        name: as registered, whatever label a run gives it.
        version: as the term says.
        parameters: JSON of all parameters, defaults filled in, files by a digest of what they hold.
    """

    name: str
    version: str
    parameters: str

    @property
    def id(self) -> str:
        """The same wherever name, version and parameters are."""
        return _digest("\0".join((self.name, self.version, self.parameters)).encode())


def identity_of(name: str, params: Mapping[str, Any] | None, term: Term) -> TermIdentity:
    """Say what values of a term belong to.

    Args:
        name, params: as the term was made of the registry.
        term: what was made, for its version.
    """
    files = path_parameters(name)
    given = _defaults(name) | dict(params or {})
    plain = {key: _content(value) if key in files else value for key, value in given.items()}
    return TermIdentity(name, term.version, json.dumps(plain, sort_keys=True, default=str))


def object_keys(batch: Batch) -> list[str]:
    """One key an object, of 40 characters: equal keys, equal objects."""
    return [_digest(batch.kind.encode() + b"\0" + key) for key in batch.key_bytes()]


def object_texts(batch: Batch) -> list[str | None]:
    """What objects can be read back from: formulas, crystals as tables hold them; None for others."""
    if isinstance(batch, Compositions):
        return list(batch.reduced().formulas())
    if isinstance(batch, Crystals):
        return list(crystal_to_text(batch))
    return [None] * len(batch)


def _defaults(name: str) -> dict[str, Any]:
    """Defaults of a term's parameters that JSON can hold: a value is not the same when they have changed."""
    out = {}
    for key, parameter in inspect.signature(factory_of(name)).parameters.items():
        if isinstance(parameter.default, str | int | float | bool | tuple | list | None):
            out[key] = parameter.default
    return out


def _content(value: Any) -> Any:
    """A file, or a list of files, by what they hold: its place differs from machine to machine."""
    if isinstance(value, list | tuple):
        return [_content(one) for one in value]
    path = Path(value) if value and isinstance(value, str | Path) else None  # "" is no path, and not the working folder
    if path is not None and path.is_file():
        return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    if path is not None and path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return [[str(file.relative_to(path)), _content(file)] for file in files]
    return value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:40]
