"""All labelings of one crystal: the images of its positions under the normalizer of its space group."""

import numpy as np

from oreflow.envs.arrays import Ints
from oreflow.envs.compiled.copying import copy_first
from oreflow.envs.compiled.jit import njit
from oreflow.envs.symmetry.canonical import canonical_first, from_tuple_code, move_parameters
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


@njit
def labelings(
    tables: GroupTables,
    group: int,
    n_elements: int,
    grid: int,
    codes: Ints,
    tuples: Ints,
    n: int,
    smallest: Ints,
    every: Ints,
) -> int:
    """Go through all labelings of a crystal whose decoration is canonical, and count them.

    The labelings of one crystal are the images of one of them under the normalizer elements that keep the decoration
    and, where the origin is free, under the choice of the point that lies at 0. Each comes up equally often: as often
    as the crystal has such symmetries of its own, which is how often its own labeling comes up.

    Example: one atom in general position of P-1, at (1/4, 1/4, 1/4). The normalizer's eight elements move the origin by
    half a cell along none, some or all axes, which makes eight images. By all axes is (3/4, 3/4, 3/4), which inversion
    makes (1/4, 1/4, 1/4) again: two of the images are the crystal's own labeling, so that it has 8 / 2 = 4 labelings.

    Args:
        codes: int64 [n], ascending pair codes; tuples: int64 [n], tuple codes, ascending among equal pair codes (the
            first site of a polar group apart).
        smallest: int64 [n], receives the smallest tuples of all labelings, read from the first site on.
        every: int64 [room, n or more], receives the tuples of each image, repeated ones too, as far as there is room;
            may be empty. Rows beyond the number of images stay as they are.

    Returns:
        The number of distinct labelings: that of images divided by how many of them are the labeling given.
    """
    renamed, sites = np.zeros(n, dtype=np.int64), np.zeros((n, 3), dtype=np.int64)
    shifted, origin, shift = np.zeros((n, 3), dtype=np.int64), np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    image, image_codes = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    scratch = np.zeros(3, dtype=np.int64)
    first = tables.group[group, FIRST_ROW] + (codes[0] - 1) // n_elements  # the position that the first site has
    n_images, n_same = 0, 0
    copy_first(smallest, tuples, n)
    for element in range(tables.group[group, N_NORMALIZER]):
        link = tables.group[group, FIRST_LINK] + element * tables.group[group, N_LETTERS]
        if not rename_sites(tables.link, link, n_elements, codes, n, codes, renamed, image_codes):
            continue
        _move_sites(tables, group, link, n_elements, grid, codes, tuples, n, sites, scratch)
        if tables.group[group, IS_POLAR] == 0:
            sort_sites(tables, group, n_elements, grid, renamed, sites, n, -1, image_codes, image, scratch)
            n_same += _record(image, tuples, n, n_images, smallest, every)
            n_images += 1
            continue
        for mark in range(n):  # any site that may stand first can be the one at the origin
            if renamed[mark] != codes[0]:
                continue
            best = canonical_first(tables, group, first, sites[mark], grid, scratch)
            for m in range(tables.row[first, FIRST_MAP], tables.row[first, LAST_MAP]):
                if site_at_origin(tables, group, first, m, sites[mark], grid, origin, shift) != best:
                    continue
                move_origin(tables, group, n_elements, grid, renamed, sites, n, shift, shifted)
                sort_sites(tables, group, n_elements, grid, renamed, shifted, n, mark, image_codes, image, scratch)
                image[0] = best
                n_same += _record(image, tuples, n, n_images, smallest, every)
                n_images += 1
    return n_images // max(n_same, 1)


@njit
def _move_sites(
    tables: GroupTables,
    group: int,
    link: int,
    n_elements: int,
    grid: int,
    codes: Ints,
    tuples: Ints,
    n: int,
    sites: Ints,
    scratch: Ints,
) -> None:
    """Where one element of the normalizer puts each site, from pair and tuple codes, into `sites` [n, 3]."""
    for i in range(n):
        letter = (codes[i] - 1) // n_elements
        dof = tables.row[tables.group[group, FIRST_ROW] + letter, DOF]
        from_tuple_code(tuples[i], dof, grid, scratch)
        move_parameters(tables.link, link + letter, scratch, dof, grid, sites[i])


@njit
def _record(image: Ints, own: Ints, n: int, place: int, smallest: Ints, every: Ints) -> bool:
    """Keep one image: as row `place` of `every` if there is one, and as `smallest` if it is; whether it is `own`."""
    if place < len(every):
        copy_first(every[place], image, n)
    same, sign = True, 0
    for i in range(n):
        if image[i] != own[i]:
            same = False
        if sign == 0 and image[i] != smallest[i]:
            sign = -1 if image[i] < smallest[i] else 1
    if sign < 0:
        copy_first(smallest, image, n)
    return same
