"""The sites of a CIF: elements from type symbols or labels, coordinates, occupancies, multiplicities."""

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import (
    FULL_OCCUPANCY_TOLERANCE,
    Reason,
    check_n_atoms,
    check_occupancy,
    number,
    read_element,
)
from oreflow.envs.structure_io.reading.cif_blocks import MISSING, CifBlock

AMOUNT = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d*)?|)")
_AMBIGUOUS = frozenset(["Co", "Cd", "Ho", "No", "Po"])  # in capitals as common for C, H, N or P and another letter
_MULTIPLICITIES = ("_atom_site_site_symmetry_multiplicity", "_atom_site_symmetry_multiplicity")
_SAME_PLACE = 1e-3  # of the cell's edges: how far apart coordinates of one place may be written


@dataclass(frozen=True)
class Sites:
    """The sites of one block, one of each orbit.

    Attributes:
        species: element symbols.
        fractional: float64 [site, 3].
        multiplicities: what the file says how many atoms a site stands for; 0 where it does not.
    """

    species: list[str]
    fractional: Floats
    multiplicities: list[int]


@dataclass
class _Site:
    element: str
    point: list[float]
    occupancy: float
    multiplicity: int
    where: str


def read_sites(block: CifBlock, max_atoms: int, notes: list[str]) -> Sites:
    """Read the loop of sites; every place must be full, of one element.

    Raises:
        StructureError: with a reason code.
    """
    columns = [block.column(f"_atom_site_fract_{axis}") for axis in "xyz"]
    labels = block.column("_atom_site_label")
    types = block.column("_atom_site_type_symbol")
    n_rows = len(columns[0])
    if not n_rows and block.column("_atom_site_cartn_x"):
        raise StructureError(Reason.BAD_COORDINATES, "expected _atom_site_fract_x, got Cartesian coordinates only")
    check_n_atoms(n_rows, max_atoms, "rows of _atom_site_fract_x")
    names = types or labels
    if {len(column) for column in (*columns, names)} != {n_rows}:
        message = f"expected {n_rows} values of each _atom_site_ item, got other numbers of some"
        raise StructureError(Reason.PARSE_ERROR, message)
    occupancies = block.column("_atom_site_occupancy") or ["1"] * n_rows
    flags = block.column("_atom_site_calc_flag") or [""] * n_rows
    hydrogens = block.column("_atom_site_attached_hydrogens") or ["0"] * n_rows
    multiplicities = next(filter(None, map(block.column, _MULTIPLICITIES)), ["0"] * n_rows)
    formula = {symbol for symbol, _ in AMOUNT.findall(block.text("_chemical_formula_sum"))}
    rows: list[_Site] = []
    for row, name in enumerate(names):
        where = f"site {labels[row] if row < len(labels) else row + 1}"
        if flags[row].lower() == "dum":
            notes.append(f"dummy {where} left out")
            continue
        occupancy = 1.0
        if occupancies[row] not in MISSING:
            occupancy = number(occupancies[row], f"the occupancy of {where}", Reason.PARSE_ERROR)
        if occupancy == 0:
            notes.append(f"{where} left out: its occupancy is 0")
            continue
        if hydrogens[row] not in MISSING and number(hydrogens[row], "attached hydrogens", Reason.PARSE_ERROR):
            message = f"expected all hydrogens as atoms, got {hydrogens[row]} attached to {where}"
            raise StructureError(Reason.IMPLICIT_HYDROGENS, message)
        # A label starts with its symbol (Na1, O1W); a type symbol is nothing else, and ? or . says nothing.
        untyped = not types or name in MISSING
        if untyped and row < len(labels):
            name = labels[row]
        if untyped:
            name = _symbol_of_label(name, formula, notes)
        element = read_element(name, notes)
        point = [number(column[row], f"a coordinate of {where}", Reason.BAD_COORDINATES) for column in columns]
        told = multiplicities[row]
        rows.append(_Site(element, point, occupancy, int(told) if re.fullmatch(r"\d{1,3}", told) else 0, where))
    rows = _shared_places(rows, notes)
    for site in rows:
        check_occupancy(site.occupancy, site.where)
    check_n_atoms(len(rows), max_atoms)
    return Sites(
        [site.element for site in rows], np.array([site.point for site in rows]), [site.multiplicity for site in rows]
    )


def _shared_places(rows: list[_Site], notes: list[str]) -> list[_Site]:
    """Add the occupancies of an element split over one place, as Fe2+ and Fe3+ or D and H are."""
    groups: dict[tuple[str, tuple[int, ...]], list[_Site]] = defaultdict(list)
    out: list[_Site] = []
    for site in rows:
        if site.occupancy >= 1 - FULL_OCCUPANCY_TOLERANCE:
            out.append(site)
            continue
        place = tuple(round(x / _SAME_PLACE) % round(1 / _SAME_PLACE) for x in site.point)
        group = groups[site.element, place]
        group.append(site)
        if len(group) == 1:
            out.append(site)
    for group in groups.values():
        if len(group) > 1:
            group[0].occupancy = sum(site.occupancy for site in group)
            names = ", ".join(site.where.removeprefix("site ") for site in group)
            notes.append(f"{names} share one place; their occupancies were added to {group[0].occupancy:g}")
    return out


def _symbol_of_label(label: str, formula: set[str], notes: list[str]) -> str:
    """The symbol a label starts with (Na1, O1W, NA1). Of two capitals the formula decides, else the longer symbol.

    Raises:
        StructureError: unknown_element where a label such as CO1 may as well be carbon.
    """
    match = re.match(r"[A-Z][a-z]*", label)
    if match is None:
        return label
    capitals = re.match(r"[A-Z]{2}(?![A-Za-z])", label)
    longer = capitals[0].capitalize() if capitals else ""
    if longer not in symbols()[1:]:
        if capitals and capitals[0][1] == "H":
            notes.append(f"label {label[:20]} read as {match[0]}: its hydrogen is not among the atoms")
        return match[0]
    if (longer in formula) != (match[0] in formula):
        return longer if longer in formula else match[0]
    if longer in _AMBIGUOUS:
        message = f"expected a label of one element, got {label[:20]!r}, {longer} or {match[0]}; add type symbols"
        raise StructureError(Reason.UNKNOWN_ELEMENT, message)
    notes.append(f"label {label[:20]} read as {longer}")
    return longer
