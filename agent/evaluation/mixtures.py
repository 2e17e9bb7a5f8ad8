"""Candidates that are mixtures of known phases which substitute each other, as La2Er3F15 is of LaF3 and ErF3."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from oreflow.envs.arrays import Bools
from oreflow.envs.objects.formulas import parse_formula


def are_mixtures(decompositions: Sequence[str]) -> Bools:
    """Tell which decompositions are into two phases or more that differ in one element alone, bool [row].

    Such phases are often isostructural and form a solid solution: LaF3 and ErF3, MgO and CaO. A candidate between them
    lies close to the hull at any ratio, so that its energy says little about an ordered compound.

    Args:
        decompositions: as the column `decomposition` of the hull terms has them: "0.4 LaF3 + 0.6 ErF3".
    """
    return np.array([_is_mixture(text) for text in decompositions], dtype=np.bool_)


@cache
def _is_mixture(decomposition: str) -> bool:
    phases = [parse_formula(part.split()[-1]) for part in decomposition.split(" + ") if part.strip()]
    if len(phases) < 2 or len(phases[0]) < 2:
        return False
    return any(all(_differs_in(phases[0], z, other) for other in phases[1:]) for z in phases[0])


def _differs_in(phase: dict[int, int], z: int, other: dict[int, int]) -> bool:
    """Whether another phase is this one with one element of the same amount in the place of element z."""
    rest = {element: n for element, n in phase.items() if element != z}
    further = {element: n for element, n in other.items() if element not in rest}
    return list(further.values()) == [phase[z]] and {e: n for e, n in other.items() if e in rest} == rest
