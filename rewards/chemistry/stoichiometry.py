"""What the property model sees of a formula beside its Magpie features: stoichiometry, charges, and prototypes.

Networks that are given atomic fractions do not do integer arithmetic: whether oxidation states add up to zero and how
many atoms the formula unit has they cannot tell. Here this is computed. Stoichiometric norms and ionic character are
those of Ward et al., npj Comput. Mater. 2, 16028 (2016).

A prototype is the list of counts in the reduced formula. Ordered by electronegativity, CaTiO3 is (1, 1, 3); ordered by
size, so is CsBr3Pb. Those that occur often in the training rows get a vector of their own in the network.

numba takes half a second to import: import this module on first use only.
"""

from functools import cache

import numpy as np

from oreflow.envs.arrays import AnyInts, Floats, Ints, UInt64s
from oreflow.envs.chemistry.elements import N_ELEMENTS
from oreflow.envs.chemistry.oxidation import oxidation_matrix
from oreflow.envs.compiled.jit import njit
from oreflow.envs.objects.compositions import Compositions
from oreflow.rewards.chemistry.magpie import element_properties, element_property_names
from oreflow.rewards.chemistry.oxidation_balance import residual_charge

# (oxidation-state table, mixed valence)
_CHARGE_RULES = (
    ("pymatgen_common", False),
    ("pymatgen_common", True),
    ("pymatgen_icsd", False),
    ("pymatgen_icsd", True),
    ("pymatgen_all", False),
)
_NORMS = (2.0, 3.0, 5.0, 10.0)
_MOST_ELEMENTS = 7
# e/atom; also for rows of which the table lacks an element.
_LARGEST_RESIDUAL = 2.0

_FNV_OFFSET, _FNV_PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)


def stoichiometric_feature_names() -> tuple[str, ...]:
    """Names of the columns of `stoichiometric_features`, in order."""
    charges = [f"{table}{' mixed' if mixed else ''}" for table, mixed in _CHARGE_RULES]
    return (
        *(f"{p:g}-norm of the fractions" for p in _NORMS),
        "log atoms in the reduced formula",
        "mean ionic character",
        "largest ionic character",
        *(f"{n} elements" for n in range(1, _MOST_ELEMENTS + 1)),
        *(f"residual charge per atom, {name}" for name in charges),
        *(f"neutral, {name}" for name in charges),
    )


@njit(nogil=True)
def _norms_and_ionicity(atomic_numbers: AnyInts, counts: AnyInts, chi: Floats, norms: Floats, out: Floats) -> None:
    """Writes out [batch, norm + 3] for reduced formulas; chi: electronegativity by atomic number."""
    n_norms = len(norms)
    for row in range(atomic_numbers.shape[0]):
        n, total = 0, 0
        for slot in range(atomic_numbers.shape[1]):
            if atomic_numbers[row, slot] == 0:
                break
            n += 1
            total += counts[row, slot]
        for k in range(n_norms):
            power = 0.0
            for slot in range(n):
                power += (counts[row, slot] / total) ** norms[k]
            out[row, k] = power ** (1.0 / norms[k])
        mean, largest = 0.0, 0.0
        for i in range(n):
            for j in range(i):
                difference = chi[atomic_numbers[row, i]] - chi[atomic_numbers[row, j]]
                ionic = 1.0 - np.exp(-0.25 * difference * difference)
                mean += 2.0 * ionic * (counts[row, i] / total) * (counts[row, j] / total)
                largest = max(largest, ionic)
        out[row, n_norms] = np.log(total)
        out[row, n_norms + 1] = mean
        out[row, n_norms + 2] = largest


@njit(nogil=True)
def _hash_counts(
    atomic_numbers: AnyInts, counts: AnyInts, chi: Floats, offset: np.uint64, prime: np.uint64, out: UInt64s
) -> None:
    """Writes FNV-1a hashes [batch, 2] of the counts of reduced formulas: by electronegativity, and by size."""
    n_slots = atomic_numbers.shape[1]
    order = np.empty(n_slots, dtype=np.int64)
    sizes = np.empty(n_slots, dtype=np.int64)
    for row in range(atomic_numbers.shape[0]):
        n = 0
        for slot in range(n_slots):
            if atomic_numbers[row, slot] == 0:
                break
            # Insertion sorts. Equal electronegativities stand in order of the atomic number.
            place = n
            while place > 0:
                z, before = atomic_numbers[row, slot], atomic_numbers[row, order[place - 1]]
                if chi[before] < chi[z] or (chi[before] == chi[z] and before < z):
                    break
                order[place] = order[place - 1]
                place -= 1
            order[place] = slot
            place = n
            while place > 0 and sizes[place - 1] > counts[row, slot]:
                sizes[place] = sizes[place - 1]
                place -= 1
            sizes[place] = counts[row, slot]
            n += 1
        by_chi, by_size = offset, offset
        for k in range(n):
            by_chi = (by_chi ^ np.uint64(counts[row, order[k]])) * prime
            by_size = (by_size ^ np.uint64(sizes[k])) * prime
        out[row, 0] = by_chi
        out[row, 1] = by_size


@cache
def magpie_electronegativity() -> Floats:
    """By atomic number, float64 [119]; known for every element that has all Magpie properties."""
    column = element_property_names().index("Electronegativity")
    return np.nan_to_num(element_properties()[:, column])


def stoichiometric_features(batch: Compositions) -> Floats:
    """Features of the reduced formulas, float64 [batch, 24], named by `stoichiometric_feature_names`.

    Every row has at least one element. Residual charges are cut off at 2 e/atom.
    """
    reduced = batch.reduced()
    z, counts = reduced.atomic_numbers, reduced.counts
    n_norms = len(_NORMS)
    norms = np.empty((len(batch), n_norms + 3))
    _norms_and_ionicity(z, counts, magpie_electronegativity(), np.array(_NORMS), norms)
    sizes = reduced.n_elements[:, None] == np.arange(1, _MOST_ELEMENTS + 1)
    residuals = np.stack(
        [
            residual_charge(z, counts, *oxidation_matrix(t), np.full(N_ELEMENTS + 1, mixed))
            for t, mixed in _CHARGE_RULES
        ],
        axis=1,
    )
    per_atom = np.minimum(np.nan_to_num(residuals / reduced.n_atoms[:, None], nan=_LARGEST_RESIDUAL), _LARGEST_RESIDUAL)
    return np.concatenate([norms, sizes, per_atom, residuals == 0], axis=1)


def prototype_hashes(batch: Compositions) -> Ints:
    """int64 [batch, 2]: hashes of the counts of the reduced formula, by electronegativity and by size."""
    reduced = batch.reduced()
    out = np.empty((len(batch), 2), dtype=np.uint64)
    _hash_counts(reduced.atomic_numbers, reduced.counts, magpie_electronegativity(), _FNV_OFFSET, _FNV_PRIME, out)
    return out.view(np.int64)


def frequent_prototypes(hashes: Ints, *, at_least: int) -> Ints:
    """Ascending hashes, int64, of the prototypes that occur `at_least` times in a column of `prototype_hashes`."""
    values, n = np.unique(hashes, return_counts=True)
    return values[n >= at_least]


def prototype_index(hashes: Ints, known: Ints) -> Ints:
    """int64 [batch]: 1 + position in the ascending `known`, or 0 for a prototype that is not among them."""
    if len(known) == 0:
        return np.zeros(len(hashes), dtype=np.int64)
    place = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.where(known[place] == hashes, place + 1, 0)
