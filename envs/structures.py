"""Crystals as pymatgen structures, as labels, and as one line of text that holds everything."""

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from envs.crystals import Crystals
from envs.elements import atomic_number, symbols
from envs.errors import StructureError
from envs.structure_checks import Reason
from envs.wyckoff_tables import DENOMINATOR, SpaceGroup, space_group

_FAMILY = {
    "triclinic": "a",
    "monoclinic": "m",
    "orthorhombic": "o",
    "tetragonal": "t",
    "trigonal": "h",
    "hexagonal": "h",
    "cubic": "c",
}

_LONGEST_A = 1e6  # crystals may be as wide as their atoms need: what was built can be read


def pymatgen_structures(crystals: Crystals, primitive: bool = True) -> tuple:
    """One pymatgen `Structure` each, of the primitive cell or the conventional one; orbits stand together.

    Raises:
        ValueError: for crystals without geometry.
    """
    from pymatgen.core import Lattice, Structure

    atoms = crystals.atoms(primitive)
    present = np.unique(atoms.atomic_numbers).tolist()
    species = dict(zip(present, map(_composition, present)))
    each = [species[z] for z in atoms.atomic_numbers.tolist()]
    bounds = atoms.offsets.tolist()
    return tuple(
        Structure(Lattice(vectors), each[start:end], atoms.fractional[start:end])
        for vectors, start, end in zip(atoms.vectors, bounds[:-1], bounds[1:])
    )


@cache
def _composition(z: int) -> Any:
    """A site's content, made once: pymatgen would make it anew for each site."""
    from pymatgen.core import Composition, Element

    return Composition({Element.from_Z(z): 1})


def representative_points(crystals: Crystals) -> np.ndarray:
    """float64 [site, 3], the first coordinate triplet of each site with its parameters put in, in [0, 1)."""
    points = np.empty((len(crystals.letter), 3))
    groups = np.repeat(crystals.space_group, np.diff(crystals.site_offsets))
    for number in np.unique(groups).tolist():
        here = np.flatnonzero(groups == number)
        group = space_group(number)
        letters = crystals.letter[here]
        free = np.arange(3) < group.dof[letters][:, None]
        parameters = np.where(free, crystals.parameters[here], 0.0)
        points[here] = np.einsum("sij,sj->si", group.basis[letters].astype(np.float64), parameters)
        points[here] += group.origin[letters] / DENOMINATOR
    return points - np.floor(points)


def found_space_groups(crystals: Crystals, symprec: float = 1e-4) -> np.ndarray:
    """The space groups that moyopy finds within `symprec` angstrom, int16 [batch], 0 where it finds none.

    That of the crystal, or a supergroup where lattice and coordinates happen to have more symmetry.
    """
    import moyopy

    atoms = crystals.atoms()
    out = np.zeros(len(crystals), dtype=np.int16)
    bounds = atoms.offsets.tolist()
    for row, vectors in enumerate(atoms.vectors):
        here = slice(bounds[row], bounds[row + 1])
        try:
            cell = moyopy.Cell(vectors.tolist(), atoms.fractional[here].tolist(), atoms.atomic_numbers[here].tolist())
            out[row] = moyopy.MoyoDataset(cell, symprec=symprec).number
        except KeyboardInterrupt:
            raise
        except BaseException:  # a panic of moyopy is a BaseException; one crystal's is no reason to stop the others
            out[row] = 0
    return out


def wyckoff_labels(crystals: Crystals) -> list[str]:
    """Space group and sites, such as "225: Na a, Cl b"; sites in order of letters, then of symbols."""
    labels = []
    for number, sites in _sites(crystals):
        letters = space_group(number).letters
        named = [f"{symbol} {letters[letter]}" for letter, symbol in sorted(sites)]
        labels.append(f"{number}: {', '.join(named)}")
    return labels


def protostructure_labels(crystals: Crystals) -> list[str]:
    """Labels in the manner of AFLOW, such as "AB_cF8_225_a_b:Cl-Na".

    Elements stand in alphabetical order, with the letters that each occupies. Labelings that a change of origin or
    axes turns into one another get the same label: the first of them in the order of strings.
    """
    out = []
    for number, sites in _sites(crystals):
        group = space_group(number)
        elements = sorted({symbol for _, symbol in sites})
        counts = [sum(int(group.multiplicity[letter]) for letter, s in sites if s == element) for element in elements]
        divisor = int(np.gcd.reduce(counts))
        anonymous = "".join(f"{chr(65 + i % 26)}{n // divisor if n > divisor else ''}" for i, n in enumerate(counts))
        letters = min(_occupied(group, sites, elements, mapping) for mapping in letter_mappings(number))
        out.append(f"{anonymous}_{pearson_symbol(group, sum(counts))}_{number}_{letters}:{'-'.join(elements)}")
    return out


def pearson_symbol(group: SpaceGroup, n_conventional: int) -> str:
    """Pearson's symbol, such as "cF8"; rhombohedral cells count the atoms of the primitive cell."""
    centring = "C" if group.centring in "ABC" else group.centring
    n_atoms = n_conventional // 3 if centring == "R" else n_conventional
    return f"{_FAMILY[group.crystal_system]}{centring}{n_atoms}"


