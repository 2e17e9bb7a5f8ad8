"""Read and write the parts of `weights.safetensors` that every fitted model has: parameters and training summary."""

import numpy as np
import torch

from oreflow.rewards.models.ensemble.distance import TrainingSummary
from oreflow.rewards.models.ensemble.layers import Parameters

_PROJECTION, _CENTRES = "training.projection", "training.centres"


def summary_tensors(summary: TrainingSummary) -> Parameters:
    """Return the summary of the training rows as it is stored: two tensors of float16, by name."""
    return {
        _PROJECTION: torch.from_numpy(summary.projection.astype(np.float16)),
        _CENTRES: torch.from_numpy(summary.centres.astype(np.float16)),
    }


def take_summary(stored: Parameters) -> TrainingSummary:
    """Take the summary of the training rows out of the stored tensors, which then hold it no longer.

    Raises:
        KeyError: when it is not there.
    """
    projection, centres = (stored.pop(name).to(torch.float32).numpy() for name in (_PROJECTION, _CENTRES))
    return TrainingSummary(projection, centres)


def check_stored(
    parameters: Parameters, shapes: dict[str, tuple[int, ...]], summary: TrainingSummary, n_features: int
) -> None:
    """Compare what a file holds with what its description says.

    Args:
        parameters: of the network, as read.
        shapes: of the parameters of the described network, by name.
        summary: of the training rows, as read.
        n_features: numbers of the described network's feature vector.

    Raises:
        ValueError: for other names or shapes of parameters, and for a summary of other features.
    """
    if {name: tuple(tensor.shape) for name, tensor in parameters.items()} != shapes:
        raise ValueError("parameters of other names or shapes")
    projection, centres = summary.projection, summary.centres
    if projection.shape[0] != n_features or projection.shape[1:] != centres.shape[1:]:
        raise ValueError("a summary of the training rows of another shape")
