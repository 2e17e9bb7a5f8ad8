"""Which elements may newly join a partial composition of a crystal: verdicts for all classes of elements at once."""

from oreflow.envs.arrays import Ints
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.feasibility.search import can_finish, groups_met, unused_element, with_missing
from oreflow.envs.crystal.feasibility.sums import (
    NO,
    UNKNOWN,
    YES,
    Search,
    add_charges,
    begin,
    best_of_class,
    start_sums,
    sum_up,
)
from oreflow.envs.crystal.feasibility.tables import CLASS, CLASS_GROUPS, FIRST_MEMBER, LAST_MEMBER, SiteTables

_ASIDE = -2  # a verdict to be found another way


@njit
def new_elements(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: Ints,
    counts: Ints,
    n: int,
    size: int,
    one_will_do: bool,
    verdicts: Ints,
    work: Search,
) -> bool:
    """Whether a partial crystal can be finished once `size` atoms of an element that is not yet there have joined it.

    Args:
        state: inventory state with those atoms placed.
        elements, counts: the n elements before, with room for one more.
        one_will_do: whether to stop at the first class that can.
        verdicts: int64 [class], receives YES for each class with an unused element that can join, else NO; not all of
            them if `one_will_do`.

    Returns:
        Whether any can.
    """
    a = 0
    for i in range(n):
        a += counts[i]
    verdicts[: len(sites.cls)] = NO
    if n >= sites.n_elements_max or a + size > sites.n_atoms_max:
        return False
    work.used[:] = 0
    for i in range(n):
        work.used[sites.element[elements[i], CLASS]] += 1
    for cls in range(len(sites.cls)):
        if work.used[cls] < sites.cls[cls, LAST_MEMBER] - sites.cls[cls, FIRST_MEMBER]:
            verdicts[cls] = UNKNOWN
    groups, found = groups_met(sites, elements, n), False
    those, with_counts, k = elements, counts, n
    if groups != sites.all_groups:
        those, with_counts, k = with_missing(sites, elements, counts, n, groups)
    groups = groups_met(sites, those, k)
    some_met = False
    for cls in range(len(sites.cls)):
        some_met = some_met or groups | sites.cls[cls, CLASS_GROUPS] == sites.all_groups
    if len(sites.role) == 0 and some_met and k < sites.n_elements_max:
        if k > n:  # a class of one required element that is missing would count it twice
            _set_aside(sites, those, n, k, verdicts, UNKNOWN, _ASIDE)
        begin(sites, work, state)
        alive = k == n
        for i in range(n):
            alive = alive and add_charges(sites, work.bits, i + 1, i, sites.element[elements[i], CLASS], counts[i])
        if alive:  # a first look with nothing added to any element
            start_sums(sites, state, a, work)
            copy_first(work.sums[0, a, state], work.bits[n, 1:], work.sums.shape[3])
            found = _judge(sites, kind, n + 1, size, size, groups, 0, one_will_do, verdicts, work)
        if found and one_will_do:
            return True
        if (verdicts[: len(sites.cls)] == UNKNOWN).any():
            side = sum_up(sites, kind, state, those, with_counts, k, a, sites.n_atoms_max - size, work)
            if _judge(sites, kind, k + 1, size, sites.n_atoms_max - a, groups, side, one_will_do, verdicts, work):
                found = True
        if found and one_will_do:
            return True
        if k > n:
            _set_aside(sites, those, n, k, verdicts, _ASIDE, UNKNOWN)
    for cls in range(len(sites.cls)):
        if verdicts[cls] != UNKNOWN:
            continue
        elements[n], counts[n] = unused_element(sites, cls, elements, n), size
        fits = can_finish(sites, kind, state, elements, counts, n + 1, work)
        verdicts[cls] = YES if fits else NO
        found = found or fits
        if fits and one_will_do:
            return True
    return found


@njit
def _set_aside(sites: SiteTables, elements: Ints, n: int, k: int, verdicts: Ints, old: int, new: int) -> None:
    """Turns one verdict into another for the classes of the elements from number n to k."""
    for i in range(n, k):
        cls = sites.element[elements[i], CLASS]
        if verdicts[cls] == old:
            verdicts[cls] = new


@njit
def _judge(
    sites: SiteTables,
    kind: int,
    n: int,
    size: int,
    largest: int,
    groups: int,
    side: int,
    one_will_do: bool,
    verdicts: Ints,
    work: Search,
) -> bool:
    """Verdicts of classes that are UNKNOWN, from sums, as far as these decide; whether any class can join.

    Args:
        n: elements with the new one; `groups` are those that the others meet.
        largest: atoms of the new one in the end, of which `size` are placed; `size`: only its yes counts.
    """
    work.looked_up[:] = UNKNOWN
    found = False
    for cls in range(len(sites.cls)):
        if verdicts[cls] != UNKNOWN or groups | sites.cls[cls, CLASS_GROUPS] != sites.all_groups:
            continue
        best = best_of_class(sites, kind, n, cls, size, largest, side, work)
        if best == YES:
            verdicts[cls] = YES
            found = True
            if one_will_do:
                return True
        elif best == NO and largest > size:
            verdicts[cls] = NO
    return found
