"""The exact searches for one composition: states admitted, whether anything can be neutral, and what is nearest."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.chemistry.elements import electronegativities, symbols

FOUND, NONE, TOO_FAR = 0, 1, 2  # as `changes_compiled` has them

States = Mapping[int, Sequence[int]]


class Nearest(NamedTuple):
    """What a search found: FOUND, NONE or TOO_FAR, and the neutral counts by atomic number where FOUND."""

    verdict: int
    counts: dict[int, int]


def admitted_states(states: States, ordered: bool) -> list[States]:
    """List the admitted oxidation states by atomic number: all of them, or one list for each Pauling-ordered choice.

    A choice is ordered when every cation is less electronegative than every anion, as `electronegativity_balance` means
    it: elements up to some electronegativity take states from 0 up, all others states from 0 down. Elements of unknown
    electronegativity have none then.
    """
    if not ordered:
        return [states]
    chi = electronegativities().tolist()
    limits = sorted({chi[z] for z in states if chi[z] == chi[z]})
    return [
        {
            z: [s for s in own if chi[z] == chi[z] and (s >= 0 if chi[z] <= limit else s <= 0)]
            for z, own in states.items()
        }
        for limit in limits
    ]


def can_be_neutral(states: States, kept: Sequence[int], mixed_valence: bool) -> bool:
    """Tell whether some formula of any size is neutral.

    Args:
        states: admitted ones by atomic number, possibly none.
        kept: elements that have to be there.
    """
    if any(not states[z] for z in kept):
        return False
    alone = [z for z, s in states.items() if s and (min(s) <= 0 <= max(s) if mixed_valence else 0 in s)]
    able = [(z, min(s), max(s)) for z, s in states.items() if s]
    together = any(a != b and low < 0 < high for a, low, _ in able for b, _, high in able)
    if not kept:
        return together or bool(alone)
    # Of two elements of opposite sign there can be as many as it takes to balance all that are kept.
    return together or all(z in alone for z in kept)


def nearest_neutral(
    weights: Mapping[int, int],
    states: States,
    kept: Sequence[int],
    mixed_valence: bool,
    most_atoms: int,
    most_changes: int | None,
) -> Nearest:
    """Find the nearest neutral formula, by changed atoms, or without `most_changes` by element fractions.

    Args:
        weights: amounts of the composition by atomic number; atoms where changes are counted.
        states: admitted ones by atomic number, of all elements that may occur.
        kept: elements that have to stay.
        most_atoms: of the result.
        most_changes: changed atoms that are looked for; None for the smallest distance of element fractions.
    """
    from oreflow.agent.repair.changes_compiled import fewest_changes
    from oreflow.agent.repair.fractions_compiled import nearest_fractions

    if not can_be_neutral(states, kept, mixed_valence):
        return Nearest(NONE, {})
    names = symbols()
    order = sorted(states, key=lambda z: names[z])
    n = np.array([weights.get(z, 0) for z in order], dtype=np.int64)
    least = np.array([int(z in kept) for z in order], dtype=np.int64)
    arrays = _intervals([states[z] for z in order], mixed_valence)
    out = np.zeros(len(order), dtype=np.int64)
    if most_changes is None:
        verdict = FOUND if nearest_fractions(n, least, *arrays, most_atoms, out) else NONE
    else:
        verdict = fewest_changes(n, least, *arrays, most_atoms, most_changes, out)[0]
    return Nearest(verdict, {z: m for z, m in zip(order, out.tolist()) if m} if verdict == FOUND else {})


def _intervals(states: Sequence[Sequence[int]], mixed: bool) -> tuple[Ints, Ints, Ints]:
    """low, high int64 [element, choice] and n_choices int64 [element], as `charges_compiled` means them."""
    low = np.zeros((len(states), 1 if mixed else max(1, *map(len, states))), dtype=np.int64)
    high, n_choices = low.copy(), np.zeros(len(states), dtype=np.int64)
    for e, own in enumerate(states):
        if mixed and own:
            low[e, 0], high[e, 0], n_choices[e] = min(own), max(own), 1
        else:
            low[e, : len(own)] = high[e, : len(own)] = sorted(own)
            n_choices[e] = len(own)
    return low, high, n_choices


def changed_atoms(n: Mapping[int, int], m: Mapping[int, int]) -> int:
    """Count the atoms to take out, bring in or exchange: the larger of how many go and how many come in."""
    gone = sum(max(count - m.get(z, 0), 0) for z, count in n.items())
    come = sum(max(count - n.get(z, 0), 0) for z, count in m.items())
    return max(gone, come)


def squared_distance(weights: Mapping[int, int], counts: Mapping[int, int]) -> Fraction:
    """Compute the squared Euclidean distance of element fractions, without rounding."""
    total, after = sum(weights.values()), sum(counts.values())
    square = sum((counts.get(z, 0) * total - weights.get(z, 0) * after) ** 2 for z in {*weights, *counts})
    return Fraction(square, (total * after) ** 2)


def preference(weights: Mapping[int, int], counts: Mapping[int, int], by_changes: bool) -> tuple[object, ...]:
    """Make the key by which the nearest of several is the smallest: the order that both compiled searches follow."""
    names = symbols()
    alphabet = sorted({*weights, *counts}, key=lambda z: names[z])
    first = (changed_atoms(weights, counts), len(counts.keys() - weights.keys())) if by_changes else ()
    # Between equals more atoms of the element that comes first in the alphabet.
    last = tuple((names[z], -counts[z]) for z in alphabet if z in counts)
    return (*first, squared_distance(weights, counts), sum(counts.values()), last)
