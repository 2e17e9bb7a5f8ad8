"""The shape of a given cell to bins, compiled.

Cells are compared by the strain between them: equivalent cells of one crystal get equivalent shapes, ties apart.
"""

import math

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.compiled.jit import njit
from oreflow.envs.crystal.grid.lattice import SYSTEM, log_ratio, shape_allowed, unit_cell
from oreflow.envs.crystal.layout.world import World
from oreflow.envs.symmetry.lattices import metric_tensor


@njit(nogil=True)
def nearest_shapes(world: World, groups: Ints, lattices: Floats, shapes: Ints, strains: Floats) -> None:
    """For each cell the allowed shape that strains it least.

    Args:
        lattices: float64 [cell, 6], a, b, c in angstrom, alpha, beta, gamma in degrees.
        shapes: int64 [cell, 5], receives bins + 1.
        strains: float64 [cell], receives the Frobenius norm of the relative change of the metric tensor at equal
            volume; infinity where no allowed shape is near, -infinity where an axis ratio lies outside the grid.
    """
    first = np.zeros(5, dtype=np.int64)
    width = world.lattice_grid.angles[1] - world.lattice_grid.angles[0]
    for row in range(len(groups)):
        system = world.lattice_grid.cell[groups[row], SYSTEM]
        strains[row] = np.inf
        for column in range(5):
            if not world.lattice_grid.is_free[system, column]:
                continue
            if column < 2:
                zero = log_ratio(0, column, world.lattice_grid.n_ratios, world.lattice_grid.log_step)
                place = (math.log(lattices[row, 1 + column] / lattices[row, 0]) - zero) / world.lattice_grid.log_step
                if not -0.5 - 1e-6 <= place <= world.lattice_grid.n_ratios - 0.5 + 1e-6:
                    strains[row] = -np.inf
            else:
                place = (lattices[row, 1 + column] - world.lattice_grid.angles[0]) / width
            first[column] = math.floor(place + 1e-6)
        reach = 1  # bins on either side, more where none of them is allowed
        while strains[row] == np.inf and reach <= 3:
            strains[row] = _least_strained(world, groups[row], lattices[row], first, reach, shapes[row])
            reach += 1


@njit(nogil=True)
def _least_strained(world: World, group: int, lattice: Floats, first: Ints, reach: int, shape: Ints) -> float:
    """Tries all shapes with bins from first - reach + 1 to first + reach; see `nearest_shapes`."""
    system = world.lattice_grid.cell[group, SYSTEM]
    metric = metric_tensor(lattice)
    inverse = np.linalg.inv(metric / np.linalg.det(metric) ** (1.0 / 3.0))
    low, high, trial = np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64), np.zeros(5, dtype=np.int64)
    for column in range(5):
        free = world.lattice_grid.is_free[system, column]
        n = world.lattice_grid.n_ratios if column < 2 else len(world.lattice_grid.angles)
        low[column] = max(1, first[column] + 2 - reach) if free else 0
        high[column] = min(n, first[column] + 1 + reach) if free else 0
    best, cell = np.inf, np.empty(6)
    trial[:] = low
    column = 0
    while column >= 0:  # depth first over columns
        if trial[column] > high[column]:
            trial[column] = low[column]
            column -= 1
            if column >= 0:
                trial[column] += 1
            continue
        if trial[column] and not shape_allowed(world.lattice_grid, group, trial, column, trial[column] - 1):
            trial[column] += 1
            continue
        if column < 4:
            column += 1
            continue
        unit_cell(world.lattice_grid, group, trial, cell)
        change = inverse @ metric_tensor(cell)
        for i in range(3):
            change[i, i] -= 1.0
        strain = 0.0
        for i in range(3):
            for j in range(3):
                strain += change[i, j] * change[j, i]
        if strain < best:
            best = strain
            shape[:] = trial
        trial[4] += 1
    return math.sqrt(max(best, 0.0))
