"""From any labeling of a crystal on the grid to one whose decoration is canonical and whose sites stand in order."""

import numpy as np

from oreflow.envs.compiled.jit import njit
from oreflow.envs.symmetry.canonical import (
    canonical_first,
    canonical_tuple,
    canonicalise,
    insert_sorted,
    move_parameters,
    tuple_code,
)
from oreflow.envs.symmetry.flat_tables import (
    DOF,
    FIRST_LINK,
    FIRST_MAP,
    FIRST_ROW,
    IS_POLAR,
    LAST_MAP,
    LETTER,
    N_LETTERS,
    N_NORMALIZER,
    POLAR,
    POLAR_PARAMETER,
    GroupTables,
)


@njit(nogil=True)
def arrange(
    tables: GroupTables,
    group: int,
    n_elements: int,
    grid: int,
    codes: np.ndarray,
    tuples: np.ndarray,
    n: int,
    sorted_codes: np.ndarray,
    sorted_tuples: np.ndarray,
) -> None:
    """A labeling with canonical decoration, sites in the order of states, from any labeling; exact.

    Args:
        codes: int64 [n], pair codes in any order.
        tuples: int64 [n, 3], free coordinates as whole numbers of 1/grid; no two sites of a position share points.
        sorted_codes: int64 [n]; sorted_tuples: int64 [n, 3]; receive the result. In a polar group the first site has 0
            along the polar axes.
    """
    scratch = np.zeros(n + 1, dtype=np.int64)
    sorted_codes[:n] = codes
    canonicalise(tables, group, n_elements, sorted_codes, n, -1, scratch)
    mapped, moved = np.zeros(n, dtype=np.int64), np.zeros((n, 3), dtype=np.int64)
    first_row = tables.group[group, FIRST_ROW]
    link = 0
    for element in range(tables.group[group, N_NORMALIZER]):
        link = tables.group[group, FIRST_LINK] + element * tables.group[group, N_LETTERS]
        for i in range(n):
            letter, chemical = (codes[i] - 1) // n_elements, (codes[i] - 1) % n_elements
            mapped[i] = tables.link[link + letter, LETTER] * n_elements + chemical + 1
            insert_sorted(scratch, i, mapped[i])
        same = True
        for i in range(n):
            same = same and scratch[i] == sorted_codes[i]
        if same:
            break
    for i in range(n):
        letter = (codes[i] - 1) // n_elements
        move_parameters(tables.link, link + letter, tuples[i], tables.row[first_row + letter, DOF], grid, moved[i])
    mark, image = -1, np.zeros(3, dtype=np.int64)
    if tables.group[group, IS_POLAR]:
        mark = _move_origin(tables, group, first_row, n_elements, grid, mapped, moved, n, sorted_codes[0])
    keys = np.zeros(n, dtype=np.int64)
    for i in range(n):
        row = first_row + (mapped[i] - 1) // n_elements
        key = canonical_tuple(tables, row, moved[i], grid, image) if i != mark else -1
        j = i
        while j > 0 and (sorted_codes[j - 1] > mapped[i] or (sorted_codes[j - 1] == mapped[i] and keys[j - 1] > key)):
            sorted_codes[j], keys[j] = sorted_codes[j - 1], keys[j - 1]
            sorted_tuples[j] = sorted_tuples[j - 1]
            j -= 1
        sorted_codes[j], keys[j] = mapped[i], key
        dof = tables.row[row, DOF]
        sorted_tuples[j] = moved[i]
        if i != mark:
            for k in range(dof - 1, -1, -1):
                sorted_tuples[j, k] = key % grid
                key //= grid


@njit(nogil=True)
def _move_origin(
    tables: GroupTables,
    group: int,
    first_row: int,
    n_elements: int,
    grid: int,
    mapped: np.ndarray,
    moved: np.ndarray,
    n: int,
    first_code: int,
) -> int:
    """Shifts all sites along the polar axes so that one with the first pair code has 0 there; returns that one."""
    mark = 0
    while mapped[mark] != first_code:
        mark += 1
    row = first_row + (first_code - 1) // n_elements
    dof = tables.row[row, DOF]
    scratch, shift, image = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    best = canonical_first(tables, group, row, moved[mark], grid, scratch)
    for m in range(tables.row[row, FIRST_MAP], tables.row[row, LAST_MAP]):
        move_parameters(tables.map, m, moved[mark], dof, grid, image)
        for axis in range(3):
            if tables.group[group, POLAR + axis]:
                k = tables.row[row, POLAR_PARAMETER + axis]
                shift[axis], image[k] = image[k], 0
        if tuple_code(image, dof, grid) == best:
            break
    for i in range(n):
        for axis in range(3):
            if tables.group[group, POLAR + axis]:
                k = tables.row[first_row + (mapped[i] - 1) // n_elements, POLAR_PARAMETER + axis]
                moved[i, k] = (moved[i, k] - shift[axis]) % grid
    moved[mark] = image
    return mark
