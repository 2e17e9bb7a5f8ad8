"""The content of `weights.safetensors`: the fitted network, its prototypes, and the summary of the training rows."""

from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save

from oreflow.rewards.models.composition.inputs import Prototypes
from oreflow.rewards.models.composition.network import Architecture, parameter_shapes
from oreflow.rewards.models.ensemble.distance import TrainingSummary
from oreflow.rewards.models.ensemble.layers import Parameters
from oreflow.rewards.models.ensemble.stored_weights import check_stored, summary_tensors, take_summary

_ORDERED, _ANONYMOUS = "prototypes.ordered", "prototypes.anonymous"


@dataclass(frozen=True)
class ModelWeights:
    """All fitted numbers of a property model that are not in its description.

    Attributes:
        parameters: of the network, float32.
        architecture: its sizes.
        prototypes: those with a vector of their own.
        summary: where the training rows lie.
    """

    parameters: Parameters
    architecture: Architecture
    prototypes: Prototypes
    summary: TrainingSummary

    def to_bytes(self) -> bytes:
        """As stored: numbers in half precision."""
        tensors = {name: tensor.half().contiguous() for name, tensor in self.parameters.items()}
        tensors |= summary_tensors(self.summary)
        tensors[_ORDERED] = torch.from_numpy(self.prototypes.ordered)
        tensors[_ANONYMOUS] = torch.from_numpy(self.prototypes.anonymous)
        return save(tensors)

    @staticmethod
    def from_bytes(content: bytes, architecture: dict[str, Any]) -> "ModelWeights":
        """Reads what `to_bytes` wrote.

        Raises:
            KeyError, TypeError, ValueError, safetensors.SafetensorError: when it is not of this architecture.
        """
        sizes = Architecture(**architecture)
        stored = load(content)
        ordered, anonymous = stored.pop(_ORDERED).numpy(), stored.pop(_ANONYMOUS).numpy()
        summary = take_summary(stored)
        check_stored(stored, parameter_shapes(sizes), summary, sizes.n_features)
        if (len(ordered) + 1, len(anonymous) + 1) != (sizes.n_ordered_prototypes, sizes.n_anonymous_prototypes):
            raise ValueError("another number of prototypes")
        return ModelWeights(
            {name: tensor.to(torch.float32) for name, tensor in stored.items()},
            sizes,
            Prototypes(ordered, anonymous),
            summary,
        )
