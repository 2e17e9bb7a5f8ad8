"""The symmetry operations of a CIF: as it lists them, or those of its space-group symbol or number."""

import re
import warnings
from functools import lru_cache

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.envs.errors import StructureError
from oreflow.envs.structure_io.reading.checks import Reason

_OPERATION = re.compile(r"[-+xyzXYZ\d/., ]{5,60}")
_SYMBOL = re.compile(r"[A-Za-z0-9/\-_ :()]{1,40}")
_SETTING = re.compile(r"(.+?)\s*:\s*([12HRhr])")


def operations_of(
    operations: list[str], symbol: str, table_number: str, notes: list[str], hall_symbol: str = ""
) -> tuple[str, ...]:
    """The operations that are listed, else those of the Hall symbol, else of the symbol or number, else of P1.

    A Hall symbol goes before the others because it alone says axes and origin.

    Raises:
        StructureError: parse_error for text that is no operation; unknown_space_group.
    """
    if not operations and hall_symbol:
        hall_number = _hall_numbers().get(_plain_hall(hall_symbol))
        if hall_number:
            return _operations_of_hall_number(hall_number)
        notes.append(f"Hall symbol {hall_symbol[:40]!r} is not one of the 530 tabulated ones and was not used")
    if not operations and (symbol or table_number):
        return _operations_of_group(symbol, table_number)
    if not operations:
        notes.append("no symmetry given, read as P1")
        return ("x,y,z",)
    if len(operations) > 192:
        raise StructureError(Reason.PARSE_ERROR, f"expected at most 192 symmetry operations, got {len(operations)}")
    for text in operations:
        if not _OPERATION.fullmatch(text) or text.count(",") != 2:
            message = f"expected a symmetry operation such as '-x,y+1/2,z', got {text[:60]!r}"
            raise StructureError(Reason.PARSE_ERROR, message)
    return tuple(operations)


@lru_cache(maxsize=600)
def _operations_of_group(symbol: str, table_number: str) -> tuple[str, ...]:
    """What pymatgen takes a symbol or a number for; it needs half a second for a cubic group."""
    from pymatgen.io.cif import CifParser

    setting = _SETTING.fullmatch(symbol)
    if setting:
        return _operations_of_setting(*setting.groups())
    if symbol and _SYMBOL.fullmatch(symbol):
        line = f"_symmetry_space_group_name_H-M '{symbol}'"
    elif re.fullmatch(r"\d{1,3}", table_number):
        line = f"_symmetry_Int_Tables_number {table_number}"
    else:
        message = f"expected a Hermann-Mauguin symbol or a number, got {(symbol or table_number)[:40]!r}"
        raise StructureError(Reason.UNKNOWN_SPACE_GROUP, message)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parser = CifParser.from_str(f"data_group\n{line}\n")
            operations = parser.get_symops(next(iter(parser._cif.data.values())))
        except Exception as error:  # pymatgen raises many types; all mean that it does not know the group
            raise StructureError(Reason.UNKNOWN_SPACE_GROUP, f"{line}: {str(error)[:200]}") from None
    if any("Defaulting to P1" in str(warning.message) for warning in caught):
        message = f"expected a space group that pymatgen knows, or symmetry operations, got {line}"
        raise StructureError(Reason.UNKNOWN_SPACE_GROUP, message)
    return tuple(operation.as_xyz_str() for operation in operations)


def _operations_of_setting(symbol: str, choice: str) -> tuple[str, ...]:
    """Of a symbol with an origin choice (1, 2) or axes (H, R) behind a colon."""
    found = _settings().get((re.sub(r"[\s_]", "", symbol), choice.upper()))
    if found is None:
        message = f"expected a group that has a setting {choice!r}, got {symbol}:{choice}; list the symmetry operations"
        raise StructureError(Reason.UNKNOWN_SPACE_GROUP, message)
    return _operations_of_hall_number(found[1])


@lru_cache(maxsize=530)
def _operations_of_hall_number(hall_number: int) -> tuple[str, ...]:
    from moyopy import HallSymbolEntry, Setting, operations_from_number
    from pymatgen.core.operations import SymmOp

    number = HallSymbolEntry(hall_number).number
    made = operations_from_number(number, setting=Setting.hall_number(hall_number))
    operations = zip(made.rotations, made.translations)
    return tuple(SymmOp.from_rotation_and_translation(*each).as_xyz_str() for each in operations)


def _plain_hall(symbol: str) -> str:
    """A Hall symbol in one spelling: no underscores, single spaces, small letters, = for two primes."""
    return " ".join(symbol.replace("_", " ").replace("''", "=").replace('"', "=").split()).lower()


@lru_cache(maxsize=1)
def _hall_numbers() -> dict[str, int]:
    from moyopy import HallSymbolEntry

    return {_plain_hall(HallSymbolEntry(number).hall_symbol): number for number in range(530, 0, -1)}


@lru_cache(maxsize=1)
def _settings() -> dict[tuple[str, str], tuple[int, int]]:
    """Numbers of group and Hall symbol by short symbol, without spaces, and setting."""
    from moyopy import HallSymbolEntry

    entries = [HallSymbolEntry(hall_number) for hall_number in range(1, 531)]
    return {(re.sub(r"[\s_]", "", e.hm_short), str(e.setting)): (e.number, e.hall_number) for e in entries}


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
