"""The revised simplex method, compiled, for the linear programme of a convex hull.

Minimise Σ w_i e_i over phases i with Σ w_i a_i = x and w ≥ 0, where a_i are atomic fractions and the first phases are
the elements. They are the first basis; each pivot lets in the phase with the most negative reduced cost, and Bland's
rule ends a cycle.
"""

import numpy as np

from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.compiled.jit import njit

# Reduced costs above this count as zero, in eV/atom. As weights sum to one, no hull energy is farther off than this.
COST_TOLERANCE = 1e-11
_PIVOT_TOLERANCE = 1e-9
_MAX_PIVOTS = 20_000


@njit(nogil=True)
def _invert(columns: Floats, basis: Ints, inverse: Floats) -> None:
    """Writes the inverse of the basis matrix by Gauss-Jordan elimination with row pivoting."""
    d = basis.shape[0]
    work = np.zeros((d, 2 * d))
    for i in range(d):
        for k in range(d):
            work[i, k] = columns[i, basis[k]]
        work[i, d + i] = 1.0
    for k in range(d):
        best = k
        for i in range(k + 1, d):
            if abs(work[i, k]) > abs(work[best, k]):
                best = i
        for c in range(2 * d):
            work[k, c], work[best, c] = work[best, c], work[k, c]
        scale = 1.0 / work[k, k]
        for c in range(2 * d):
            work[k, c] *= scale
        for i in range(d):
            if i != k and work[i, k] != 0.0:
                factor = work[i, k]
                for c in range(2 * d):
                    work[i, c] -= factor * work[k, c]
    for i in range(d):
        for k in range(d):
            inverse[i, k] = work[i, d + k]


@njit(nogil=True)
def minimise(columns: Floats, energies: Floats, x: Floats, basis: Ints, weights: Floats) -> bool:
    """Solve the programme, write the basis (columns) and the weights, and return whether it came to an end.

    Args:
        columns: float64 [d, phase], atomic fractions of each phase; the first d columns are the elements.
        energies: float64 [phase], inf for a phase to leave out.
        x: float64 [d], atomic fractions to reach.
    """
    d, n = columns.shape
    inverse = np.zeros((d, d))
    for i in range(d):
        inverse[i, i] = 1.0
        basis[i] = i
        weights[i] = x[i]
    prices = np.zeros(d)
    costs = np.empty(n)
    direction = np.empty(d)
    stalled = 0
    fresh = True  # whether `inverse` was computed from the basis rather than updated pivot by pivot
    for _ in range(_MAX_PIVOTS):
        for i in range(d):
            prices[i] = 0.0
        for k in range(d):
            for i in range(d):
                prices[i] += energies[basis[k]] * inverse[k, i]
        for j in range(n):
            costs[j] = energies[j]
        for i in range(d):
            price = prices[i]
            for j in range(n):
                costs[j] -= price * columns[i, j]
        entering, lowest = -1, -COST_TOLERANCE
        for j in range(n):
            if costs[j] < lowest:
                entering, lowest = j, costs[j]
                if stalled > 2 * d + 8:
                    break  # Bland's rule, which cannot cycle: the first column that improves
        if entering < 0:
            if fresh:
                return True
            _invert(columns, basis, inverse)
            for i in range(d):
                weights[i] = 0.0
                for k in range(d):
                    weights[i] += inverse[i, k] * x[k]
            fresh = True
            continue
        leaving, step = -1, np.inf
        for i in range(d):
            direction[i] = 0.0
            for k in range(d):
                direction[i] += inverse[i, k] * columns[k, entering]
            if direction[i] > _PIVOT_TOLERANCE:
                ratio = max(weights[i], 0.0) / direction[i]
                if ratio < step or (ratio == step and basis[i] < basis[leaving]):
                    leaving, step = i, ratio
        if leaving < 0:
            return False
        stalled = stalled + 1 if step <= 1e-15 else 0
        for i in range(d):
            if i != leaving:
                weights[i] = max(weights[i] - step * direction[i], 0.0)
        weights[leaving] = step
        scale = 1.0 / direction[leaving]
        for k in range(d):
            inverse[leaving, k] *= scale
        for i in range(d):
            if i != leaving and direction[i] != 0.0:
                for k in range(d):
                    inverse[i, k] -= direction[i] * inverse[leaving, k]
        basis[leaving] = entering
        fresh = False
    return False
