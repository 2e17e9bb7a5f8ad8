"""All labelings of one crystal: the images of its positions under the normalizer of its space group."""

import numpy as np

from oreflow.envs.compiled.jit import njit
from oreflow.envs.symmetry.canonical import (
    canonical_first,
    canonical_tuple,
    from_tuple_code,
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
