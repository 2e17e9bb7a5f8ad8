"""What the elements of a partial crystal can add up to, and what further elements make of it, compiled.

The sums: for each number of atoms and each inventory state, the set of charges that the elements can carry together,
over all their final counts. One element is added after the other, so that the many choices of counts which lead to the
same sums are followed once. Whether one more element can complete them is then a look into `SiteTables.bounds` for each
charge that this element can bring, shared by all elements that can bring it.
"""

import numpy as np

from oreflow.envs.arrays import Ints, UInt64s
from oreflow.envs.compiled.bitsets import or_shifted, set_bit
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.records import Record
from oreflow.envs.crystal.feasibility.tables import CLASS, FIRST_STATE, N_STATES, POSSIBLY, SURELY, SiteTables

_ONE, _ZERO = np.uint64(1), np.uint64(0)
_63 = np.uint64(63)

NO, YES, MAYBE, UNKNOWN = 0, 1, 2, -1  # verdicts


# Columns of a search's `steps`
ATOMS, MET, CHOICE, TAKEN = range(4)


class Search(Record):
    """Working memory of verdicts, one for each thread. `steps`, `bits`: a row for each element of the composition.

    Attributes:
        steps: int64 [depth + 1, 4]: atoms so far, groups met, the candidate to look at next; by part of a
            stoichiometry: the element that plays it, -1 for none (TAKEN).
        bits: uint64 [depth + 1, 1 + word], the set of inventory states, then the charges.
        used: int64 [class], elements taken of each class.
        sums: uint64 [2, A + 1, state, word], sums before and after an element is added; only valid where `at` says so.
        at: uint64 [2, A + 1], inventory states with any sum, by number of atoms.
        looked_up: int64 [charge], verdicts by `SiteTables.charges`.
    """

    steps: Ints
    bits: UInt64s
    used: Ints
    sums: UInt64s
    at: Ints
    looked_up: Ints


def search_memory(sites: SiteTables) -> Search:
    """Make the scratch memory of one thread's searches."""
    depth, n_words = 2 * sites.n_elements_max + 2, (sites.n_charges + 63) >> 6
    return Search(
        np.zeros((depth + 1, 4), dtype=np.int64),
        np.zeros((depth + 1, 1 + n_words), dtype=np.uint64),
        np.zeros(len(sites.cls), dtype=np.int64),
        np.empty((2, sites.n_atoms_max + 1, int(sites.kind[:, N_STATES].max()), n_words), dtype=np.uint64),
        np.zeros((2, sites.n_atoms_max + 1), dtype=np.uint64),
        np.zeros(len(sites.charges), dtype=np.int64),
    )


@njit(inline="always")
def begin(sites: SiteTables, work: Search, state: int) -> None:
    """The first row: one inventory state, no charge."""
    work.bits[0, :] = _ZERO
    work.bits[0, 0] = _ONE << np.uint64(state)
    set_bit(work.bits[0, 1:], sites.zero_charge)


@njit(inline="always")
def add_charges(sites: SiteTables, bits: UInt64s, target: int, source: int, cls: int, count: int) -> bool:
    """Charges of row `target` = those of row `source` + what `count` atoms of the class carry; whether any is left."""
    charges = bits[target, 1:]
    charges[:] = _ZERO
    entry = cls * sites.width + count - 1
    for d in range(sites.delta_start[entry], sites.delta_start[entry + 1]):
        or_shifted(charges, bits[source, 1:], sites.deltas[d], sites.n_charges)
    found = _ZERO
    for word in charges:
        found |= word
    return found != _ZERO


@njit(inline="always")
def _shifted(sums: UInt64s, side: int, a: int, state: int, word: int, shift: int) -> np.uint64:
    """One word of a set of charges, shifted towards higher charges (negative: lower); not cut at the window's end."""
    whole, part = shift >> 6, np.uint64(shift & 63)
    low, n_words = word - whole, sums.shape[3]
    out = _ZERO
    if 0 <= low < n_words:
        out = sums[side, a, state, low] << part
    if 0 <= low - 1 < n_words:
        out |= (sums[side, a, state, low - 1] >> (_63 - part)) >> _ONE
    return out


@njit
def start_sums(sites: SiteTables, state: int, a: int, work: Search) -> None:
    """Sums of no element yet: a atoms of charge 0, and one inventory state."""
    work.at[:] = _ZERO
    work.sums[0, a, state, :] = _ZERO
    work.sums[0, a, state, sites.zero_charge >> 6] = _ONE << np.uint64(sites.zero_charge & 63)
    work.at[0, a] = _ONE << np.uint64(state)


