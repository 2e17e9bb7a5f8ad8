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

import numpy as np

from envs.jit import njit
from envs.wyckoff_arrays import (
    DOF,
    FIRST_LINK,
    FIRST_MAP,
    FIRST_RELABELING,
    FIRST_ROW,
    IS_POLAR,
    LAST_MAP,
    LAST_RELABELING,
    LETTER,
    N_LETTERS,
    N_NORMALIZER,
    POLAR,
    POLAR_PARAMETER,
    SHIFT,
    GroupTables,
)
from envs.wyckoff_tables import DENOMINATOR


@njit(inline="always")
def relabel(code: int, letters: np.ndarray, n_elements: int) -> int:
    """A pair code after a permutation of positions."""
    return letters[(code - 1) // n_elements] * n_elements + (code - 1) % n_elements + 1


@njit
def insert_sorted(codes: np.ndarray, n: int, code: int) -> None:
    """Puts a code among the first n, which are ascending."""
    i = n
    while i > 0 and codes[i - 1] > code:
        codes[i] = codes[i - 1]
        i -= 1
    codes[i] = code


@njit
def canonicalise(
    tables: GroupTables, group: int, n_elements: int, codes: np.ndarray, n: int, pending: int, scratch: np.ndarray
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
            codes[:n] = scratch[:n]
            best_pending = other
    return best_pending


@njit
def stabiliser(
    tables: GroupTables, group: int, n_elements: int, codes: np.ndarray, n: int, scratch: np.ndarray, out: np.ndarray
) -> int:
    """The relabelings that leave ascending pair codes as they are: their numbers into `out`; returns how many.

    `scratch`, as long as `codes`, receives the letters.
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
def tuple_code(parameters: np.ndarray, dof: int, grid: int) -> int:
    code = 0
    for k in range(dof):
        code = code * grid + parameters[k]
    return code


@njit(inline="always")
def from_tuple_code(code: int, dof: int, grid: int, out: np.ndarray) -> None:
    for k in range(dof - 1, -1, -1):
        out[k] = code % grid
        code //= grid


@njit(inline="always")
def move_parameters(maps: np.ndarray, which: int, source: np.ndarray, dof: int, grid: int, out: np.ndarray) -> None:
    """out = matrix @ source + shift on the grid."""
    unit = grid // DENOMINATOR
    for i in range(dof):
        total = maps[which, SHIFT + i] * unit
        for k in range(dof):
            total += maps[which, 3 * i + k] * source[k]
        out[i] = total % grid


@njit
def canonical_tuple(tables: GroupTables, row: int, parameters: np.ndarray, grid: int, scratch: np.ndarray) -> int:
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
def canonical_first(
    tables: GroupTables, group: int, row: int, parameters: np.ndarray, grid: int, scratch: np.ndarray
) -> int:
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


@njit
def labelings(
    tables: GroupTables,
    group: int,
    n_elements: int,
    grid: int,
    codes: np.ndarray,
    tuples: np.ndarray,
    n: int,
    smallest: np.ndarray,
    every: np.ndarray,
) -> int:
    """Goes through all labelings of a crystal whose decoration is canonical.

    The labelings of one crystal are the images of one of them under the normalizer elements that keep the decoration
    and, where the origin is free, under the choice of the point that lies at 0. Each comes up equally often: as often
    as the crystal has such symmetries of its own.

    Args:
        codes: int64 [n], ascending pair codes; tuples: int64 [n], tuple codes, ascending among equal pair codes (the
            first site of a polar group apart).
        smallest: int64 [n], receives the smallest tuples of all labelings.
        every: int64 [room, n], receives all images, repeated ones too, as far as there is room; may be empty.

    Returns:
        The number of labelings; `every` then holds labelings * (symmetries) rows, the count of which is in
        `smallest` only if there was room.
    """
    is_polar = tables.group[group, IS_POLAR] != 0
    first_row, n_letters = tables.group[group, FIRST_ROW], tables.group[group, N_LETTERS]
    mapped, moved = np.zeros(n, dtype=np.int64), np.zeros((n, 3), dtype=np.int64)
    own, scratch, shifted = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    image, image_codes = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    marked = np.zeros(3, dtype=np.int64)
    n_images, n_same = 0, 0
    smallest[:n] = tuples[:n]
    for element in range(tables.group[group, N_NORMALIZER]):
        link = tables.group[group, FIRST_LINK] + element * n_letters
        for i in range(n):
            letter, chemical = (codes[i] - 1) // n_elements, (codes[i] - 1) % n_elements
            mapped[i] = tables.link[link + letter, LETTER] * n_elements + chemical + 1
            insert_sorted(image_codes, i, mapped[i])
        keeps = True
        for i in range(n):
            if image_codes[i] != codes[i]:
                keeps = False
                break
        if not keeps:
            continue
        for i in range(n):
            letter = (codes[i] - 1) // n_elements
            dof = tables.row[first_row + letter, DOF]
            from_tuple_code(tuples[i], dof, grid, own)
            move_parameters(tables.link, link + letter, own, dof, grid, moved[i])
        for mark in range(n if is_polar else 1):
            if is_polar and mapped[mark] != codes[0]:
                continue
            row = first_row + (codes[0] - 1) // n_elements
            best = -1
            if is_polar:
                best = canonical_first(tables, group, row, moved[mark], grid, scratch)
            for m in range(
                tables.row[row, FIRST_MAP], tables.row[row, LAST_MAP] if is_polar else tables.row[row, FIRST_MAP] + 1
            ):
                if is_polar:
                    dof = tables.row[row, DOF]
                    move_parameters(tables.map, m, moved[mark], dof, grid, marked)
                    shifted[:] = 0
                    for axis in range(3):
                        if tables.group[group, POLAR + axis]:
                            shifted[axis] = marked[tables.row[row, POLAR_PARAMETER + axis]]
                            marked[tables.row[row, POLAR_PARAMETER + axis]] = 0
                    if tuple_code(marked, dof, grid) != best:
                        continue
                # place all sites, sorted by pair code and tuple code
                filled = 0
                if is_polar:
                    image_codes[0], image[0] = codes[0], best
                    filled = 1
                for i in range(n):
                    if is_polar and i == mark:
                        continue
                    own_row = first_row + (mapped[i] - 1) // n_elements
                    own[:] = moved[i]
                    if is_polar:
                        for axis in range(3):
                            if tables.group[group, POLAR + axis]:
                                k = tables.row[own_row, POLAR_PARAMETER + axis]
                                own[k] = (own[k] - shifted[axis]) % grid
                    code = canonical_tuple(tables, own_row, own, grid, scratch)
                    j = filled
                    low = 1 if is_polar else 0
                    while j > low and (
                        image_codes[j - 1] > mapped[i] or (image_codes[j - 1] == mapped[i] and image[j - 1] > code)
                    ):
                        image_codes[j], image[j] = image_codes[j - 1], image[j - 1]
                        j -= 1
                    image_codes[j], image[j] = mapped[i], code
                    filled += 1
                if n_images < len(every):
                    every[n_images, :n] = image[:n]
                n_images += 1
                same, sign = True, 0
                for i in range(n):
                    if image[i] != tuples[i]:
                        same = False
                    if sign == 0 and image[i] != smallest[i]:
                        sign = -1 if image[i] < smallest[i] else 1
                n_same += same
                if sign < 0:
                    smallest[:n] = image[:n]
    return n_images // max(n_same, 1)
