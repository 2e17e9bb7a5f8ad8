"""Reading CIF: into data blocks by our own tokeniser, then from checked items to structures.

A CIF is foreign input. pymatgen gets nothing of it but a space-group symbol and symmetry operations that were checked
here, so that neither an odd item (a past version evaluated one as code) nor 100 000 atoms can reach it.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field
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
    check_occupancy,
    make_structure,
    number,
    read_element,
)
from oreflow.envs.structure_io.reading.cif_symmetry import affine, operations_of

_TOKEN = re.compile(r"""'(?:[^'\n]|'(?=\S))*'(?=\s|$)|"(?:[^"\n]|"(?=\S))*"(?=\s|$)|\#[^\n]*|[^\s]+""")
_CELL = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
_MAGNETIC = ("_space_group_magn", "_space_group_symop_magn", "_magnetic_", "_atom_site_moment", "_parent_space_group")
_MODULATED = ("_space_group_ssg", "_cell_wave_vector", "_cell_modulation", "_space_group_symop_ssg", "_cell_subsystem")
_OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
_SYMBOLS = ("_space_group_name_h-m_alt", "_symmetry_space_group_name_h-m", "_space_group_name_h-m")
_HALL_SYMBOLS = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NUMBERS = ("_space_group_it_number", "_symmetry_int_tables_number")
_MAX_STRAIN = 0.02  # of the metric, under the file's operations: what rounding of lengths and angles explains
_SAME_SITE_A = 0.1
_MISSING = frozenset(["?", "."])
_AMBIGUOUS = frozenset(["Co", "Cd", "Ho", "No", "Po"])  # in capitals as common for C, H, N or P and another letter
_AMOUNT = re.compile(r"([A-Z][a-z]?)(\d+(?:\.\d*)?|)")
_FORMULA = re.compile(r"([A-Z][a-z]?(?:\d+(?:\.\d*)?)?\s*)+")
_FORMULA_TOLERANCE = 0.01  # formulas are often rounded


@dataclass
class CifBlock:
    """One data block: items in lower case with dots as underscores; a looped item is a list."""

    name: str
    items: dict[str, str | list[str]] = field(default_factory=dict)
    damaged_loops: list[str] = field(default_factory=list)

    def text(self, *names: str) -> str:
        """The first of these items that has a value, or the empty string."""
        for name in names:
            value = self.items.get(name, "")
            if isinstance(value, list):
                value = value[0] if value else ""
            if value and value not in _MISSING:
                return value
        return ""

    def column(self, name: str) -> list[str]:
        """A looped item, or a list of the one value, or nothing."""
        value = self.items.get(name, [])
        return value if isinstance(value, list) else [value]


def cif_blocks(text: str) -> list[CifBlock]:
    """The data blocks of a CIF, in order.

    Raises:
        StructureError: no_structure without a data block; parse_error for a text field without end.
    """
    tokens = _tokens(text)
    blocks: list[CifBlock] = []
    position = 0
    while position < len(tokens):
        token, quoted = tokens[position]
        position += 1
        lower = "" if quoted else token.lower()
        if lower.startswith("data_"):
            blocks.append(CifBlock(token[5:]))
        elif not blocks:
            continue
        elif lower == "loop_":
            position = _read_loop(tokens, position, blocks[-1])
        elif lower.startswith("_") and position < len(tokens) and _is_value(tokens[position]):
            blocks[-1].items[lower.replace(".", "_")] = tokens[position][0]
            position += 1
    if not blocks:
        raise StructureError(Reason.NO_STRUCTURE, "expected a CIF with a line data_NAME, found none")
    return blocks


def _tokens(text: str) -> list[tuple[str, bool]]:
    """Values and keywords, each with whether it was quoted."""
    tokens: list[tuple[str, bool]] = []
    # Text fields first: a semicolon in the first column opens and closes them.
    parts = re.split(r"(?m)^;", text)
    if len(parts) % 2 == 0:
        raise StructureError(Reason.PARSE_ERROR, "expected a closing ';' of a text field, got the end of the file")
    for index, part in enumerate(parts):
        if index % 2:
            tokens.append((part.strip(), True))
            continue
        for token in _TOKEN.findall(part):
            if token[0] == "#":
                continue
            if token[0] in "'\"" and len(token) > 1 and token[-1] == token[0]:
                tokens.append((token[1:-1], True))
            else:
                tokens.append((token, False))
    return tokens


def _is_value(token: tuple[str, bool]) -> bool:
    return token[1] or not re.match(r"(?i)_|loop_$|data_|save_|stop_$|global_$", token[0])


def _read_loop(tokens: list[tuple[str, bool]], position: int, block: CifBlock) -> int:
    names: list[str] = []
    while position < len(tokens) and not tokens[position][1] and tokens[position][0].startswith("_"):
        names.append(tokens[position][0].lower().replace(".", "_"))
        position += 1
    start = position
    while position < len(tokens) and _is_value(tokens[position]):
        position += 1
    values = [token for token, _ in tokens[start:position]]
    if names and len(values) % len(names):
        block.damaged_loops += names
    for index, name in enumerate(names):
        block.items[name] = values[index :: len(names)]
    return position


