"""Between strings and integer arrays: pymatgen at the border, and nowhere else."""

import math
import warnings
from collections.abc import Sequence

import numpy as np

from envs.compositions import Compositions
from envs.elements import atomic_number
from envs.errors import FormulaError, UnknownElementError


def parse_formula(text: str) -> dict[int, int]:
    """A formula such as "Fe3O4", "Ca(OH)2" or "NaN" (sodium nitride) as counts by atomic number, not reduced.

    Raises:
        FormulaError: for text that is no formula, for an unknown element, and for amounts that are not whole numbers.
    """
    from pymatgen.core import Composition

    stripped = text.strip() if isinstance(text, str) else ""
    if not stripped:
        raise FormulaError(f"expected a formula such as 'Fe3O4', got {text!r}")
    try:
        # One argument and no keywords: pymatgen reads NaN, given as text, as Na and N.
        amounts = _silently(Composition, stripped).get_el_amt_dict()
    except Exception as error:  # pymatgen raises many types; all mean that the text is no formula
        raise FormulaError(f"expected a formula such as 'Fe3O4', got {text!r}: {error}") from None
    counts = {}
    for symbol, amount in amounts.items():
        if symbol in ("D", "T"):
            symbol = "H"
        try:
            z = atomic_number(symbol)
        except UnknownElementError as error:
            raise FormulaError(f"cannot read {text!r}: {error}") from None
        if not math.isfinite(amount) or amount <= 0 or abs(amount - round(amount)) > 1e-6 or amount > 1e6:
            raise FormulaError(f"expected whole numbers of atoms, got {amount:g} {symbol} in {text!r}")
        counts[z] = counts.get(z, 0) + round(amount)
    if not counts:
        raise FormulaError(f"expected a formula with at least one atom, got {text!r}")
    return counts


def parse_formulas(texts: Sequence[str]) -> tuple[Compositions, np.ndarray, list[str]]:
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

    pretty, anonymous, systems = [], [], []
    reduced = compositions.reduced()
    texts = reduced.formulas()
    for text in texts:
        composition = _silently(Composition, text)
        pretty.append(_silently(lambda c: c.reduced_formula, composition))
        systems.append(composition.chemical_system)
        anonymous.append(_anonymous(sorted((int(n) for n in composition.values()), reverse=True)))
    return {
        "formula_pretty": pretty,
        "formula_reduced": texts,
        "formula_anonymous": anonymous,
        "chemsys": systems,
        "nelements": reduced.n_elements.tolist(),
        "nsites": reduced.n_atoms.tolist(),
    }


def _silently(function, argument):  # noqa: ANN001, ANN202
    """pymatgen warns about every element without an electronegativity; formulas do not need one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function(argument)


def _anonymous(counts: list[int]) -> str:
    """OPTIMADE's `chemical_formula_anonymous`: letters in order of falling count."""
    return "".join(f"{chr(65 + i)}{n if n > 1 else ''}" for i, n in enumerate(counts))
