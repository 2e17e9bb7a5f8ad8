"""How far a composition is from the formulas that a property model was fitted on.

The training rows are summarised by the centres of k-means clusters (Lloyd, IEEE Trans. Inf. Theory 28, 129, 1982) in
the leading principal components of the standardised features. The distance of a composition is that to its nearest
centre, divided by the root of the number of features: about the root mean square difference from the most similar
group of training formulas, in standard deviations of a feature. A single Gaussian (a Mahalanobis distance) does not do:
formulas form many groups, and what lies between them is near the common mean.
"""

from dataclasses import dataclass

import numpy as np
import torch

from oreflow.envs.arrays import Float32s, Floats, Ints

N_COMPONENTS = 24
MOST_CENTRES = 1024
# Clusters of fewer training rows would follow single formulas.
_ROWS_PER_CENTRE = 16
_ITERATIONS = 25
# Rows compared with all centres at once.
_CHUNK = 1024


@dataclass(frozen=True)
class TrainingSummary:
    """Where the training rows lie.

    Attributes:
        projection: float32 [feature, component], orthonormal columns.
        centres: float32 [centre, component].
    """

    projection: Float32s
    centres: Float32s

    def distance(self, features: Float32s) -> Floats:
        """Return the distance of standardised features [batch, feature] to the nearest centre; float64 [batch]."""
        points = torch.from_numpy(features).mm(torch.from_numpy(self.projection)).numpy()
        squares, _ = _nearest(points, self.centres)
        return np.sqrt(np.maximum(squares, 0.0) / len(self.projection)).astype(np.float64)


def _nearest(points: Float32s, centres: Float32s) -> tuple[Float32s, Ints]:
    """Squared distance to the nearest centre, and which it is; [point] each."""
    # With torch, as the network: a second pool of threads, such as numpy's, would compete with torch's for the cores.
    transposed = -2.0 * torch.from_numpy(centres).T
    own = torch.from_numpy(centres).square().sum(dim=1)
    squares, index = np.empty(len(points), dtype=np.float32), np.empty(len(points), dtype=np.int64)
    for start in range(0, len(points), _CHUNK):
        part = torch.from_numpy(points[start : start + _CHUNK])
        least, nearest = torch.addmm(own, part, transposed).min(dim=1)
        squares[start : start + _CHUNK] = (least + part.square().sum(dim=1)).numpy()
        index[start : start + _CHUNK] = nearest.numpy()
    return squares, index


def summarise_training_rows(features: Float32s, seed: np.random.SeedSequence) -> TrainingSummary:
    """Find the principal components and k-means centres of the training rows.

    Args:
        features: float32 [row, feature], standardised.
        seed: of the rows that the centres start from.
    """
    n_rows, n_features = features.shape
    mean = features.mean(axis=0, dtype=np.float64)
    covariance = (features.T @ features).astype(np.float64) / n_rows - np.outer(mean, mean)
    _, vectors = np.linalg.eigh(covariance)
    projection = np.ascontiguousarray(vectors[:, ::-1][:, : min(N_COMPONENTS, n_features)], dtype=np.float32)
    points = features @ projection
    n_centres = max(min(MOST_CENTRES, n_rows // _ROWS_PER_CENTRE), 1)
    centres = points[np.random.default_rng(seed).choice(n_rows, n_centres, replace=False)].copy()
    for _ in range(_ITERATIONS):
        _, index = _nearest(points, centres)
        n = np.bincount(index, minlength=n_centres)
        sums = np.stack([np.bincount(index, weights=column, minlength=n_centres) for column in points.T], axis=1)
        centres[n > 0] = (sums[n > 0] / n[n > 0, None]).astype(np.float32)  # an empty cluster stays where it is
    return TrainingSummary(projection, centres)
