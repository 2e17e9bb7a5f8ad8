"""Crystals as text for other programs: CIF with its symmetry, extended XYZ, POSCAR."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.objects.atoms import Atoms
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.space_groups import DENOMINATOR, SpaceGroup, space_group

_CHUNK = 1000
_PLAIN = re.compile(r"[\w.+\-/:()]+")
_RESERVED = ("lattice", "properties", "pbc")


def cif_text(crystals: Crystals, ids: Sequence[str] | None = None) -> list[str]:
    """One CIF each, with the space group, all operations of the conventional cell, and one line an orbit.

    Args:
        ids: names of the data blocks; the reduced formulas by default.

    Raises:
        ValueError: for crystals without geometry.
    """
    if not crystals.has_geometry.all():
        raise ValueError("expected crystals with lattice and coordinates, got decorations without geometry")
    names, points = symbols(), representative_points(crystals)
    numbers, letters = crystals.atomic_number.tolist(), crystals.letter.tolist()
    bounds = crystals.site_offsets.tolist()
    out = []
    for row, (number, lattice) in enumerate(zip(crystals.space_group.tolist(), crystals.lattice.tolist())):
        group = space_group(number)
        sites = range(bounds[row], bounds[row + 1])
        amounts: dict[str, int] = {}
        for site in sites:
            symbol = names[numbers[site]]
            amounts[symbol] = amounts.get(symbol, 0) + int(group.multiplicity[letters[site]])
        divisor = gcd(*amounts.values())
        formula = "".join(f"{s}{n // divisor if n > divisor else ''}" for s, n in sorted(amounts.items()))
        lines = [
            f"data_{block_name(formula if ids is None else ids[row])}",
            f"_chemical_formula_structural {formula}",
            f"_chemical_formula_sum '{' '.join(f'{s}{n}' for s, n in sorted(amounts.items()))}'",
            *_cell_lines(lattice),
            _symmetry_lines(number),
            "loop_",
            "_atom_site_label",
            "_atom_site_type_symbol",
            "_atom_site_symmetry_multiplicity",
            "_atom_site_Wyckoff_symbol",
            "_atom_site_fract_x",
            "_atom_site_fract_y",
            "_atom_site_fract_z",
            "_atom_site_occupancy",
        ]
        for order, site in enumerate(sites):
            symbol, letter = names[numbers[site]], letters[site]
            x, y, z = (f"{value:.12f}" for value in points[site])
            lines.append(f"{symbol}{order} {symbol} {group.multiplicity[letter]} {group.letters[letter]} {x} {y} {z} 1")
        out.append("\n".join(lines) + "\n")
    return out


def block_name(text: str) -> str:
    """A name that a CIF data block may have: printable ASCII without spaces, at most 70 characters."""
    return re.sub(r"[^!-~]+", "_", text)[:70] or "crystal"


def _cell_lines(lattice: Sequence[float]) -> list[str]:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    cosines = np.cos(np.radians(lattice[3:]))
    relative = np.sqrt(1 - (cosines**2).sum() + 2 * cosines.prod())
    lines = [f"_cell_{name} {value:.10g}" for name, value in zip(names, lattice)]
    return [*lines, f"_cell_volume {np.prod(lattice[:3]) * relative:.8g}"]


@cache
def _symmetry_lines(number: int) -> str:
    group = space_group(number)
    symbol = spaced_symbol(group)
    lines = [
        f"_space_group_name_H-M_alt '{symbol}'",
        f"_space_group_IT_number {number}",
        # The same under the names of CIF's first dictionary, which some programs still read alone.
        f"_symmetry_space_group_name_H-M '{symbol}'",
        f"_symmetry_Int_Tables_number {number}",
        "loop_",
        "_space_group_symop_id",
        "_space_group_symop_operation_xyz",
    ]
    operations = zip(group.rotations.tolist(), group.translations.tolist())
    lines += [f"{i} '{operation_text(w, t)}'" for i, (w, t) in enumerate(operations, start=1)]
    return "\n".join(lines)


def spaced_symbol(group: SpaceGroup) -> str:
    """The symbol as CIF wants it, "F m -3 m"; in full for monoclinic groups, "P 1 21/c 1", to name the unique axis."""
    parts = re.findall(r"[A-Z]|-?\d(?:_\d)?(?:/[a-z])?|[a-z]", group.symbol)
    parts = [part.replace("_", "") for part in parts]
    if group.crystal_system == "monoclinic" and len(parts) == 2:
        parts = [parts[0], "1", parts[1], "1"]
    return " ".join(parts)


def operation_text(rotation: Sequence[Sequence[int]], translation: Sequence[int]) -> str:
    """An operation such as "-x,y+1/2,-z"; the translation in units of 1/DENOMINATOR."""
    rows = []
    for coefficients, shift in zip(rotation, translation):
        text = "".join(f"{'-' if c < 0 else '+'}{axis}" for c, axis in zip(coefficients, "xyz") if c)
        if shift:
            divisor = gcd(shift, DENOMINATOR)
            text += f"+{shift // divisor}/{DENOMINATOR // divisor}"
        rows.append(text.removeprefix("+"))
    return ",".join(rows)


def write_extxyz(
    path: Path,
    crystals: Crystals,
    ids: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    primitive: bool = False,
    append: bool = False,
) -> None:
    """Frames of extended XYZ as ASE reads it: all atoms, the lattice, the id and further values of each crystal.

    Args:
        ids: one each, as `id` of the frame.
        columns: values by name, one each; None and NaN are left out.
        primitive: the primitive cell instead of the conventional one, which CIFs show.
        append: behind what the file holds.
    """
    with path.open("a" if append else "w", encoding="utf-8", newline="\n") as file:
        for start in range(0, len(crystals), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            parts = {name: values[chunk] for name, values in columns.items()}
            _write_frames(file, crystals[chunk].atoms(primitive), ids[chunk], parts)


def _write_frames(file: TextIO, atoms: Atoms, ids: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> None:
    names, bounds = symbols(), atoms.offsets.tolist()
    numbers = atoms.atomic_numbers.tolist()
    for row, vectors in enumerate(atoms.vectors):
        start, end = bounds[row], bounds[row + 1]
        cell = " ".join(repr(value) for value in vectors.ravel().tolist())
        pairs = [f'Lattice="{cell}"', "Properties=species:S:1:pos:R:3", f"id={_quoted(ids[row])}"]
        pairs += [f"{_key(name)}={_value(values[row])}" for name, values in columns.items() if _is_given(values[row])]
        file.write(f'{end - start}\n{" ".join(pairs)} pbc="T T T"\n')
        positions = atoms.fractional[start:end] @ vectors
        for z, (x, y, z_a) in zip(numbers[start:end], positions.tolist()):
            file.write(f"{names[z]:2s} {x:16.10f} {y:16.10f} {z_a:16.10f}\n")


def _is_given(value: Any) -> bool:
    return value is not None and value == value


def _key(name: str) -> str:
    name = re.sub(r"\W+", "_", name)
    return f"{name}_" if name.lower() in _RESERVED else name


def _value(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "T" if value else "F"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Text as it is, or in double quotes; "T", "F" and digits alone would be read as something else."""
    text = re.sub(r"[\r\n]+", " ", text)
    if _PLAIN.fullmatch(text) and re.search(r"[A-Za-z]{2}", text) and text.lower() not in ("nan", "inf"):
        return text
    return json.dumps(text, ensure_ascii=False)


def poscar_text(crystals: Crystals, ids: Iterable[str], primitive: bool = True) -> list[str]:
    """One POSCAR each, direct coordinates; atoms of one element stand together."""
    atoms, names = crystals.atoms(primitive), symbols()
    out = []
    bounds = atoms.offsets.tolist()
    for name, vectors, start, end in zip(ids, atoms.vectors, bounds[:-1], bounds[1:]):
        numbers = atoms.atomic_numbers[start:end]
        order = np.argsort(numbers, kind="stable")
        distinct, counts = np.unique(numbers, return_counts=True)
        lines = [
            re.sub(r"\s+", " ", name),
            "1.0",
            *(" ".join(f"{value:20.14f}" for value in vector) for vector in vectors),
            " ".join(names[z] for z in distinct),
            " ".join(map(str, counts)),
            "Direct",
            *(" ".join(f"{value:.12f}" for value in point) for point in atoms.fractional[start:end][order]),
        ]
        out.append("\n".join(lines) + "\n")
    return out


def representative_points(crystals: Crystals) -> Floats:
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
