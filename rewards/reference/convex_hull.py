"""Energies and phases of the convex hull of formation energies, for whole batches of compositions.

At every composition the hull is the lowest energy that any mixture of known phases reaches (Ong et al., Chem. Mater.
20, 1798, 2008). It is found per composition by linear programming over the phases of its chemical system.
"""

from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.chemistry.elements import N_ELEMENTS, symbols
from oreflow.envs.objects.compositions import Compositions
from oreflow.envs.objects.formulas import formula_columns
from oreflow.rewards.errors import ReferenceTableError
from oreflow.rewards.reference.known_phases import Reference


@dataclass(frozen=True)
class HullEnergies:
    """The hull at each composition of a batch.

    Attributes:
        energies: float64 [batch], eV/atom, at most 0; NaN for a row without elements.
        products: int64 [batch, slot], the phases the composition decomposes into, as `CompetingPhases` numbers them,
            in descending order of amount; -1 pads.
        amounts: float64 [batch, slot], fraction of the atoms in each product; they sum to one.
        n_competing: int64 [batch], known compounds within the row's chemical system. Where it is 0 the hull is that of
            the elements, because nothing is known there, and says nothing about stability.
    """

    energies: Floats
    products: Ints
    amounts: Floats
    n_competing: Ints


class CompetingPhases:
    """The compounds of a reference by chemical system, beside the 118 elements at 0 eV/atom.

    Phases are numbered: 0 to 117 are the elements by atomic number less one, the compounds follow. Elements in the
    reference change nothing, as the formation energy of an element in its reference state is 0. Of the compounds only
    those below the elements are kept: no other can be part of a hull.
    """

    def __init__(self, reference: Reference) -> None:
        """Sorts the reference by chemical system.

        Raises:
            ReferenceTableError: when the reference was read without energies.
        """
        if np.isnan(reference.energies).any():
            raise ReferenceTableError(
                f"expected energies in {reference.path}, got formulas only; read it with energies"
            )
        compounds = reference.compositions.n_elements > 1
        batch, energies = reference.compositions[compounds], reference.energies[compounds]
        words = np.zeros((len(batch), 2), dtype=np.uint64)
        for slot in range(batch.atomic_numbers.shape[1]):
            z = batch.atomic_numbers[:, slot].astype(np.uint64)
            bit = np.where(z > 0, np.uint64(1) << (z % np.uint64(64)), np.uint64(0))
            for word in (0, 1):
                words[:, word] |= np.where(z // np.uint64(64) == word, bit, np.uint64(0))
        order = np.lexsort((words[:, 0], words[:, 1]))  # stable: within a system the reference's order stays
        batch, energies, words = batch[order], energies[order], words[order]
        new = np.ones(len(words), dtype=np.bool_)
        new[1:] = (words[1:] != words[:-1]).any(axis=1)
        system = np.cumsum(new) - 1
        below = energies < 0
        n_systems = int(new.sum())
        self._words = np.ascontiguousarray(words[new])
        self._n_known = np.bincount(system, minlength=n_systems)
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(system[below], minlength=n_systems))])
        self._phases, self._energies = batch[below], energies[below]
        self._names: dict[int, str] = {}

    def hull(self, batch: Compositions, *, include_same_formula: bool = True) -> HullEnergies:
        """The hull at every row of a batch, each as if alone.

        Args:
            batch: compositions of any number of elements.
            include_same_formula: False leaves out phases of the row's own reduced formula. The difference between a
                compound's energy and this hull is its decomposition enthalpy, or phase separation energy (Bartel et
                al., npj Comput. Mater. 6, 97, 2020), which is negative for stable compounds.
        """
        from oreflow.rewards.reference.hull_compiled import hull_kernel

        reduced = batch.reduced()
        shape = reduced.counts.shape
        out = HullEnergies(
            np.empty(len(batch)),
            np.empty(shape, dtype=np.int64),
            np.empty(shape),
            np.empty(len(batch), dtype=np.int64),
        )
        hull_kernel(
            np.lexsort(reduced.atomic_numbers.T[::-1]),
            reduced.atomic_numbers,
            reduced.counts,
            self._words,
            self._starts,
            self._n_known,
            self._phases.atomic_numbers,
            self._phases.counts,
            self._energies,
            include_same_formula,
            out.energies,
            out.products,
            out.amounts,
            out.n_competing,
        )
        return out

    def phase(self, number: int) -> Compositions:
        """The composition of a phase, a batch of one."""
        if number < N_ELEMENTS:
            return Compositions.from_dicts([{number + 1: 1}])
        place = number - N_ELEMENTS
        return self._phases[place : place + 1]

    def decompositions(self, hull: HullEnergies) -> list[str]:
        """Products as text such as "0.7 Li3PO4 + 0.3 Fe2O3", fractions by atoms; "" where there is no hull."""
        numbers, place = np.unique(hull.products, return_inverse=True)
        names = ["" if number < 0 else self._name(number) for number in numbers.tolist()]
        out = []
        for row, amounts in zip(place.reshape(hull.products.shape).tolist(), hull.amounts.tolist()):
            out.append(" + ".join(f"{amount:.4g} {names[i]}" for i, amount in zip(row, amounts) if amount > 0))
        return out

    def _name(self, number: int) -> str:
        if number < N_ELEMENTS:
            return symbols()[number + 1]
        if number not in self._names:
            self._names[number] = formula_columns(self.phase(number))["formula_pretty"][0]
        return self._names[number]


def hull_energies(
    batch: Compositions, reference: Reference | CompetingPhases, *, include_same_formula: bool = True
) -> HullEnergies:
    """The convex hull of a reference at every composition of a batch; see `CompetingPhases.hull`.

    Pass `CompetingPhases(reference)` when calling more than once: it holds the reference by chemical system.
    """
    phases = reference if isinstance(reference, CompetingPhases) else CompetingPhases(reference)
    return phases.hull(batch, include_same_formula=include_same_formula)
