"""Picks that lie far apart and in the midst of others: farthest points, tempered by how many rows each stands for."""

import numpy as np

from oreflow.agent.selection.pettifor import element_movers_distances
from oreflow.envs.arrays import Bools, Floats, Ints
from oreflow.envs.objects.compositions import Compositions

FAR = 0.7
"""Share of the largest distance that is far enough: the farthest row of all is often an oddity that stands for none."""
TRIED = 32
"""Rows that are far enough and of which the gain is computed, the best ones."""
_COVERED = 10_000  # rows that the gain is summed over


def spread_out(
    compositions: Compositions, n: int, may: Bools, group: Ints, far: float = FAR, tried: int = TRIED
) -> tuple[Ints, Ints, Floats]:
    """Pick rows that lie far apart, and close to as many others as may be.

    The first row is the first pick. Of the rows that are at least `far` times as far from all picks as the farthest one
    (Gonzalez, Theor. Comput. Sci. 38, 293, 1985, with far = 1), the first `tried` are looked at, and that one is picked
    which brings all rows nearest to their picks, the gain of facility location.

    Args:
        compositions: the rows, better ones first.
        may: bool [row], which rows may be picked; the first one among them.
        group: int64 [row]; of each group one row at most is picked.

    Returns:
        picks: int64 [at most n], rows in the order in which they were picked.
        owner: int64 [row], which pick is nearest, by its place among the picks.
        nearest: float64 [row], the distance to it.
    """
    free = may.copy()
    picks: list[int] = []
    nearest, owner = np.full(len(compositions), np.inf), np.zeros(len(compositions), dtype=np.int64)
    covered = np.arange(0, len(compositions), -(-len(compositions) // _COVERED))
    row = 0
    while True:
        distances = element_movers_distances(compositions[np.array([row])], compositions)[0]
        nearer = distances < nearest
        nearest[nearer], owner[nearer] = distances[nearer], len(picks)
        picks.append(row)
        free &= group != group[row]
        if len(picks) == n or not free.any():
            return np.array(picks, dtype=np.int64), owner, nearest
        enough = np.flatnonzero(free & (nearest >= far * nearest[free].max()))[:tried]
        to_rows = element_movers_distances(compositions[enough], compositions[covered])
        gain = np.maximum(nearest[covered] - to_rows, 0.0).sum(axis=1)
        row = int(enough[np.argmax(gain)])
