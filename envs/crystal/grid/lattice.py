"""The shape of the cell as bins, and which shapes stand for a lattice.

A lattice has many conventional cells: axes can be renamed where the group permits it, monoclinic and triclinic cells
can be sheared. Only the reduced one of them is allowed, so that a crystal has one cell:

    orthorhombic   lengths in the order that is smallest, read from a, of all orders the group permits
    monoclinic     of all cells that the group permits, the one with the shortest a and c, a the shorter of the two
                   where they can change places, beta at least 90 degrees
    triclinic      Niggli's cell: a < b < c; angles all below 90 degrees, or all at least 90

b/a and c/a lie on geometric grids with the ratio 1 + length_bin, shifted by a half and by a quarter of a step against
1, so that no two axes of an orthorhombic, monoclinic or triclinic cell are ever equal: nothing is built twice for that
reason. Angles lie half a bin's width off 90 degrees and on multiples of the width from there: at 90 degrees the lattice
would have symmetries that the crystal has not, and these would make several states of one crystal.
"""

import math

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Int8s, Int16s, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.compiled.records import Record
from oreflow.envs.crystal.space import SYSTEMS, WyckoffSpace
from oreflow.envs.symmetry.space_groups import space_group

SYSTEM, TABLE, A_BELOW_B, A_BELOW_C, B_BELOW_C = 0, 1, 2, 3, 4  # columns of `cell`
B_RATIO, C_RATIO, ALPHA, BETA, GAMMA = 0, 1, 2, 3, 4  # columns of a shape
FREE = {
    "triclinic": (B_RATIO, C_RATIO, ALPHA, BETA, GAMMA),
    "monoclinic": (B_RATIO, C_RATIO, BETA),
    "orthorhombic": (B_RATIO, C_RATIO),
    "tetragonal": (C_RATIO,),
    "trigonal": (C_RATIO,),
    "hexagonal": (C_RATIO,),
    "cubic": (),
}
_TRICLINIC, _MONOCLINIC, _ORTHORHOMBIC = 0, 1, 2
_HEXAGONAL = (SYSTEMS.index("trigonal"), SYSTEMS.index("hexagonal"))
_TIE = 1e-9


class LatticeGrid(Record):
    """Bins of shapes and volumes."""

    cell: Ints  # int64 [231, 5], crystal system, table in `reduced` (monoclinic); a < b, a < c, b < c required
    is_free: Bools  # bool [7, 5], by system and column
    reduced: Bools  # bool [table, n_ratios, n_angles]
    n_ratios: int
    log_step: float
    angles: Floats  # float64 [n_angles], degrees, ascending
    n_volumes: int
    log_volume: float  # of the lowest bin, cubic angstrom an atom


