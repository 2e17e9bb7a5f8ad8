"""Masks of the crystal world, compiled: which moves of a partial crystal can still be finished."""

from typing import NamedTuple

import numba
import numpy as np

from envs.canonical import canonical_tuple, stabiliser, tuple_code
from envs.coordinate_grid import count_between, highest_with_room
from envs.jit import njit
from envs.lattice_grid import shape_allowed
from envs.site_feasibility import Search, can_finish, may_close, search_memory
from envs.wyckoff_geometry import lowest_volume_bin
from envs.wyckoff_world import CLOSED, GROUP, PAIRS, PENDING, World

ROWS_PER_BLOCK = 16  # share working memory and one thread


class Memory(NamedTuple):
    """Working memory of masks, one for each thread."""

    search: Search
    elements: np.ndarray  # int64 [slot], distinct elements of the partial crystal
    counts: np.ndarray  # int64 [slot], and their atoms
    codes: np.ndarray  # int64 [slot]
    scratch: np.ndarray  # int64 [slot]
    found: np.ndarray  # int64 [relabeling]
    used: np.ndarray  # int64 [slot]
    tuple: np.ndarray  # int64 [3]
    moved: np.ndarray  # int64 [3]
    verdicts: np.ndarray  # int8 [class]


@njit
def memory(world: World) -> Memory:
    n = world.n_slots + 1
    most = 0
    for group in world.groups:
        most = max(most, world.relabelings.first[group + 1] - world.relabelings.first[group])
    return Memory(
        search_memory(world.rules),
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        np.zeros(most, dtype=np.int64),
        np.zeros(n, dtype=np.int64),
        np.zeros(3, dtype=np.int64),
        np.zeros(3, dtype=np.int64),
        np.zeros(len(world.rules.class_groups), dtype=np.int8),
    )


@njit
def n_pairs(world: World, states: np.ndarray, row: int) -> int:
    n = 0
    while n < world.n_slots and states[row, PAIRS + n]:
        n += 1
    return n


@njit
def summarise(world: World, states: np.ndarray, row: int, n: int, work: Memory) -> tuple[int, int, int]:
    """Distinct elements, atoms and inventory state of n pairs; elements, counts and codes into `work`."""
    first_row = world.arrays.first_row[states[row, GROUP]]
    k, atoms, state = 0, 0, 0
    for i in range(n):
        code = states[row, PAIRS + i]
        work.codes[i] = code
        position, element = first_row + (code - 1) // world.n_elements, (code - 1) % world.n_elements
        size = world.size[position]
        state += world.stride[position]
        atoms += size
        j = 0
        while j < k and work.elements[j] != element:
            j += 1
        if j == k:
            work.elements[k], work.counts[k] = element, 0
            k += 1
        work.counts[j] += size
    return k, atoms, state


@njit
def _finishes_with(world: World, kind: int, state: int, k: int, size: int, which: int, element: int, work: Memory) -> bool:
    """Whether the k elements in `work` can be finished once `size` atoms join number `which`, a new element if k."""
    new = which == k
    if new:
        work.elements[k], work.counts[k] = element, 0
    work.counts[which] += size
    verdict = can_finish(
        world.rules, world.sites, kind, state, work.elements, work.counts, k + 1 if new else k, work.search
    )
    work.counts[which] -= size
    return verdict


@njit
def _unused_member(world: World, cls: int, k: int, work: Memory) -> int:
    """An element of a class that is not among the first k of `work`, -1 when all are."""
    for m in range(world.rules.member_start[cls], world.rules.member_start[cls + 1]):
        element = world.rules.members[m]
        free = True
        for i in range(k):
            if work.elements[i] == element:
                free = False
                break
        if free:
            return element
    return -1


@njit
def _some_element_fits(world: World, kind: int, state: int, k: int, size: int, work: Memory) -> bool:
    for i in range(k):
        if _finishes_with(world, kind, state, k, size, i, work.elements[i], work):
            return True
    if k < world.rules.n_elements_max:
        for cls in range(len(world.rules.class_groups)):
            element = _unused_member(world, cls, k, work)
            if element >= 0 and _finishes_with(world, kind, state, k, size, k, element, work):
                return True
    return False


