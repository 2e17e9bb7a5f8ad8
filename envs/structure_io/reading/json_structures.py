"""Structures from JSON: pymatgen, Materials Project, OPTIMADE, JARVIS and ASE, one, many, by name, or one a line.

Nothing is built by the libraries that wrote the files: they import whatever modules a file names.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import (
    Reason,
    check_cell_parameters,
    check_n_atoms,
    check_occupancy,
    check_vectors,
    make_structure,
    read_element,
)

ID_KEYS = ("material_id", "candidate_id", "structure_id", "entry_id", "jid", "task_id", "id", "_id")
_LISTS = ("data", "response", "results", "structures", "entries", "materials")
_INSIDE = ("structure", "final_structure", "output_structure", "atoms", "attributes")
_FORMS = "a structure of pymatgen (lattice and sites), OPTIMADE, JARVIS or ASE"
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError)


def json_entries(text: str) -> Iterator[tuple[str, Callable[[int, list[str]], Any]]]:
    """Each structure with its id, or its number or name where it has none, and what reads it.

    Raises:
        StructureError: parse_error for what is no JSON; no_structure.
    """
    named = list(_named(_parsed(text)))
    if not named:
        raise StructureError(Reason.NO_STRUCTURE, f"expected {_FORMS}, or several, found none")
    for name, item in named:
        yield _id_of(item) or name, partial(_structure, item)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        first = error
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        if len(lines) > 1:
            return [json.loads(line) for line in lines]  # JSON Lines
    except (ValueError, RecursionError):
        pass
    raise StructureError(Reason.PARSE_ERROR, f"expected JSON, or JSON Lines: {str(first)[:200]}") from None


def _named(data: Any) -> Iterator[tuple[str, Any]]:
    """The structures of a file by name or number."""
    if isinstance(data, list):
        yield from ((str(index), item) for index, item in enumerate(data))
    elif isinstance(data, dict):
        if _reader_of(_inside(data)) is not None or "lattice" in data or "sites" in data:
            yield "", data
            return
        for key in _LISTS:
            if isinstance(data.get(key), list | dict):
                yield from _named(data[key])
                return
        yield from ((str(name), item) for name, item in data.items() if isinstance(item, dict))


def _inside(item: Any) -> Any:
    """The structure in a document that holds one beside other things."""
    if isinstance(item, dict) and _reader_of(item) is None:
        for key in _INSIDE:
            if isinstance(item.get(key), dict):
                return item[key]
    return item


def _id_of(item: Any) -> str:
    if isinstance(item, dict):
        for key in ID_KEYS:
            value = item.get(key)
            if isinstance(value, dict):  # {"string": "mp-149"}, {"$oid": "…"}
                value = next((v for v in value.values() if isinstance(v, str)), None)
            if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
                return str(value).strip()
    return ""


_Atoms = tuple[Floats, list[list[tuple[str, float]]], Floats, bool]  # vectors, occupants, positions, whether Cartesian


def _reader_of(item: Any) -> Callable[[Any], _Atoms] | None:
    if isinstance(item, dict):
        for keys, reader in _READERS.items():
            if keys <= item.keys():
                return reader
    return None


def _structure(item: Any, max_atoms: int, notes: list[str]) -> Any:
    inside = _inside(item)
    reader = _reader_of(inside)
    if reader is None:
        found = ", ".join(map(str, inside))[:80] if isinstance(inside, Mapping) else type(inside).__name__
        raise StructureError(Reason.PARSE_ERROR, f"expected {_FORMS}, got {found or 'nothing'}")
    try:
        vectors, occupants, positions, cartesian = reader(inside)
        check_n_atoms(len(occupants), max_atoms)
        positions = np.array(positions, dtype=np.float64).reshape(len(occupants), 3)
    except StructureError:
        raise
    except _UNREADABLE as error:
        raise StructureError(Reason.PARSE_ERROR, f"expected {_FORMS}: {_said(error)}") from None
    check_vectors(vectors)
    elements = [_element(index, site, notes) for index, site in enumerate(occupants)]
    kept = [index for index, element in enumerate(elements) if element]
    check_n_atoms(len(kept), max_atoms)
    fractional = positions @ np.linalg.inv(vectors) if cartesian else positions
    return make_structure(vectors, [elements[index] for index in kept], fractional[kept], notes)


def _said(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)[:120]


def _element(index: int, site: list[tuple[str, float]], notes: list[str]) -> str:
    """The one element of a site, its charges and isotopes added up; empty where nothing is there."""
    amounts: dict[str, float] = {}
    for name, occupancy in site:
        if occupancy > 0:
            element = read_element(name, notes)
            amounts[element] = amounts.get(element, 0.0) + occupancy
    if not amounts:
        notes.append(f"site {index} left out: its occupancy is 0")
        return ""
    check_occupancy(sum(amounts.values()), f"site {index}")
    if len(amounts) > 1:
        raise StructureError(Reason.PARTIAL_OCCUPANCY, f"expected one element on site {index}, got {len(amounts)}")
    names = {name for name, _ in site}
    if len(names) > 1:
        notes.append(f"site {index}: {', '.join(sorted(names))} read as {next(iter(amounts))}")
    return next(iter(amounts))


def _of_pymatgen(data: Any) -> _Atoms:
    lattice = data["lattice"]
    if "matrix" in lattice:
        vectors = np.array(lattice["matrix"], dtype=np.float64)
    else:
        from pymatgen.core import Lattice

        cell = [float(lattice[name]) for name in ("a", "b", "c", "alpha", "beta", "gamma")]
        check_cell_parameters(cell)
        vectors = np.array(Lattice.from_parameters(*cell).matrix)
    sites = data["sites"]
    cartesian = any("abc" not in site for site in sites)
    if cartesian and "matrix" not in lattice:
        raise ValueError("sites have xyz alone, and the lattice no matrix that says what they mean")
    occupants = [[(str(s["element"]), float(s.get("occu", 1))) for s in _species(site)] for site in sites]
    return vectors, occupants, [site["xyz" if cartesian else "abc"] for site in sites], cartesian  # type: ignore[return-value]


def _species(site: Any) -> list[Any]:
    return site["species"] if "species" in site else [{"element": site["label"]}]


def _of_optimade(data: Any) -> _Atoms:
    mixtures = {
        species["name"]: [
            (symbol, float(share))
            for symbol, share in zip(species["chemical_symbols"], species.get("concentration") or [1.0])
            if symbol not in ("vacancy", "X")
        ]
        for species in data.get("species") or []
    }
    occupants = [mixtures.get(name, [(name, 1.0)]) for name in data["species_at_sites"]]
    return np.array(data["lattice_vectors"], dtype=np.float64), occupants, data["cartesian_site_positions"], True


def _of_jarvis(data: Any) -> _Atoms:
    occupants = [[(str(symbol), 1.0)] for symbol in data["elements"]]
    return np.array(data["lattice_mat"], dtype=np.float64), occupants, data["coords"], bool(data.get("cartesian"))


def _of_ase(data: Any) -> _Atoms:
    cell = data["cell"]
    vectors = _array(cell.get("array", cell) if isinstance(cell, dict) else cell).reshape(3, 3)
    if not _array(data.get("pbc", [True])).all():
        raise StructureError(Reason.NOT_PERIODIC, f"expected a crystal, got pbc {data['pbc']}")
    names = symbols()
    occupants = [[(names[int(z)], 1.0)] for z in _array(data["numbers"])]
    return vectors, occupants, _array(data["positions"]), True


def _array(data: Any) -> Floats:
    """Numbers of a list, or as ASE writes an array: {"__ndarray__": [shape, dtype, numbers]}."""
    if isinstance(data, dict):
        shape, _, values = data["__ndarray__"]
        return np.array(values, dtype=np.float64).reshape(shape)
    return np.array(data, dtype=np.float64)


_READERS: dict[frozenset[str], Callable[[Any], _Atoms]] = {
    frozenset(["lattice", "sites"]): _of_pymatgen,
    frozenset(["lattice_vectors", "cartesian_site_positions", "species_at_sites"]): _of_optimade,
    frozenset(["lattice_mat", "coords", "elements"]): _of_jarvis,
    frozenset(["cell", "numbers", "positions"]): _of_ase,
}
