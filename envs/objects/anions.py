"""What chemistry a formula belongs to, by its anion: oxide, phosphate, fluoride, sulfide, intermetallic."""

from functools import cache

from oreflow.envs.chemistry.elements import electronegativities, symbols
from oreflow.envs.objects.compositions import Compositions

INTERMETALLIC = "intermetallic"
"""The name where no element forms an anion."""
_NAMES = {
    **{"F": "fluoride", "O": "oxide", "Cl": "chloride", "N": "nitride", "Br": "bromide", "I": "iodide"},
    **{"S": "sulfide", "Se": "selenide", "C": "carbide", "H": "hydride", "P": "phosphide", "As": "arsenide"},
    **{"Te": "telluride", "Sb": "antimonide", "B": "boride", "Si": "silicide"},
}
# Centres of oxyanions, those that name a compound first, and how many O each has at least: a sulfite counts as a
# sulfate, and LaPO is no phosphate. La2O2Se and LaTiO2N, with two O, are none either, which nitrites pay for.
_CENTRES = {
    **{"N": ("nitrate", 2.5), "C": ("carbonate", 2.0), "S": ("sulfate", 2.5), "P": ("phosphate", 2.5)},
    **{"I": ("iodate", 3.0), "Se": ("selenate", 2.5), "As": ("arsenate", 1.5), "Te": ("tellurate", 2.5)},
    **{"B": ("borate", 1.5), "Si": ("silicate", 2.0)},
}
_HALOGENS = ("F", "Cl", "Br", "I")
_BESIDE_OXYGEN = ("N", "S", "Se", "Te", "P", "As", "Sb", "C")
_MOST_OXYGEN = 2  # for one of these: beyond it they are cations, as Sb of SbVO4 is
RARE_EARTHS = frozenset({21, 39, *range(57, 72)})
"""Atomic numbers of the rare earths: Sc, Y, and La to Lu."""


def anion_chemistries(compositions: Compositions) -> list[str]:
    """Name each composition by its anion, one name a row.

    The elements that can be anions are F, O, Cl, N, Br, I, S, Se, C, H, P, As, Te, Sb, B and Si; Ge, Sn and Bi count as
    metals, so that Li2ZnSn is intermetallic. With O, the centre of an oxyanion gives the name where it has O enough
    (LiFePO4 is a phosphate, MgSiO3 a silicate), then OH (where H is not more than O), then a second anion (LaOF is an
    oxyfluoride); all else is an oxide. Without O, halogens beside N, S, Se or Te give the name where they are not fewer
    (Li6PS5Cl is a sulfide), several of them "mixed halide". Of what is left the most electronegative element counts
    (Pauling): Li3PS4 is a sulfide, BaC2N2 a nitride.
    """
    names = symbols()
    return [
        _name({names[z]: n for z, n in zip(zs, counts) if z})
        for zs, counts in zip(compositions.atomic_numbers.tolist(), compositions.counts.tolist())
    ]


def _name(counts: dict[str, int]) -> str:
    if "O" in counts:
        return _with_oxygen(counts)
    halogens = [symbol for symbol in _HALOGENS if symbol in counts]
    if halogens and sum(counts[x] for x in halogens) >= sum(counts.get(x, 0) for x in ("N", "S", "Se", "Te")):
        return _NAMES[halogens[0]] if len(halogens) == 1 else "mixed halide"
    others = [symbol for symbol in _by_electronegativity() if symbol in counts and symbol not in _HALOGENS]
    return _NAMES[others[0]] if others else INTERMETALLIC


def _with_oxygen(counts: dict[str, int]) -> str:
    oxygen = counts["O"]
    for centre, (name, least) in _CENTRES.items():
        if centre in counts and oxygen >= least * counts[centre]:
            return name
    if 0 < counts.get("H", 0) <= oxygen:
        return "hydroxide"
    second = [symbol for symbol in _HALOGENS if symbol in counts]
    if len(counts) > 2:  # a binary such as SeO2 is an oxide
        second += [x for x in _BESIDE_OXYGEN if x in counts and oxygen <= _MOST_OXYGEN * counts[x]]
    return f"oxy{_NAMES[max(second, key=lambda symbol: counts[symbol])]}" if second else _NAMES["O"]


@cache
def _by_electronegativity() -> tuple[str, ...]:
    """The elements that can be anions, the most electronegative one first."""
    values = {name: float(electronegativities()[z]) for z, name in enumerate(symbols()) if name in _NAMES}
    return tuple(sorted(values, key=lambda name: -values[name]))


def are_rare_earth_mixtures(compositions: Compositions) -> list[bool]:
    """Tell which compositions hold two rare earths or more, which substitute each other: mostly a mixture of phases."""
    return [sum(z in RARE_EARTHS for z in zs) > 1 for zs in compositions.atomic_numbers.tolist()]