def lattice_grid(space: WyckoffSpace) -> LatticeGrid:
    """The bins of a space."""
    groups = [space_group(number) for number in range(1, 231)]
    log_step = math.log1p(space.length_bin)
    n_ratios = 2 * int(math.log(space.axis_ratio_max) / log_step)
    width = space.angle_bin_deg
    angles = 90 + width * (np.arange(-int(30 // width), int(46 // width) + 1) + 0.5)
    cell = np.zeros((231, 5), dtype=np.int64)
    changes: dict[bytes, int] = {}
    reduced: list[np.ndarray] = []
    for g in groups:
        cell[g.number, SYSTEM] = SYSTEMS.index(g.crystal_system)
        if g.crystal_system == "orthorhombic":
            for change in g.axis_rotation:
                axes = np.abs(change).argmax(axis=1).tolist()  # new axis i is old axis axes[i]
                for i in range(3):
                    if axes[i] != i:
                        cell[g.number, A_BELOW_B + i + axes[i] - 1] = 1
                        break
        if g.crystal_system == "monoclinic":
            key = np.unique(g.axis_rotation[:, ::2, ::2].reshape(-1, 4), axis=0).tobytes()
            if key not in changes:
                changes[key] = len(reduced)
                reduced.append(_reduced(g.axis_rotation, n_ratios, log_step, angles))
            cell[g.number, TABLE] = changes[key]
    is_free = np.zeros((7, 5), dtype=np.bool_)
    for system, columns in FREE.items():
        is_free[SYSTEMS.index(system), list(columns)] = True
    low, high = np.log(space.volume_a3_per_atom)
    return LatticeGrid(
        cell,
        is_free,
        np.array(reduced),
        n_ratios,
        log_step,
        angles.astype(np.float64),
        int((high - low) / log_step) + 1,
        float(low),
    )


def _reduced(changes: Int8s, n_ratios: int, log_step: float, angles: Floats) -> Bools:
    """bool [c/a, beta]: which monoclinic cells no change of axes improves (`monoclinic_measure`)."""
    ratio = np.exp(log_ratio(np.arange(n_ratios), C_RATIO, n_ratios, log_step))[:, None]
    cosine = np.cos(np.radians(angles))[None, :]
    # Gram matrices of (a, c) with a = 1
    gram = np.array([[np.ones_like(ratio * cosine), ratio * cosine], [ratio * cosine, ratio**2 + 0 * cosine]])
    out = np.ones(gram.shape[2:], dtype=np.bool_)
    own = monoclinic_measure(gram)
    for change in changes:
        rows = np.linalg.inv(change.astype(float)).T[::2, ::2]
        other = monoclinic_measure(np.einsum("ij,jkxy,lk->ilxy", rows, gram, rows))
        out &= ~_before(other, own)
    return out


def monoclinic_measure(gram: Floats) -> Floats:
    """What a monoclinic cell is judged by, in order: |a|^2 + |c|^2, |a|^2, a.c; float64 [3, ...] from [2, 2, ...]."""
    return np.stack([gram[0, 0] + gram[1, 1], gram[0, 0], gram[0, 1]])


def _before(other: Floats, own: Floats) -> Bools:
    """Whether one measure comes before another, entry by entry."""
    verdict = np.zeros(own.shape[1:], dtype=np.bool_)
    tie = np.ones(own.shape[1:], dtype=np.bool_)
    for a, b in zip(other, own):
        scale = _TIE * (1 + np.abs(b))
        verdict |= tie & (a < b - scale)
        tie &= np.abs(a - b) <= scale
    return verdict


@njit(nogil=True)
def log_ratio(index: int, column: int, n_ratios: int, log_step: float) -> float:
    """Natural logarithm of b/a or c/a at the centre of a bin."""
    return (index - n_ratios // 2 + (0.5 if column == 0 else 0.25)) * log_step


@njit(nogil=True)
def angle_allowed(a: float, b: float, c: float, cosines: Floats, column: int, least: float) -> bool:
    """Tell whether a triclinic angle keeps Niggli's conditions, and the angles still to come can keep them.

    Args:
        cosines: of alpha, beta, gamma up to the one in question.
        least: cosine of the angle nearest to 90 degrees on either side.
    """
    x = cosines[column - 2]
    acute = cosines[0] > _TIE
    if (x > _TIE) != acute:
        return False
    bound = b / (2 * c) if column == 2 else a / (2 * c) if column == 3 else a / (2 * b)
    if abs(x) > bound:
        return False
    if column < 4 and least > a / (2 * c if column == 2 else 2 * b):
        return False
    if acute:
        return True
    beta = abs(cosines[1]) if column > 2 else least
    gamma = abs(x) if column == 4 else least
    return b * c * abs(cosines[0]) + a * c * beta + a * b * gamma <= (a * a + b * b) / 2


@njit(nogil=True)
def shape_allowed(lattice: LatticeGrid, group: int, shape: Int16s, column: int, index: int) -> bool:
    """Whether a bin of one column of a shape can be completed to a reduced cell.

    Args:
        shape: int [5], bins of the columns before, plus 1.
    """
    system = lattice.cell[group, SYSTEM]
    n, step = lattice.n_ratios, lattice.log_step
    if system == _TRICLINIC:
        least = math.sin(math.radians(lattice.angles[1] - lattice.angles[0]) / 2)
        highest = min(log_ratio(n - 1, 1, n, step), -math.log(2 * least))  # of c/a; beyond it no angle keeps |cos| low
        if column == 0:  # c/a comes next above b/a, three quarters of a step away
            return 0.0 < log_ratio(index, 0, n, step) <= highest - 0.75 * step + _TIE
        log_b = log_ratio(shape[0] - 1, 0, n, step)
        if column == 1:
            return log_b < log_ratio(index, 1, n, step) <= highest
        b, c = math.exp(log_b), math.exp(log_ratio(shape[1] - 1, 1, n, step))
        cosines = np.zeros(3)
        for k in range(column - 2):
            cosines[k] = math.cos(math.radians(lattice.angles[shape[2 + k] - 1]))
        cosines[column - 2] = math.cos(math.radians(lattice.angles[index]))
        return angle_allowed(1.0, b, c, cosines, column, least)
    if system == _MONOCLINIC:
        table = lattice.cell[group, TABLE]
        if column == 0:
            return True
        if column == 1:
            angle = 0
            while angle < len(lattice.angles) and not lattice.reduced[table, index, angle]:
                angle += 1
            return angle < len(lattice.angles)
        return lattice.reduced[table, shape[1] - 1, index]
    if system == _ORTHORHOMBIC:
        less = lattice.cell[group]
        value = log_ratio(index, column, n, step)
        if column == 0:
            return (not less[A_BELOW_B] or value > 0) and (not less[B_BELOW_C] or value < log_ratio(n - 1, 1, n, step))
        log_b = log_ratio(shape[0] - 1, 0, n, step)
        return (not less[A_BELOW_C] or value > 0) and (not less[B_BELOW_C] or value > log_b)
    return True


@njit(nogil=True)
def unit_cell(lattice: LatticeGrid, group: int, shape: Int16s, out: Floats) -> None:
    """Lengths and angles [6] of the cell of a complete shape that has a volume of 1."""
    system = lattice.cell[group, SYSTEM]
    out[:3] = 1.0
    out[3:] = 90.0
    if system == _HEXAGONAL[0] or system == _HEXAGONAL[1]:
        out[5] = 120.0
    if lattice.is_free[system, 0]:
        out[1] = math.exp(log_ratio(shape[0] - 1, 0, lattice.n_ratios, lattice.log_step))
    if lattice.is_free[system, 1]:
        out[2] = math.exp(log_ratio(shape[1] - 1, 1, lattice.n_ratios, lattice.log_step))
    for k in range(3):
        if lattice.is_free[system, 2 + k]:
            out[3 + k] = lattice.angles[shape[2 + k] - 1]
    cosines = np.cos(np.radians(out[3:]))
    squared = 1.0 - (cosines**2).sum() + 2.0 * cosines[0] * cosines[1] * cosines[2]
    scale = (out[1] * out[2] * math.sqrt(max(squared, 1e-12))) ** (-1.0 / 3.0)
    for k in range(3):
        out[k] *= scale
