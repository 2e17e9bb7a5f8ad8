"""Free coordinates as bins: which tuples of bins stand for an orbit of points, and how many there are, compiled.

For every position with freedom a bit says of each tuple of bins whether it is a crystal's own: its points are as many
as the position's multiplicity (none falls on a position of higher symmetry), and no other tuple with a smaller code
gives the same points. Bits lie in *lines* along the last coordinate; counts summed up by line answer "how many codes
between these two" at once, which is what a mask needs to know.
"""

import numba
import numpy as np

from oreflow.envs.arrays import Bools, Ints, UInt64s
from oreflow.envs.compiled.bitsets import count_bits
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.records import Record
from oreflow.envs.symmetry.canonical import canonical_first, canonical_tuple, from_tuple_code
from oreflow.envs.symmetry.flat_tables import BASIS, DOF, FIRST_POINT, IS_POLAR, LAST_POINT, ORIGIN, SHIFT, GroupTables
from oreflow.envs.symmetry.space_groups import DENOMINATOR

FIRST_LINE, LAST_LINE, N_VALID = 0, 1, 2  # columns of `table`


class CoordinateGrid(Record):
    """The bits of all positions of a world; `table_of[row, 1]` is for the first site of a polar group."""

    grid: int
    table_of: Ints  # int64 [row, 2], -1 where a position has no freedom or is not of the world
    table: Ints  # int64 [table, 3], range of lines and number of valid tuples
    words: UInt64s  # uint64 [line, word]
    before: Ints  # int64 [line], valid tuples of the same table in the lines before


@njit(parallel=True)
def _fill(
    tables: GroupTables, group: int, row: int, grid: int, is_first: bool, words: UInt64s, n_lines: int, first: int
) -> None:
    dof = tables.row[row, DOF]
    unit = grid // DENOMINATOR
    for line in numba.prange(n_lines):
        parameters, scratch = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
        site, point, start = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
        for last in range(grid):
            code = line * grid + last
            from_tuple_code(code, dof, grid, parameters)
            if is_first:
                if canonical_first(tables, group, row, parameters, grid, scratch) != code:
                    continue
            elif canonical_tuple(tables, row, parameters, grid, scratch) != code:
                continue
            for i in range(3):
                site[i] = tables.row[row, ORIGIN + i] * unit
                for k in range(dof):
                    site[i] += tables.row[row, BASIS + 3 * i + k] * parameters[k]
            special = False
            for p in range(tables.row[row, FIRST_POINT], tables.row[row, LAST_POINT]):
                for i in range(3):
                    point[i] = tables.point[p, SHIFT + i] * unit
                    for k in range(3):
                        point[i] += tables.point[p, 3 * i + k] * site[k]
                    point[i] %= grid
                if p == tables.row[row, FIRST_POINT]:
                    start[:] = point
                elif point[0] == start[0] and point[1] == start[1] and point[2] == start[2]:
                    special = True
                    break
            if not special:
                words[first + line, last >> 6] |= np.uint64(1) << np.uint64(last & 63)


