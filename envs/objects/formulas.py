"""Between strings and integer arrays: pymatgen at the border, and nowhere else."""

import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.chemistry.elements import atomic_number, symbols
from oreflow.envs.errors import FormulaError, UnknownElementError
from oreflow.envs.objects.compositions import Compositions

_MAX_COUNT = 10_000
_ISOTOPES = {"D": "H", "T": "H"}
_HYDRATE = re.compile(r"\.\s*\d*\s*H2O")
_DOTS = re.compile(r"\s*[·•∙⋅*]\s*")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉．", "0123456789.", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₊₋\u200b\u00a0\u2009")
_BRACKETS = re.compile(r"\(([A-Z][a-z]?)(\d*)([A-Z][a-z]?)(\d*)\)(\d+)$")
_OXYANION_CENTRES = frozenset({"N", "C", "S", "P", "Se", "As", "Te", "B", "Si", "Cl", "Br", "I", "Mo", "W"})
_MARKUP = re.compile(r"</?sub>|\$|\\mathrm|_(?=\d)")


def parse_formula(text: str) -> dict[int, int]:
    """A formula such as "Fe3O4", "Ca(OH)2" or "NaN" (sodium nitride) as counts by atomic number, not reduced.

    Raises:
        FormulaError: for text that is no formula, for an unknown element, and for amounts that are not whole numbers
            from 1 to 10 000.
    """
    from pymatgen.core import Composition

    stripped = text.strip() if isinstance(text, str) else ""
    if not stripped:
        raise FormulaError(f"expected a formula such as 'Fe3O4', got {text!r}")
    stripped = _plain(stripped)
    if _DOTS.search(stripped):
        return _sum_of_parts(stripped, text)
    if _HYDRATE.search(stripped):
        # pymatgen takes the dot of CuSO4.5H2O for a decimal point.
        raise FormulaError(f"cannot read {text!r}: expected the water of a hydrate in parentheses, as CuSO4(H2O)5")
    try:
        # One argument and no keywords: pymatgen reads NaN, given as text, as Na and N.
        amounts = _silently(Composition, stripped).get_el_amt_dict()
    except Exception as error:  # pymatgen raises many types; all mean that the text is no formula
        raise FormulaError(f"expected a formula such as 'Fe3O4', got {text!r}: {error}") from None
    counts: dict[int, int] = {}
    for symbol, amount in amounts.items():
        symbol = _ISOTOPES.get(symbol, symbol)
        try:
            z = atomic_number(symbol)
        except UnknownElementError as error:
            raise FormulaError(f"cannot read {text!r}: {error}") from None
        if not 0 < amount <= _MAX_COUNT or abs(amount - round(amount)) > 1e-6:
            raise FormulaError(
                f"expected whole numbers of atoms from 1 to {_MAX_COUNT}, got {amount:g} {symbol} in {text!r}"
            )
        counts[z] = counts.get(z, 0) + round(amount)
    named = (_ISOTOPES.get(symbol, symbol) for symbol in re.findall("[A-Z][a-z]?", stripped))
    dropped = [symbol for symbol in named if atomic_number(symbol) not in counts]
    if dropped:  # pymatgen leaves out what occurs zero times
        raise FormulaError(f"expected whole numbers of atoms, got 0 {dropped[0]} in {text!r}")
    return counts


def _plain(text: str) -> str:
    """A formula without subscripts, charges as superscripts, and the marks of HTML and LaTeX."""
    text = re.sub(r"<sup>[^<]*</sup>|\^\{?[\d+-]*\}?", "", text)  # charges
    text = re.sub(r"_\{(\d+)\}", r"\1", text)
    return _MARKUP.sub("", text).translate(_SUBSCRIPTS).strip()


def _sum_of_parts(text: str, given: str) -> dict[int, int]:
    """The sum of parts between dots, each with a number before it: CuSO4·5H2O, 2CaO·SiO2.

    Raises:
        FormulaError: for a part that is no formula, or a number that is not whole.
    """
    counts: dict[int, int] = {}
    for part in _DOTS.split(text):
        match = re.fullmatch(r"(\d{0,4})\s*([A-Za-z(\[].*)", part)
        if match is None:
            raise FormulaError(
                f"cannot read {given!r}: expected formulas between dots, with whole numbers before them, as CuSO4·5H2O"
            )
        for z, n in parse_formula(match[2]).items():
            counts[z] = counts.get(z, 0) + n * int(match[1] or 1)
    return counts