@njit
def _allow_letters(world: World, states: np.ndarray, row: int, allowed: np.ndarray, work: Memory) -> None:
    group = states[row, GROUP]
    n = n_pairs(world, states, row)
    k, atoms, state = summarise(world, states, row, n, work)
    kind = world.sites.inventory_of[group]
    first_row = world.arrays.first_row[group]
    n_letters = world.arrays.first_row[group + 1] - first_row
    end = world.close if world.geometry else world.n_actions - 1
    allowed[row, end] = may_close(world.rules, world.sites, work.elements, work.counts, k, atoms, work.search)
    n_keep = stabiliser(world.relabelings, group, world.n_elements, work.codes, n, work.scratch, work.found)
    for letter in range(n_letters):
        position = first_row + letter
        size, stride = world.size[position], world.stride[position]
        if atoms + size > world.rules.n_atoms_max:
            continue
        if world.arrays.dof[position] == 0:
            taken = False
            for i in range(n):
                if (work.codes[i] - 1) // world.n_elements == letter:
                    taken = True
                    break
            if taken:
                continue
        smallest = True  # of the letters that symmetry makes equivalent here
        for p in range(n_keep):
            if world.relabelings.letter[work.found[p], letter] < letter:
                smallest = False
                break
        if not smallest:
            continue
        known = False
        for other in range(letter):  # equal sizes have equal verdicts
            before = first_row + other
            if allowed[row, world.first_letter + other] and world.size[before] == size and world.stride[before] == stride:
                known = True
                break
        allowed[row, world.first_letter + letter] = known or _some_element_fits(
            world, kind, state + stride, k, size, work
        )


@njit
def _allow_elements(world: World, states: np.ndarray, row: int, allowed: np.ndarray, work: Memory) -> None:
    group = states[row, GROUP]
    k, _, state = summarise(world, states, row, n_pairs(world, states, row), work)
    kind = world.sites.inventory_of[group]
    position = world.arrays.first_row[group] + states[row, PENDING] - 1
    size, stride = world.size[position], world.stride[position]
    if k < world.rules.n_elements_max:
        for cls in range(len(work.verdicts)):
            element = _unused_member(world, cls, k, work)
            work.verdicts[cls] = element >= 0 and _finishes_with(
                world, kind, state + stride, k, size, k, element, work
            )
        for element in range(world.n_elements):
            allowed[row, world.first_element + element] = work.verdicts[world.rules.class_of[element]]
    for i in range(k):
        allowed[row, world.first_element + work.elements[i]] = _finishes_with(
            world, kind, state + stride, k, size, i, work.elements[i], work
        )


@njit
def next_shape_column(world: World, states: np.ndarray, row: int) -> int:
    """The free column of the shape to fill next, 5 when all are."""
    system = world.lattice.system[states[row, GROUP]]
    for column in range(5):
        if world.lattice.is_free[system, column] and states[row, world.shape + column] == 0:
            return column
    return 5


