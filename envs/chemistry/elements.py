"""The 118 elements, named subsets of them, and their Pauling electronegativities.

Data: `data/elements.csv`, see `data/README.md` for its origin. Loaded once, on first use.
"""

import csv
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.errors import UnknownElementError
from oreflow.envs.suggestions import nearest

N_ELEMENTS = 118
ELECTRONEGATIVITY_SCALES = ("pymatgen", "smact")

# Materials Project ground states hold these 84 elements; the shipped energy model was fitted on them.
_NOT_IN_MP84 = frozenset(["He", "Ne", "Ar", "Kr", "Xe", "Po", "At", "Rn", "Fr", "Ra"])
_RADIOACTIVE = frozenset(["Tc", "Pm", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th", "Pa", "U", "Np", "Pu"])
_NOBLE_GASES = frozenset(["He", "Ne", "Ar", "Kr", "Xe", "Rn"])


@cache
def _rows() -> list[dict[str, str]]:
    with files("oreflow.envs").joinpath("data/elements.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def smact_rows() -> list[dict[str, str]]:
    """What SMACT's rules ask of each of its 103 elements, as text: `data/smact_elements.csv`."""
    with files("oreflow.envs").joinpath("data/smact_elements.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def symbols() -> tuple[str, ...]:
    """Symbols by atomic number; index 0 is the empty string, so that `symbols()[26] == "Fe"`."""
    return ("", *(row["symbol"] for row in _rows()))


@cache
def _atomic_number_by_symbol() -> dict[str, int]:
    return {symbol: z for z, symbol in enumerate(symbols()) if symbol}


@cache
def electronegativities(scale: str = "pymatgen") -> Floats:
    """Pauling electronegativity by atomic number, float64 [119]; NaN where no value is known.

    Args:
        scale: "pymatgen", or "smact", whose values differ for 16 elements, most of them heavy.

    Raises:
        ValueError: for another scale.
    """
    if scale not in ELECTRONEGATIVITY_SCALES:
        hint = nearest(str(scale), ELECTRONEGATIVITY_SCALES)
        raise ValueError(f"expected a scale of electronegativities, got {scale!r}; {hint}")
    values = np.full(N_ELEMENTS + 1, np.nan)
    for row in _rows() if scale == "pymatgen" else smact_rows():
        if row["electronegativity_pauling"]:
            values[atomic_number(row["symbol"])] = float(row["electronegativity_pauling"])
    values.setflags(write=False)
    return values


@cache
def groups() -> Ints:
    """Group of the periodic table by atomic number, int64 [119]; lanthanides and actinides stand in group 3."""
    values = np.array([0] + [int(row["group"]) for row in _rows()])
    values.setflags(write=False)
    return values


@cache
def presets() -> dict[str, tuple[str, ...]]:
    """Named element lists that a config may use in place of a list of symbols."""
    z94 = symbols()[1:95]
    s = symbols()
    return {
        "z1_94": z94,
        "mp84": tuple(e for e in z94 if e not in _NOT_IN_MP84),
        "stable": tuple(e for e in z94 if e not in _RADIOACTIVE | _NOBLE_GASES),
        "alkali_metals": ("Li", "Na", "K", "Rb", "Cs"),
        "alkaline_earths": ("Be", "Mg", "Ca", "Sr", "Ba"),
        "transition_metals": (*s[21:31], *s[39:49], *s[72:81]),
        "lanthanides": s[57:72],
        "actinides": s[89:95],
        "chalcogens": ("O", "S", "Se", "Te"),
        "halogens": ("F", "Cl", "Br", "I"),
        "pnictogens": ("N", "P", "As", "Sb", "Bi"),
    }


def atomic_number(symbol: str) -> int:
    """Atomic number of a symbol such as "Fe".

    Raises:
        UnknownElementError: with near misses.
    """
    try:
        return _atomic_number_by_symbol()[symbol]
    except (KeyError, TypeError):
        hint = nearest(str(symbol), symbols()[1:])
        raise UnknownElementError(f"expected an element symbol such as 'Fe', got {symbol!r}; {hint}") from None


def resolve(names: str | Iterable[str]) -> tuple[str, ...]:
    """Expands symbols and preset names to distinct symbols in order of atomic number.

    Raises:
        UnknownElementError: for a name that is neither a symbol nor a preset.
    """
    wanted: set[str] = set()
    for name in [names] if isinstance(names, str) else names:
        if name in presets():
            wanted.update(presets()[name])
        elif name in _atomic_number_by_symbol():
            wanted.add(name)
        else:
            hint = nearest(str(name), [*presets(), *symbols()[1:]])
            raise UnknownElementError(f"expected an element symbol or a preset, got {name!r}; {hint}")
    return tuple(sorted(wanted, key=atomic_number))