@cache
def letter_mappings(number: int) -> tuple[tuple[int, ...], ...]:
    """Distinct ways in which changes of origin and axes that keep a space group rename its positions."""
    group = space_group(number)
    found = {tuple(row) for row in [*group.letter_map.tolist(), *group.axis_letter_map.tolist()]}
    while True:  # the closure: an exchange of axes may follow a shift of the origin
        products = {tuple(second[letter] for letter in first) for first in found for second in found}
        if products <= found:
            return tuple(sorted(found))
        found |= products


def _occupied(group: SpaceGroup, sites: list[tuple[int, str]], elements: list[str], mapping: tuple[int, ...]) -> str:
    parts = []
    for element in elements:
        letters = [group.letters[mapping[letter]] for letter, symbol in sites if symbol == element]
        counted = [(letter, letters.count(letter)) for letter in sorted(set(letters), key=group.letters.index)]
        parts.append("".join(f"{n if n > 1 else ''}{letter}" for letter, n in counted))
    return "_".join(parts)


def _sites(crystals: Crystals) -> list[tuple[int, list[tuple[int, str]]]]:
    """Space group, and letter and symbol of each site, by crystal."""
    names = symbols()
    letters, numbers = crystals.letter.tolist(), [names[z] for z in crystals.atomic_number.tolist()]
    bounds = crystals.site_offsets.tolist()
    return [
        (number, list(zip(letters[start:end], numbers[start:end])))
        for number, start, end in zip(crystals.space_group.tolist(), bounds[:-1], bounds[1:])
    ]


def crystal_to_text(crystals: Crystals) -> list[str]:
    """One line of JSON each: {"sg": number, "lattice": [a, b, c, alpha, beta, gamma], "sites": [[letter, symbol,
    [parameters]], ...]}; lengths in angstrom, angles in degrees. Numbers are written so that they read back exactly.
    A crystal without geometry has null for lattice and parameters.
    """
    out = []
    has_geometry = crystals.has_geometry.tolist()
    lattices, parameters = crystals.lattice.tolist(), crystals.parameters.tolist()
    start = 0
    for row, (number, sites) in enumerate(_sites(crystals)):
        group = space_group(number)
        listed = [
            [group.letters[letter], symbol, parameters[start + i][: group.dof[letter]] if has_geometry[row] else None]
            for i, (letter, symbol) in enumerate(sites)
        ]
        start += len(sites)
        data = {"sg": number, "lattice": lattices[row] if has_geometry[row] else None, "sites": listed}
        out.append(json.dumps(data, separators=(",", ":"), allow_nan=False))
    return out


def crystal_from_text(texts: Sequence[str]) -> Crystals:
    """The crystals that `crystal_to_text` wrote.

    Raises:
        StructureError: names the first row that holds something else.
    """
    groups: list[int] = []
    offsets, lattices = [0], []
    letters: list[int] = []
    numbers: list[int] = []
    parameters: list[list[float]] = []
    for row, text in enumerate(texts):
        try:
            number, lattice, sites = _parse(text)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            expected = 'expected a structure as {"sg":225,"lattice":[...],"sites":[["a","Na",[]],...]}'
            message = f"{expected}, got {str(text)[:80]!r} in row {row}: {error}"
            raise StructureError(Reason.PARSE_ERROR, message) from None
        groups.append(number)
        lattices.append(lattice)
        for letter, z, values in sites:
            letters.append(letter)
            numbers.append(z)
            parameters.append(values)
        offsets.append(len(letters))
    return Crystals(
        np.array(groups, dtype=np.int16),
        np.array(offsets, dtype=np.int64),
        np.array(letters, dtype=np.int8),
        np.array(numbers, dtype=np.int16),
        np.array(lattices, dtype=np.float64).reshape(len(groups), 6),
        np.array(parameters, dtype=np.float64).reshape(len(letters), 3),
    )


def _parse(text: str) -> tuple[int, list[float], list[tuple[int, int, list[float]]]]:
    from envs.structure_checks import check_cell_parameters

    data = json.loads(text, parse_constant=_no_constant)
    number = data["sg"]
    if type(number) is not int:
        raise ValueError(f"expected sg to be a whole number, got {number!r}")
    group = space_group(number)
    lattice = [np.nan] * 6
    if data["lattice"] is not None:
        lattice = _floats(data["lattice"], 6)
        check_cell_parameters(lattice, _LONGEST_A)
    sites = []
    for letter, symbol, values in data["sites"]:
        if not (isinstance(letter, str) and len(letter) == 1 and letter in group.letters):
            raise ValueError(f"expected a position {group.letters[0]} to {group.letters[-1]}, got {letter!r}")
        index = group.letters.index(letter)
        if (values is None) != (data["lattice"] is None):
            raise ValueError("expected parameters where there is a lattice, and none elsewhere")
        dof = int(group.dof[index])
        free = [np.nan] * 3 if values is None else _floats(values, dof) + [0.0] * (3 - dof)
        sites.append((index, atomic_number(symbol), free))
    if not sites:
        raise ValueError("expected at least one site")
    return number, lattice, sites


def _floats(values: Any, n: int) -> list[float]:
    if not isinstance(values, list) or len(values) != n or not all(type(v) in (int, float) for v in values):
        raise ValueError(f"expected {n} numbers, got {values!r}")
    numbers = [float(value) for value in values]
    if not np.isfinite(numbers).all():
        raise ValueError(f"expected finite numbers, got {values!r}")
    return numbers


def _no_constant(name: str) -> float:
    raise ValueError(f"expected finite numbers, got {name}")
