"""Tables of oxidation states: built-in ones by name, and the user's own as a mapping or a file.

"Charge-neutral" means nothing without the table it was judged by, so every verdict of oreflow carries a table's label.
Origins and licences of the built-in tables, and the file formats: `data/README.md`.
"""

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.chemistry.built_in_oxidation import TABLES
from oreflow.envs.chemistry.elements import N_ELEMENTS, atomic_number, symbols
from oreflow.envs.errors import OxidationTableError, UnknownElementError, UnknownOxidationTableError
from oreflow.envs.suggestions import nearest

LOWEST_STATE, HIGHEST_STATE = -5, 9
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True)
class OxidationTable:
    """A table of oxidation states.

    Attributes:
        name: of a built-in table, or what the user calls theirs.
        version: source and release of a built-in table; else the first 8 hexadecimal digits of the content's SHA-256,
            which does not depend on the order of elements or states.
        states: (atomic number, states in e) by rising atomic number, states ascending and distinct.
    """

    name: str
    version: str
    states: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def label(self) -> str:
        """What output calls the table: "smact14" for a built-in one, "mine@1f3a5c7e" for a user's."""
        built_in = self.name in TABLES and TABLES[self.name].version == self.version
        return self.name if built_in else f"{self.name}@{self.version}"

    def spec(self) -> str | dict[str, Any]:
        """Plain data that `resolve_table` turns into an equal table: a name, or the name and all states."""
        if self.label == self.name:
            return self.name
        return {"name": self.name, "states": {symbols()[z]: list(states) for z, states in self.states}}

    def __str__(self) -> str:
        return self.label


TableSpec = OxidationTable | str | Path | Mapping[str, Any]


def resolve_table(spec: TableSpec) -> OxidationTable:
    """The table that a name, a path, or a mapping stands for.

    Args:
        spec: a name of `TABLES`; the path of a .csv, .json, .yaml, .yml or .txt file (`data/README.md` describes them;
            relative paths start at the working directory); a mapping of symbols to lists of states, as
            {"Na": [1], "Cl": [-1]}; or such a mapping with a name, as {"name": "mine", "states": {...}}.

    Raises:
        UnknownOxidationTableError: for a name that is not built in, with near misses.
        OxidationTableError: for a file that is missing or unreadable, an unknown or repeated element, a state that is
            no whole number from -5 to 9, and a table without any state.
    """
    if isinstance(spec, OxidationTable):
        return spec
    if isinstance(spec, str) and spec in TABLES:
        return _built_in(spec)
    if isinstance(spec, Mapping):
        return _from_mapping(spec, "custom", "the oxidation-state table")
    if isinstance(spec, str) and not _looks_like_a_path(spec):
        raise UnknownOxidationTableError(
            f"expected the name of an oxidation-state table, got {spec!r}; {nearest(spec, TABLES)} "
            "(one of your own is given as a file or a mapping)"
        )
    if isinstance(spec, str | Path):
        from oreflow.envs.chemistry.oxidation_files import read_table

        return _from_mapping(read_table(Path(spec)), Path(spec).stem, str(spec))
    raise OxidationTableError(
        f"expected an oxidation-state table as a name, a file or a mapping such as {{Na: [1], Cl: [-1]}}, got {spec!r}"
    )


def _looks_like_a_path(text: str) -> bool:
    from oreflow.envs.chemistry.oxidation_files import SUFFIXES

    return os.sep in text or "/" in text or Path(text).suffix.lower() in SUFFIXES or Path(text).is_file()


def _from_mapping(mapping: Mapping[str, Any], name: str, source: str) -> OxidationTable:
    content: Any = mapping
    if "states" in mapping:
        name, content = mapping.get("name", name), mapping["states"]
        for key in mapping:
            if key not in ("name", "states"):
                raise OxidationTableError(f"{source}: expected the keys 'name' and 'states', got {key!r}")
        if not isinstance(name, str) or not name.strip():
            raise OxidationTableError(f"{source}: expected a name in text, got {name!r}")
        if not isinstance(content, Mapping):
            raise OxidationTableError(f"{source}: expected 'states' to map symbols to lists, got {content!r}")
    states = _checked(content.items(), source)
    canonical = json.dumps([[symbols()[z], *values] for z, values in states]).encode()
    return OxidationTable(name, hashlib.sha256(canonical).hexdigest()[:8], states)


def _checked(pairs: Iterable[tuple[Any, Any]], source: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
    by_z: dict[int, tuple[int, ...]] = {}
    for symbol, values in pairs:
        try:
            z = atomic_number(symbol)
        except UnknownElementError as error:
            raise OxidationTableError(f"{source}: {error}") from None
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise OxidationTableError(f"{source}: expected a list of states of {symbol}, got {values!r}; write [1, 2]")
        states = tuple(sorted({_state(value, symbol, source) for value in values}))
        if states:
            by_z[z] = states
    if not by_z:
        raise OxidationTableError(f"{source}: expected at least one element with an oxidation state, got none")
    return tuple(sorted(by_z.items()))


def _state(value: Any, symbol: str, source: str) -> int:
    """A state from a number or from text such as "+2"."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole and not (isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value)):
        raise OxidationTableError(
            f"{source}: expected oxidation states of {symbol} as whole numbers, got {value!r}; mean states such as 8/3 "
            "come from mixed_valence with whole ones"
        )
    if not LOWEST_STATE <= int(value) <= HIGHEST_STATE:
        raise OxidationTableError(
            f"{source}: expected oxidation states from {LOWEST_STATE} to {HIGHEST_STATE}, got {int(value)} of {symbol}"
        )
    return int(value)


@cache
def _built_in(name: str) -> OxidationTable:
    path = files("oreflow.envs").joinpath(f"data/oxidation_states_{name}.csv")
    with path.open(encoding="utf-8") as file:
        pairs = [(row["symbol"], row["oxidation_states"].split()) for row in csv.DictReader(file)]
    return OxidationTable(name, TABLES[name].version, _checked(pairs, str(path)))


def oxidation_states(table: TableSpec) -> dict[int, tuple[int, ...]]:
    """Oxidation states by atomic number; elements without a state in the table are absent.

    Raises:
        UnknownOxidationTableError, OxidationTableError: as `resolve_table`.
    """
    return dict(resolve_table(table).states)


def oxidation_matrix(table: TableSpec) -> tuple[Ints, Ints]:
    """The table as arrays for compiled code.

    Returns:
        states: int64 [119, s], row z holds the states of element z, ascending, padded with 0.
        n_states: int64 [119], how many entries of the row count.
    """
    return _matrix(resolve_table(table))


@cache
def _matrix(table: OxidationTable) -> tuple[Ints, Ints]:
    states = np.zeros((N_ELEMENTS + 1, max(len(values) for _, values in table.states)), dtype=np.int64)
    n_states = np.zeros(N_ELEMENTS + 1, dtype=np.int64)
    for z, values in table.states:
        states[z, : len(values)] = values
        n_states[z] = len(values)
    states.setflags(write=False)
    n_states.setflags(write=False)
    return states, n_states
