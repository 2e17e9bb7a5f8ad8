"""Penalties that follow from the elements alone: how confined their supply is, what they cost, whether they are toxic.

Data: `data/element_penalties.csv`, see `data/README.md` for origin, dates and limits. Loaded once, on first use.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from oreflow.envs.chemistry.elements import N_ELEMENTS, atomic_number, presets, resolve, symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.suggestions import nearest
from oreflow.rewards.chemistry.element_data import element_column, mass_weighted_term
from oreflow.rewards.contract.protocol import TermValues
from oreflow.rewards.contract.term import Term
from oreflow.rewards.errors import RewardParameterError

# Lists of elements that name their source. Chromium is absent where only Cr(VI) is meant: a formula does not tell.
HAZARD_LISTS: dict[str, tuple[str, ...]] = {
    # WHO, "10 chemicals of major public health concern" (2010, updated 2020): its four elements.
    "toxic_who": ("As", "Cd", "Hg", "Pb"),
    # Directive 2011/65/EU (RoHS), Annex II.
    "restricted_rohs": ("Cd", "Hg", "Pb"),
    # IARC Monographs 100C (2012): "… and compounds", carcinogenic to humans (Group 1).
    "carcinogenic_iarc": ("Be", "Ni", "As", "Cd"),
    # US Clean Water Act, 40 CFR 401.15: "… and compounds".
    "toxic_cwa": ("Be", "Cr", "Ni", "Cu", "Zn", "As", "Se", "Ag", "Cd", "Sb", "Hg", "Tl", "Pb"),
    # Without a stable isotope; bismuth, with a half-life of 2e19 years, counts as stable.
    "radioactive": (symbols()[43], symbols()[61], *symbols()[84:]),
}


class Scarcity(Term):
    """Herfindahl-Hirschman index of the elements' supply, from 0 (spread over many countries) to 10 000 (in one).

    The mean over the elements, weighted by mass fraction. Below 1500 counts as low, above 2500 as high. Invalid where
    an element, such as hydrogen, has no index.
    """

    name = "scarcity"
    unit = "HHI"
    version = "1"
    citations = ("Gaultois et al., Chem. Mater. 25, 2911 (2013), doi:10.1021/cm400893e",)

    def __init__(self, measure: Literal["production", "reserve"] = "production") -> None:
        """Chooses the index.

        Args:
            measure: "production" by country, or "reserve" by country.

        Raises:
            RewardParameterError: for another measure.
        """
        if measure not in ("production", "reserve"):
            raise RewardParameterError(f"expected measure to be 'production' or 'reserve', got {measure!r}")
        self.measure = measure

    def __call__(self, batch: Compositions) -> TermValues:
        """Index of every row."""
        what = f"Herfindahl-Hirschman index ({self.measure})"
        return mass_weighted_term(batch, element_column(f"hhi_{self.measure}"), what)


class Price(Term):
    """Price of the pure elements in a kilogram of the compound, USD/kg.

    The mean of the elements' prices, weighted by mass fraction. It is not the price of the compound, nor of the ores
    and salts it is made of: the shipped prices are those of pure elements between 2013 and 2020, where fluorine or
    potassium cost far more than their salts. Give `prices` of your own where that matters. Invalid where an element has
    no price.
    """

    name = "price"
    unit = "USD/kg"
    version = "1"
    citations = ("Ong et al., Comput. Mater. Sci. 68, 314 (2013), doi:10.1016/j.commatsci.2012.10.028",)

    def __init__(self, prices: Mapping[str, float] | None = None) -> None:
        """Takes the shipped prices, and those given in their place.

        Args:
            prices: USD/kg by element symbol, such as {"F": 2.0, "K": 13.0}.

        Raises:
            RewardParameterError: for a price that is not a number of 0 or more.
            UnknownElementError: for a key that is no element symbol.
        """
        if prices is not None and not isinstance(prices, Mapping):
            raise RewardParameterError(f"expected prices as a mapping of symbol to USD/kg, got {prices!r}")
        self._prices = element_column("price_usd_per_kg").copy()
        for symbol, price in (prices or {}).items():
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
                raise RewardParameterError(f"expected the price of {symbol} in USD/kg, 0 or more, got {price!r}")
            self._prices[atomic_number(symbol)] = price

    def __call__(self, batch: Compositions) -> TermValues:
        """Price of every row."""
        return mass_weighted_term(batch, self._prices, "price")


class HazardousElements(Term):
    """Share of atoms that are of hazardous elements, or the verdict that there are none.

    The column `hazardous_elements_found` names them. An element's place in a list says that it or its compounds can be
    harmful, not that every compound is.
    """

    name = "hazardous_elements"
    version = "1"
    citations = (
        "WHO, Action is needed on chemicals of major public health concern (2010)",
        "IARC Monographs 100C (2012)",
        "Directive 2011/65/EU, Annex II",
        "40 CFR 401.15",
    )

    def __init__(
        self,
        elements: str | Iterable[str] = ("toxic_who", "radioactive"),
        measure: Literal["fraction", "verdict"] = "fraction",
    ) -> None:
        """Chooses the elements and what is said about them.

        Args:
            elements: names of lists (`toxic_who`, `restricted_rohs`, `carcinogenic_iarc`, `toxic_cwa`, `radioactive`),
                element symbols, and presets such as `actinides`, in any mixture.
            measure: "fraction" gives the atomic fraction; "verdict" gives 1 where there is no such element, else 0.

        Raises:
            RewardParameterError: for an empty list, a name that is none of these, or another measure.
        """
        if measure not in ("fraction", "verdict"):
            raise RewardParameterError(f"expected measure to be 'fraction' or 'verdict', got {measure!r}")
        self.measure = measure
        self.unit = "atomic fraction" if measure == "fraction" else "verdict"
        self.elements = hazard_list(elements)
        self._listed = np.zeros(N_ELEMENTS + 1, dtype=np.bool_)
        self._listed[[atomic_number(symbol) for symbol in self.elements]] = True

    def __call__(self, batch: Compositions) -> TermValues:
        """Fraction or verdict of every row."""
        reduced = batch.reduced()
        listed = self._listed[reduced.atomic_numbers]
        n_atoms = reduced.n_atoms
        fraction = np.where(listed, reduced.counts, 0).sum(axis=1) / np.maximum(n_atoms, 1)
        values = fraction if self.measure == "fraction" else np.where(listed.any(axis=1), 0.0, 1.0)
        valid = n_atoms > 0
        names = np.array(symbols(), dtype=object)[reduced.atomic_numbers]
        found = [", ".join(row[mask]) for row, mask in zip(names, listed)]
        reasons = dict.fromkeys(np.flatnonzero(~valid).tolist(), "a composition without elements")
        return TermValues(values, valid, {"hazardous_elements_found": np.array(found, dtype=object)}, reasons)


def hazard_list(names: str | Iterable[str]) -> tuple[str, ...]:
    """Expands names of hazard lists, presets and symbols to distinct symbols in order of atomic number.

    Raises:
        RewardParameterError: for an empty list, or a name that is none of these, with near misses.
    """
    wanted: list[str] = []
    for name in [names] if isinstance(names, str) else names:
        if name not in {*HAZARD_LISTS, *presets(), *symbols()[1:]}:
            hint = nearest(str(name), [*HAZARD_LISTS, *presets(), *symbols()[1:]])
            raise RewardParameterError(
                f"expected a list of hazardous elements, a preset or a symbol, got {name!r}; {hint}"
            )
        wanted += HAZARD_LISTS.get(name, (name,))
    if not wanted:
        raise RewardParameterError("expected at least one element or list of hazardous elements, got none")
    return resolve(wanted)
