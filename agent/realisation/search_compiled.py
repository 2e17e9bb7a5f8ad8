"""From random points down to minima of the pair potentials, compiled."""

import math

import numpy as np

from oreflow.agent.realisation.energy_compiled import Frame, energy
from oreflow.envs.arrays import Floats
from oreflow.envs.compiled.jit import njit

_LARGEST_MOVE_A = 0.3
_ENOUGH_EV_PER_A = 0.02
_LEAST_GAIN = 1e-4


@njit(nogil=True)
def descend(frame: Frame, x: Floats, steps: int) -> tuple[float, int]:
    """Moves x to a minimum of the energy: quasi-Newton steps (BFGS) of at most 0.3 angstrom.

    Returns:
        energy in eV per primitive cell, and how often it was computed.
    """
    n, n_free, n_atoms = len(x), frame.parameter[-1], frame.first[-1]
    conventional, cell, at = np.empty((3, 3)), np.empty((3, 3)), np.empty((n_atoms, 3))
    gradient, trial_gradient = np.empty(n), np.empty(n)
    value = energy(frame, x, gradient, conventional, cell, at, True)
    n_energies = 1
    if not value < np.inf:
        return value, n_energies
    scale = np.empty(n)  # angstrom that an atom moves by, by parameter
    for s in range(len(frame.kind)):
        for k in range(frame.parameter[s], frame.parameter[s + 1]):
            total = 0.0
            for m in range(3):
                moved = 0.0
                for o in range(3):
                    moved += frame.slope[frame.first[s], o, k - frame.parameter[s]] * cell[o, m]
                total += moved * moved
            scale[k] = math.sqrt(total)
    scale[n_free:] = 0.7 * frame.volume ** (1.0 / 3.0)
    slope = gradient / scale
    hessian = np.eye(n) * 0.05  # inverse, squared angstrom per eV
    fresh = True
    trial = np.empty(n)
    for _ in range(steps):
        largest = np.max(np.abs(slope))
        if largest < _ENOUGH_EV_PER_A:
            break
        move = -(hessian @ slope)
        along = move @ slope
        if not along < 0.0:
            hessian = np.eye(n) * 0.05
            fresh = True
            move = -0.05 * slope
            along = move @ slope
        longest = np.max(np.abs(move))
        if longest > _LARGEST_MOVE_A:
            move *= _LARGEST_MOVE_A / longest
            along *= _LARGEST_MOVE_A / longest
        length, accepted, found = 1.0, False, np.inf
        for _ in range(8):
            trial[:] = x + length * move / scale
            found = energy(frame, trial, trial_gradient, conventional, cell, at, True)
            n_energies += 1
            if found <= value + _LEAST_GAIN * length * along:
                accepted = True
                break
            length *= 0.3
        if not accepted:
            if fresh:
                break
            hessian = np.eye(n) * 0.05
            fresh = True
            continue
        step = length * move
        change = trial_gradient / scale - slope
        curvature = step @ change
        x[:] = trial
        slope = trial_gradient / scale
        value = found
        if curvature > 1e-10:
            if fresh:
                hessian = np.eye(n) * (curvature / (change @ change))
                fresh = False
            turned = hessian @ change
            factor = (1.0 + (change @ turned) / curvature) / curvature
            for a in range(n):
                for b in range(n):
                    hessian[a, b] += (
                        factor * step[a] * step[b] - (turned[a] * step[b] + step[a] * turned[b]) / curvature
                    )
    return value, n_energies


@njit(nogil=True)
def search(frame: Frame, points: Floats, n_starts: int, steps: int) -> tuple[Floats, Floats, int]:
    """Descend from the lowest of some points.

    Args:
        points: float64 [point, parameter].
        n_starts: from how many of them it descends.
        steps: of a descent, at most.

    Returns:
        energies, float64 [start], eV per primitive cell, ascending; the minima, float64 [start, parameter]; and how
        many energies were computed.
    """
    energies = np.empty(len(points))
    conventional, cell, at = np.empty((3, 3)), np.empty((3, 3)), np.empty((frame.first[-1], 3))
    unused = np.empty(0)
    for i in range(len(points)):
        energies[i] = energy(frame, points[i], unused, conventional, cell, at, False)
    n_energies = len(points)
    chosen = np.argsort(energies)[:n_starts]
    found, values = points[chosen], np.empty(len(chosen))
    for i in range(len(chosen)):
        values[i], used = descend(frame, found[i], steps)
        n_energies += used
    order = np.argsort(values)
    return values[order], found[order], n_energies
