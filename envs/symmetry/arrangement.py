"""From any labeling of a crystal on the grid to one whose decoration is canonical and whose sites stand in order."""

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.symmetry.canonical import canonical_first, canonicalise, from_tuple_code, move_parameters
from oreflow.envs.symmetry.flat_tables import (
    DOF,
    FIRST_LINK,
    FIRST_MAP,
    FIRST_ROW,
    IS_POLAR,
    LAST_MAP,
    N_LETTERS,
    N_NORMALIZER,
    GroupTables,
)
from oreflow.envs.symmetry.relabel_sites import move_origin, rename_sites, site_at_origin, sort_sites


@njit(nogil=True)
def arrange(
    tables: GroupTables,
    group: int,
    n_elements: int,
    grid: int,
    codes: Ints,
    tuples: Ints,
    n: int,
    sorted_codes: Ints,
    sorted_tuples: Ints,
) -> None:
    """Make the labeling with canonical decoration and sites in the order of states from any labeling; exact.

    Args:
        codes: int64 [n], pair codes in any order.
        tuples: int64 [n, 3], free coordinates as whole numbers of 1/grid; no two sites of a position share points.
        sorted_codes: int64 [n]; sorted_tuples: int64 [n, 3]; receive the result. In a polar group the first site has 0
            along the polar axes.
    """
    ordered = np.zeros(n + 1, dtype=np.int64)
    sorted_codes[:n] = codes
    canonicalise(tables, group, n_elements, sorted_codes, n, -1, ordered)
    renamed, moved = np.zeros(n, dtype=np.int64), np.zeros((n, 3), dtype=np.int64)
    first_row, link = tables.group[group, FIRST_ROW], 0
    for element in range(tables.group[group, N_NORMALIZER]):
        link = tables.group[group, FIRST_LINK] + element * tables.group[group, N_LETTERS]
        if rename_sites(tables.link, link, n_elements, codes, n, sorted_codes, renamed, ordered):
            break
    for i in range(n):
        letter = (codes[i] - 1) // n_elements
        move_parameters(tables.link, link + letter, tuples[i], tables.row[first_row + letter, DOF], grid, moved[i])
    mark = -1
    if tables.group[group, IS_POLAR]:
        mark = _origin_to_first(tables, group, n_elements, grid, renamed, moved, n, sorted_codes[0])
    keys, scratch = np.zeros(n, dtype=np.int64), np.zeros(3, dtype=np.int64)
    sort_sites(tables, group, n_elements, grid, renamed, moved, n, mark, sorted_codes, keys, scratch)
    for i in range(n):
        sorted_tuples[i] = 0
        dof = tables.row[first_row + (sorted_codes[i] - 1) // n_elements, DOF]
        from_tuple_code(keys[i], dof, grid, sorted_tuples[i])
    if mark >= 0:  # its coordinates are no canonical tuple: they are the smallest with the origin there
        sorted_tuples[0] = moved[mark]


@njit(nogil=True)
def _origin_to_first(
    tables: GroupTables, group: int, n_elements: int, grid: int, codes: Ints, moved: Ints, n: int, first_code: int
) -> int:
    """Move the origin along the polar axes to a site with the first pair code, in place; return that site."""
    mark = 0
    while codes[mark] != first_code:
        mark += 1
    position = tables.group[group, FIRST_ROW] + (first_code - 1) // n_elements
    scratch, shift, image = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    best = canonical_first(tables, group, position, moved[mark], grid, scratch)
    for m in range(tables.row[position, FIRST_MAP], tables.row[position, LAST_MAP]):
        if site_at_origin(tables, group, position, m, moved[mark], grid, image, shift) == best:
            break
    move_origin(tables, group, n_elements, grid, codes, moved, n, shift, moved)
    moved[mark] = image
    return mark
