"""How far compositions are from each other: the Element Mover's Distance on the modified Pettifor scale.

The distance is the least work that turns one composition into another, atoms being moved along a scale on which
elements that replace each other stand side by side (Hargreaves et al., Chem. Mater. 32, 10610, 2020). The scale is
that of Glawe et al., New J. Phys. 18, 093011, 2016, whose numbers run from He (0) to H (102). In one dimension the
least work is the area between the two cumulative distributions, so that no transport problem has to be solved.
"""

from functools import cache

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.chemistry.elements import N_ELEMENTS, atomic_number
from oreflow.envs.compiled.jit import njit
from oreflow.envs.objects.compositions import Compositions

_SCALE = (
    "He Ne Ar Kr Xe Rn Fr Cs Rb K Na Li Ra Ba Sr Ca Eu Yb Lu Tm Y Er Ho Dy Tb Gd Sm Pm Nd Pr Ce La Ac Th Pa U Np Pu "
    "Am Cm Bk Cf Es Fm Md No Lr Sc Zr Hf Ti Ta Nb V Cr Mo W Re Tc Os Ru Ir Rh Pt Pd Au Ag Cu Ni Co Fe Mn Mg Zn Cd Hg "
    "Be Al Ga In Tl Pb Sn Ge Si B C N P As Sb Bi Po Te Se S O At I Br Cl F H"
)

_MOST_DISTANCES = 2_000_000  # in memory at once


@cache
def pettifor_numbers() -> Floats:
    """Place of each element on the scale by atomic number, float64 [119].

    Elements beyond Lr, which the scale does not have, stand with the transition metals of their group (Rf at Hf).
    """
    values = np.zeros(N_ELEMENTS + 1)
    for place, symbol in enumerate(_SCALE.split()):
        values[atomic_number(symbol)] = place
    values[104:] = values[72 : 72 + len(values) - 104]
    values.setflags(write=False)
    return values


def element_movers_distances(ones: Compositions, others: Compositions) -> Floats:
    """Compute the distance of each composition to each of others.

    Returns:
        float64 [one, other], in steps of the scale: 0 for equal element fractions, one half from LiF to NaF.
    """
    out = np.empty((len(ones), len(others)))
    _distances(*_on_scale(ones), *_on_scale(others), out)
    return out


def nearest_of(ones: Compositions, others: Compositions) -> tuple[Ints, Floats]:
    """Find the nearest of others for each composition, int64 [one], the first of several, and how far it is."""
    index, distance = np.empty(len(ones), dtype=np.int64), np.empty(len(ones))
    step = max(_MOST_DISTANCES // max(len(others), 1), 1)
    for start in range(0, len(ones), step):
        part = slice(start, start + step)
        distances = element_movers_distances(ones[part], others)
        index[part] = distances.argmin(axis=1)
        distance[part] = distances.min(axis=1)
    return index, distance


def cumulative_shares(compositions: Compositions) -> Floats:
    """Give the share of atoms at or below each place of the scale, float64 [row, 103].

    The distance of two compositions is the sum of the absolute differences of these shares.
    """
    places = pettifor_numbers()[compositions.atomic_numbers.astype(np.int64)].astype(np.int64)
    fractions = compositions.counts / np.maximum(compositions.counts.sum(axis=1, keepdims=True), 1)
    shares = np.zeros((len(compositions), len(_SCALE.split())))
    np.add.at(shares, (np.arange(len(compositions))[:, None], places), fractions)
    return np.cumsum(shares, axis=1)


def _on_scale(compositions: Compositions) -> tuple[Floats, Floats]:
    """Places in ascending order and fractions of the atoms, float64 [row, slot]; fractions of 0 pad."""
    places = pettifor_numbers()[compositions.atomic_numbers.astype(np.int64)]
    fractions = compositions.counts / np.maximum(compositions.counts.sum(axis=1, keepdims=True), 1)
    order = np.argsort(np.where(compositions.counts > 0, places, np.inf), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(fractions, order, axis=1)


@njit
def _distances(places: Floats, shares: Floats, other_places: Floats, other_shares: Floats, out: Floats) -> None:
    for i in range(len(places)):
        for j in range(len(other_places)):
            out[i, j] = _area(places[i], shares[i], other_places[j], other_shares[j])


@njit
def _area(places: Floats, shares: Floats, other_places: Floats, other_shares: Floats) -> float:
    """Area between two cumulative distributions, merged from the left."""
    a = b = 0
    height = area = last = 0.0
    while True:
        ours = a < len(places) and shares[a] > 0.0
        theirs = b < len(other_places) and other_shares[b] > 0.0
        if not ours and not theirs:
            return area
        if ours and (not theirs or places[a] <= other_places[b]):
            at, step = places[a], shares[a]
            a += 1
        else:
            at, step = other_places[b], -other_shares[b]
            b += 1
        area += abs(height) * (at - last)
        height += step
        last = at
