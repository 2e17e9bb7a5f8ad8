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


class SiteTables(NamedTuple):
    """Inventories of all groups of a world, and the two bounds. T inventories, A atoms at most, K elements at most."""

    inventory_of: np.ndarray  # int16 [231], of each space group; -1 where a group is not of the world
    n_states: np.ndarray  # int64 [T], inventory states
    first: np.ndarray  # int64 [T], where the states of each inventory begin in the arrays below
    reach: np.ndarray  # uint64 [state, A + 1], sets of states of the same inventory
    surely: np.ndarray  # uint64 [state, A + 1, K + 1, word], by atoms and elements so far: partial charges
    possibly: np.ndarray  # uint64, likewise
    amounts: np.ndarray  # int64 [role], of a prescribed stoichiometry; empty without one
    role_bits: np.ndarray  # int64 [role], the group bit that a member of the role has


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
    inventory_of = np.full(231, -1, dtype=np.int16)
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
    surely = np.zeros((first[-1], width, rules.n_elements_max + 1, n_words), dtype=np.uint64)
    possibly = np.zeros_like(surely)
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
            surely[rows],
            possibly[rows],
            reach[rows],
            sizes,
            strides,
            capacity,
            free,
            *sure,
            *anything,
        )
    return SiteTables(
        inventory_of,
        n_states,
        first[:-1],
        reach,
        surely,
        possibly,
        np.array(amounts, dtype=np.int64),
        np.array(role_bits, dtype=np.int64),
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


class Search(NamedTuple):
    """Working memory of a search, one for each thread: a row for each element of the final composition."""

    atoms: np.ndarray  # int64 [depth + 1]
    states: np.ndarray  # uint64 [depth + 1], sets of inventory states
    charges: np.ndarray  # uint64 [depth + 1, word]
    groups: np.ndarray  # int64 [depth + 1]
    choice: np.ndarray  # int64 [depth + 1], the candidate looked at
    used: np.ndarray  # int64 [class], elements taken of each class
    taken: np.ndarray  # bool [element of the partial composition], which play a part
    mark: np.ndarray  # int64 [depth + 1], whether the candidate looked at is counted in `used` or `taken`


@njit
def search_memory(rules: Rules) -> Search:
    depth = 2 * rules.n_elements_max + 2
    return Search(
        np.zeros(depth + 1, dtype=np.int64),
        np.zeros(depth + 1, dtype=np.uint64),
        np.zeros((depth + 1, (rules.n_charges + 63) >> 6), dtype=np.uint64),
        np.zeros(depth + 1, dtype=np.int64),
        np.zeros(depth + 1, dtype=np.int64),
        np.zeros(len(rules.class_groups), dtype=np.int64),
        np.zeros(depth + 1, dtype=np.bool_),
        np.zeros(depth + 1, dtype=np.int64),
    )


@njit(inline="always")
def add_charges(rules: Rules, target: np.ndarray, source: np.ndarray, cls: int, count: int) -> bool:
    """target = source + what `count` atoms of the class carry; whether anything is left."""
    target[:] = _ZERO
    entry = cls * rules.width + count - rules.count_min
    for d in range(rules.delta_start[entry], rules.delta_start[entry + 1]):
        or_shifted(target, source, rules.deltas[d], rules.n_charges)
    for word in target:
        if word != _ZERO:
            return True
    return False


@njit
def _meets(table: np.ndarray, first: int, states: np.uint64, a: int, j: int, charges: np.ndarray) -> bool:
    """Whether a bound holds one of `charges` for one of the inventory states."""
    i = 0
    while states != _ZERO:
        if states & _ONE:
            for word in range(len(charges)):
                if table[first + i, a, j, word] & charges[word] != _ZERO:
                    return True
        states >>= _ONE
        i += 1
    return False


@njit
def _after(tables: SiteTables, kind: int, states: np.uint64, d: int) -> np.uint64:
    """Inventory states after d more atoms of one element."""
    out, first, i = _ZERO, tables.first[kind], 0
    while states != _ZERO:
        if states & _ONE:
            out |= tables.reach[first + i, d]
        states >>= _ONE
        i += 1
    return out


@njit
def can_finish(
    rules: Rules,
    tables: SiteTables,
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
    if a > rules.n_atoms_max or n > rules.n_elements_max:
        return False
    if len(tables.amounts):
        return _finishes_stoichiometry(rules, tables, kind, state, elements, counts, n, a, work)
    return _finishes(rules, tables, kind, state, elements, counts, n, a, work)


@njit
def _finishes(
    rules: Rules,
    tables: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    a: int,
    work: Search,
) -> bool:
    """Depth-first over how many more atoms each element gets, then over further elements by rising class."""
    first, n_classes, width = tables.first[kind], len(rules.class_groups), rules.n_atoms_max
    work.used[:] = 0
    groups = 0
    for i in range(n):
        work.used[rules.class_of[elements[i]]] += 1
        groups |= rules.element_groups[elements[i]]
    work.atoms[0], work.states[0], work.groups[0] = a, _ONE << np.uint64(state), groups
    work.charges[0, :] = _ZERO
    set_bit(work.charges[0], rules.zero_charge)
    # A first look with nothing added to the elements that are there: the common case.
    depth = 0
    for i in range(n):
        if not add_charges(rules, work.charges[i + 1], work.charges[i], rules.class_of[elements[i]], counts[i]):
            break
        depth = i + 1
    if depth == n and groups == rules.all_groups:
        if _meets(tables.surely, first, work.states[0], a, n, work.charges[n]):
            return True
    depth = 0
    work.choice[0] = 0
    while depth >= 0:
        a, states, groups = work.atoms[depth], work.states[depth], work.groups[depth]
        x = work.choice[depth]
        if depth < n:  # x more atoms of element `depth`
            if a + x > rules.n_atoms_max:
                depth -= 1
                continue
            work.choice[depth] = x + 1
            after = _after(tables, kind, states, x)
            if after == _ZERO:
                continue
            cls = rules.class_of[elements[depth]]
            if not add_charges(rules, work.charges[depth + 1], work.charges[depth], cls, counts[depth] + x):
                continue
            work.atoms[depth + 1], work.states[depth + 1], work.groups[depth + 1] = a + x, after, groups
            if depth + 1 == n and not _worth(rules, tables, first, n, depth + 1, work):
                continue
            depth += 1
            work.choice[depth] = 0
            if depth == n and _done(rules, tables, first, n, depth, work):
                return True
            continue
        if depth == 0 and x == 0 and n == 0 and _done(rules, tables, first, 0, 0, work):
            return True
        # x: a further element, its class * width + atoms - 1; not before the one chosen last, to see each set once
        if depth == rules.n_elements_max or x >= n_classes * width:
            depth -= 1
            if depth >= n:
                work.used[(work.choice[depth] - 1) // width] -= 1
            continue
        work.choice[depth] = x + 1
        cls, more = x // width, x % width + 1
        if a + more > rules.n_atoms_max:
            work.choice[depth] = (cls + 1) * width
            continue
        if work.used[cls] >= rules.member_start[cls + 1] - rules.member_start[cls]:
            work.choice[depth] = (cls + 1) * width
            continue
        after = _after(tables, kind, states, more)
        if after == _ZERO or not add_charges(rules, work.charges[depth + 1], work.charges[depth], cls, more):
            continue
        work.atoms[depth + 1], work.states[depth + 1] = a + more, after
        work.groups[depth + 1] = groups | rules.class_groups[cls]
        if not _worth(rules, tables, first, depth + 1, depth + 1, work):
            continue
        if _done(rules, tables, first, depth + 1, depth + 1, work):
            return True
        work.used[cls] += 1
        depth += 1
        work.choice[depth] = x
    return False


@njit(inline="always")
def _worth(rules: Rules, tables: SiteTables, first: int, n: int, depth: int, work: Search) -> bool:
    return _meets(tables.possibly, first, work.states[depth], work.atoms[depth], n, work.charges[depth])


@njit(inline="always")
def _done(rules: Rules, tables: SiteTables, first: int, n: int, depth: int, work: Search) -> bool:
    """With all groups met, whether this composition is an end or surely has one."""
    return work.groups[depth] == rules.all_groups and _meets(
        tables.surely, first, work.states[depth], work.atoms[depth], n, work.charges[depth]
    )


@njit
def may_close(
    rules: Rules, tables: SiteTables, elements: np.ndarray, counts: np.ndarray, n: int, a: int, work: Search
) -> bool:
    """Whether n elements with their counts, a atoms in all, are a composition that every rule admits."""
    if not (rules.n_atoms_min <= a <= rules.n_atoms_max and rules.n_elements_min <= n <= rules.n_elements_max):
        return False
    if len(tables.amounts):
        unit = tables.amounts.sum()
        return a % unit == 0 and _plays_all_parts(rules, tables, -1, 0, elements, counts, n, a // unit, work)
    groups = 0
    work.charges[0, :] = _ZERO
    set_bit(work.charges[0], rules.zero_charge)
    for i in range(n):
        groups |= rules.element_groups[elements[i]]
        if not add_charges(rules, work.charges[i + 1], work.charges[i], rules.class_of[elements[i]], counts[i]):
            return False
    return groups == rules.all_groups and get_bit(work.charges[n], rules.zero_charge)


@njit
def _finishes_stoichiometry(
    rules: Rules,
    tables: SiteTables,
    kind: int,
    state: int,
    elements: np.ndarray,
    counts: np.ndarray,
    n: int,
    a: int,
    work: Search,
) -> bool:
    unit = tables.amounts.sum()
    if n > len(tables.amounts):
        return False
    for units in range(max(1, -(-max(a, rules.n_atoms_min) // unit)), rules.n_atoms_max // unit + 1):
        if _plays_all_parts(rules, tables, kind, state, elements, counts, n, units, work):
            return True
    return False


@njit
def _plays_all_parts(
    rules: Rules,
    tables: SiteTables,
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
    n_roles, n_classes = len(tables.amounts), len(rules.class_groups)
    work.used[:] = 0
    for i in range(n):
        work.used[rules.class_of[elements[i]]] += 1
    work.taken[:] = False
    work.mark[:] = 0
    work.states[0], work.groups[0], work.choice[0] = _ONE << np.uint64(state), 0, 0
    work.charges[0, :] = _ZERO
    set_bit(work.charges[0], rules.zero_charge)
    depth = 0
    while depth >= 0:
        x = work.choice[depth]
        if work.mark[depth]:  # undo the candidate before
            work.mark[depth] = 0
            if x - 1 < n:
                work.taken[x - 1] = False
            else:
                work.used[x - 1 - n] -= 1
        if x >= n + n_classes:
            depth -= 1
            continue
        work.choice[depth] = x + 1
        total = units * tables.amounts[depth]
        cls = rules.class_of[elements[x]] if x < n else x - n
        if rules.class_groups[cls] & tables.role_bits[depth] == 0:
            continue
        if x < n:
            more = total - counts[x]
            if work.taken[x] or more < 0:
                continue
            work.taken[x] = True
        else:
            more = total
            if work.used[cls] >= rules.member_start[cls + 1] - rules.member_start[cls]:
                continue
            work.used[cls] += 1
        work.mark[depth] = 1
        if kind < 0 and more > 0:
            continue
        after = work.states[depth] if kind < 0 else _after(tables, kind, work.states[depth], more)
        if after == _ZERO or not add_charges(rules, work.charges[depth + 1], work.charges[depth], cls, total):
            continue
        work.states[depth + 1] = after
        work.groups[depth + 1] = work.groups[depth] | rules.class_groups[cls]
        if depth + 1 < n_roles:
            depth += 1
            work.choice[depth] = 0
            continue
        n_taken = 0
        for i in range(n):
            n_taken += work.taken[i]
        if n_taken == n and work.groups[n_roles] == rules.all_groups:
            if get_bit(work.charges[n_roles], rules.zero_charge):
                return True
    return False
