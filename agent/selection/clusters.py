"""Clusters of compositions by Element Mover's Distance: k medoids, found by turns."""

import numpy as np

from oreflow.agent.selection.pettifor import cumulative_shares, nearest_of
from oreflow.agent.selection.spread import spread_out
from oreflow.envs.arrays import Floats, Ints
from oreflow.envs.objects.compositions import Compositions

MOST_CLUSTERED = 20_000
"""Rows that medoids are found among; of more rows, as many in equal steps."""
_MOST_TURNS = 50


def cluster(compositions: Compositions, k: int) -> tuple[Ints, Ints]:
    """Divide compositions into k clusters, each of the rows nearest to its medoid.

    Medoids and members are found by turns until nothing moves (Park and Jun, Expert Syst. Appl. 36, 3336, 2009),
    beginning with rows that lie far apart and near to many (`spread_out`). Nothing is random.

    Args:
        k: how many clusters; fewer where there are fewer different compositions.

    Returns:
        cluster: int64 [row], from 0.
        medoids: int64 [cluster], the row of each cluster whose distances to the others have the least sum, of those
            rows that medoids are found among.
    """
    among = np.arange(0, len(compositions), max(-(-len(compositions) // MOST_CLUSTERED), 1))
    found = _medoids(compositions[among], k)
    number, _ = nearest_of(compositions, compositions[among[found]])
    return number, among[found]


def _medoids(compositions: Compositions, k: int) -> Ints:
    """int64 [at most k]."""
    shares = cumulative_shares(compositions)
    _, same = np.unique(np.array(compositions.reduced().key_bytes(), dtype=object), return_inverse=True)
    medoids, _, _ = spread_out(compositions, k, np.ones(len(compositions), dtype=np.bool_), same.reshape(-1))
    for _ in range(_MOST_TURNS):
        owner, _ = nearest_of(compositions, compositions[medoids])
        moved = medoids.copy()
        for number in range(len(medoids)):
            members = np.flatnonzero(owner == number)
            if len(members):  # none where another medoid is as near to all of them
                moved[number] = members[sums_of_distances(shares[members]).argmin()]
        if (moved == medoids).all():
            break
        medoids = moved
    return medoids


def sums_of_distances(shares: Floats) -> Floats:
    """Add up the distances of each row to all rows, float64 [row], without computing them one by one.

    The distance is the sum over the scale of |differences of the cumulative shares|, and the sum of |x - y| over all y
    of a sorted column follows from running sums.

    Args:
        shares: float64 [row, place], as `cumulative_shares` gives them.
    """
    n = len(shares)
    order = np.argsort(shares, axis=0, kind="stable")
    ordered = np.take_along_axis(shares, order, axis=0)
    running = np.cumsum(ordered, axis=0)
    below = np.arange(1, n + 1)[:, None]  # rows up to and with this one
    sums = ordered * below - running + (running[-1] - running) - ordered * (n - below)
    out = np.empty_like(sums)
    np.put_along_axis(out, order, sums, axis=0)
    total: Floats = out.sum(axis=1)
    return total
