"""The cells of a crystal that may be its reduced one: axes renamed or sheared, sites and coordinates along with them.

Orthorhombic groups permit some permutations of axes, monoclinic ones shears within the plane of a and c, triclinic ones
every change of basis. In the other systems the standard cell is the only one. Cells that are nearly as short as the
shortest are returned beside it: which of them lies nearest to an allowed shape is settled later.
"""

from functools import cache
from itertools import product

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.objects.crystals import Crystals
from oreflow.envs.symmetry.lattices import cell_of, metric_tensor
from oreflow.envs.symmetry.space_groups import DENOMINATOR, space_group

NEARLY = 0.05  # cells with axes whose squared lengths are so much larger, relatively, are candidates, too
_SHORTER = 1e-9
Cell = tuple[Floats, Ints, Floats]  # lattice [6], letters [site], parameters [site, 3]


def settings(crystals: Crystals) -> tuple[Crystals, Ints]:
    """Candidates for the reduced cell of each crystal, and the place of each candidate's crystal in `crystals`."""
    many = np.flatnonzero(crystals.space_group <= 74)
    parts, sources = [crystals[np.flatnonzero(crystals.space_group > 74)]], [np.flatnonzero(crystals.space_group > 74)]
    groups, lattices, letters, numbers, parameters, counts, rows = [], [], [], [], [], [], []
    for row in many.tolist():
        number = int(crystals.space_group[row])
        sites = slice(int(crystals.site_offsets[row]), int(crystals.site_offsets[row + 1]))
        cell = crystals.lattice[row], crystals.letter[sites].astype(np.int64), crystals.parameters[sites]
        change = _triclinic if number <= 2 else _monoclinic if number <= 15 else _orthorhombic
        for lattice, letter, free in change(number, *cell):
            groups.append(number)
            lattices.append(lattice)
            letters.append(letter)
            numbers.append(crystals.atomic_number[sites])
            parameters.append(free)
            counts.append(len(letter))
            rows.append(row)
    if rows:
        offsets = np.concatenate([[0], np.cumsum(counts)])
        letters_of, number_of = np.concatenate(letters).astype(np.int8), np.concatenate(numbers)
        cells = np.array(lattices), np.concatenate(parameters)
        parts.append(Crystals(np.array(groups, dtype=np.int16), offsets, letters_of, number_of, *cells))
        sources.append(np.array(rows))
    return Crystals.concatenate(parts), np.concatenate(sources)


def _orthorhombic(number: int, lattice: Floats, letters: Ints, parameters: Floats) -> list[Cell]:
    group = space_group(number)
    cells = []
    for k, rotation in enumerate(group.axis_rotation):
        order = np.abs(rotation).argmax(axis=1)  # new axis i is old axis order[i]
        moved = _along_axes(number, k, letters, parameters)
        cells.append((np.concatenate([lattice[order], lattice[3:]]), *moved))
    return cells


def _monoclinic(number: int, lattice: Floats, letters: Ints, parameters: Floats) -> list[Cell]:
    rows = _new_rows(number)
    metric = metric_tensor(lattice)
    while True:
        metrics = rows @ metric @ rows.transpose(0, 2, 1)
        sums = metrics[:, 0, 0] + metrics[:, 2, 2]
        best = int(sums.argmin())
        if sums[best] >= sums[0] * (1 - _SHORTER):  # the first one changes nothing
            break
        metric = metrics[best]
        letters, parameters = _along_axes(number, best, letters, parameters)
    squared = np.sort(metrics[:, [0, 2], [0, 2]], axis=1)
    cells = []
    for k in np.flatnonzero((squared <= squared[0] * (1 + NEARLY)).all(axis=1)).tolist():
        values = cell_of(metrics[k])
        values[[3, 5]] = 90.0
        cells.append((values, *_along_axes(number, k, letters, parameters)))
    return cells


@cache
def _new_rows(number: int) -> Floats:
    """float64 [k, 3, 3]: rows @ old vectors are the new ones of each change of axes."""
    return np.linalg.inv(space_group(number).axis_rotation.astype(float)).transpose(0, 2, 1).round()


def _along_axes(number: int, k: int, letters: Ints, parameters: Floats) -> tuple[Ints, Floats]:
    """Letters and parameters after the k-th change of axes of a group."""
    group = space_group(number)
    matrix, shift = group.axis_matrix[k, letters].astype(float), group.axis_shift[k, letters] / DENOMINATOR
    return group.axis_letter_map[k, letters].astype(np.int64), np.einsum("sij,sj->si", matrix, parameters) + shift


def _triclinic(number: int, lattice: Floats, letters: Ints, parameters: Floats) -> list[Cell]:
    changes = _unimodular()
    metric = metric_tensor(lattice)
    total = np.eye(3)
    while True:
        metrics = changes @ metric @ changes.transpose(0, 2, 1)
        sums = np.trace(metrics, axis1=1, axis2=2)
        best = int(sums.argmin())
        if sums[best] >= np.trace(metric) * (1 - _SHORTER):
            break
        metric, total = metrics[best], changes[best] @ total
    products = metrics[:, [1, 0, 0], [2, 2, 1]]
    squared = metrics.diagonal(axis1=1, axis2=2)
    near = (squared <= np.sort(np.diag(metric)) * (1 + NEARLY)).all(axis=1)
    ordered = (squared[:, :2] <= squared[:, 1:] * (1 + NEARLY)).all(axis=1)
    slack = NEARLY * squared[:, :1]
    alike = (products > -slack).all(axis=1) | (products < slack).all(axis=1)
    cells = []
    for k in np.flatnonzero(near & ordered & alike).tolist():
        rows = changes[k] @ total  # new vectors = rows @ old vectors; coordinates change by the inverse transpose
        cells.append((cell_of(metrics[k]), *_along_basis(number, np.linalg.inv(rows).T.round(), letters, parameters)))
    return cells


@cache
def _unimodular() -> Floats:
    """Matrices with entries -1, 0 and 1 and determinant 1 or -1, float64 [k, 3, 3].

    Of each and its negative only one, as the inversion through the origin belongs to the normalizer.
    """
    entries = np.array(list(product((-1, 0, 1), repeat=9)), dtype=np.float64)
    leading = entries[np.arange(len(entries)), (entries != 0).argmax(axis=1)]
    matrices = entries[leading > 0].reshape(-1, 3, 3)
    return matrices[np.abs(np.abs(np.linalg.det(matrices)) - 1) < 1e-9]


def _along_basis(number: int, matrix: Ints, letters: Ints, parameters: Floats) -> tuple[Ints, Floats]:
    """Letters and parameters of a triclinic crystal after x' = matrix x: centres of inversion go to one another."""
    group = space_group(number)
    image = group.origin.astype(np.int64) @ matrix.T.astype(np.int64) % DENOMINATOR
    target = (image[:, None] == group.origin[None]).all(axis=2)[:-1].argmax(axis=1)
    general = len(group.letters) - 1
    moved = np.append(target, general)[letters]
    return moved, np.where(letters[:, None] == general, parameters @ matrix.T, 0.0)
