"""The 230 space groups: operations, Wyckoff positions, and the normalizers that relate descriptions of one crystal.

Settings are the standard ones of the International Tables: unique axis b and cell choice 1, hexagonal axes for
rhombohedral groups, origin choice 2. All matrices act on fractional coordinates of the conventional cell as columns,
x' = R x + t, and every translation, origin and shift is a whole number of 1/DENOMINATOR. Arrays are small integers:
convert them before multiplying two of them, int8 ends at 127.

Data: `data/wyckoff.npz`, see `data/README.md` for its origin. Loaded once, on first use.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oreflow.envs.arrays import Arrays, Bools, Floats, Int8s, Int16s, Int32s, Ints, States
from oreflow.envs.suggestions import nearest

DENOMINATOR = 24
N_SPACE_GROUPS = 230
LETTERS = "abcdefghijklmnopqrstuvwxyzA"

# First and last group of each crystal system.
CRYSTAL_SYSTEMS = {
    "triclinic": (1, 2),
    "monoclinic": (3, 15),
    "orthorhombic": (16, 74),
    "tetragonal": (75, 142),
    "trigonal": (143, 167),
    "hexagonal": (168, 194),
    "cubic": (195, 230),
}

# Rows are primitive vectors in units of the conventional ones, right-handed.
_PRIMITIVE = {
    "P": (np.eye(3), 1),
    "A": ([[2, 0, 0], [0, 1, -1], [0, 1, 1]], 2),
    "C": ([[1, -1, 0], [1, 1, 0], [0, 0, 2]], 2),
    "I": ([[-1, 1, 1], [1, -1, 1], [1, 1, -1]], 2),
    "F": ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], 2),
    "R": ([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]], 3),
}

# Symbols that the International Tables used before the glide plane e (1992).
_OLD_SYMBOLS = {"Abm2": 39, "Aba2": 41, "Cmca": 64, "Cmma": 67, "Ccca": 68}


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """One space group in its standard setting. Arrays are read-only.

    Attributes:
        number: 1 to 230.
        symbol: short Hermann-Mauguin symbol, such as "Fm-3m" or "P2_1/c".
        crystal_system: "triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal" or "cubic".
        centring: "P", "A", "C", "I", "F" or "R".
        n_centring: lattice points in the conventional cell, which has n_centring times the atoms of a primitive one.
        primitive: float64 [3, 3], primitive lattice vectors are the rows of primitive @ conventional vectors.
        rotations: int8 [operation, 3, 3], all operations of the conventional cell, those with a centring translation
            included, in the order of the International Tables: the identity first.
        translations: int8 [operation, 3], in 1/DENOMINATOR, 0 to 23.
        letters: one character for each position: a is the first, the general position the last, and A follows z.
        multiplicity: int16 [letter], points in the conventional cell.
        dof: int8 [letter], free coordinates, 0 to 3.
        site_symmetry: oriented symbol of each position's site-symmetry group, such as "4m.m".
        site_symmetry_order: int16 [letter]; multiplicity * site_symmetry_order is the number of operations.
        basis: int8 [letter, 3, 3], origin: int8 [letter, 3] in 1/DENOMINATOR: the representative point, which is the
            first coordinate triplet of the International Tables, is basis @ p + origin / DENOMINATOR. The free
            parameters p stand in the order x, y, z of that triplet from the front; columns beyond dof are 0.
        orbit_start: int32 [letter + 1]; orbit_operation: int16 [...]: the operations
            orbit_operation[orbit_start[l]:orbit_start[l + 1]] take the representative of letter l to its
            `multiplicity` points; the identity is the first.
        self_start: int32 [letter + 1]; self_matrix: int8 [map, 3, 3]; self_shift: int8 [map, 3] in 1/DENOMINATOR: the
            maps self_start[l]:self_start[l + 1] are all distinct p -> M p + b (modulo 1) that operations of the group
            induce on the parameters of letter l; the identity first, rows and columns beyond dof are 0. Parameters
            that do not put the point on a position of higher symmetry give the same orbit if and only if one of these
            maps relates them modulo 1.
        polar: bool [3], conventional axes along which the origin is free: all for P1, x and z for Pm, z for P4.
        normalizer_rotation: int8 [n, 3, 3]; normalizer_translation: int8 [n, 3] in 1/DENOMINATOR: x' = W x + w, one
            element of each coset of the Euclidean normalizer modulo the group and modulo translations along polar
            axes (those components are 0), identity first. The metric is generic for the crystal system: W is in -1,
            2/m, mmm, 4/mmm, 6/mmm (-3m for R) or m-3m. Elements that reverse the orientation are among them.
        letter_map: int8 [n, letter], the letter to which a normalizer element sends each letter.
        normalizer_matrix: int8 [n, letter, 3, 3]; normalizer_shift: int8 [n, letter, 3] in 1/DENOMINATOR: parameters p
            of letter l become M p + b of letter letter_map[n, l]; one valid choice, up to the target's self maps.
        axis_rotation: int8 [k, 3, 3]; axis_translation, axis_letter_map, axis_matrix, axis_shift: the same for
            elements of the affine normalizer that permute or shear axes: x' = W x + w in the cell whose vectors are
            the rows of inv(W).T @ old vectors. Orthorhombic: the permutations of axes that keep the group. Monoclinic:
            every W with entries from -2 to 2 in the plane of a and c that keeps the group. One of each coset modulo
            the Euclidean normalizer; the identity first, and alone in all other systems (triclinic, too).
    """

    number: int
    symbol: str
    crystal_system: str
    centring: str
    n_centring: int
    primitive: Floats
    rotations: Int8s
    translations: Int8s
    letters: str
    multiplicity: Int16s
    dof: Int8s
    site_symmetry: tuple[str, ...]
    site_symmetry_order: Int16s
    basis: Int8s
    origin: Int8s
    orbit_start: Int32s
    orbit_operation: Int16s
    self_start: Int32s
    self_matrix: Int8s
    self_shift: Int8s
    polar: Bools
    normalizer_rotation: Int8s
    normalizer_translation: Int8s
    letter_map: Int8s
    normalizer_matrix: Int8s
    normalizer_shift: Int8s
    axis_rotation: Int8s
    axis_translation: Int8s
    axis_letter_map: Int8s
    axis_matrix: Int8s
    axis_shift: Int8s


@cache
def _tables() -> Arrays:
    """The file's arrays: those of all groups one after the other, and in `*_end` where each part ends."""
    with (
        files("oreflow.envs").joinpath("data/wyckoff.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        return {name: _read_only(stored[name]) for name in stored.files}


@cache
def _pair_ends(name: str) -> Ints:
    """Where each group ends in the arrays that hold an entry for each pair of an element and a letter."""
    elements, letters = (np.diff(_tables()[end], prepend=0) for end in (f"{name}_end", "position_end"))
    return np.cumsum(elements * letters)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _part(ends: States, index: int) -> slice:
    return slice(int(ends[index - 1]) if index else 0, int(ends[index]))


@cache
def space_group(number: int) -> SpaceGroup:
    """The space group with a number from 1 to 230.

    Raises:
        ValueError: for another number.
    """
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 1 <= number <= N_SPACE_GROUPS:
        raise ValueError(f"expected a space-group number from 1 to {N_SPACE_GROUPS}, got {number!r}")
    t, group = _tables(), int(number) - 1
    operation, position = (_part(t[f"{kind}_end"], group) for kind in ("operation", "position"))
    normalizer, axis = (_part(t[f"{kind}_end"], group) for kind in ("normalizer", "axis"))
    n_letters = position.stop - position.start
    pairs = {name: _part(_pair_ends(name), group) for name in ("normalizer", "axis")}

    def starts(kind: str) -> tuple[np.ndarray, slice]:
        ends = np.concatenate([[0], t[f"{kind}_end"]])[position.start : position.stop + 1]
        return _read_only((ends - ends[0]).astype(np.int32)), slice(int(ends[0]), int(ends[-1]))

    def by_letter(kind: str, name: str) -> np.ndarray:
        array = t[f"{kind}_{name}"][pairs[kind]]
        return array.reshape(-1, n_letters, *array.shape[1:])

    orbit_start, orbit = starts("orbit")
    self_start, self_ = starts("self")
    symbol, multiplicity = str(t["symbol"][group]), t["position_multiplicity"][position]
    primitive, denominator = _PRIMITIVE[symbol[0]]
    rotations = t["operation_rotation"][operation]
    return SpaceGroup(
        number=int(number),
        symbol=symbol,
        crystal_system=next(name for name, (_, last) in CRYSTAL_SYSTEMS.items() if number <= last),
        centring=symbol[0],
        n_centring=int((rotations == np.eye(3)).all((1, 2)).sum()),
        primitive=_read_only(np.asarray(primitive, dtype=np.float64) / denominator),
        rotations=rotations,
        translations=t["operation_translation"][operation],
        letters=LETTERS[:n_letters],
        multiplicity=multiplicity,
        dof=t["position_dof"][position],
        site_symmetry=tuple(t["position_site_symmetry"][position].tolist()),
        site_symmetry_order=_read_only((len(rotations) // multiplicity).astype(np.int16)),
        basis=t["position_basis"][position],
        origin=t["position_origin"][position],
        orbit_start=orbit_start,
        orbit_operation=t["orbit_operation"][orbit],
        self_start=self_start,
        self_matrix=t["self_matrix"][self_],
        self_shift=t["self_shift"][self_],
        polar=t["polar"][group],
        normalizer_rotation=t["normalizer_rotation"][normalizer],
        normalizer_translation=t["normalizer_translation"][normalizer],
        letter_map=by_letter("normalizer", "letter_map"),
        normalizer_matrix=by_letter("normalizer", "matrix"),
        normalizer_shift=by_letter("normalizer", "shift"),
        axis_rotation=t["axis_rotation"][axis],
        axis_translation=t["axis_translation"][axis],
        axis_letter_map=by_letter("axis", "letter_map"),
        axis_matrix=by_letter("axis", "matrix"),
        axis_shift=by_letter("axis", "shift"),
    )


def _plain(symbol: str) -> str:
    """A symbol without the marks in which spellings differ: P2_1/c, P 21/c and P2(1)/c are one."""
    for mark in " _()":
        symbol = symbol.replace(mark, "")
    return symbol[:1].upper() + symbol[1:].lower()


@cache
def _number_by_symbol() -> dict[str, int]:
    numbers = {_plain(str(symbol)): number for number, symbol in enumerate(_tables()["symbol"], start=1)}
    return numbers | {_plain(symbol): number for symbol, number in _OLD_SYMBOLS.items()}


def space_group_number(text_or_number: str | int) -> int:
    """Number of a space group given by number or by short Hermann-Mauguin symbol: 225, "225", "Fm-3m", "F m -3 m".

    Raises:
        ValueError: for an unknown one, with near misses.
    """
    text = str(text_or_number).strip()
    if isinstance(text_or_number, str | int | np.integer) and not isinstance(text_or_number, bool):
        if text.isdecimal() and 1 <= int(text) <= N_SPACE_GROUPS:
            return int(text)
        if _plain(text) in _number_by_symbol():
            return _number_by_symbol()[_plain(text)]
    if text.lstrip("-").isdecimal():
        raise ValueError(f"expected a space-group number from 1 to {N_SPACE_GROUPS}, got {text}")
    hint = nearest(text, [*CRYSTAL_SYSTEMS, *(str(symbol) for symbol in _tables()["symbol"])])
    if hint.startswith("known: "):
        hint = "give a number from 1 to 230 or a symbol such as 'Fm-3m' or 'P2_1/c'"
    raise ValueError(f"expected a space group in its standard setting, got {text_or_number!r}; {hint}")


def space_groups_of_system(crystal_system: str) -> range:
    """Numbers of the groups of a crystal system; "trigonal" includes the rhombohedral groups.

    Raises:
        ValueError: for an unknown system, with near misses.
    """
    if crystal_system not in CRYSTAL_SYSTEMS:
        hint = nearest(str(crystal_system), CRYSTAL_SYSTEMS)
        raise ValueError(f"expected a crystal system, got {crystal_system!r}; {hint}")
    first, last = CRYSTAL_SYSTEMS[crystal_system]
    return range(first, last + 1)
