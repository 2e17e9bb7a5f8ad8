"""Exact answers to "can these occupied positions still become a crystal within every constraint?".

What a space group can still host depends on its *inventory*: of the positions without freedom, each usable once, how
many of every size are taken, and which sizes positions with freedom have, usable again and again. Sizes are atoms in
the cell that is counted (primitive or conventional). Groups with equal inventories share all tables. An inventory state
I numbers the taken positions; `reach[I, d]` is the set of inventory states that placing exactly d atoms of one element
can lead to.

A partial crystal (I, elements with their counts) can be finished if some choice of final counts and further elements
fits inventory, charge, and the element rules. Once the counts of the elements that are there are final, two dynamic
programs over (I, atoms, elements) say which charges further elements can balance, as two sets:

    surely    by oxidation states that so many elements have that one of them is unused
    possibly  by any element, a second time if need be: nothing outside this set can be finished

`site_sums.py` sums up all final counts at once and looks them up in both sets; required elements that are still missing
are summed up with the others. What lies between (unusual oxidation states, or required groups of several elements none
of which is there yet) is settled by the depth-first search of `search.py`, pruned by
both sets, so the answer is exact. `site_stoichiometry.py` does the same for a prescribed formula unit.
"""

from typing import NamedTuple

import numpy as np

from oreflow.envs.arrays import Ints, UInt64s
from oreflow.envs.compiled.bitsets import or_shifted, set_bit
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.records import Record
from oreflow.envs.composition.rules import Rules

MAX_INVENTORY = 64  # inventory states are bits of one word
_ONE, _ZERO = np.uint64(1), np.uint64(0)


# Columns of `element`, `cls`, `kind` and `role`
CLASS, GROUPS = 0, 1
CLASS_GROUPS, FIRST_MEMBER, LAST_MEMBER = 0, 1, 2
FIRST_STATE, N_STATES = 0, 1
AMOUNT, BIT = 0, 1
SURELY, POSSIBLY = 0, 1


class SiteTables(Record):
    """Element rules, inventories and the two bounds. A atoms at most, K elements at most."""

    n_atoms_min: int
    n_atoms_max: int
    n_elements_min: int
    n_elements_max: int
    all_groups: int  # bit mask of all required groups
    n_charges: int
    zero_charge: int
    width: int  # columns of a class in `delta_start`: counts 1 to `width`
    element: Ints  # int64 [element, 2], class and group bits
    cls: Ints  # int64 [class, 3], group bits and range in `members`
    members: Ints  # int64, elements by class
    delta_start: Ints  # int64 [class * width + 1]
    deltas: Ints  # int64, charges (e) that so many atoms of the class can carry
    charge_start: Ints  # int64 [A + 2], by number of atoms, range in `charges`
    charges: Ints  # int64, charges that so many atoms of any one element can carry, each once
    charge_of: Ints  # int64 [delta], place of each of `deltas` in `charges`
    inventory_of: Ints  # int64 [231], of each space group; -1 where a group is not of the world
    kind: Ints  # int64 [inventory, 2], where its states begin in the arrays below, and how many there are
    reach: UInt64s  # uint64 [state, A + 1], sets of states of the same inventory
    bounds: UInt64s  # uint64 [2, state, A + 1, K + 1, word], SURELY and POSSIBLY, by atoms and elements so far
    only_member: Ints  # int64 [group bit], the element that alone meets a required group; -1 where several do
    role: Ints  # int64 [role, 2], of a prescribed stoichiometry: amount and the group bit that its elements have
    part_charges: UInt64s  # uint64 [formula units + 1, set of parts, word], charges that these parts can close


@njit
def _fill_reach(reach: UInt64s, sizes: Ints, strides: Ints, capacity: Ints, free: Ints) -> None:
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
    surely: UInt64s,
    possibly: UInt64s,
    reach: UInt64s,
    sure_start: Ints,
    sure_charges: Ints,
    any_start: Ints,
    any_charges: Ints,
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
                                for c in range(any_start[n], any_start[n + 1]):
                                    or_shifted(high, possibly[other, a + n, j + 1], -any_charges[c], rules.n_charges)


