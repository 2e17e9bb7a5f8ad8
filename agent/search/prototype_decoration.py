"""Charge-balanced decoration: known prototypes with random elements in their places."""

from collections.abc import Callable

import numpy as np

from oreflow.agent.search.known_objects import (
    OTHER_SIZE,
    KnownObjects,
    KnownObjectSearcher,
    Sources,
    distinct,
    fit_in,
    narrowed,
    with_elements,
)
from oreflow.envs.arrays import Int16s
from oreflow.envs.chemistry.elements import atomic_number
from oreflow.envs.chemistry.oxidation import oxidation_states
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.crystal.space import WyckoffSpace
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.objects.labels import sites_of
from oreflow.envs.symmetry.letter_maps import letter_mappings
from oreflow.rewards.terms.composition.charge_balance import ChargeBalance


class PrototypeDecoration(KnownObjectSearcher):
    """Puts random elements into the places of known prototypes, so that the formula is charge-neutral.

    A prototype is an anonymous formula, such as ABC3, or space group and occupied Wyckoff positions. A draw takes one,
    each as likely as any other, and a different element of the world for each of its elements, all as likely. It is
    drawn anew where the formula is not neutral by the world's rule, also where the world itself does not ask for it,
    or is no object of the world: the random enumeration of Szymanski and Bartel 2025 (Mater. Horiz.,
    doi:10.1039/d5mh00010f).

    Args:
        kernel, sources: as `KnownObjectSearcher` takes them.
        space: the world, whose table of oxidation states and `mixed_valence` are the rule.
    """

    def __init__(
        self, kernel: TransitionKernel, sources: Callable[[], Sources], space: CompositionSpace | WyckoffSpace
    ) -> None:
        super().__init__(kernel, sources)
        self._balance = ChargeBalance(space.oxidation_table, space.mixed_valence)
        self._elements = _with_states(space)

    def _draw(self, n: int, rng: np.random.Generator) -> KnownObjects:
        objects = self.sources.objects
        units = objects.formula_units()
        rows = rng.integers(len(objects), size=n)
        there = units.atomic_numbers[rows] > 0
        shuffled = rng.permuted(np.broadcast_to(self._elements, (n, len(self._elements))), axis=1)
        elements = np.where(there, shuffled[:, : there.shape[1]], 0).astype(np.int16)
        neutral = self._balance(Compositions(elements, units.counts[rows])).values == 0
        return with_elements(objects, rows[neutral], elements[neutral])


def prototypes(known: KnownObjects, space: CompositionSpace | WyckoffSpace) -> Sources:
    """The prototypes of known compounds whose size, and space group, are those of a world, each once.

    Args:
        known: formulas or crystals.
        space: the world.
    """
    given = distinct(known)
    fits = fit_in(given, space)
    lacking = fits & (given.formula_units().n_elements > len(_with_states(space)))
    left_out = {
        OTHER_SIZE: int((~fits).sum()),
        f"of more elements than the world has with oxidation states in {space.oxidation_table}": int(lacking.sum()),
    }
    given = narrowed(given[fits & ~lacking])
    if isinstance(given, Compositions):
        _, first = np.unique(-np.sort(-given.counts, axis=1), axis=0, return_index=True)
    else:
        _, first = np.unique(np.array(_anonymous(given), dtype=str), return_index=True)
    return Sources(given[np.sort(first)], np.zeros(0, dtype=np.int64), {why: n for why, n in left_out.items() if n})


def _anonymous(crystals: Crystals) -> list[str]:
    """Space group and the positions of each element, elements without names, the same for any choice of origin."""
    out = []
    for number, sites in sites_of(crystals):
        elements = {symbol for _, symbol in sites}
        ways = [
            sorted(sorted(mapping[letter] for letter, symbol in sites if symbol == element) for element in elements)
            for mapping in letter_mappings(number)
        ]
        out.append(f"{number}: {min(ways)}")
    return out


def _with_states(space: CompositionSpace | WyckoffSpace) -> Int16s:
    """Atomic numbers of the world's elements that have oxidation states in its table."""
    elements = (space.compositions if isinstance(space, WyckoffSpace) else space).elements
    table = oxidation_states(space.oxidation_table)
    return np.array([z for z in map(atomic_number, elements) if z in table], dtype=np.int16)
