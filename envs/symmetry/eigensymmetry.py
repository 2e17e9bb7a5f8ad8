"""Which decorations have more symmetry than the space group they are written in, compiled.

Sodium on 4a and chlorine on 4b of F432 make rock salt, whose group is Fm-3m: every symmetry operation of these orbits
counts, not only those of the chosen group. A crystal's own symmetry is called its eigensymmetry.

An element of the Euclidean normalizer that is not in the group is such an additional operation if it maps every
occupied position onto itself, or onto one that the same element occupies, whatever values free coordinates have. In
groups with free origin the origin may move along. What this does not see: coordinates and axis ratios that happen to
be special, like sites with free coordinates that change places, and additional translations outside the normalizer.
"""

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.compiled.jit import njit
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
    SHIFT,
    GroupTables,
)
from oreflow.envs.symmetry.space_groups import DENOMINATOR


@njit(nogil=True)
def has_more_symmetry(tables: GroupTables, space_group: Ints, site_offsets: Ints, letter: Ints, element: Ints) -> Bools:
    """bool [batch], of decorations as `Crystals` holds them: letters and chemical elements of the sites, ragged."""
    out = np.zeros(len(space_group), dtype=np.bool_)
    origin, scratch = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for row in range(len(space_group)):
        first, last = site_offsets[row], site_offsets[row + 1]
        extra, n = 0, tables.group[space_group[row], N_NORMALIZER]
        while extra < n and last > first and not out[row]:
            out[row] = _keeps(tables, space_group[row], extra, letter[first:last], element[first:last], origin, scratch)
            extra += 1
    return out


@njit(nogil=True)
def _keeps(
    tables: GroupTables,
    group: int,
    extra: int,
    letter: Ints,
    element: Ints,
    origin: Floats,
    scratch: Ints,
) -> bool:
    """Whether an element of the normalizer keeps a decoration; the identity, by moving along axes with free origin."""
    origin[:] = 0
    if tables.group[group, IS_POLAR] == 0:
        return extra > 0 and _keeps_sites(tables, group, extra, letter, element, 0, origin, scratch)
    # Every position has a free coordinate along every polar axis: the first site says how far the origin can move.
    first = tables.group[group, FIRST_ROW] + letter[0]
    link = tables.group[group, FIRST_LINK] + extra * tables.group[group, N_LETTERS] + letter[0]
    if tables.link[link, LETTER] != letter[0]:
        return False
    for own in range(tables.row[first, FIRST_MAP], tables.row[first, LAST_MAP]):
        alone = extra > 0 and len(letter) == 1  # its coordinate along the axis is nothing but the choice of the origin
        if not _same_but_for_origin(tables, group, first, link, own, alone, origin):
            continue
        if extra == 0 and not origin.any():
            continue
        if _keeps_sites(tables, group, extra, letter, element, 1, origin, scratch):
            return True
    return False


@njit(nogil=True)
def _keeps_sites(
    tables: GroupTables,
    group: int,
    extra: int,
    letter: Ints,
    element: Ints,
    start: int,
    origin: Floats,
    scratch: Ints,
) -> bool:
    """Whether each site from number `start` on is mapped onto itself, or, without freedom, onto its like."""
    for site in range(start, len(letter)):
        row = tables.group[group, FIRST_ROW] + letter[site]
        link = tables.group[group, FIRST_LINK] + extra * tables.group[group, N_LETTERS] + letter[site]
        target, kept = tables.link[link, LETTER], False
        if tables.row[row, DOF] == 0:
            for other in range(len(letter)):
                kept = kept or (letter[other] == target and element[other] == element[site])
        elif target == letter[site]:
            for own in range(tables.row[row, FIRST_MAP], tables.row[row, LAST_MAP]):
                same = _same_but_for_origin(tables, group, row, link, own, False, scratch)
                kept = kept or (same and (scratch == origin).all())
        if not kept:
            return False
    return True


@njit(nogil=True)
def _same_but_for_origin(
    tables: GroupTables, group: int, row: int, link: int, own: int, alone: bool, origin: Floats
) -> bool:
    """Whether a change of parameters equals one that keeps the points, but for shifts along polar axes, into `origin`.

    Of a site that is `alone` the coordinates along polar axes do not matter.
    """
    origin[:] = 0
    for i in range(tables.row[row, DOF]):
        axis = -1
        for k in range(3):
            if tables.group[group, POLAR + k] and tables.row[row, POLAR_PARAMETER + k] == i:
                axis = k
        if axis >= 0 and alone:
            continue
        for j in range(tables.row[row, DOF]):
            if tables.link[link, 3 * i + j] != tables.map[own, 3 * i + j]:
                return False
        shift = (tables.link[link, SHIFT + i] - tables.map[own, SHIFT + i]) % DENOMINATOR
        if axis >= 0:
            origin[axis] = shift
        elif shift != 0:
            return False
    return True