@njit
def _fill_part_charges(
    amounts: Ints,
    bits: Ints,
    class_groups: Ints,
    delta_start: Ints,
    deltas: Ints,
    width: int,
    zero_charge: int,
    n_charges: int,
    out: UInt64s,
) -> None:
    """Charges that the open parts can close, into `out` [formula units, set of parts, word]; see `SiteTables`."""
    for units in range(1, len(out)):
        set_bit(out[units, 0], zero_charge)
        for parts in range(1, out.shape[1]):
            r = 0
            while parts >> r & 1 == 0:
                r += 1
            for cls in range(len(class_groups)):
                if class_groups[cls] & bits[r] == 0:
                    continue
                entry = cls * width + units * amounts[r] - 1
                for d in range(delta_start[entry], delta_start[entry + 1]):
                    or_shifted(out[units, parts], out[units, parts & ~(1 << r)], -deltas[d], n_charges)


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
        """Count the inventory states: how many positions of each size without freedom are used."""
        return int(np.prod([number + 1 for _, number in self.fixed], dtype=np.int64))


def inventory(sizes: Ints, dof: Ints, n_atoms_max: int) -> Inventory:
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
            f"expected at most {MAX_INVENTORY} ways to take positions without freedom, got {n_states.max()}; "
            "lower n_atoms"
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
        _fill_bounds(rules, bounds[SURELY, rows], bounds[POSSIBLY, rows], reach[rows], *sure, *anything)
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
        charge_start=anything[0],
        charges=anything[1],
        charge_of=_places(rules, *anything),
        inventory_of=inventory_of,
        kind=np.stack([first[:-1], n_states], axis=1),
        reach=reach,
        bounds=bounds,
        only_member=_only_members(rules),
        role=np.array([amounts, role_bits], dtype=np.int64).T.copy().reshape(-1, 2),
        part_charges=_part_charges(rules, amounts, role_bits),
    )


def _part_charges(rules: Rules, amounts: tuple[int, ...], role_bits: tuple[int, ...]) -> UInt64s:
    """See `SiteTables.part_charges`; elements that are used elsewhere are not left out."""
    n_units = rules.n_atoms_max // sum(amounts) if amounts else 0
    out = np.zeros((n_units + 1, 1 << len(amounts), (rules.n_charges + 63) >> 6), dtype=np.uint64)
    _fill_part_charges(
        np.array(amounts, dtype=np.int64),
        np.array(role_bits, dtype=np.int64),
        rules.class_groups.astype(np.int64),
        rules.delta_start.astype(np.int64),
        rules.deltas,
        rules.width,
        rules.zero_charge,
        rules.n_charges,
        out,
    )
    return out


def _only_members(rules: Rules) -> Ints:
    """For each bit of the required groups the only element that has it, -1 where there are several."""
    out = np.full(int(rules.all_groups).bit_length(), -1, dtype=np.int64)
    for bit in range(len(out)):
        members = np.flatnonzero(rules.element_groups >> bit & 1)
        if len(members) == 1:
            out[bit] = members[0]
    return out


def _places(rules: Rules, start: Ints, charges: Ints) -> Ints:
    """Where each of the charges in `rules.deltas` stands in `charges`, -1 for more atoms than a cell has."""
    places = np.full(len(rules.deltas), -1, dtype=np.int64)
    for entry in range(len(rules.delta_start) - 1):
        n = entry % rules.width + rules.count_min
        own = slice(rules.delta_start[entry], rules.delta_start[entry + 1])
        if n <= rules.n_atoms_max:
            places[own] = start[n] + np.searchsorted(charges[start[n] : start[n + 1]], rules.deltas[own])
    return places


def _charges_by_number(rules: Rules, abundance: int) -> tuple[Ints, Ints]:
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
