"""Masks of the crystal world, compiled: which moves of a partial crystal can still be finished."""

from typing import NamedTuple

import numpy as np

from envs.canonical import canonical_tuple, stabiliser, tuple_code
from envs.coordinate_grid import bins_with_room, highest_with_room, is_valid, last_bins_with_room
from envs.jit import njit
from envs.lattice_grid import SYSTEM, shape_allowed
from envs.site_feasibility import CLASS, SiteTables
from envs.site_search import can_finish, may_close, new_elements
from envs.site_sums import UNKNOWN, YES, Search, search_memory
from envs.wyckoff_arrays import DOF, FIRST_RELABELING, FIRST_ROW, IS_POLAR, LAST_RELABELING, N_LETTERS, GroupTables
from envs.wyckoff_geometry import lowest_volume_bin
from envs.wyckoff_world import CLOSED, GROUP, MOST_LETTERS, PAIRS, PENDING, SIZE, STRIDE, World

ELEMENTS, COUNTS, CODES, SCRATCH, FOUND, USED, TUPLE, MOVED, VERDICTS, FITS = range(10)  # rows of `lists`


class Memory(NamedTuple):
    """Working memory of masks and moves, one for each thread. The first fields are those of `Search`.

    Attributes:
        lists: int64 [10, ...]: distinct elements of the partial crystal and their atoms; pair codes; scratch;
            relabelings that leave the decoration as it is; tuple codes in use; two tuples; verdicts by
            class and by letter.
    """

    steps: np.ndarray
    bits: np.ndarray
    used: np.ndarray
    sums: np.ndarray
    at: np.ndarray
    looked_up: np.ndarray
    lists: np.ndarray


@njit
def memory(tables: GroupTables, world: World) -> Memory:
    n = max(world.n_slots + 1, len(world.cls), MOST_LETTERS)
    for group in world.groups:
        n = max(n, tables.group[group, LAST_RELABELING] - tables.group[group, FIRST_RELABELING])
    search = search_memory(_sites(world))
    return Memory(
        search.steps,
        search.bits,
        search.used,
        search.sums,
        search.at,
        search.looked_up,
        np.zeros((10, n), dtype=np.int64),
    )


@njit
def n_pairs(world: World, states: np.ndarray, row: int) -> int:
    n = 0
    while n < world.n_slots and states[row, PAIRS + n]:
        n += 1
    return n


@njit
def summarise(
    tables: GroupTables, world: World, states: np.ndarray, row: int, n: int, work: Memory
) -> tuple[int, int, int]:
    """Distinct elements, atoms and inventory state of n pairs; elements, counts and codes into `work`."""
    first_row = tables.group[states[row, GROUP], FIRST_ROW]
    k, atoms, state = 0, 0, 0
    for i in range(n):
        code = states[row, PAIRS + i]
        work.lists[CODES, i] = code
        position, element = first_row + (code - 1) // world.n_elements, (code - 1) % world.n_elements
        size = world.position[position, SIZE]
        state += world.position[position, STRIDE]
        atoms += size
        j = 0
        while j < k and work.lists[ELEMENTS, j] != element:
            j += 1
        if j == k:
            work.lists[ELEMENTS, k], work.lists[COUNTS, k] = element, 0
            k += 1
        work.lists[COUNTS, j] += size
    return k, atoms, state


@njit
def _sites(world: World) -> SiteTables:
    """The part of a world that verdicts read: functions that take fewer arrays compile faster."""
    return SiteTables(
        world.n_atoms_min,
        world.n_atoms_max,
        world.n_elements_min,
        world.n_elements_max,
        world.all_groups,
        world.n_charges,
        world.zero_charge,
        world.width,
        world.element,
        world.cls,
        world.members,
        world.delta_start,
        world.deltas,
        world.charge_start,
        world.charges,
        world.charge_of,
        world.inventory_of,
        world.kind,
        world.reach,
        world.bounds,
        world.only_member,
        world.role,
        world.part_charges,
    )


@njit
def _search(work: Memory) -> Search:
    return Search(work.steps, work.bits, work.used, work.sums, work.at, work.looked_up)


@njit
def _finishes_with(
    sites: SiteTables, search: Search, kind: int, state: int, k: int, size: int, which: int, lists: np.ndarray
) -> bool:
    """Whether the k elements in `lists` can be finished once `size` atoms join number `which`."""
    lists[COUNTS, which] += size
    verdict = can_finish(sites, kind, state, lists[ELEMENTS], lists[COUNTS], k, search)
    lists[COUNTS, which] -= size
    return verdict


@njit
def _some_element_fits(
    sites: SiteTables, search: Search, kind: int, state: int, k: int, size: int, lists: np.ndarray
) -> bool:
    """Whether any element, new or not, can take `size` atoms."""
    if new_elements(sites, kind, state, lists[ELEMENTS], lists[COUNTS], k, size, True, lists[VERDICTS], search):
        return True
    for i in range(k):  # noqa: SIM110 - not all of Python compiles
        if _finishes_with(sites, search, kind, state, k, size, i, lists):
            return True
    return False


