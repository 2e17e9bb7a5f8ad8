"""Trade-offs between terms: which rows no other row beats, and a budget of them spread over the front."""

from collections.abc import Callable

import numpy as np

from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.compiled.jit import njit


def pareto_fronts(costs: Floats, enough: int) -> list[Ints]:
    """Sort rows into fronts, the first of rows that no row beats, the next of rows that only rows before it beat.

    A row beats another one if it is nowhere worse and somewhere better. Rows are visited in lexicographic order, in
    which no row is beaten by a later one, and compared with the front found so far (Zhang et al., IEEE Trans. Evol.
    Comput. 19, 201, 2015).

    Args:
        costs: float64 [row, term], the less the better, finite.
        enough: fronts are found until they hold so many rows together.

    Returns:
        Rows of each front, int64, ascending.
    """
    order = np.lexsort(costs.T[::-1])
    ordered, numbers = np.ascontiguousarray(costs[order]), np.zeros(len(costs), dtype=np.int64)
    fronts: list[Ints] = []
    while sum(map(len, fronts)) < min(enough, len(costs)):
        _number_front(ordered, numbers, len(fronts) + 1)
        fronts.append(np.sort(order[numbers == len(fronts) + 1]))
    return fronts


@njit
def _number_front(costs: Floats, numbers: Ints, number: int) -> None:
    """Gives `number` to the rows without one that no row without one beats; rows are in lexicographic order."""
    n, n_terms = costs.shape
    front = np.empty(n, dtype=np.int64)
    size = 0
    for row in range(n):
        if numbers[row] != 0:
            continue
        beaten = False
        for place in range(size):
            other = front[place]
            nowhere_worse, better = True, False
            for term in range(n_terms):
                if costs[other, term] > costs[row, term]:
                    nowhere_worse = False
                    break
                if costs[other, term] < costs[row, term]:
                    better = True
            if nowhere_worse and better:
                beaten = True
                break
        if not beaten:
            front[size] = row
            size += 1
    for place in range(size):
        numbers[front[place]] = number


def beaten_by(costs: Floats, rows: Ints) -> Ints:
    """Count the rows that each of the given rows beats, int64 [given row]."""
    counts = []
    for row in rows:
        beaten: Bools = (costs[row] <= costs).all(axis=1) & (costs[row] < costs).any(axis=1)
        counts.append(int(beaten.sum()))
    return np.array(counts, dtype=np.int64)


def budgeted(
    costs: Floats, group: Ints, n: int, apart: Callable[[Ints, Ints], Floats] | None = None
) -> tuple[Ints, Ints]:
    """Pick n rows front by front, and of the front that is too large, rows that lie far apart.

    Of that front, the best of each term come first where nothing has been picked yet; then always the row that is
    farthest from all picks (Gonzalez, Theor. Comput. Sci. 38, 293, 1985), the earlier one of several.

    Args:
        costs: float64 [row, term], the less the better, finite.
        group: int64 [row]; of each group one row at most is picked, the earliest of the best front it is in.
        n: how many picks at most.
        apart: float64 [row, other] of two sets of rows; by default the Euclidean distance of their costs, each term
            scaled by its range within the front.

    Returns:
        picks: int64 [at most n], in the order of fronts, within a front in that of picking.
        numbers: int64 [pick], which front each is of, from 1.
    """
    picks: list[int] = []
    numbers: list[int] = []
    wanted = min(n, len(np.unique(group)))
    enough = wanted
    while True:
        fronts = pareto_fronts(costs, enough)
        picks, numbers, seen = [], [], set()
        for number, front in enumerate(fronts, start=1):
            new = []
            for row in front.tolist():
                if group[row] not in seen:
                    seen.add(group[row])
                    new.append(row)
            room = wanted - len(picks)
            if len(new) > room:
                new = _far_apart(costs, np.array(new, dtype=np.int64), picks, room, apart)
            picks += new
            numbers += [number] * len(new)
            if len(picks) == wanted:
                return np.array(picks, dtype=np.int64), np.array(numbers, dtype=np.int64)
        enough = min(2 * enough, len(costs))  # many rows of the same groups


def _far_apart(
    costs: Floats, front: Ints, picks: list[int], n: int, apart: Callable[[Ints, Ints], Floats] | None
) -> list[int]:
    """n rows of a front, far from each other and from the picks before them."""
    if apart is None:
        low, high = costs[front].min(axis=0), costs[front].max(axis=0)
        scaled = (costs - low) / np.where(high > low, high - low, 1.0)

        def apart(ones: Ints, others: Ints) -> Floats:
            distances: Floats = np.linalg.norm(scaled[ones][:, None] - scaled[others][None], axis=2)
            return distances

    chosen: list[int] = []
    if not picks:
        best = [int(front[place]) for place in costs[front].argmin(axis=0)]
        chosen = list(dict.fromkeys(best))[:n]
    nearest = np.full(len(front), np.inf)
    for row in [*picks, *chosen]:
        nearest = np.minimum(nearest, apart(front, np.array([row]))[:, 0])
    while len(chosen) < n:
        nearest[np.isin(front, chosen)] = -np.inf
        row = int(front[nearest.argmax()])
        chosen.append(row)
        nearest = np.minimum(nearest, apart(front, np.array([row]))[:, 0])
    return chosen
