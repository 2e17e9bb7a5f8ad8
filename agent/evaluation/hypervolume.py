"""How much of the space of log-scores a set of objects dominates: one number for a whole Pareto front.

All axes are maximised. The hypervolume of points p with reference r is the volume of the union of the boxes [r, p]
(Zitzler and Thiele, IEEE Trans. Evol. Comput. 3, 257, 1999); what does not exceed r in every axis adds nothing.
"""

import numpy as np

from oreflow.envs.arrays import Bools, Floats
from oreflow.envs.compiled.jit import njit

MAX_AXES = 4  # the time grows with the size of the front to the power of axes - 1


def hypervolume(points: Floats, reference: Floats) -> float:
    """The exact hypervolume, by slicing along one axis after the other down to a sweep of two.

    Args:
        points: float64 [point, axis], 1 to 4 axes; those with a value that is not finite are left out.
        reference: float64 [axis].

    Raises:
        ValueError: for more axes.
    """
    points = np.asarray(points, dtype=np.float64)
    if not 1 <= points.shape[1] <= MAX_AXES:
        raise ValueError(f"expected 1 to {MAX_AXES} axes, got {points.shape[1]}; leave some out")
    above = np.isfinite(points).all(axis=1) & (points > reference).all(axis=1)
    return _volume(points[above] - reference)


def pareto_front(points: Floats) -> Floats:
    """The distinct points [front, axis] that no other exceeds in one axis and equals or exceeds in all."""
    points = np.unique(points, axis=0)[::-1]  # what dominates a point comes before it
    return points[_not_dominated(points)]


@njit
def _not_dominated(points: Floats) -> Bools:
    """bool [point] for distinct points in descending lexicographic order."""
    n, n_axes = points.shape
    keep = np.zeros(n, dtype=np.bool_)
    front = np.empty(n, dtype=np.int64)
    n_front = 0
    for i in range(n):
        dominated = False
        for k in range(n_front):
            dominated = True
            for axis in range(n_axes):
                if points[front[k], axis] < points[i, axis]:
                    dominated = False
                    break
            if dominated:
                break
        if not dominated:
            front[n_front] = i
            n_front += 1
            keep[i] = True
    return keep


def _volume(points: Floats) -> float:
    """The hypervolume of points [point, axis] above 0, with reference 0."""
    if not len(points):
        return 0.0
    points = pareto_front(points)
    if points.shape[1] == 1:
        return float(points.max())
    if points.shape[1] == 2:
        return _area(points)
    # Descending in the first axis: between two of its values all earlier points share a slice of the other axes.
    thickness = points[:, 0] - np.append(points[1:, 0], 0.0)
    return float(sum(t * _volume(points[: i + 1, 1:]) for i, t in enumerate(thickness.tolist()) if t > 0))


@njit
def _area(front: Floats) -> float:
    """The area under a staircase [point, 2], descending in the first axis and so ascending in the second."""
    area, height = 0.0, 0.0
    for i in range(len(front)):
        area += front[i, 0] * (front[i, 1] - height)
        height = front[i, 1]
    return area