def coordinate_grid(tables: GroupTables, grid: int, rows: Ints, groups: Ints) -> CoordinateGrid:
    """The bits of positions with freedom, `rows` of the groups `groups`, [position] each."""
    table_of = np.full((len(tables.row), 2), -1, dtype=np.int64)
    chosen: list[tuple[int, int, bool]] = []
    for row, group in zip(rows.tolist(), groups.tolist()):
        for is_first in (False, True):
            if tables.row[row, DOF] and (not is_first or tables.group[group, IS_POLAR]):
                table_of[row, int(is_first)] = len(chosen)
                chosen.append((row, group, is_first))
    n_lines = [grid ** (int(tables.row[row, DOF]) - 1) for row, _, _ in chosen]
    first_line = np.concatenate([[0], np.cumsum(n_lines, dtype=np.int64)]).astype(np.int64)
    words = np.zeros((int(first_line[-1]), (grid + 63) // 64), dtype=np.uint64)
    for (row, group, is_first), first, n in zip(chosen, first_line.tolist(), n_lines):
        _fill(tables, group, row, grid, is_first, words, n, first)
    before, total = _count(words, first_line)
    return CoordinateGrid(grid, table_of, np.stack([first_line[:-1], first_line[1:], total], axis=1), words, before)


@njit
def _count(words: UInt64s, first_line: Ints) -> tuple[Ints, Ints]:
    before = np.zeros(len(words), dtype=np.int64)
    total = np.zeros(len(first_line) - 1, dtype=np.int64)
    for table in range(len(total)):
        for line in range(first_line[table], first_line[table + 1]):
            before[line] = total[table]
            for word in words[line]:
                total[table] += count_bits(word)
    return before, total


@njit
def _below(space: CoordinateGrid, table: int, code: int) -> int:
    """Valid codes below `code`."""
    line, last = space.table[table, FIRST_LINE] + code // space.grid, code % space.grid
    if line == space.table[table, LAST_LINE]:
        return space.table[table, N_VALID]
    n = space.before[line]
    for w in range(space.words.shape[1]):
        if last >= 64 * (w + 1):
            n += count_bits(space.words[line, w])
        elif last > 64 * w:
            n += count_bits(space.words[line, w] & ((np.uint64(1) << np.uint64(last - 64 * w)) - np.uint64(1)))
    return n


@njit
def is_valid(space: CoordinateGrid, table: int, code: int) -> bool:
    """Tell whether a tuple of bins, given by its code, keeps atoms of one site apart."""
    last = code % space.grid
    word = space.words[space.table[table, FIRST_LINE] + code // space.grid, last >> 6]
    return (word >> np.uint64(last & 63)) & np.uint64(1) != np.uint64(0)


@njit
def count_between(space: CoordinateGrid, table: int, low: int, high: int, used: Ints, n_used: int) -> int:
    """Valid codes from `low` up to, not including, `high` that are not among the first n of `used`, all valid."""
    if low >= high:
        return 0
    n = _below(space, table, high) - _below(space, table, low)
    for i in range(n_used):
        n -= low <= used[i] < high
    return n


@njit
def bins_with_room(
    space: CoordinateGrid,
    table: int,
    prefix: int,
    span: int,
    low: int,
    high: int,
    used: Ints,
    n_used: int,
    out: Bools,
) -> None:
    """Which bins of a coordinate begin an unused valid code from `low` up to, not including, `high`.

    Args:
        prefix: code of the coordinates before; span: number of codes that begin with the same bin.
        out: bool [grid], receives the answer.
    """
    for b in range(space.grid):
        start = (prefix * space.grid + b) * span
        out[b] = count_between(space, table, max(start, low), min(start + span, high), used, n_used) > 0


@njit
def last_bins_with_room(
    space: CoordinateGrid,
    table: int,
    prefix: int,
    low: int,
    high: int,
    used: Ints,
    n_used: int,
    out: Bools,
) -> None:
    """The same for the last coordinate, where each bin is one code: a line of bits."""
    line, start = space.table[table, FIRST_LINE] + prefix, prefix * space.grid
    for b in range(space.grid):
        bit = (space.words[line, b >> 6] >> np.uint64(b & 63)) & np.uint64(1)
        out[b] = bit != np.uint64(0) and low <= start + b < high
    for i in range(n_used):
        if 0 <= used[i] - start < space.grid:
            out[used[i] - start] = False


@njit
def highest_with_room(space: CoordinateGrid, table: int, n_codes: int, room: int, used: Ints, n_used: int) -> int:
    """The largest code above which `room` unused valid ones remain; -1 when there is none."""
    low, high = -1, n_codes - 1
    while low < high:
        middle = (low + high + 1) // 2
        if count_between(space, table, middle + 1, n_codes, used, n_used) >= room:
            low = middle
        else:
            high = middle - 1
    return low
