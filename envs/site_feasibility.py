"""Exact answers to "can these occupied positions still become a crystal within every constraint?".

What a space group can still host depends on its *inventory*: of the positions without freedom, each usable once, how many
of every size are taken, and which sizes positions with freedom have, usable again and again. Sizes are atoms in the cell
that is counted (primitive or conventional). Groups with equal inventories share all tables. An inventory state I numbers
the taken positions; `reach[I, d]` is the set of inventory states that placing exactly d atoms of one element can lead to.

A partial crystal (I, elements with their counts) can be finished if some choice of final counts and further elements
fits inventory, charge, and the element rules. Two dynamic programs over (I, atoms, elements) bound that from both sides,
each as a set of partial charges:

    surely    further elements alone suffice, taken from oxidation states that so many elements have that one is unused
    possibly  sites may carry any charge of any element: nothing outside this set can be finished

What lies between is settled by a depth-first search over final compositions, pruned by both tables, so the answer is
exact. With a prescribed stoichiometry the search runs over formula units and over which element plays which part.
"""

from typing import NamedTuple

import numpy as np

from envs.feasibility import Rules, get_bit, or_shifted, set_bit
from envs.jit import njit

MAX_INVENTORY = 64  # inventory states are bits of one word
_ONE, _ZERO = np.uint64(1), np.uint64(0)


# Columns of `element`, `cls`, `kind` and `role`
CLASS, GROUPS = 0, 1
CLASS_GROUPS, FIRST_MEMBER, LAST_MEMBER = 0, 1, 2
FIRST_STATE, N_STATES = 0, 1
AMOUNT, BIT = 0, 1
SURELY, POSSIBLY = 0, 1


class SiteTables(NamedTuple):
    """Element rules, inventories and the two bounds. A atoms at most, K elements at most.

    Compiled functions that take it read fields by name, so that a larger tuple with the same fields serves as well.
    """

    n_atoms_min: int
    n_atoms_max: int
    n_elements_min: int
    n_elements_max: int
    all_groups: int  # bit mask of all required groups
    n_charges: int
    zero_charge: int
    width: int  # columns of a class in `delta_start`: counts 1 to `width`
    element: np.ndarray  # int64 [element, 2], class and group bits
    cls: np.ndarray  # int64 [class, 3], group bits and range in `members`
    members: np.ndarray  # int64, elements by class
    delta_start: np.ndarray  # int64 [class * width + 1]
    deltas: np.ndarray  # int64, charges (e) that so many atoms of the class can carry
    inventory_of: np.ndarray  # int64 [231], of each space group; -1 where a group is not of the world
    kind: np.ndarray  # int64 [inventory, 2], where its states begin in the arrays below, and how many there are
    reach: np.ndarray  # uint64 [state, A + 1], sets of states of the same inventory
    bounds: np.ndarray  # uint64 [2, state, A + 1, K + 1, word], SURELY and POSSIBLY, by atoms and elements so far
    role: np.ndarray  # int64 [role, 2], of a prescribed stoichiometry: amount and the group bit that its elements have


@njit
def _fill_reach(
    reach: np.ndarray, sizes: np.ndarray, strides: np.ndarray, capacity: np.ndarray, free: np.ndarray
) -> None:
    """One inventory. `sizes`, `strides`, `capacity` describe positions without freedom, `free` sizes of the others."""
    n_states, width = reach.shape
    for state in range(n_states):
        reach[state, 0] = _ONE << np.uint64(state)
        for d in range(width):
            for other in range(n_states):
                if reach[state, d] >> np.uint64(other) & _ONE == _ZERO:
                    continue
                for i in range(len(sizes)):
                    taken = other // strides[i] % (capacity[i] + 1)
                    if taken < capacity[i] and d + sizes[i] < width:
                        reach[state, d + sizes[i]] |= _ONE << np.uint64(other + strides[i])
                for size in free:
                    if d + size < width:
                        reach[state, d + size] |= _ONE << np.uint64(other)