def holds_structure(block: CifBlock) -> bool:
    """Whether a block speaks of a cell or atoms at all; blocks of a journal's text do not."""
    return any(name.startswith(("_cell_length", "_atom_site_fract", "_atom_site_label")) for name in block.items)


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
    species, fractional = _sites(block, max_atoms, notes)
    listed = [[text for text in block.column(name) if text not in _MISSING] for name in _OPERATIONS]
    operations = operations_of(
        listed[0] or listed[1], block.text(*_SYMBOLS), block.text(*_NUMBERS), notes, block.text(*_HALL_SYMBOLS)
    )
    matrices, shifts = affine(operations)
    structure = _all_atoms(cell, matrices, shifts, species, fractional, max_atoms, notes)
    _compare_with_formula(block.text("_chemical_formula_sum"), structure, notes)
    return structure


def _compare_with_formula(text: str, structure: Any, notes: list[str]) -> None:
    """The formula of a file against its atoms: missing elements, as hydrogens often are, make another compound."""
    if not _FORMULA.fullmatch(text):
        return
    amounts: dict[str, float] = defaultdict(float)
    for symbol, amount in _AMOUNT.findall(text):
        amounts["H" if symbol in ("D", "T") else symbol] += float(amount or 1)
    if not set(amounts) <= set(symbols()) or min(amounts.values()) <= 0:
        return
    counted = {str(symbol): float(amount) for symbol, amount in structure.composition.get_el_amt_dict().items()}
    missing = ", ".join(sorted(set(amounts) - set(counted)))
    if missing:
        message = f"expected atoms of all elements of _chemical_formula_sum '{text[:60]}', found no site with {missing}"
        raise StructureError(Reason.FORMULA_MISMATCH, message)
    ratios = [amount / amounts.get(symbol, 1e-9) for symbol, amount in counted.items()]
    if max(ratios) > (1 + _FORMULA_TOLERANCE) * min(ratios):
        notes.append(f"_chemical_formula_sum says {text[:60]}, the sites say {structure.composition.reduced_formula}")


def _sites(block: CifBlock, max_atoms: int, notes: list[str]) -> tuple[list[str], Floats]:
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
    formula = {symbol for symbol, _ in _AMOUNT.findall(block.text("_chemical_formula_sum"))}
    species: list[str] = []
    rows: list[list[float]] = []
    for row, name in enumerate(names):
        where = f"site {labels[row] if row < len(labels) else row + 1}"
        if flags[row].lower() == "dum":
            notes.append(f"dummy {where} left out")
            continue
        if occupancies[row] not in _MISSING:
            occupancy = number(occupancies[row], f"the occupancy of {where}", Reason.PARSE_ERROR)
            if occupancy == 0:
                notes.append(f"{where} left out: its occupancy is 0")
                continue
            check_occupancy(occupancy, where)
        if hydrogens[row] not in _MISSING and number(hydrogens[row], "attached hydrogens", Reason.PARSE_ERROR):
            message = f"expected all hydrogens as atoms, got {hydrogens[row]} attached to {where}"
            raise StructureError(Reason.IMPLICIT_HYDROGENS, message)
        # A label starts with its symbol (Na1, O1W); a type symbol is nothing else, and ? or . says nothing.
        untyped = not types or name in _MISSING
        if untyped and row < len(labels):
            name = labels[row]
        if untyped:
            name = _symbol_of_label(name, formula, notes)
        species.append(read_element(name, notes))
        rows.append([number(column[row], f"a coordinate of {where}", Reason.BAD_COORDINATES) for column in columns])
    check_n_atoms(len(rows), max_atoms)
    return species, np.array(rows)


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


def _all_atoms(
    cell: list[float],
    matrices: Floats,
    shifts: Floats,
    species: list[str],
    fractional: Floats,
    max_atoms: int,
    notes: list[str],
) -> Any:
    """The structure with all images of all sites.

    A site within 0.1 angstrom of an image of itself is put between them, onto the symmetry element: coordinates such as
    0.333 mean thirds.
    """
    from pymatgen.core import Lattice

    lattice = Lattice.from_parameters(*cell)
    metric = lattice.matrix @ lattice.matrix.T
    strain = np.abs(matrices.transpose(0, 2, 1) @ metric @ matrices - metric).max() / np.abs(metric).max()
    if strain > _MAX_STRAIN:
        lengths = ", ".join(f"{value:g}" for value in cell)
        message = f"expected a cell that its symmetry operations keep, got {lengths}, which they change"
        raise StructureError(Reason.BAD_CELL, message)
    symbols, points = [], []
    n_atoms = 0
    for symbol, site in zip(species, fractional % 1.0):
        offsets = matrices @ site + shifts - site
        offsets -= np.rint(offsets)
        near = np.linalg.norm(offsets @ lattice.matrix, axis=1) < _SAME_SITE_A
        images = matrices @ (site + offsets[near].mean(axis=0)) + shifts if near.any() else matrices @ site + shifts
        images -= np.floor(images)
        apart = images[:, None] - images
        apart -= np.rint(apart)
        same = np.linalg.norm(apart @ lattice.matrix, axis=2) < SAME_PLACE_A
        first = np.flatnonzero(same.argmax(axis=1) == np.arange(len(images)))  # the first of those in one place
        n_atoms += len(first)
        check_n_atoms(n_atoms, max_atoms, "atoms in the cell, or more")
        symbols += [symbol] * len(first)
        points.append(images[first])
    return make_structure(lattice, symbols, np.concatenate(points), notes)
