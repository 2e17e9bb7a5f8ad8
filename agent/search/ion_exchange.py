"""Ion exchange: known compounds with some of their ions replaced by others of the same charge."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

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
from oreflow.envs.arrays import Arrays, Floats, Ints
from oreflow.envs.chemistry.elements import symbols
from oreflow.envs.chemistry.oxidation import OxidationTable, oxidation_states
from oreflow.envs.composition.space import CompositionSpace
from oreflow.envs.contract.protocol import TransitionKernel
from oreflow.envs.crystal.space import WyckoffSpace

THRESHOLD = 1e-3  # pymatgen's own, and that of the published baseline


class Substitutions(NamedTuple):
    """The data-mined substitution probabilities of Hautier et al. 2011 that pymatgen ships.

    Attributes:
        atomic_number, charge: int64 [ion], by rising atomic number, then charge (e).
        probability: float64 [ion, ion], of the column's ion in the place of the row's; rows sum to 1.
        occurrence: int64 [ion], how often the ICSD holds it, by pymatgen's count.
    """

    atomic_number: Ints
    charge: Ints
    probability: Floats
    occurrence: Ints

    def by_charge(self) -> dict[tuple[int, int], int]:
        """Give the ion's number by atomic number and charge."""
        return {pair: i for i, pair in enumerate(zip(self.atomic_number.tolist(), self.charge.tolist()))}


@cache
def substitutions() -> Substitutions:
    """Read pymatgen's table, which lies in its package."""
    from pymatgen.analysis.structure_prediction.substitution_probability import SubstitutionProbability
    from pymatgen.core import Composition

    table = SubstitutionProbability()
    ions = sorted(table.species, key=lambda ion: (ion.Z, ion.oxi_state))
    probability = np.array([[table.cond_prob(new, old) for new in ions] for old in ions])
    Composition("NaCl").oxi_state_guesses()  # reads the counts
    counted = Composition.oxi_prob or {}
    return Substitutions(
        np.array([ion.Z for ion in ions]),
        np.array([int(ion.oxi_state) for ion in ions]),
        probability,
        np.array([counted.get(ion, 0) for ion in ions]),
    )


class IonExchange(KnownObjectSearcher):
    """Exchanges ions of known compounds for ones of the same charge, as often as known compounds do.

    A draw takes a known compound, each as likely as any other, and for each of its ions another or itself, by the
    probability p(new | old) of `substitutions`. It is drawn anew where a charge changes, nothing changes, two ions
    become one element, the product of all p(new | old) is not above `THRESHOLD`, or the result is no object of the
    world. So each pair of compound and exchange comes in proportion to this product. Model and threshold are those of
    Hautier et al. 2011 (Inorg. Chem. 50, 656) as pymatgen's `Substitutor` has them, which Szymanski and Bartel 2025
    (Mater. Horiz., doi:10.1039/d5mh00010f) measured generative models by.
    """

    def __init__(self, kernel: TransitionKernel, sources: Callable[[], Sources]) -> None:
        super().__init__(kernel, sources)
        self._ions: Ints | None = None

    def _draw(self, n: int, rng: np.random.Generator) -> KnownObjects:
        table = substitutions()
        objects, charges, _ = self.sources
        numbers = objects.formula_units().atomic_numbers
        if self._ions is None:
            index = table.by_charge()
            pairs = zip(numbers.ravel().tolist(), charges.ravel().tolist())
            self._ions = np.array([index.get(pair, -1) for pair in pairs], dtype=np.int64).reshape(numbers.shape)
        rows = rng.integers(len(objects), size=n)
        old = self._ions[rows]
        new = _drawn(table.probability, old, rng.random(old.shape))
        there = old >= 0
        product = np.where(there, table.probability[old, new], 1.0).prod(axis=1)
        elements = np.where(there, table.atomic_number[new], 0)
        kept = (there <= (table.charge[new] == table.charge[old])).all(axis=1)
        kept &= (there & (new != old)).any(axis=1) & (product > THRESHOLD)
        ordered = np.sort(elements, axis=1)
        kept &= ((ordered[:, 1:] != ordered[:, :-1]) | (ordered[:, 1:] == 0)).all(axis=1)
        return with_elements(objects, rows[kept], elements[kept].astype(np.int16))

    def load_arrays(self, arrays: Arrays) -> None:
        """Take up the state that `arrays` gave."""
        super().load_arrays(arrays)
        self._ions = None