@njit
def _fill_bounds(
    rules: Rules,
    surely: np.ndarray,
    possibly: np.ndarray,
    reach: np.ndarray,
    sizes: np.ndarray,
    strides: np.ndarray,
    capacity: np.ndarray,
    free: np.ndarray,
    sure_start: np.ndarray,
    sure_charges: np.ndarray,
    any_start: np.ndarray,
    any_charges: np.ndarray,
) -> None:
    """One inventory, from the most atoms to none. `sure_*` and `any_*` list charges by number of atoms."""
    n_states, n_atoms = len(reach), rules.n_atoms_max
    for a in range(n_atoms, -1, -1):
        for j in range(rules.n_elements_max, -1, -1):
            for state in range(n_states):
                low, high = surely[state, a, j], possibly[state, a, j]
                if rules.n_atoms_min <= a and j >= rules.n_elements_min:
                    set_bit(low, rules.zero_charge)
                    set_bit(high, rules.zero_charge)
                if j < rules.n_elements_max:
                    for n in range(1, n_atoms - a + 1):
                        after = reach[state, n]
                        for other in range(n_states):
                            if after >> np.uint64(other) & _ONE:
                                for c in range(sure_start[n], sure_start[n + 1]):
                                    or_shifted(low, surely[other, a + n, j + 1], -sure_charges[c], rules.n_charges)
                for i in range(len(sizes)):
                    taken = state // strides[i] % (capacity[i] + 1)
                    if taken < capacity[i] and a + sizes[i] <= n_atoms:
                        _add_possibly(rules, high, possibly, state + strides[i], a, sizes[i], j, any_start, any_charges)
                for size in free:
                    if a + size <= n_atoms:
                        _add_possibly(rules, high, possibly, state, a, size, j, any_start, any_charges)


@njit
def _add_possibly(
    rules: Rules,
    target: np.ndarray,
    possibly: np.ndarray,
    state: int,
    a: int,
    size: int,
    j: int,
    any_start: np.ndarray,
    any_charges: np.ndarray,
) -> None:
    for c in range(any_start[size], any_start[size + 1]):
        if j >= 1:
            or_shifted(target, possibly[state, a + size, j], -any_charges[c], rules.n_charges)
        if j < rules.n_elements_max:
            or_shifted(target, possibly[state, a + size, j + 1], -any_charges[c], rules.n_charges)


class Inventory(NamedTuple):
    """What a space group offers: sizes of positions without freedom with their number, and sizes of the others."""

    fixed: tuple[tuple[int, int], ...]  # (size, how many positions), sizes ascending
    free: tuple[int, ...]

    @property
    def strides(self) -> dict[int, int]:
        """How much taking a position without freedom adds to the inventory state, by size."""
        out, stride = {}, 1
        for size, number in self.fixed:
            out[size] = stride
            stride *= number + 1
        return out

    @property
    def n_states(self) -> int:
        return int(np.prod([number + 1 for _, number in self.fixed], dtype=np.int64))


