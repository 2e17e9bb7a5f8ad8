"""Reads entries as pymatgen serialises them (ComputedEntry, ComputedStructureEntry, PDEntry) and mp-api's documents."""

import math
import re
from pathlib import Path
from typing import Any

from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.errors import FormulaError, TableError, UnknownElementError
from oreflow.rewards.errors import ReferenceTableError
from oreflow.rewards.reference.tables import FORMULA_NAMES, check_data_file, is_json, load_json, read_formula

ElementalEnergies = dict[int, float]
# "Fe3+" and "O2-" as keys of a composition with oxidation states.
_SPECIES = re.compile(r"([A-Z][a-z]?)(?:[0-9.]*[+-].*)?")


def is_entries_file(path: Path) -> bool:
    """Whether the file's name says that it holds entries."""
    return is_json(path)


def read_entries(path: Path, energies: bool) -> tuple[list[tuple[str, str, Any]], ElementalEnergies]:
    """Entries as (place, formula, energy), and the elemental energies that total energies are taken against.

    The energy is a cell for a formation energy per atom, a tuple of one cell for a total energy per atom.

    Raises:
        TableError: when the file is missing, damaged, or holds no list.
        ReferenceTableError: when an element of an entry with a total energy has no elemental entry.
    """
    rows: list[tuple[str, str, Any]] = []
    elemental: ElementalEnergies = {}
    needed: dict[int, str] = {}
    for number, entry in enumerate(_load(path), start=1):
        place = f"entry {number}"
        if not isinstance(entry, dict):
            rows.append((place, entry if isinstance(entry, str) else repr(entry), None))
            continue
        formula, amounts = _formula(entry)
        energy = _energy(entry, amounts) if energies else None
        rows.append((place, formula, energy))
        if not isinstance(energy, tuple) or not amounts:
            continue
        elements = [atomic_number(symbol) for symbol, n in amounts.items() if n > 0]
        if len(elements) == 1:
            elemental[elements[0]] = min(energy[0], elemental.get(elements[0], energy[0]))
        for z in elements:
            needed.setdefault(z, f"{place} ({formula})")
    missing = [f"{symbols()[z]}, which {needed[z]} needs" for z in sorted(needed) if z not in elemental]
    if missing:
        raise ReferenceTableError(
            f"{path}: expected an elemental entry for every element, to turn total energies into formation energies; "
            f"found none for {'; '.join(missing[:5])}; add the elements' entries, or give formation_energy_per_atom"
        )
    return rows, elemental


def _load(path: Path) -> list[Any]:
    check_data_file(path, "a JSON file of entries")
    content = load_json(path)
    if isinstance(content, dict):
        content = next(
            (content[key] for key in ("entries", "data", "all_entries", "response", "results") if key in content),
            content,
        )
    if not isinstance(content, list):
        raise TableError(f"cannot read {path}: expected a list of entries, got {type(content).__name__}")
    return content


def _formula(entry: dict[str, Any]) -> tuple[str, dict[str, float] | None]:
    """The formula as text, and the amounts by symbol where the entry has a composition that can be read."""
    composition = entry.get("composition") or entry.get("composition_reduced")
    if not isinstance(composition, dict):
        formula = composition or next((entry[key] for key in FORMULA_NAMES if entry.get(key)), "")
        try:
            return str(formula), {symbols()[z]: float(n) for z, n in read_formula(str(formula)).items()}
        except FormulaError:
            return str(formula), None
    amounts: dict[str, float] = {}
    for species, amount in composition.items():
        if species.startswith("@"):  # "@module" and "@class"
            continue
        match = _SPECIES.fullmatch(species)
        symbol = match[1] if match else species
        symbol = {"D": "H", "T": "H"}.get(symbol, symbol)
        try:
            atomic_number(symbol)
            amounts[symbol] = amounts.get(symbol, 0.0) + float(amount)
        except (UnknownElementError, TypeError, ValueError):
            return f"{species}{amount}", None
    return "".join(f"{symbol}{n:.10g}" for symbol, n in amounts.items()), amounts


def _energy(entry: dict[str, Any], amounts: dict[str, float] | None) -> Any:
    formation = entry.get("formation_energy_per_atom")
    if formation is not None:
        return formation
    n_atoms = sum(amounts.values()) if amounts else 0.0
    # pymatgen stores the uncorrected energy beside the sum of all corrections.
    total, correction = _number(entry.get("energy")), _number(entry.get("correction") or 0.0)
    if total is not None and correction is not None and n_atoms > 0:
        return ((total + correction) / n_atoms,)
    energy = _number(entry.get("energy_per_atom"))
    return None if energy is None else (energy,)


def _number(cell: Any) -> float | None:
    is_number = isinstance(cell, int | float) and not isinstance(cell, bool) and math.isfinite(cell)
    return float(cell) if is_number else None
