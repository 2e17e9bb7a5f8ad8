"""The symmetry that a CIF may mean: its operations, or the settings of its Hall symbol, its symbol or its number.

Symbols, settings and operations are those of gemmi's table, 564 of them: the 530 of International Tables and further
ones in use.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import gemmi
import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import Reason
from oreflow.envs.suggestions import nearest

_OPERATION = re.compile(r"[-+xyzXYZ\d/., ]{5,60}")
_ORIGIN = re.compile(r"(.+?)(?:\(?origin(?:choice)?([12])\)?|O([12]))", re.IGNORECASE)
# What writers put behind a symbol: the origin (S the first, Z the centre), the axes of a rhombohedral group.
_SUFFIXES = {"HR": "", "RS": "", "S": "1", "Z": "2", "H": "H", "R": "R"}


@dataclass(frozen=True)
class Setting:
    """A choice of axes and origin.

    Attributes:
        operations: all of the cell, such as "-x,y+1/2,-z".
        name: symbol and choice, "F d -3 m:2"; empty for operations that a file lists.
    """

    operations: tuple[str, ...]
    name: str = ""


def settings_of(
    operations: Sequence[str],
    hall_symbol: str,
    symbol: str,
    table_number: str,
    code: str,
    notes: list[str],
) -> list[Setting]:
    """Give the settings that a file may mean, the likeliest first.

    The operations that are listed decide; else the Hall symbol, as it alone says axes and origin; else the symbol, with
    what stands behind it; else the number; without any of them P1.

    Args:
        code: the item _space_group_IT_coordinate_system_code, such as 1, 2, h, r or b1; may be empty.
        notes: gets a line where symbol and operations disagree, and where there is no symmetry.

    Raises:
        StructureError: parse_error for text that is no operation; unknown_space_group.
    """
    if operations:
        listed = _checked(operations)
        notes.extend(disagreement(listed, hall_symbol, symbol, table_number))
        return [Setting(listed)]
    if hall_symbol:
        found = _of_hall_symbol(hall_symbol)
        if found:
            return [found]
        notes.append(f"Hall symbol {hall_symbol[:40]!r} cannot be read and was not used")
    if symbol or table_number:
        return list(_of_group(symbol, table_number, code))
    notes.append("no symmetry given, read as P1")
    return [Setting(("x,y,z",))]


def _checked(operations: Sequence[str]) -> tuple[str, ...]:
    if len(operations) > 192:
        raise StructureError(Reason.PARSE_ERROR, f"expected at most 192 symmetry operations, got {len(operations)}")
    for text in operations:
        if not _OPERATION.fullmatch(text) or text.count(",") != 2:
            message = f"expected a symmetry operation such as '-x,y+1/2,z', got {text[:60]!r}"
            raise StructureError(Reason.PARSE_ERROR, message)
    return tuple(operations)


@lru_cache(maxsize=600)
def _of_hall_symbol(text: str) -> Setting | None:
    """The setting of a Hall symbol, tabulated or not; None where it is none."""
    plain = " ".join(text.replace("_", " ").replace("''", '"').replace("=", '"').split())
    for known in gemmi.spacegroup_table():
        if known.hall.lower() == plain.lower():
            return _setting(known)
    try:
        operations = gemmi.symops_from_hall(plain)
    except (RuntimeError, ValueError):
        return None
    return Setting(tuple(operation.triplet() for operation in operations), plain)


@lru_cache(maxsize=2000)
def _of_group(symbol: str, table_number: str, code: str) -> tuple[Setting, ...]:
    """The settings of a symbol, else of a number; those of the code alone where one has it."""
    found = _named(symbol)
    if not found and re.fullmatch(r"\d{1,3}", table_number):
        of_number = [group for group in _table() if group.number == int(table_number)]
        found = [group for group in of_number if group.hm == of_number[0].hm]  # the standard axes, each origin
    if not found:
        given = symbol or table_number
        hint = nearest(given, [group.hm for group in _table()])
        message = (
            f"expected a Hermann-Mauguin symbol, a Hall symbol or a number from 1 to 230, got {given[:40]!r}; "
            f"{hint if hint.startswith('did') else 'list the symmetry operations'}"
        )
        raise StructureError(Reason.UNKNOWN_SPACE_GROUP, message)
    if code:
        found = _with_choice(found, code) or found
    # Origins at a centre first: the standard of International Tables where there are two.
    return tuple(map(_setting, sorted(found, key=lambda group: group.ext != "2")))


def _named(symbol: str) -> list[gemmi.SpaceGroup]:
    """The settings that a symbol may mean, in all spellings in use; none for an unknown one."""
    base, _, choice = (part.strip() for part in symbol.partition(":"))
    plain = _plain(base)
    if not choice and (match := _ORIGIN.fullmatch(plain)):
        plain, choice = match[1], match[2] or match[3]
    found = _by_symbol().get(plain.lower(), [])
    if not found and not choice:
        for suffix, meant in _SUFFIXES.items():
            if plain.upper().endswith(suffix) and (found := _known(plain[: -len(suffix)])):
                choice = meant
                break
    found = found or _known(plain)
    if not choice or not found:
        return found
    chosen = _with_choice(found, choice)
    if not chosen:
        message = (
            f"expected a group that has a setting {choice!r}, got {symbol[:40]!r}; give the symbol without it, or list "
            "the symmetry operations"
        )
        raise StructureError(Reason.UNKNOWN_SPACE_GROUP, message)
    return chosen


def _known(plain: str) -> list[gemmi.SpaceGroup]:
    """The settings of a symbol without spaces: as International Tables write it, short or in full, or as others do."""
    found = _by_symbol().get(plain.lower())
    if found:
        return found
    other = gemmi.find_spacegroup_by_name(plain) if plain else None  # older symbols, such as F m 3 m and C m c a
    if other is None:
        return []
    return [g for g in _table() if g.number == other.number and g.hm == other.hm]


def _with_choice(found: list[gemmi.SpaceGroup], choice: str) -> list[gemmi.SpaceGroup]:
    """Those of an origin (1, 2), of axes (h, r) or of a cell choice (b1, -cba); of the same group, if need be."""
    wanted = choice.strip().lower()
    numbers = {group.number for group in found}
    for candidates in (found, [group for group in _table() if group.number in numbers]):
        for names in (lambda ext, axes: (ext, axes), lambda ext, axes: (ext + axes,)):  # 2 or cab, and 2cab
            chosen = [g for g in candidates if wanted in names(g.ext.strip("\0 ").lower(), g.qualifier.lower())]
            if wanted and chosen:
                return chosen
    return []


@lru_cache(maxsize=1)
def _table() -> list[gemmi.SpaceGroup]:
    return list(gemmi.spacegroup_table())


@lru_cache(maxsize=1)
def _by_symbol() -> dict[str, list[gemmi.SpaceGroup]]:
    """Settings by symbol without spaces, in small letters; with unique axis b first, as the table has them."""
    from moyopy import HallSymbolEntry

    out: dict[str, list[gemmi.SpaceGroup]] = defaultdict(list)
    by_hall = {group.hall: group for group in reversed(_table())}
    for group in _table():
        for name in {_plain(name).lower() for name in (group.hm, group.short_name())}:
            out[name].append(group)
    for hall_number in range(1, 531):  # the full symbols
        entry = HallSymbolEntry(hall_number)
        group = by_hall[entry.hall_symbol.replace("=", '"')]
        key = _plain(entry.hm_full).lower()
        if group.hall not in [known.hall for known in out[key]]:
            out[key].append(group)
    return dict(out)


def _plain(symbol: str) -> str:
    return re.sub(r"[\s_]", "", symbol)


def _setting(group: gemmi.SpaceGroup) -> Setting:
    return Setting(tuple(operation.triplet() for operation in group.operations()), group.xhm())


@lru_cache(maxsize=2000)
def disagreement(operations: tuple[str, ...], hall_symbol: str, symbol: str, table_number: str) -> tuple[str, ...]:
    """Say in a line where the operations that a file lists make another group than its symbol, Hall symbol or number.

    Operations decide. They may be in any setting: of a number, and of a symbol in a setting that is not tabulated, the
    number of operations and of centring translations is compared.
    """
    try:
        group = gemmi.GroupOps([gemmi.Op(text) for text in operations])
        meant = _of_hall_symbol(hall_symbol) if hall_symbol else None
        named = _named(symbol) if symbol else []
    except (RuntimeError, ValueError, StructureError):
        return ()  # what is wrong with the operations is said where they are used
    if not named and re.fullmatch(r"\d{1,3}", table_number):
        named = [g for g in _table() if g.number == int(table_number)]
    listed = {operation.wrap().triplet() for operation in group}
    found = gemmi.find_spacegroup_by_ops(group)
    taken = f"its operations ({f'{found.hm}, {found.number}' if found else f'{len(operations)} of them'}) were taken"
    if meant is not None and listed != {gemmi.Op(text).wrap().triplet() for text in meant.operations}:
        return (f"Hall symbol {hall_symbol[:40]!r} and the listed operations disagree; {taken}",)
    if not named:
        return ()
    same = any(listed == {operation.wrap().triplet() for operation in g.operations()} for g in named)
    if same or (found is None and any(len(listed) == len(list(g.operations())) for g in named)):
        return ()
    if found is not None and not symbol and found.number == named[0].number:
        return ()
    given = symbol or f"number {table_number}"
    return (f"{given[:40]} and the listed operations disagree; {taken}",)


@lru_cache(maxsize=600)
def affine(operations: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Matrices, float64 [operation, 3, 3], and shifts, float64 [operation, 3].

    Raises:
        StructureError: parse_error for what is no symmetry operation.
    """
    from pymatgen.core.operations import SymmOp

    try:
        affine = np.array([SymmOp.from_xyz_str(text).affine_matrix for text in operations])
    except Exception as error:  # pymatgen raises many types here, too
        raise StructureError(Reason.PARSE_ERROR, f"cannot read the symmetry operations: {error}") from None
    if not np.isfinite(affine).all() or not (np.abs(np.linalg.det(affine[:, :3, :3])) > 0.99).all():
        raise StructureError(Reason.PARSE_ERROR, f"expected symmetry operations, got {operations[-1]!r} among them")
    return affine[:, :3, :3], affine[:, :3, 3]
