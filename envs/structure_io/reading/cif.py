"""Structures from the data blocks of a CIF.

A CIF is foreign input. Other libraries get nothing of it but symbols and symmetry operations that were checked here, so
that neither an odd item (a past version of one evaluated it as code) nor 100 000 atoms can reach them.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import (
    SAME_PLACE_A,
    Reason,
    check_cell_parameters,
    check_n_atoms,
    make_structure,
    number,
)
from oreflow.envs.structure_io.reading.cif_blocks import MISSING, CifBlock
from oreflow.envs.structure_io.reading.cif_sites import AMOUNT, Sites, read_sites
from oreflow.envs.structure_io.reading.cif_symmetry import Setting, affine, settings_of

_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_MAGNETIC = ("_space_group_magn", "_space_group_symop_magn", "_magnetic_", "_atom_site_moment", "_parent_space_group")
_MODULATED = ("_space_group_ssg", "_cell_wave_vector", "_cell_modulation", "_space_group_symop_ssg", "_cell_subsystem")
_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_SYMBOLS = ("_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m")
_HALL_SYMBOLS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")
_CODE = "_space_group_it_coordinate_system_code"
_MAX_STRAIN = 0.02  # of the metric, under the file's operations: what rounding of lengths and angles explains
_SAME_SITE_A = 0.1
_FORMULA = re.compile(r"([A-Z][a-z]?(?:\d+(?:\.\d*)?)?\s*)+")
_FORMULA_TOLERANCE = 0.01  # formulas are often rounded
_DENSITY_TOLERANCE = 0.03


@dataclass(frozen=True)
class _Reading:
    """A structure under one setting, and how many atoms each site has become."""

    setting: Setting
    structure: Any
    multiplicities: list[int]


def cif_structure(block: CifBlock, max_atoms: int, notes: list[str]) -> Any:
    """The pymatgen structure of one block, all atoms of its cell.

    Raises:
        StructureError: with a reason code.
    """
    for prefixes, code, what in ((_MAGNETIC, Reason.MAGNETIC, "magnetic"), (_MODULATED, Reason.MODULATED, "modulated")):
        named = [name for name in block.items if name.startswith(prefixes)]
        if named:
            raise StructureError(code, f"expected a crystal without {what} order, got {named[0]}")
    broken = [n for n in block.damaged_loops if n.startswith("_atom_site_") or n in _OPERATIONS]
    if broken:
        message = f"expected full rows in the loop of {broken[0]}, got one that breaks off"
        raise StructureError(Reason.UNTERMINATED_LOOP, message)
    if not any(name.startswith("_cell_") for name in block.items):
        raise StructureError(Reason.NO_LATTICE, "expected _cell_length_a and the other five, found none")
    cell = [number(block.text(f"_cell_{name}") or "?", f"_cell_{name}", Reason.BAD_CELL) for name in _CELL]
    check_cell_parameters(cell)
    sites = read_sites(block, max_atoms, notes)
    listed = [[text for text in block.column(name) if text not in MISSING] for name in _OPERATIONS]
    settings = settings_of(
        listed[0] or listed[1],
        block.text(*_HALL_SYMBOLS),
        block.text(*_SYMBOLS),
        block.text(*_NUMBERS),
        block.text(_CODE),
        notes,
    )
    structure = _likeliest(block, settings, cell, sites, max_atoms, notes)
    _compare_with_formula(block.text("_chemical_formula_sum"), structure, notes)
    return structure


def _likeliest(
    block: CifBlock, settings: list[Setting], cell: list[float], sites: Sites, max_atoms: int, notes: list[str]
) -> Any:
    """The structure under the setting that cell, atoms, multiplicities, formula and density of a file agree with.

    Raises:
        StructureError: of the first setting, where none gives a structure.
    """
    readings: list[_Reading] = []
    errors: list[StructureError] = []
    remarks: dict[str, list[str]] = {}
    for setting in settings:
        remarks[setting.name] = []
        try:
            readings.append(_all_atoms(cell, setting, sites, max_atoms, remarks[setting.name]))
        except StructureError as error:
            errors.append(error)
    if not readings:
        raise errors[0]
    reason = ""
    if len(readings) > 1:
        readings, reason = _agreeing(block, sites, readings)
    elif any(error.code == Reason.OVERLAPPING_ATOMS for error in errors):
        reason = "in others atoms overlap"
    chosen = readings[0]
    if reason:
        notes.append(f"read in the setting {chosen.setting.name}: {reason}")
    notes.extend(remarks[chosen.setting.name])
    return chosen.structure


def _agreeing(block: CifBlock, sites: Sites, readings: list[_Reading]) -> tuple[list[_Reading], str]:
    """The readings that a file agrees with, the likeliest first, and what tells them from the others."""
    reason = ""
    for what, agrees in _evidence(block, sites):
        left = [reading for reading in readings if agrees(reading)]
        if left and len(left) < len(readings):
            readings, reason = left, what
    if len(readings) > 1:
        readings = sorted(readings, key=lambda reading: len(reading.structure))
        fewer = len(readings[0].structure) < len(readings[1].structure)
        why = "its sites are more special there" if fewer else "the file does not say which"
        reason = f"assumed, as {why}; add the Hall symbol or the operations to be sure"
    return readings, reason


def _evidence(block: CifBlock, sites: Sites) -> list[tuple[str, Callable[[_Reading], bool]]]:
    """What a file says of its crystal besides the symmetry: a sentence, and whether a reading agrees."""
    told = sites.multiplicities
    evidence: list[tuple[str, Callable[[_Reading], bool]]] = []
    if any(told):
        evidence.append(
            (
                "by the multiplicities of the sites",
                lambda reading: all(m in (0, n) for m, n in zip(told, reading.multiplicities)),
            )
        )
    amounts = _amounts(block.text("_chemical_formula_sum"))
    n_units = block.text("_cell_formula_units_z")
    if amounts and re.fullmatch(r"\d{1,4}", n_units):
        expected = int(n_units) * sum(amounts.values())
        evidence.append(
            ("by the formula and Z", lambda reading: abs(len(reading.structure) - expected) <= 0.02 * expected)
        )
    if amounts:
        evidence.append(("by the formula", lambda reading: _has_formula(reading.structure, amounts)))
    density = re.match(r"\d+\.?\d*", block.text("_exptl_crystal_density_diffrn", "_exptl_crystal_density_meas"))
    if density and float(density[0]) > 0:
        given = float(density[0])
        evidence.append(
            (
                "by the density",
                lambda reading: abs(float(reading.structure.density) - given) <= _DENSITY_TOLERANCE * given,
            )
        )
    return evidence


def _amounts(text: str) -> dict[str, float]:
    """The amounts of a formula such as 'Na1 Cl1', deuterium as hydrogen; nothing for text that is none."""
    if not _FORMULA.fullmatch(text):
        return {}
    amounts: dict[str, float] = defaultdict(float)
    for symbol, amount in AMOUNT.findall(text):
        amounts["H" if symbol in ("D", "T") else symbol] += float(amount or 1)
    known = set(amounts) <= set(symbols()) and min(amounts.values()) > 0
    return dict(amounts) if known else {}


def _has_formula(structure: Any, amounts: dict[str, float]) -> bool:
    counted = {str(symbol): float(n) for symbol, n in structure.composition.get_el_amt_dict().items()}
    ratios = [n / amounts.get(symbol, 1e-9) for symbol, n in counted.items()]
    return max(ratios) <= (1 + _FORMULA_TOLERANCE) * min(ratios)


def _compare_with_formula(text: str, structure: Any, notes: list[str]) -> None:
    """The formula of a file against its atoms: missing elements, as hydrogens often are, make another compound."""
    amounts = _amounts(text)
    if not amounts:
        return
    missing = ", ".join(sorted(set(amounts) - {str(symbol) for symbol in structure.composition.get_el_amt_dict()}))
    if missing:
        message = f"expected atoms of all elements of _chemical_formula_sum '{text[:60]}', found no site with {missing}"
        raise StructureError(Reason.FORMULA_MISMATCH, message)
    if not _has_formula(structure, amounts):
        notes.append(f"_chemical_formula_sum says {text[:60]}, the sites say {structure.composition.reduced_formula}")


def _all_atoms(cell: list[float], setting: Setting, sites: Sites, max_atoms: int, notes: list[str]) -> _Reading:
    """The structure with all images of all sites.

    A site within 0.1 angstrom of an image of itself is put between them, onto the symmetry element: coordinates such as
    0.333 mean thirds.
    """
    from pymatgen.core import Lattice

    matrices, shifts = affine(setting.operations)
    lattice = Lattice.from_parameters(*cell)
    metric = lattice.matrix @ lattice.matrix.T
    strain = np.abs(matrices.transpose(0, 2, 1) @ metric @ matrices - metric).max() / np.abs(metric).max()
    if strain > _MAX_STRAIN:
        lengths = ", ".join(f"{value:g}" for value in cell)
        message = f"expected a cell that its symmetry operations keep, got {lengths}, which they change"
        raise StructureError(Reason.BAD_CELL, message)
    elements: list[str] = []
    points: list[Floats] = []
    for symbol, site in zip(sites.species, sites.fractional % 1.0):
        offsets = matrices @ site + shifts - site
        offsets -= np.rint(offsets)
        near = np.linalg.norm(offsets @ lattice.matrix, axis=1) < _SAME_SITE_A
        images = matrices @ (site + offsets[near].mean(axis=0)) + shifts if near.any() else matrices @ site + shifts
        images -= np.floor(images)
        apart = images[:, None] - images
        apart -= np.rint(apart)
        same = np.linalg.norm(apart @ lattice.matrix, axis=2) < SAME_PLACE_A
        first = np.flatnonzero(same.argmax(axis=1) == np.arange(len(images)))  # the first of those in one place
        elements += [symbol] * len(first)
        check_n_atoms(len(elements), max_atoms, "atoms in the cell, or more")
        points.append(images[first])
    structure = make_structure(lattice, elements, np.concatenate(points), notes)
    return _Reading(setting, structure, [len(images) for images in points])
