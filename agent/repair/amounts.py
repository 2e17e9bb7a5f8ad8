"""Reading what is to be repaired: formulas with whole numbers, formulas with decimals, and element fractions."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal

from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.errors import FormulaError, UnknownElementError
from oreflow.envs.objects.formulas import parse_formula

MOST_ATOMS = 1000
_DECIMALS = 5
_LARGEST_ROUNDING = Decimal("0.02")
_PART = re.compile(r"([A-Z][a-z]?)([0-9]*\.?[0-9]*)")


@dataclass(frozen=True)
class Amounts:
    """How much there is of each element.

    Attributes:
        weights: whole numbers by atomic number; atoms of a formula as it is written, or fractions times 1e5.
        counted: whether the weights are atoms.
    """

    weights: dict[int, int]
    counted: bool

    @property
    def key(self) -> tuple[bool, tuple[tuple[int, int], ...]]:
        """Equal for equal amounts."""
        return self.counted, tuple(sorted(self.weights.items()))


def read_amounts(text: str) -> Amounts:
    """Read "Fe3O4", "Ca(OH)2", "Li0.5CoO2" or "Na0.48Cl0.52".

    Decimals that are all below 1 are element fractions and have to sum to 1, within what rounding to the digits given
    explains and 0.02 at most; they are read to five decimals and scaled to sum to 1 exactly. Other decimals are amounts
    of a formula, which is multiplied until they are whole: Li0.5CoO2 is LiCo2O4.

    Raises:
        FormulaError: for text that is no formula, an unknown element, fractions that do not sum to 1, and more than
            1000 atoms.
    """
    stripped = re.sub(r"\s+", "", text) if isinstance(text, str) else ""
    if "." not in stripped or not re.fullmatch(f"(?:{_PART.pattern})+", stripped):
        return _counted(parse_formula(text), text)
    parts = [(symbol, Decimal(number or "1")) for symbol, number in _parts(stripped, text)]
    amounts: dict[int, Decimal] = {}
    for symbol, amount in parts:
        try:
            z = atomic_number(symbol)
        except UnknownElementError as error:
            raise FormulaError(f"cannot read {text!r}: {error}") from None
        if amount.scaleb(_DECIMALS).to_integral_value() <= 0:
            raise FormulaError(f"expected amounts of at least 0.00001, got {amount} {symbol} in {text!r}")
        amounts[z] = amounts.get(z, Decimal(0)) + amount
    weights = {z: int(amount.scaleb(_DECIMALS).to_integral_value()) for z, amount in amounts.items()}
    if all(amount < 1 for _, amount in parts):
        total = sum(amounts.values(), Decimal(0))
        rounding = sum((_half_of_last_digit(amount) for _, amount in parts), Decimal(0))
        if abs(total - 1) > min(rounding, _LARGEST_ROUNDING):
            raise FormulaError(
                f"expected element fractions that sum to 1, got {total} in {text!r}; give all elements, or amounts of "
                "a formula, as Li0.5CoO2"
            )
        return Amounts(weights, counted=False)
    divisor = math.gcd(*weights.values())
    return _counted({z: weight // divisor for z, weight in weights.items()}, text)


def _parts(stripped: str, text: str) -> list[tuple[str, str]]:
    parts = [(found[1], found[2]) for found in _PART.finditer(stripped)]
    for _, number in parts:
        if number == ".":
            raise FormulaError(f"expected a formula such as 'Fe3O4' or fractions such as 'Na0.5Cl0.5', got {text!r}")
    return parts


def _half_of_last_digit(amount: Decimal) -> Decimal:
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)  # the text holds digits and a point alone
    return Decimal(5).scaleb(exponent - 1)


def _counted(counts: dict[int, int], text: str) -> Amounts:
    if sum(counts.values()) > MOST_ATOMS:
        raise FormulaError(
            f"expected at most {MOST_ATOMS} atoms, got {sum(counts.values())} in {text!r}; give a smaller multiple, or "
            "element fractions"
        )
    return Amounts(counts, counted=True)