def _drawn(probability: Floats, old: Ints, u: Floats) -> Ints:
    """New ions, by numbers u in [0, 1): the first whose share of the row, added up, exceeds u."""
    added = np.cumsum(probability, axis=1)
    added[:, -1] = 1.0  # which a sum of floats may miss
    return (u[..., None] >= added[old]).sum(axis=-1)


def exchangeable(known: KnownObjects, space: CompositionSpace | WyckoffSpace, table: OxidationTable) -> Sources:
    """Known compounds of which some exchange of ions may be an object of a world, with the charges of their ions.

    All atoms of an element have one charge, of those that `table` lists. Of several neutral choices the one is taken
    whose ions the ICSD holds most often, as pymatgen's `Composition.oxi_state_guesses` ranks them: the counts of all
    atoms added up.

    Args:
        known: formulas or crystals; each counts once.
        space: the world.
        table: oxidation states, by which `space` judges neutrality.
    """
    given, ions = distinct(known), substitutions()
    index = ions.by_charge()
    states = oxidation_states(table)
    of_world = set((space.compositions if isinstance(space, WyckoffSpace) else space).elements)
    in_world = np.array([symbols()[z] in of_world for z in ions.atomic_number.tolist()])
    possible = np.where(in_world & (ions.charge[:, None] == ions.charge), ions.probability, 0.0)
    best = possible.max(axis=1)
    changes = np.where(np.eye(len(best), dtype=bool), 0.0, possible).max(axis=1)
    units, fits = given.formula_units(), fit_in(given, space)
    charges = np.zeros(units.atomic_numbers.shape, dtype=np.int64)
    reasons = ["" for _ in range(len(given))]
    for row, (numbers, counts) in enumerate(zip(units.atomic_numbers.tolist(), units.counts.tolist())):
        pairs = [(z, n) for z, n in zip(numbers, counts) if z]
        if not fits[row]:
            reasons[row] = OTHER_SIZE
            continue
        known_states = [[(q, (z, q) in index) for q in states.get(z, ())] for z, _ in pairs]
        found = _likeliest(pairs, [[q for q, listed in choice if listed] for choice in known_states], ions, index)
        if found is None:
            without = _likeliest(pairs, [[q for q, _ in choice] for choice in known_states], ions, index) is None
            reasons[row] = (
                f"without neutral oxidation states in {table}, one for each element"
                if without
                else "of ions that the table of substitutions does not know"
            )
            continue
        own = [index[z, q] for (z, _), q in zip(pairs, found)]
        if best[own].prod() <= THRESHOLD or not (changes[own] > 0).any():
            reasons[row] = "of which no likely exchange holds elements of the world alone"
            continue
        charges[row, : len(found)] = found
    kept = np.array([not reason for reason in reasons], dtype=np.bool_)
    left_out = {reason: reasons.count(reason) for reason in sorted(set(reasons)) if reason}
    started = narrowed(given[kept])
    width = started.formula_units().atomic_numbers.shape[1]
    return Sources(started, charges[kept][:, :width], left_out)


def _likeliest(
    pairs: list[tuple[int, int]], choices: list[list[int]], ions: Substitutions, index: dict[tuple[int, int], int]
) -> tuple[int, ...] | None:
    """Charges (e), one of the choices of each (element, count), that add up to 0 and occur most often; None without."""
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for (z, n), charges in zip(pairs, choices):
        reached: dict[int, tuple[int, tuple[int, ...]]] = {}
        for total, (score, chosen) in best.items():
            for charge in charges:
                i = index.get((z, charge))
                counted = score + (n * int(ions.occurrence[i]) if i is not None else 0)
                known = reached.get(total + n * charge)
                if known is None or counted > known[0]:
                    reached[total + n * charge] = counted, (*chosen, charge)
        best = reached
    return best[0][1] if 0 in best else None