@njit
def _add_element(sites: SiteTables, first: int, cls: int, count: int, most: int, side: int, work: Search) -> None:
    """Sums on the other side: those of this one and `count` atoms or more of one element, `most` atoms in all.

    `count` atoms of it count as placed: they are in the numbers of atoms and inventory states from the start. An
    element of which none is placed gets one at least.
    """
    other_side, n_words = 1 - side, work.sums.shape[3]
    last_word = _ZERO - _ONE
    if sites.n_charges & 63:
        last_word = (_ONE << np.uint64(sites.n_charges & 63)) - _ONE
    work.at[other_side, :] = _ZERO
    for a in range(most + 1):
        states, i = work.at[side, a], 0
        while states != _ZERO:
            if states & _ONE != _ZERO:
                for x in range(1 if count == 0 else 0, most - a + 1):
                    after, entry = sites.reach[first + i, x], cls * sites.width + count + x - 1
                    begins, ends = sites.delta_start[entry], sites.delta_start[entry + 1]
                    o = 0
                    while after != _ZERO and begins < ends:
                        if after & _ONE != _ZERO:
                            known = (work.at[other_side, a + x] >> np.uint64(o)) & _ONE != _ZERO
                            any_left = _ZERO
                            for word in range(n_words):
                                found = _ZERO
                                for d in range(begins, ends):
                                    found |= _shifted(work.sums, side, a, i, word, sites.deltas[d])
                                if word == n_words - 1:
                                    found &= last_word
                                any_left |= found
                                if known:
                                    found |= work.sums[other_side, a + x, o, word]
                                work.sums[other_side, a + x, o, word] = found
                            if any_left != _ZERO:
                                work.at[other_side, a + x] |= _ONE << np.uint64(o)
                        after >>= _ONE
                        o += 1
            states >>= _ONE
            i += 1


@njit
def sum_up(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: Ints,
    counts: Ints,
    n: int,
    a: int,
    most: int,
    work: Search,
) -> int:
    """Sums of n elements with these counts or more; `a` atoms now, `most` in the end. Returns their side of `work`."""
    start_sums(sites, state, a, work)
    side = 0
    for i in range(n):
        cls = sites.element[elements[i], CLASS]
        _add_element(sites, sites.kind[kind, FIRST_STATE], cls, counts[i], most, side, work)
        side = 1 - side
    return side


@njit
def look_up(
    sites: SiteTables, kind: int, n: int, m: int, size: int, charge: int, most: int, side: int, work: Search
) -> int:
    """The verdict where one more element, m atoms of a charge in all, of which `size` are placed, makes n of them.

    Args:
        most: the largest number of atoms without the new element that is of interest.
    """
    first, verdict = sites.kind[kind, FIRST_STATE], NO
    for a in range(min(most, sites.n_atoms_max - m) + 1):
        states, i = work.at[side, a], 0
        while states != _ZERO:
            if states & _ONE != _ZERO:
                after, o = sites.reach[first + i, m - size], 0
                while after != _ZERO:
                    if after & _ONE != _ZERO:
                        for word in range(work.sums.shape[3]):
                            charges = _shifted(work.sums, side, a, i, word, charge)
                            if charges & sites.bounds[SURELY, first + o, a + m, n, word] != _ZERO:
                                return YES
                            if charges & sites.bounds[POSSIBLY, first + o, a + m, n, word] != _ZERO:
                                verdict = MAYBE
                    after >>= _ONE
                    o += 1
            states >>= _ONE
            i += 1
    return verdict


@njit
def best_of_class(
    sites: SiteTables, kind: int, n: int, cls: int, size: int, largest: int, side: int, work: Search
) -> int:
    """The best verdict over all counts, from `size` to `largest`, and charges of an element of a class.

    `work.looked_up` remembers verdicts by charge from class to class.
    """
    best = NO
    for m in range(max(size, 1), largest + 1):
        entry = cls * sites.width + m - 1
        for d in range(sites.delta_start[entry], sites.delta_start[entry + 1]):
            c = sites.charge_of[d]
            if work.looked_up[c] == UNKNOWN:
                work.looked_up[c] = look_up(sites, kind, n, m, size, sites.deltas[d], sites.n_atoms_max - m, side, work)
            if work.looked_up[c] == YES:
                return YES
            best = max(best, work.looked_up[c])
    return best
