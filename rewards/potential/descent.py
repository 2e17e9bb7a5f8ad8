"""Downhill in the free parameters: quasi-Newton steps within a trust radius, energies as the judge.

BFGS with a Hessian that may have negative curvatures, whose absolute values are taken, as ASE's `BFGS` does (Wales,
J. Chem. Phys. 101, 3750, 1994), in coordinates scaled by typical stiffness of cell and bonds; a step that raises the
energy is taken back and teaches the Hessian. ASE's optimisers know neither scaled coordinates nor a step taken back,
and FIRE with a cell filter needs about four times as many energies.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from oreflow.envs.arrays import Floats
from oreflow.rewards.potential.free_parameters import FreeParameters
from oreflow.rewards.potential.protocol import Cell, Evaluation, Potential

MAX_STRAIN, MAX_DISPLACEMENT_A = 0.06, 0.2
"""Of one step."""
SOFTEST, STIFFEST = 0.1, 30.0
"""Curvatures beyond these are taken for these, eV in scaled coordinates."""
NOISE_EV_PER_ATOM = 2e-5
"""Rises of the energy that single precision may make."""
SMALLEST_RADIUS = 1e-3


@dataclass(frozen=True)
class Point:
    """A crystal on the way down.

    Attributes:
        cell: primitive where symmetry is held.
        energy: of that cell, eV.
        force: the largest of all atoms, and of the rows of the cell's gradient over the number of atoms, which is what
            `fmax` of ASE's `FrechetCellFilter` bounds; eV/angstrom and eV.
        atom_force: the largest of all atoms alone.
        gain_ev_per_atom: by how much the energy is expected to fall yet, as curvatures learnt so far say.
        n_calls: energies asked for so far.
    """

    cell: Cell
    energy: float
    force: float
    atom_force: float
    gain_ev_per_atom: float
    n_calls: int


def descend(potential: Potential, space: FreeParameters) -> Iterator[Point]:
    """Points of falling energy, the start first, without end; it ends only where no step lowers the energy.

    Raises:
        PotentialError: when the potential cannot describe a crystal on the way.
    """
    q, hessian, radius = np.zeros(space.size), np.eye(space.size), 1.0
    cell = space.cell(q)
    (found,) = potential.evaluate([cell])
    slope = space.gradient(cell, found)
    n_calls, noise = 1, NOISE_EV_PER_ATOM * len(cell.numbers)
    step = _step(hessian, slope)
    yield _point(space, cell, found, float(-slope @ step) / 2, n_calls)
    while radius > SMALLEST_RADIUS:
        step *= min(1.0, radius / _size(space, step))
        next_cell = space.cell(q + step)
        (next_found,) = potential.evaluate([next_cell])
        n_calls += 1
        next_slope = space.gradient(next_cell, next_found)
        if not (np.isfinite(next_found.energy) and np.isfinite(next_slope).all()):
            radius, step = 0.3 * min(radius, _size(space, step)), _step(hessian, slope)
            continue
        hessian = _learn(hessian, step, next_slope - slope)
        if next_found.energy > found.energy + noise:
            radius = 0.3 * min(radius, _size(space, step))
            step = _step(hessian, slope)
            continue
        radius = min(1.0, 2.0 * radius)
        q, cell, found, slope = q + step, next_cell, next_found, next_slope
        step = _step(hessian, slope)
        yield _point(space, cell, found, float(-slope @ step) / 2, n_calls)


def _point(space: FreeParameters, cell: Cell, found: Evaluation, gain: float, n_calls: int) -> Point:
    forces, by_cell = space.symmetric(cell, found)
    atoms = float(np.linalg.norm(forces, axis=1).max())
    largest = max(atoms, float(np.linalg.norm(by_cell, axis=1).max()))
    return Point(cell, found.energy, largest, atoms, gain / len(cell.numbers), n_calls)


def _size(space: FreeParameters, step: Floats) -> float:
    """A step's length, 1 where it is as long as a step may be."""
    strain = np.abs(np.linalg.eigvalsh(np.tensordot(step, space.strains, 1))).max()
    moves = np.tensordot(step, space.displacements, 1)
    return max(strain / MAX_STRAIN, np.linalg.norm(moves, axis=1).max() / MAX_DISPLACEMENT_A, 1e-12)


def _step(hessian: Floats, slope: Floats) -> Floats:
    curvatures, axes = np.linalg.eigh(hessian)
    return -axes @ ((axes.T @ slope) / np.clip(np.abs(curvatures), SOFTEST, STIFFEST))


def _learn(hessian: Floats, step: Floats, change: Floats) -> Floats:
    """The Hessian after a step that changed the gradient: BFGS, and symmetric rank one where curvature is negative."""
    along = hessian @ step
    if step @ change > 1e-3 * (step @ along):
        hessian = hessian + np.outer(change, change) / (step @ change) - np.outer(along, along) / (step @ along)
    else:
        miss = change - along
        if abs(miss @ step) > 1e-6 * np.linalg.norm(miss) * np.linalg.norm(step):
            hessian = hessian + np.outer(miss, miss) / (miss @ step)
    return (hessian + hessian.T) / 2