@njit
def next_coordinate(world: World, states: np.ndarray, row: int, n: int) -> tuple[int, int]:
    """The site and the coordinate to fill next, (n, 0) when all are."""
    first_row = world.arrays.first_row[states[row, GROUP]]
    for i in range(n):
        dof = world.arrays.dof[first_row + (states[row, PAIRS + i] - 1) // world.n_elements]
        for k in range(dof):
            if states[row, world.coordinate + 3 * i + k] == 0:
                return i, k
    return n, 0


@njit
def site_tuple(world: World, states: np.ndarray, row: int, i: int, dof: int, out: np.ndarray) -> int:
    """Parameters of a complete site into `out`, and their tuple code."""
    for k in range(dof):
        out[k] = states[row, world.coordinate + 3 * i + k] - 1
    return tuple_code(out, dof, world.coordinates.grid)


@njit
def _allow_coordinates(
    world: World, states: np.ndarray, row: int, n: int, site: int, k: int, allowed: np.ndarray, work: Memory
) -> None:
    """A bin is allowed if a valid tuple that begins with it remains: above the one of an equal site before, not taken
    by a site of the same position, and with enough above it for the equal sites still to come."""
    group = states[row, GROUP]
    arrays, space = world.arrays, world.coordinates
    code = states[row, PAIRS + site]
    letter = (code - 1) // world.n_elements
    position = arrays.first_row[group] + letter
    dof, grid = arrays.dof[position], space.grid
    polar = arrays.polar[group, 0] or arrays.polar[group, 1] or arrays.polar[group, 2]
    first_of_polar = polar and site == 0
    table = space.table_of[position, 1 if first_of_polar else 0]
    n_used, low = 0, 0
    for i in range(site):
        other = states[row, PAIRS + i]
        if (other - 1) // world.n_elements != letter:
            continue
        taken = site_tuple(world, states, row, i, dof, work.tuple)
        if polar and i == 0:  # its own code is the smallest with 0 along the polar axes
            taken = canonical_tuple(arrays, position, work.tuple, grid, work.moved)
        elif other == code:
            low = taken + 1
        work.used[n_used] = taken
        n_used += 1
    room = 0
    while site + room + 1 < n and states[row, PAIRS + site + room + 1] == code:
        room += 1
    n_codes = grid**dof
    high = n_codes
    if room and not first_of_polar:
        high = highest_with_room(space, table, n_codes, room, work.used, n_used) + 1
    prefix = 0
    for j in range(k):
        prefix = prefix * grid + states[row, world.coordinate + 3 * site + j] - 1
    span = grid ** (dof - 1 - k)
    for b in range(grid):
        start = (prefix * grid + b) * span
        n_left = count_between(space, table, max(start, low), min(start + span, high), work.used, n_used)
        allowed[row, world.first_coordinate + b] = n_left > 0


@njit
def _allow_row(world: World, states: np.ndarray, row: int, allowed: np.ndarray, work: Memory) -> None:
    allowed[row] = False
    if states[row, world.stopped]:
        return
    if states[row, GROUP] == 0:
        for g in range(len(world.groups)):
            allowed[row, g] = world.can_host[g]
        return
    if states[row, CLOSED] == 0:
        if states[row, PENDING]:
            _allow_elements(world, states, row, allowed, work)
        else:
            _allow_letters(world, states, row, allowed, work)
        return
    column = next_shape_column(world, states, row)
    if column < 5:
        shape = states[row, world.shape : world.coordinate]
        n_bins = world.lattice.n_ratios if column < 2 else len(world.lattice.angles)
        first = world.first_ratio + column * n_bins if column < 2 else world.first_angle
        for b in range(n_bins):
            allowed[row, first + b] = shape_allowed(world.lattice, states[row, GROUP], shape, column, b)
        return
    n = n_pairs(world, states, row)
    site, k = next_coordinate(world, states, row, n)
    if site < n:
        _allow_coordinates(world, states, row, n, site, k, allowed, work)
    elif states[row, world.volume] == 0:
        lowest = lowest_volume_bin(world, states, row, n)
        last = world.first_volume + world.lattice.n_volumes
        if lowest >= world.lattice.n_volumes:
            allowed[row, last] = True
        else:
            allowed[row, world.first_volume + lowest : last] = True
    else:
        allowed[row, world.n_actions - 1] = True


@njit
def allow_rows(world: World, states: np.ndarray, allowed: np.ndarray, first: int, last: int) -> None:
    """Masks of the states [first, last), into all of these rows of `allowed`."""
    work = memory(world)
    for row in range(first, last):
        _allow_row(world, states, row, allowed, work)


@njit(parallel=True)
def allow_rows_parallel(world: World, states: np.ndarray, allowed: np.ndarray) -> None:
    """Masks of all states, into all of `allowed` [batch, n_actions]."""
    n = len(states)
    for block in numba.prange((n + ROWS_PER_BLOCK - 1) // ROWS_PER_BLOCK):
        first = block * ROWS_PER_BLOCK
        allow_rows(world, states, allowed, first, min(n, first + ROWS_PER_BLOCK))


@njit
def backward_allowed(world: World, states: np.ndarray) -> np.ndarray:
    """Slots whose element may go, then undo, then un-stop; of slots that symmetry makes equivalent the first."""
    allowed = np.zeros((len(states), world.n_slots + 2), dtype=np.bool_)
    work = memory(world)
    for row in range(len(states)):
        if states[row, world.stopped]:
            allowed[row, world.n_slots + 1] = True
        elif states[row, GROUP] == 0:
            continue
        elif states[row, CLOSED] or states[row, PENDING] or states[row, PAIRS] == 0:
            allowed[row, world.n_slots] = True
        else:
            n = n_pairs(world, states, row)
            for i in range(n):
                work.codes[i] = states[row, PAIRS + i]
            group = states[row, GROUP]
            n_keep = stabiliser(world.relabelings, group, world.n_elements, work.codes, n, work.scratch, work.found)
            for i in range(n):
                if i > 0 and work.codes[i - 1] == work.codes[i]:
                    continue
                allowed[row, i] = first_equivalent(world, work, n_keep, work.codes[i]) == work.codes[i]
    return allowed


@njit
def first_equivalent(world: World, work: Memory, n_keep: int, code: int) -> int:
    """The smallest pair code that symmetry makes equivalent to this one, given the relabelings in `work.found`."""
    best = code
    letter, element = (code - 1) // world.n_elements, (code - 1) % world.n_elements
    for p in range(n_keep):
        best = min(best, world.relabelings.letter[work.found[p], letter] * world.n_elements + element + 1)
    return best