@njit
def _allow_letters(
    tables: GroupTables, world: World, states: np.ndarray, row: int, allowed: np.ndarray, work: Memory
) -> None:
    group = states[row, GROUP]
    n = n_pairs(world, states, row)
    k, atoms, state = summarise(tables, world, states, row, n, work)
    kind = world.inventory_of[group]
    first_row = tables.group[group, FIRST_ROW]
    n_letters = tables.group[group, N_LETTERS]
    end = world.close if world.geometry else world.n_actions - 1
    sites, search = _sites(world), _search(work)
    allowed[row, end] = may_close(sites, work.lists[ELEMENTS], work.lists[COUNTS], k, atoms, search)
    n_keep = stabiliser(tables, group, world.n_elements, work.lists[CODES], n, work.lists[SCRATCH], work.lists[FOUND])
    work.lists[FITS, :n_letters] = UNKNOWN
    for letter in range(n_letters):
        position = first_row + letter
        size, stride = world.position[position, SIZE], world.position[position, STRIDE]
        if atoms + size > world.n_atoms_max:
            continue
        if tables.row[position, DOF] == 0:
            taken = False
            for i in range(n):
                if work.lists[SCRATCH, i] == letter:
                    taken = True
                    break
            if taken:
                continue
        smallest = True  # of the letters that symmetry makes equivalent here
        for p in range(n_keep):
            if tables.relabeling[work.lists[FOUND, p], letter] < letter:
                smallest = False
                break
        if not smallest:
            continue
        known = UNKNOWN
        for other in range(letter):  # equal sizes have equal verdicts
            before = first_row + other
            if (
                work.lists[FITS, other] != UNKNOWN
                and world.position[before, SIZE] == size
                and world.position[before, STRIDE] == stride
            ):
                known = work.lists[FITS, other]
                break
        if known == UNKNOWN:
            known = int(_some_element_fits(sites, search, kind, state + stride, k, size, work.lists))
        work.lists[FITS, letter] = known
        allowed[row, world.first_letter + letter] = known == YES


@njit
def _allow_elements(
    tables: GroupTables, world: World, states: np.ndarray, row: int, allowed: np.ndarray, work: Memory
) -> None:
    group = states[row, GROUP]
    k, _, state = summarise(tables, world, states, row, n_pairs(world, states, row), work)
    kind = world.inventory_of[group]
    position = tables.group[group, FIRST_ROW] + states[row, PENDING] - 1
    size, stride = world.position[position, SIZE], world.position[position, STRIDE]
    sites, search, lists = _sites(world), _search(work), work.lists
    if new_elements(
        sites, kind, state + stride, lists[ELEMENTS], lists[COUNTS], k, size, False, lists[VERDICTS], search
    ):
        for element in range(world.n_elements):
            allowed[row, world.first_element + element] = work.lists[VERDICTS, world.element[element, CLASS]] == YES
    for i in range(k):
        allowed[row, world.first_element + lists[ELEMENTS, i]] = _finishes_with(
            sites, search, kind, state + stride, k, size, i, lists
        )


@njit
def next_shape_column(world: World, states: np.ndarray, row: int) -> int:
    """The free column of the shape to fill next, 5 when all are."""
    system = world.cell[states[row, GROUP], SYSTEM]
    for column in range(5):
        if world.is_free[system, column] and states[row, world.shape + column] == 0:
            return column
    return 5


