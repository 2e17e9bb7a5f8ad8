"""The tables of all 230 space groups as a few flat arrays that compiled code reads, their columns named here.

A *row* is one Wyckoff position of one group: FIRST_ROW of the group plus the letter. A *link* is one element of the
Euclidean normalizer acting on one position: FIRST_LINK + element * N_LETTERS + letter. Few wide arrays instead of many
narrow ones: what a compiled function is given takes time to compile, once for each array.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oreflow.envs.arrays import Bools, Floats, Int8s, Ints
from oreflow.envs.compiled.records import Record
from oreflow.envs.symmetry.space_groups import DENOMINATOR, SpaceGroup, space_group

# Columns of `group`
FIRST_ROW, N_LETTERS, N_CENTRING, IS_POLAR, FIRST_LINK, N_NORMALIZER, FIRST_RELABELING, LAST_RELABELING, POLAR = range(
    9
)
# Columns of `row`; POLAR_PARAMETER, ORIGIN and BASIS are the first of several
MULTIPLICITY, DOF, FIRST_POINT, LAST_POINT, FIRST_MAP, LAST_MAP, POLAR_PARAMETER = range(7)
ORIGIN, BASIS = 10, 13
# Columns of `point`, `map` and `link`, behind a matrix of nine entries
SHIFT, IS_PRIMITIVE, LETTER = 9, 12, 12


class GroupTables(Record):
    """See the module's docstring; origins and shifts are whole numbers of 1/DENOMINATOR.

    Attributes:
        group: int64 [231, 11] by number; from POLAR on, whether the origin is free along each axis.
        row: int64 [row, 22]; from POLAR_PARAMETER on, the parameter that moves along each axis with free origin, else
        -1. point: int64 [point, 13], operations that make the points of each position; IS_PRIMITIVE marks one of each
            set of points that lattice centring relates.
        map: int64 [map, 12], parameters that give the same points: p -> matrix @ p + shift.
        link: int64 [link, 13], where a position goes (LETTER), and its parameters.
        relabeling: int64 [relabeling, 27], the distinct permutations of letters that a group's links cause, the
            identity first; letters that a group has not stay where they are.
        primitive: float64 [231, 2, 3, 3], primitive vectors = primitive[., 0] @ conventional vectors, and the inverse.
    """

    group: Ints
    row: Ints
    point: Ints
    map: Ints
    link: Ints
    relabeling: Ints
    primitive: Floats


@cache
def group_tables() -> GroupTables:
    """The arrays, put together once."""
    groups = [space_group(number) for number in range(1, 231)]
    table = np.zeros((231, POLAR + 3), dtype=np.int64)
    primitive = np.tile(np.eye(3), (231, 2, 1, 1))
    rows: list[list[int]] = []
    relabelings: list[list[int]] = []
    points, maps, links = [], [], []
    n_rows = n_points = n_maps = n_links = 0
    for g in groups:
        n = len(g.letters)
        polar = np.asarray(g.polar, dtype=np.int64)
        distinct = list(dict.fromkeys(map(tuple, g.letter_map.tolist())))
        table[g.number] = [
            n_rows,
            n,
            g.n_centring,
            polar.any(),
            n_links,
            len(g.letter_map),
            len(relabelings),
            len(relabelings) + len(distinct),
            *polar,
        ]
        relabelings += [[*letters, *range(n, 27)] for letters in distinct]
        primitive[g.number, 0], primitive[g.number, 1] = g.primitive, np.linalg.inv(g.primitive)
        for i in range(n):
            along = [_parameter_along(g.basis[i], axis) if polar[axis] else -1 for axis in range(3)]
            ranges = [*(g.orbit_start[i : i + 2] + n_points), *(g.self_start[i : i + 2] + n_maps)]
            rows.append([g.multiplicity[i], g.dof[i], *ranges, *along, 0, *g.origin[i], *g.basis[i].reshape(-1)])
        made = g.orbit_operation
        points.append(_columns(g.rotations[made], g.translations[made], _one_of_each_centring(g)))
        maps.append(_columns(g.self_matrix, g.self_shift))
        links.append(_columns(g.normalizer_matrix, g.normalizer_shift, g.letter_map))
        n_rows, n_points, n_maps, n_links = (
            n_rows + n,
            n_points + len(made),
            n_maps + len(maps[-1]),
            n_links + len(g.letter_map) * n,
        )
    return GroupTables(
        table,
        np.array(rows, dtype=np.int64),
        np.concatenate(points),
        np.concatenate(maps),
        np.concatenate(links),
        np.array(relabelings, dtype=np.int64),
        primitive,
    )


def _columns(matrix: Int8s, shift: Int8s, *more: NDArray[Any]) -> Ints:
    parts = [matrix.reshape(-1, 9), shift.reshape(-1, 3), *(extra.reshape(-1, 1) for extra in more)]
    return np.concatenate(parts, axis=1).astype(np.int64)


def _one_of_each_centring(group: SpaceGroup) -> Bools:
    """bool [point]: the first of the points that lattice centring relates, for every position."""
    parameters = np.array([0.1234, 0.2917, 0.4391])  # in general position
    sites = group.basis @ parameters + group.origin / DENOMINATOR
    site = np.repeat(np.arange(len(sites)), np.diff(group.orbit_start))
    operations = group.orbit_operation
    points = np.einsum("pij,pj->pi", group.rotations[operations].astype(float), sites[site])
    points += group.translations[operations] / DENOMINATOR
    folded = np.round(points @ np.linalg.inv(group.primitive) % 1.0, 6) % 1.0
    _, first = np.unique(np.column_stack([site, folded]), axis=0, return_index=True)
    out = np.zeros(len(points), dtype=np.bool_)
    out[first] = True
    return out


def _parameter_along(basis: Int8s, axis: int) -> int:
    """The parameter that moves the representative point along one axis and no other."""
    for k in range(3):
        if basis[axis, k] == 1 and np.count_nonzero(basis[:, k]) == 1:
            return k
    raise ValueError(f"no parameter moves along axis {axis} alone in {basis.tolist()}")
