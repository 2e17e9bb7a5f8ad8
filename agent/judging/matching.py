"""Which crystals are one, which are known, and which are known ones with other elements in their places."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from oreflow.agent.judging.inputs import formula_keys
from oreflow.agent.judging.known_structures import FormulaKey, KnownStructures
from oreflow.agent.runtime.progress import Progress
from oreflow.envs.arrays import Bools, Floats

LTOL, STOL, ANGLE_TOL = 0.2, 0.3, 5.0
MATCHER = f"StructureMatcher ltol {LTOL:g}, stol {STOL:g}, angle_tol {ANGLE_TOL:g} (pymatgen's defaults)"
"""pymatgen's defaults, by which the field compares."""


def _matcher() -> Any:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=LTOL, stol=STOL, angle_tol=ANGLE_TOL)


def duplicates(structures: Sequence[Any], order: Sequence[int]) -> list[int | None]:
    """The place of the structure that each repeats, None for the first of its kind and where there is no structure.

    Args:
        structures: pymatgen `Structure` objects, or None.
        order: places, in which order the structures come: the first of a kind stands for it.
    """
    matcher = _matcher()
    keys = formula_keys(structures, [""] * len(structures))
    kinds: dict[FormulaKey, list[int]] = {}
    same: list[int | None] = [None] * len(structures)
    for place in order:
        structure = structures[place]
        if structure is None:
            continue
        of_formula = kinds.setdefault(keys[place], [])
        same[place] = next((kind for kind in of_formula if matcher.fit(structures[kind], structure)), None)
        if same[place] is None:
            of_formula.append(place)
    return same


@dataclass(frozen=True)
class Novelty:
    """What a reference says of each structure.

    Attributes:
        is_novel: bool, no known structure of the same reduced formula matches; False where there is no structure.
        formula_listed: bool, the reference holds the reduced formula.
        known_as: id of the known structure that it matches best, "" where none does.
        rms: root mean square displacement of that match, over (volume per atom)^(1/3); NaN where none does.
        prototype_of: of novel ones the id of a known crystal that it is with other elements, "" where none is found.
        has_prototype: bool, whether space group and positions could be told, without which no prototype is looked for.
    """

    is_novel: Bools
    formula_listed: Bools
    known_as: list[str]
    rms: Floats
    prototype_of: list[str]
    has_prototype: Bools


def novelty(
    structures: Sequence[Any], hashes: Sequence[int | None], known: KnownStructures, quiet: bool = True
) -> Novelty:
    """Compare structures with known ones: by formula first, then, of the novel, by prototype.

    A substitution has the space group and the occupied positions of a known crystal, within 0.1 angstrom, and matches
    it when elements are renamed (`StructureMatcher.fit_anonymous`).

    Args:
        structures: pymatgen `Structure` objects, or None.
        hashes: of their prototypes, as `anonymous_prototypes` gives them.
    """
    matcher = _matcher()
    n = len(structures)
    keys = formula_keys(structures, [""] * n)
    result = Novelty(np.zeros(n, bool), np.zeros(n, bool), [""] * n, np.full(n, np.nan), [""] * n, np.zeros(n, bool))
    with Progress("novelty", n, quiet) as progress:
        for place, structure in enumerate(structures):
            if structure is None:
                continue
            result.has_prototype[place] = hashes[place] is not None
            rows = known.by_formula.get(keys[place], [])
            result.formula_listed[place] = bool(rows)
            for row in rows:
                distance = _rms(matcher, known.structure(row), structure)
                if distance is not None and not distance >= result.rms[place]:
                    result.rms[place], result.known_as[place] = distance, known.ids[row]
            result.is_novel[place] = not result.known_as[place]
            if result.is_novel[place] and hashes[place] is not None:
                result.prototype_of[place] = _prototype(matcher, structure, keys[place], hashes[place], known)
            progress.update(place + 1)
    return result


def _rms(matcher: Any, known: Any, structure: Any) -> float | None:
    """The displacement of two structures that match by the matcher's own rule, else None."""
    if known is None or not matcher.fit(known, structure):
        return None
    found = matcher.get_rms_dist(known, structure)
    return None if found is None else float(found[0])


def _prototype(matcher: Any, structure: Any, key: FormulaKey, value: Any, known: KnownStructures) -> str:
    amounts = sorted(n for _, n in key)
    for row in known.by_prototype.get(value, []):
        if sorted(n for _, n in known.keys[row]) != amounts:
            continue
        other = known.structure(row)
        if other is not None and matcher.fit_anonymous(other, structure):
            return known.ids[row]
    return ""