def parse_formulas(texts: Sequence[str]) -> tuple[Compositions, Ints, list[str]]:
    """Formulas to compositions, bad ones set aside.

    Returns:
        compositions: the readable ones, in order.
        rows: int64, the position of each in `texts`.
        errors: by position in `texts`, "" where readable.
    """
    dicts, rows, errors = [], [], []
    for row, text in enumerate(texts):
        try:
            dicts.append(parse_formula(text))
            rows.append(row)
            errors.append("")
        except FormulaError as error:
            errors.append(str(error))
    return Compositions.from_dicts(dicts), np.array(rows, dtype=np.int64), errors


def formula_columns(compositions: Compositions) -> dict[str, list]:
    """The identity columns of the candidate table, in the notation of Materials Project and OPTIMADE."""
    from pymatgen.core import Composition
    from pymatgen.core.composition import reduce_formula

    names = symbols()
    pretty, texts, anonymous, systems = [], [], [], []
    reduced = compositions.reduced()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of elements without an electronegativity: last in a formula
        for zs, counts in zip(reduced.atomic_numbers.tolist(), reduced.counts.tolist()):
            amounts = dict(sorted((names[z], n) for z, n in zip(zs, counts) if z))
            # What Composition.reduced_formula does, without the parsing before it.
            formula = reduce_formula(amounts)[0]
            pretty.append(Composition.special_formulas.get(formula, formula))
            texts.append("".join([symbol if n == 1 else f"{symbol}{n}" for symbol, n in amounts.items()]))
            systems.append("-".join(amounts))
            anonymous.append(_anonymous(sorted(amounts.values(), reverse=True)))
    return {
        "formula_pretty": pretty,
        "formula_reduced": texts,
        "formula_anonymous": anonymous,
        "chemsys": systems,
        "nelements": reduced.n_elements.tolist(),
        "nsites": reduced.n_atoms.tolist(),
    }


def formula_as_written(pretty: str) -> str:
    """Give a formula in order of electronegativity the brackets that chemists write: around oxyanions, OH and CN alone.

    Ca(NO3)2 stays, Ca(HO)2 becomes Ca(OH)2, and Ca(AlSi)2 and Li(CoO2)2, as Materials Project has them, become CaAl2Si2
    and LiCo2O4.

    Args:
        pretty: as `formula_pretty` is.
    """
    match = _BRACKETS.search(pretty)
    if match is None:
        return f"{pretty[:-2]}OH" if pretty.endswith("HO") and pretty != "HO" else pretty
    first, n_first, second, n_second, times = match.groups()
    inside = {first: int(n_first or 1), second: int(n_second or 1)}
    if inside == {"H": 1, "O": 1}:
        group = f"(OH){times}"
    elif inside == {"C": 1, "N": 1} or (second == "O" and first in _OXYANION_CENTRES):
        return pretty
    else:
        group = "".join(f"{symbol}{n * int(times)}" for symbol, n in inside.items())
    return pretty[: match.start()] + group


def written_formulas(compositions: Compositions) -> list[str]:
    """Give the formula of each composition as chemists write it."""
    return [formula_as_written(pretty) for pretty in formula_columns(compositions)["formula_pretty"]]


def pymatgen_compositions(compositions: Compositions) -> tuple:
    """The same as pymatgen `Composition` objects, elements in order of atomic number, one each row."""
    from pymatgen.core import Composition, Element

    elements = {z: Element.from_Z(z) for z in np.unique(compositions.atomic_numbers).tolist() if z}
    return tuple(
        _silently(Composition, {elements[z]: n for z, n in zip(zs, counts) if z})
        for zs, counts in zip(compositions.atomic_numbers.tolist(), compositions.counts.tolist())
    )


def _silently(function: Callable[[Any], Any], argument: Any) -> Any:
    """pymatgen warns about every element without an electronegativity; formulas do not need one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(argument)


def _anonymous(counts: list[int]) -> str:
    """OPTIMADE's `chemical_formula_anonymous`: letters in order of falling count."""
    return "".join(f"{chr(65 + i)}{n if n > 1 else ''}" for i, n in enumerate(counts))