@njit
def next_coordinate(tables: GroupTables, world: World, states: np.ndarray, row: int, n: int) -> tuple[int, int]:
    """The site and the coordinate to fill next, (n, 0) when all are."""
    first_row = tables.group[states[row, GROUP], FIRST_ROW]
    for i in range(n):
        dof = tables.row[first_row + (states[row, PAIRS + i] - 1) // world.n_elements, DOF]
        for k in range(dof):
            if states[row, world.coordinate + 3 * i + k] == 0:
                return i, k
    return n, 0


@njit
def site_tuple(world: World, states: np.ndarray, row: int, i: int, dof: int, out: np.ndarray) -> int:
    """Parameters of a complete site into `out`, and their tuple code."""
    for k in range(dof):
        out[k] = states[row, world.coordinate + 3 * i + k] - 1
    return tuple_code(out, dof, world.grid)


@njit
def _allow_coordinates(
    tables: GroupTables,
    world: World,
    states: np.ndarray,
    row: int,
    n: int,
    site: int,
    k: int,
    allowed: np.ndarray,
    work: Memory,
) -> None:
    """A bin is allowed if a valid tuple that begins with it remains: above the one of an equal site before, not taken
    by a site of the same position, and with enough above it for the equal sites still to come."""
    group = states[row, GROUP]
    code = states[row, PAIRS + site]
    letter = (code - 1) // world.n_elements
    position = tables.group[group, FIRST_ROW] + letter
    dof, grid = tables.row[position, DOF], world.grid
    polar = tables.group[group, IS_POLAR] != 0
    first_of_polar = polar and site == 0
    table = world.table_of[position, 1 if first_of_polar else 0]
    n_used, low = 0, 0
    for i in range(site):
        other = states[row, PAIRS + i]
        if (other - 1) // world.n_elements != letter:
            continue
        taken = site_tuple(world, states, row, i, dof, work.lists[TUPLE])
        if polar and i == 0:  # its own code is the smallest with 0 along the polar axes
            taken = canonical_tuple(tables, position, work.lists[TUPLE], grid, work.lists[MOVED])
        elif other == code:
            low = taken + 1
        if is_valid(world, table, taken):
            work.lists[USED, n_used] = taken
            n_used += 1
    room = 0
    while site + room + 1 < n and states[row, PAIRS + site + room + 1] == code:
        room += 1
    n_codes = grid**dof
    high = n_codes
    if room and not first_of_polar:
        high = highest_with_room(world, table, n_codes, room, work.lists[USED], n_used) + 1
    prefix = 0
    for j in range(k):
        prefix = prefix * grid + states[row, world.coordinate + 3 * site + j] - 1
    out, used = allowed[row, world.first_coordinate : world.first_coordinate + grid], work.lists[USED]
    if k == dof - 1:
        last_bins_with_room(world, table, prefix, low, high, used, n_used, out)
    else:
        bins_with_room(world, table, prefix, grid ** (dof - 1 - k), low, high, used, n_used, out)


@njit
def _allow_row(
    tables: GroupTables, world: World, states: np.ndarray, row: int, allowed: np.ndarray, work: Memory
) -> None:
    allowed[row] = False
    if states[row, world.stopped]:
        return
    if states[row, GROUP] == 0:
        for g in range(len(world.groups)):
            allowed[row, g] = world.can_host[g]
        return
    if states[row, CLOSED] == 0:
        if states[row, PENDING]:
            _allow_elements(tables, world, states, row, allowed, work)
        else:
            _allow_letters(tables, world, states, row, allowed, work)
        return
    column = next_shape_column(world, states, row)
    if column < 5:
        shape = states[row, world.shape : world.coordinate]
        n_bins = world.n_ratios if column < 2 else len(world.angles)
        first = world.first_ratio + column * n_bins if column < 2 else world.first_angle
        for b in range(n_bins):
            allowed[row, first + b] = shape_allowed(world, states[row, GROUP], shape, column, b)
        return
    n = n_pairs(world, states, row)
    site, k = next_coordinate(tables, world, states, row, n)
    if site < n:
        _allow_coordinates(tables, world, states, row, n, site, k, allowed, work)
    elif states[row, world.volume] == 0:
        lowest = lowest_volume_bin(tables, world, states, row, n)
        last = world.first_volume + world.n_volumes
        if lowest >= world.n_volumes:
            allowed[row, last] = True
        else:
            allowed[row, world.first_volume + lowest : last] = True
    else:
        allowed[row, world.n_actions - 1] = True


@njit(nogil=True)
def allow_rows(
    tables: GroupTables, world: World, states: np.ndarray, allowed: np.ndarray, first: int, last: int
) -> None:
    """Masks of the states [first, last), into all of these rows of `allowed`."""
    work = memory(tables, world)
    for row in range(first, last):
        _allow_row(tables, world, states, row, allowed, work)


@njit
def backward_allowed(tables: GroupTables, world: World, states: np.ndarray) -> np.ndarray:
    """Slots whose element may go, then undo, then un-stop; of slots that symmetry makes equivalent the first."""
    allowed = np.zeros((len(states), world.n_slots + 2), dtype=np.bool_)
    work = memory(tables, world)
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
                work.lists[CODES, i] = states[row, PAIRS + i]
            group = states[row, GROUP]
            n_keep = stabiliser(
                tables, group, world.n_elements, work.lists[CODES], n, work.lists[SCRATCH], work.lists[FOUND]
            )
            for i in range(n):
                if i > 0 and work.lists[CODES, i - 1] == work.lists[CODES, i]:
                    continue
                allowed[row, i] = (
                    first_equivalent(tables, world, work, n_keep, work.lists[CODES, i]) == work.lists[CODES, i]
                )
    return allowed


@njit
def first_equivalent(tables: GroupTables, world: World, work: Memory, n_keep: int, code: int) -> int:
    """The smallest pair code that symmetry makes equivalent to this one, given the relabelings FOUND."""
    best = code
    letter, element = (code - 1) // world.n_elements, (code - 1) % world.n_elements
    for p in range(n_keep):
        best = min(best, tables.relabeling[work.lists[FOUND, p], letter] * world.n_elements + element + 1)
    return best