def inventory(sizes: np.ndarray, dof: np.ndarray, n_atoms_max: int) -> Inventory:
    """The inventory of a space group from sizes and degrees of freedom of its positions, [letter]."""
    fixed: dict[int, int] = {}
    for size in sizes[(dof == 0) & (sizes <= n_atoms_max)].tolist():
        fixed[size] = fixed.get(size, 0) + 1
    pairs = tuple((size, min(number, n_atoms_max // size)) for size, number in sorted(fixed.items()))
    return Inventory(pairs, tuple(sorted(set(sizes[(dof > 0) & (sizes <= n_atoms_max)].tolist()))))


def solve_sites(
    rules: Rules, inventories: dict[int, Inventory], amounts: tuple[int, ...] = (), role_bits: tuple[int, ...] = ()
) -> SiteTables:
    """The tables for space groups with their inventories.

    Args:
        amounts, role_bits: atoms in the formula unit and group bit of each part of a prescribed stoichiometry.

    Raises:
        ValueError: for an inventory with more than 64 states.
    """
    kinds = sorted(set(inventories.values()))
    inventory_of = np.full(231, -1, dtype=np.int64)
    for number, kind in inventories.items():
        inventory_of[number] = kinds.index(kind)
    n_states = np.array([kind.n_states for kind in kinds])
    if n_states.max() > MAX_INVENTORY:
        raise ValueError(
            f"expected at most {MAX_INVENTORY} ways to take positions without freedom, got {n_states.max()}; lower n_atoms"
        )
    first = np.concatenate([[0], np.cumsum(n_states)])
    width, n_words = rules.n_atoms_max + 1, (rules.n_charges + 63) >> 6
    reach = np.zeros((first[-1], width), dtype=np.uint64)
    bounds = np.zeros((2, first[-1], width, rules.n_elements_max + 1, n_words), dtype=np.uint64)
    sure, anything = _charges_by_number(rules, rules.n_elements_max), _charges_by_number(rules, 1)
    for t, kind in enumerate(kinds):
        rows = slice(first[t], first[t + 1])
        sizes = np.array([size for size, _ in kind.fixed], dtype=np.int64)
        strides = np.array([kind.strides[size] for size, _ in kind.fixed], dtype=np.int64)
        capacity = np.array([number for _, number in kind.fixed], dtype=np.int64)
        free = np.array(kind.free, dtype=np.int64)
        _fill_reach(reach[rows], sizes, strides, capacity, free)
        _fill_bounds(
            rules,
            bounds[SURELY, rows],
            bounds[POSSIBLY, rows],
            reach[rows],
            sizes,
            strides,
            capacity,
            free,
            *sure,
            *anything,
        )
    return SiteTables(
        n_atoms_min=rules.n_atoms_min,
        n_atoms_max=rules.n_atoms_max,
        n_elements_min=rules.n_elements_min,
        n_elements_max=rules.n_elements_max,
        all_groups=rules.all_groups,
        n_charges=rules.n_charges,
        zero_charge=rules.zero_charge,
        width=rules.width,
        element=np.stack([rules.class_of, rules.element_groups], axis=1).astype(np.int64),
        cls=np.stack([rules.class_groups, rules.member_start[:-1], rules.member_start[1:]], axis=1).astype(np.int64),
        members=rules.members.astype(np.int64),
        delta_start=rules.delta_start.astype(np.int64),
        deltas=rules.deltas,
        inventory_of=inventory_of,
        kind=np.stack([first[:-1], n_states], axis=1),
        reach=reach,
        bounds=bounds,
        role=np.array([amounts, role_bits], dtype=np.int64).T.copy().reshape(-1, 2),
    )


def _charges_by_number(rules: Rules, abundance: int) -> tuple[np.ndarray, np.ndarray]:
    """Charges that n atoms of one element can carry, for at least `abundance` elements each; ragged by n."""
    members = np.diff(rules.member_start)
    start, charges = [0, 0], []
    for n in range(1, rules.n_atoms_max + 1):
        count: dict[int, int] = {}
        for cls in range(len(members)):
            entry = cls * rules.width + n - rules.count_min
            for charge in rules.deltas[rules.delta_start[entry] : rules.delta_start[entry + 1]].tolist():
                count[charge] = count.get(charge, 0) + int(members[cls])
        charges += sorted(charge for charge, number in count.items() if number >= abundance)
        start.append(len(charges))
    return np.array(start, dtype=np.int64), np.array(charges, dtype=np.int64)


# Columns of a search's `steps`
ATOMS, MET, CHOICE, MARK, TAKEN = 0, 1, 2, 3, 4


class Search(NamedTuple):
    """Working memory of a search, one for each thread: a row for each element of the final composition.

    Attributes:
        steps: int64 [depth + 1, 5]: atoms so far, groups met, the candidate looked at, whether that is counted in
            `used` or TAKEN; by element of the partial composition, not by depth: whether it plays a part (TAKEN).
        bits: uint64 [depth + 1, 1 + word], the set of inventory states, then the charges.
        used: int64 [class], elements taken of each class.
    """

    steps: np.ndarray
    bits: np.ndarray
    used: np.ndarray


@njit
def search_memory(sites: SiteTables) -> Search:
    depth = 2 * sites.n_elements_max + 2
    return Search(
        np.zeros((depth + 1, 5), dtype=np.int64),
        np.zeros((depth + 1, 1 + ((sites.n_charges + 63) >> 6)), dtype=np.uint64),
        np.zeros(len(sites.cls), dtype=np.int64),
    )


@njit(inline="always")
def add_charges(sites: SiteTables, bits: np.ndarray, target: int, source: int, cls: int, count: int) -> bool:
    """Charges of row `target` = those of row `source` + what `count` atoms of the class carry; whether any is left."""
    charges = bits[target, 1:]
    charges[:] = _ZERO
    entry = cls * sites.width + count - 1
    for d in range(sites.delta_start[entry], sites.delta_start[entry + 1]):
        or_shifted(charges, bits[source, 1:], sites.deltas[d], sites.n_charges)
    for word in charges:
        if word != _ZERO:
            return True
    return False


@njit
def _meets(sites: SiteTables, bound: int, first: int, a: int, j: int, bits: np.ndarray, row: int) -> bool:
    """Whether a bound holds one of the charges of a row for one of its inventory states."""
    i, states = first, bits[row, 0]
    while states != _ZERO:
        if states & _ONE:
            for word in range(1, bits.shape[1]):
                if sites.bounds[bound, i, a, j, word - 1] & bits[row, word] != _ZERO:
                    return True
        states >>= _ONE
        i += 1
    return False


@njit
def _after(sites: SiteTables, kind: int, states: np.uint64, d: int) -> np.uint64:
    """Inventory states after d more atoms of one element."""
    out, first, i = _ZERO, sites.kind[kind, FIRST_STATE], 0
    while states != _ZERO:
        if states & _ONE:
            out |= sites.reach[first + i, d]
        states >>= _ONE
        i += 1
    return out


@njit
def can_finish(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    work: Search,
) -> bool:
    """Whether a partial crystal can be finished: inventory `kind` in `state`, with n elements and their counts."""
    a = 0
    for i in range(n):
        a += counts[i]
    if a > sites.n_atoms_max or n > sites.n_elements_max:
        return False
    if len(sites.role):
        return _finishes_stoichiometry(sites, kind, state, elements, counts, n, a, work)
    return _finishes(sites, kind, state, elements, counts, n, a, work)


@njit
def _finishes(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    a: int,
    work: Search,
) -> bool:
    """Depth-first over how many more atoms each element gets, then over further elements by rising class."""
    first, n_classes, width = sites.kind[kind, FIRST_STATE], len(sites.cls), sites.n_atoms_max
    work.used[:] = 0
    groups = 0
    for i in range(n):
        work.used[sites.element[elements[i], CLASS]] += 1
        groups |= sites.element[elements[i], GROUPS]
    work.steps[0, ATOMS], work.steps[0, MET] = a, groups
    _begin(sites, work, state)
    # A first look with nothing added to the elements that are there: the common case.
    depth = 0
    for i in range(n):
        if not add_charges(sites, work.bits, i + 1, i, sites.element[elements[i], CLASS], counts[i]):
            break
        depth = i + 1
    if depth == n and groups == sites.all_groups:
        work.bits[n, 0] = work.bits[0, 0]
        if _meets(sites, SURELY, first, a, n, work.bits, n):
            return True
    depth = 0
    work.steps[0, CHOICE] = 0
    while depth >= 0:
        a, groups, states = work.steps[depth, ATOMS], work.steps[depth, MET], work.bits[depth, 0]
        x = work.steps[depth, CHOICE]
        if depth < n:  # x more atoms of element `depth`
            if a + x > sites.n_atoms_max:
                depth -= 1
                continue
            work.steps[depth, CHOICE] = x + 1
            after = _after(sites, kind, states, x)
            if after == _ZERO:
                continue
            cls = sites.element[elements[depth], CLASS]
            if not add_charges(sites, work.bits, depth + 1, depth, cls, counts[depth] + x):
                continue
            work.steps[depth + 1, ATOMS], work.steps[depth + 1, MET], work.bits[depth + 1, 0] = a + x, groups, after
            if depth + 1 == n and not _worth(sites, first, n, depth + 1, work):
                continue
            depth += 1
            work.steps[depth, CHOICE] = 0
            if depth == n and _done(sites, first, n, depth, work):
                return True
            continue
        if depth == 0 and x == 0 and n == 0 and _done(sites, first, 0, 0, work):
            return True
        # x: a further element, its class * width + atoms - 1; not before the one chosen last, to see each set once
        if depth == sites.n_elements_max or x >= n_classes * width:
            depth -= 1
            if depth >= n:
                work.used[(work.steps[depth, CHOICE] - 1) // width] -= 1
            continue
        work.steps[depth, CHOICE] = x + 1
        cls, more = x // width, x % width + 1
        if a + more > sites.n_atoms_max:
            work.steps[depth, CHOICE] = (cls + 1) * width
            continue
        if work.used[cls] >= sites.cls[cls, LAST_MEMBER] - sites.cls[cls, FIRST_MEMBER]:
            work.steps[depth, CHOICE] = (cls + 1) * width
            continue
        after = _after(sites, kind, states, more)
        if after == _ZERO or not add_charges(sites, work.bits, depth + 1, depth, cls, more):
            continue
        work.steps[depth + 1, ATOMS], work.bits[depth + 1, 0] = a + more, after
        work.steps[depth + 1, MET] = groups | sites.cls[cls, CLASS_GROUPS]
        if not _worth(sites, first, depth + 1, depth + 1, work):
            continue
        if _done(sites, first, depth + 1, depth + 1, work):
            return True
        work.used[cls] += 1
        depth += 1
        work.steps[depth, CHOICE] = x
    return False


@njit(inline="always")
def _worth(sites: SiteTables, first: int, n: int, depth: int, work: Search) -> bool:
    return _meets(sites, POSSIBLY, first, work.steps[depth, ATOMS], n, work.bits, depth)


@njit(inline="always")
def _done(sites: SiteTables, first: int, n: int, depth: int, work: Search) -> bool:
    """With all groups met, whether this composition is an end or surely has one."""
    return work.steps[depth, MET] == sites.all_groups and _meets(
        sites, SURELY, first, work.steps[depth, ATOMS], n, work.bits, depth
    )


@njit
def may_close(sites: SiteTables, elements: np.ndarray, counts: np.ndarray, n: int, a: int, work: Search) -> bool:
    """Whether n elements with their counts, a atoms in all, are a composition that every rule admits."""
    if not (sites.n_atoms_min <= a <= sites.n_atoms_max and sites.n_elements_min <= n <= sites.n_elements_max):
        return False
    if len(sites.role):
        unit = sites.role[:, AMOUNT].sum()
        return a % unit == 0 and _plays_all_parts(sites, -1, 0, elements, counts, n, a // unit, work)
    groups = 0
    _begin(sites, work, 0)
    for i in range(n):
        groups |= sites.element[elements[i], GROUPS]
        if not add_charges(sites, work.bits, i + 1, i, sites.element[elements[i], CLASS], counts[i]):
            return False
    return groups == sites.all_groups and get_bit(work.bits[n, 1:], sites.zero_charge)


@njit(inline="always")
def _begin(sites: SiteTables, work: Search, state: int) -> None:
    """The first row: one inventory state, no charge."""
    work.bits[0, :] = _ZERO
    work.bits[0, 0] = _ONE << np.uint64(state)
    set_bit(work.bits[0, 1:], sites.zero_charge)


@njit
def _finishes_stoichiometry(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    a: int,
    work: Search,
) -> bool:
    unit = sites.role[:, AMOUNT].sum()
    if n > len(sites.role):
        return False
    for units in range(max(1, -(-max(a, sites.n_atoms_min) // unit)), sites.n_atoms_max // unit + 1):
        if _plays_all_parts(sites, kind, state, elements, counts, n, units, work):
            return True
    return False


@njit
def _plays_all_parts(
    sites: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    units: int,
    work: Search,
) -> bool:
    """Depth-first over which element plays which part of the stoichiometry, in `units` formula units.

    With kind -1 no site may be added: the counts are final.
    """
    n_roles, n_classes = len(sites.role), len(sites.cls)
    work.used[:] = 0
    for i in range(n):
        work.used[sites.element[elements[i], CLASS]] += 1
    work.steps[:, TAKEN] = 0
    work.steps[:, MARK] = 0
    work.steps[0, MET], work.steps[0, CHOICE] = 0, 0
    _begin(sites, work, state)
    depth = 0
    while depth >= 0:
        x = work.steps[depth, CHOICE]
        if work.steps[depth, MARK]:  # undo the candidate before
            work.steps[depth, MARK] = 0
            if x - 1 < n:
                work.steps[x - 1, TAKEN] = 0
            else:
                work.used[x - 1 - n] -= 1
        if x >= n + n_classes:
            depth -= 1
            continue
        work.steps[depth, CHOICE] = x + 1
        total = units * sites.role[depth, AMOUNT]
        cls = sites.element[elements[x], CLASS] if x < n else x - n
        if sites.cls[cls, CLASS_GROUPS] & sites.role[depth, BIT] == 0:
            continue
        if x < n:
            more = total - counts[x]
            if work.steps[x, TAKEN] or more < 0:
                continue
            work.steps[x, TAKEN] = 1
        else:
            more = total
            if work.used[cls] >= sites.cls[cls, LAST_MEMBER] - sites.cls[cls, FIRST_MEMBER]:
                continue
            work.used[cls] += 1
        work.steps[depth, MARK] = 1
        if kind < 0 and more > 0:
            continue
        after = work.bits[depth, 0] if kind < 0 else _after(sites, kind, work.bits[depth, 0], more)
        if after == _ZERO or not add_charges(sites, work.bits, depth + 1, depth, cls, total):
            continue
        work.bits[depth + 1, 0] = after
        work.steps[depth + 1, MET] = work.steps[depth, MET] | sites.cls[cls, CLASS_GROUPS]
        if depth + 1 < n_roles:
            depth += 1
            work.steps[depth, CHOICE] = 0
            continue
        n_taken = 0
        for i in range(n):
            n_taken += work.steps[i, TAKEN]
        if n_taken == n and work.steps[n_roles, MET] == sites.all_groups:
            if get_bit(work.bits[n_roles, 1:], sites.zero_charge):
                return True
    return False
