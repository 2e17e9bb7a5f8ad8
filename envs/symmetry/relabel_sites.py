"""One labeling of a crystal made from another: sites renamed, the origin moved, sites put in order; compiled.

`images.py` goes through all labelings with these steps, `arrangement.py` takes the first that is wanted.
"""

from oreflow.envs.arrays import Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.symmetry.canonical import canonical_tuple, insert_sorted, move_parameters, tuple_code
from oreflow.envs.symmetry.flat_tables import DOF, FIRST_ROW, LETTER, POLAR, POLAR_PARAMETER, GroupTables


@njit
def rename_sites(
    links: Ints, first: int, n_elements: int, codes: Ints, n: int, wanted: Ints, renamed: Ints, ordered: Ints
) -> bool:
    """Rename all sites by one element of the normalizer; return whether they then are the wanted decoration.

    Args:
        links: int64 [link, 13], as in `GroupTables`; first: the row of that element and letter 0.
        codes: int64 [n], pair codes in any order.
        wanted: int64 [n], ascending pair codes.
        renamed: int64 [n], receives the new pair code of each site.
        ordered: int64 [n], receives the same codes in ascending order.
    """
    for i in range(n):
        letter, chemical = (codes[i] - 1) // n_elements, (codes[i] - 1) % n_elements
        renamed[i] = links[first + letter, LETTER] * n_elements + chemical + 1
        insert_sorted(ordered, i, renamed[i])
    for i in range(n):  # noqa: SIM110 - not all of Python compiles
        if ordered[i] != wanted[i]:
            return False
    return True


@njit
def site_at_origin(
    tables: GroupTables, group: int, position: int, which: int, parameters: Ints, grid: int, out: Ints, shift: Ints
) -> int:
    """Describe a site anew such that it has 0 along the polar axes; return the tuple code of that description.

    Args:
        position: the site's row in `tables.row`.
        which: a row of `tables.map`, one of those that leave the site's points as they are.
        parameters: int64 [3], coordinates of the site, whole numbers of 1/grid.
        out: int64 [3], receives its new coordinates.
        shift: int64 [3], receives by how much the origin moves along each polar axis; other entries stay.
    """
    dof = tables.row[position, DOF]
    move_parameters(tables.map, which, parameters, dof, grid, out)
    for axis in range(3):
        if tables.group[group, POLAR + axis]:
            k = tables.row[position, POLAR_PARAMETER + axis]
            shift[axis], out[k] = out[k], 0
    return tuple_code(out, dof, grid)


@njit
def move_origin(
    tables: GroupTables,
    group: int,
    n_elements: int,
    grid: int,
    codes: Ints,
    sites: Ints,
    n: int,
    shift: Ints,
    out: Ints,
) -> None:
    """Describe all sites from an origin that lies elsewhere along the polar axes.

    Args:
        codes: int64 [n], the pair code of each site; sites: int64 [n, 3], its coordinates in whole numbers of 1/grid.
        shift: int64 [3], as `site_at_origin` returns it.
        out: int64 [n, 3], receives the new coordinates; may be `sites`.
    """
    for i in range(n):
        position = tables.group[group, FIRST_ROW] + (codes[i] - 1) // n_elements
        for k in range(3):
            out[i, k] = sites[i, k]
        for axis in range(3):
            if tables.group[group, POLAR + axis]:
                k = tables.row[position, POLAR_PARAMETER + axis]
                out[i, k] = (out[i, k] - shift[axis]) % grid


@njit
def sort_sites(
    tables: GroupTables,
    group: int,
    n_elements: int,
    grid: int,
    codes: Ints,
    sites: Ints,
    n: int,
    mark: int,
    sorted_codes: Ints,
    sorted_tuples: Ints,
    scratch: Ints,
) -> None:
    """Put sites in the order of states: by pair code, then by the canonical tuple code of their coordinates.

    Args:
        codes: int64 [n], the pair code of each site; sites: int64 [n, 3], its coordinates in whole numbers of 1/grid.
        mark: in a polar group the number of the site at the origin, which stands first of all and has -1 for a tuple
            code; -1 in the other groups.
        sorted_codes: int64 [n], receives pair codes; sorted_tuples: int64 [n], receives tuple codes.
        scratch: int64 [3].
    """
    for i in range(n):
        position = tables.group[group, FIRST_ROW] + (codes[i] - 1) // n_elements
        key = -1 if i == mark else canonical_tuple(tables, position, sites[i], grid, scratch)
        j = i
        while j > 0 and (
            sorted_codes[j - 1] > codes[i] or (sorted_codes[j - 1] == codes[i] and sorted_tuples[j - 1] > key)
        ):
            sorted_codes[j], sorted_tuples[j] = sorted_codes[j - 1], sorted_tuples[j - 1]
            j -= 1
        sorted_codes[j], sorted_tuples[j] = codes[i], key
