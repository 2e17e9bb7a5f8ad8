"""Which labelings are the same crystal: canonical forms modulo the Euclidean normalizer, compiled.

A normalizer element sends each Wyckoff position of a group to an equivalent one (rock salt: 4a to 4b and back). Here
are the canonical form of what is occupied, which choices the symmetry of a partial decoration makes equivalent, and,
for crystals with coordinates, all labelings of one crystal.

Occupied positions are *pair codes* `letter * n_elements + element + 1` in ascending order, 0 behind the last. A
labeling is canonical if its codes, read in order, are the smallest of all labelings of the same decoration.

Coordinates are whole numbers of 1/grid. Those of one site are summed up in a *tuple code* (p0 * grid + p1) * grid + p2
over its degrees of freedom; of all parameters that give the same points, those with the smallest code stand for them.
In a group with free origin (a polar one) the first site has 0 along the polar axes.
"""

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit
from oreflow.envs.symmetry.flat_tables import (
    DOF,
    FIRST_MAP,
    FIRST_RELABELING,
    LAST_MAP,
    LAST_RELABELING,
    POLAR,
    POLAR_PARAMETER,
    SHIFT,
    GroupTables,
)
from oreflow.envs.symmetry.space_groups import DENOMINATOR


@njit(inline="always")
def relabel(code: int, letters: Ints, n_elements: int) -> int:
    """A pair code after a permutation of positions."""
    return letters[(code - 1) // n_elements] * n_elements + (code - 1) % n_elements + 1


@njit
def insert_sorted(codes: Ints, n: int, code: int) -> None:
    """Puts a code among the first n, which are ascending."""
    i = n
    while i > 0 and codes[i - 1] > code:
        codes[i] = codes[i - 1]
        i -= 1
    codes[i] = code


@njit
def canonicalise(
    tables: GroupTables, group: int, n_elements: int, codes: Ints, n: int, pending: int, scratch: Ints
) -> int:
    """Turns pair codes, in any order, into their canonical form in place.

    Args:
        n: how many codes there are.
        pending: a letter that waits for its element, -1 for none; codes come first in the comparison.
        scratch: as long as `codes`.

    Returns:
        The pending letter of the canonical form.
    """
    first, last = tables.group[group, FIRST_RELABELING], tables.group[group, LAST_RELABELING]
    for i in range(1, n):  # sort
        code = codes[i]
        insert_sorted(codes, i, code)
    best_pending = pending
    # `codes` holds the best so far; the elements of a group are tried on it in turn, which reaches all labelings, as
    # the permutations of positions form a group.
    start = codes[:n].copy()
    for p in range(first + 1, last):
        letters = tables.relabeling[p]
        for i in range(n):
            insert_sorted(scratch, i, relabel(start[i], letters, n_elements))
        other = letters[pending] if pending >= 0 else -1
        sign = 0
        for i in range(n):
            if scratch[i] != codes[i]:
                sign = -1 if scratch[i] < codes[i] else 1
                break
        if sign < 0 or (sign == 0 and other < best_pending):
            copy_first(codes, scratch, n)
            best_pending = other
    return best_pending


@njit
def stabiliser(tables: GroupTables, group: int, n_elements: int, codes: Ints, n: int, scratch: Ints, out: Ints) -> int:
    """The relabelings that leave ascending pair codes as they are: their numbers into `out`; returns how many.

    `scratch`, as long as `codes`, is overwritten.
    """
    for i in range(n):
        scratch[i] = (codes[i] - 1) // n_elements
    found = 0
    for p in range(tables.group[group, FIRST_RELABELING], tables.group[group, LAST_RELABELING]):
        letters = tables.relabeling[p]
        same, i = True, 0
        while same and i < n:  # as many of each code's image as of the code
            moved, length, number = codes[i] + (letters[scratch[i]] - scratch[i]) * n_elements, 1, 0
            while i + length < n and codes[i + length] == codes[i]:
                length += 1
            for j in range(n):
                number += codes[j] == moved
            same = number == length
            i += length
        if same:
            out[found] = p
            found += 1
    return found


@njit(inline="always")
def tuple_code(parameters: Floats, dof: int, grid: int) -> int:
    """Number a tuple of bins, [dof], so that codes order tuples lexicographically."""
    code = 0
    for k in range(dof):
        code = code * grid + parameters[k]
    return code


@njit(inline="always")
def from_tuple_code(code: int, dof: int, grid: int, out: Ints) -> None:
    """Write the tuple of bins, [dof], that a code stands for, into `out`."""
    for k in range(dof - 1, -1, -1):
        out[k] = code % grid
        code //= grid


@njit(inline="always")
def move_parameters(maps: Ints, which: int, source: Ints, dof: int, grid: int, out: Ints) -> None:
    """out = matrix @ source + shift on the grid."""
    unit = grid // DENOMINATOR
    for i in range(dof):
        total = maps[which, SHIFT + i] * unit
        for k in range(dof):
            total += maps[which, 3 * i + k] * source[k]
        out[i] = total % grid


@njit
def canonical_tuple(tables: GroupTables, row: int, parameters: Ints, grid: int, scratch: Ints) -> int:
    """The smallest code of the parameters that give the same points as these."""
    dof = tables.row[row, DOF]
    best = -1
    for m in range(tables.row[row, FIRST_MAP], tables.row[row, LAST_MAP]):
        move_parameters(tables.map, m, parameters, dof, grid, scratch)
        code = tuple_code(scratch, dof, grid)
        if best < 0 or code < best:
            best = code
    return best


@njit
def canonical_first(tables: GroupTables, group: int, row: int, parameters: Ints, grid: int, scratch: Ints) -> int:
    """The same for the first site of a polar group, the origin moved so that it has 0 along the polar axes."""
    dof = tables.row[row, DOF]
    best = -1
    for m in range(tables.row[row, FIRST_MAP], tables.row[row, LAST_MAP]):
        move_parameters(tables.map, m, parameters, dof, grid, scratch)
        for axis in range(3):
            if tables.group[group, POLAR + axis]:
                scratch[tables.row[row, POLAR_PARAMETER + axis]] = 0
        code = tuple_code(scratch, dof, grid)
        if best < 0 or code < best:
            best = code
    return best
